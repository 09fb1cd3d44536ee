//! `FileSinkNode`: records a stream of any items in a file, for `FileSourceNode` to play back.
//!
//! The format stands in `recording`. Each item is handed to the operating system as it comes, so the
//! file of a process that is killed can be played up to the last whole item; for that reason the file
//! has its own name from the beginning. It does not wait for the disk. Every field of the header is
//! kept, and when the item came.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use rm_core::{
    DataType, Node, NodeContext, NodeError, NodeMetadata, NodeRegistry, Output, ParameterKind,
    ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;
use serde_json::Value;

use super::pass_through::any_formats;
use super::recording::{RecordingError, Writer};
use crate::define::{define_with_formats, wrong};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IfExists {
    Replace,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhenFull {
    Error,
    Stop,
}

#[derive(Deserialize)]
struct Params {
    path: String,
    if_exists: IfExists,
    max_bytes: Option<u64>,
    when_full: WhenFull,
}

struct FileSink {
    params: Params,
    path: PathBuf,
    /// The file, and since when it is there.
    writer: Option<(Writer, Instant)>,
    /// Whether the file has its end.
    is_complete: bool,
}

impl FileSink {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        let path = context.resolve_path(&params.path);
        if path.file_name().is_none() || path.is_dir() {
            return Err(wrong("path", format!("{:?}", params.path), "the path of a file to write"));
        }
        Ok(Self { params, path, writer: None, is_complete: false })
    }

    fn error(&self, action: &'static str, error: RecordingError) -> NodeError {
        NodeError::File { action, path: self.path.clone(), source: Box::new(error) }
    }

    /// The file, which is made where it is not there yet.
    fn writer(&mut self) -> Result<&mut (Writer, Instant), NodeError> {
        if self.writer.is_none() {
            let new = self.params.if_exists == IfExists::Error;
            let made = Writer::create(&self.path, new, SystemTime::now());
            let writer = made.map_err(|error| self.error("create", error))?;
            self.writer = Some((writer, Instant::now()));
        }
        Ok(self.writer.as_mut().expect("it was set above"))
    }
}

impl Node for FileSink {
    fn initialize(&mut self) -> Result<(), NodeError> {
        self.writer().map(|_| ())
    }

    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        if self.is_complete {
            return Ok(());
        }
        let max_bytes = self.params.max_bytes;
        let (writer, begun) = self.writer()?;
        let len = writer.len_with(&input);
        if let Some(max) = max_bytes.filter(|max| len > *max) {
            if self.params.when_full == WhenFull::Stop {
                return self.finish(output);
            }
            let path = self.path.display();
            let message = format!("{path} would have {len} bytes, above max_bytes ({max})");
            return Err(NodeError::Failed { message, source: None });
        }
        let written = writer.write(&input, begun.elapsed());
        written.map_err(|error| self.error("write", error))
    }

    fn finish(&mut self, _: &mut Output) -> Result<(), NodeError> {
        if self.is_complete {
            return Ok(());
        }
        self.writer()?;
        self.is_complete = true;
        if let Some((writer, begun)) = self.writer.take() {
            writer.finish(begun.elapsed()).map_err(|error| self.error("write", error))?;
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "FileSinkNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "records items of any type with their times, for FileSourceNode to play back"
            .to_owned(),
        parameters: vec![
            ParameterSpec::required(
                "path",
                ParameterKind::String,
                "the file to write; a missing folder is made. What is in it can be played back up to \
                 the last whole item, whatever happens to the process",
            ),
            ParameterSpec::optional(
                "if_exists",
                ParameterKind::String,
                "replace",
                "whether an existing file is replaced, or is an error at the start",
            )
            .choices(["replace", "error"]),
            ParameterSpec {
                nullable: true,
                ..ParameterSpec::optional(
                    "max_bytes",
                    ParameterKind::Integer,
                    Value::Null,
                    "longest file; null for as long as the disk has room",
                )
                .range(128.0, 1e15)
                .unit("bytes")
            },
            ParameterSpec::optional(
                "when_full",
                ParameterKind::String,
                "error",
                "whether an item that the file has no room for is an error, or the recording ends \
                 before it and the stream goes on",
            )
            .choices(["error", "stop"]),
        ],
        accepts: DataType::ALL.to_vec(),
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| any_formats().gives([] as [DataType; 0]);
    define_with_formats(registry, metadata, formats, FileSink::new)
}

#[cfg(test)]
mod tests {
    use crate::testing::{allocations_per_item, make, run, run_source};
    use rm_core::{Node, NodeError, RuntimeData};
    use serde_json::{Value, json};
    use std::error::Error;
    use std::fs;

    fn item(number: u8) -> RuntimeData {
        RuntimeData::binary(vec![number]).unwrap()
    }

    fn source(mut params: Value) -> Box<dyn Node> {
        params["pace"] = json!("fast");
        make("FileSourceNode", params).unwrap()
    }

    fn numbers(items: &[RuntimeData]) -> Vec<u8> {
        items.iter().map(|item| item.payload()[0]).collect()
    }

    #[test]
    fn a_recording_replaces_another_one_or_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/yet/there.rec");
        let record = |if_exists: &str, numbers: &[u8]| {
            let mut node = make("FileSinkNode", json!({"path": path, "if_exists": if_exists}))?;
            run(node.as_mut(), numbers.iter().map(|number| item(*number)))
        };
        let play = || run_source(source(json!({"path": path})).as_mut());
        record("error", &[1, 2, 3]).unwrap();
        record("replace", &[4, 5]).unwrap();
        assert_eq!(numbers(&play().unwrap()), [4, 5]);
        let error = record("error", &[6]).unwrap_err();
        assert!(matches!(error, NodeError::File { action: "create", .. }), "{error}");
        assert_eq!(numbers(&play().unwrap()), [4, 5]);
        record("replace", &[]).unwrap();
        assert!(play().unwrap().is_empty());
    }

    #[test]
    fn a_file_that_is_full_is_an_error_or_the_end_of_the_recording() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        let record = |when_full: &str, max_bytes: u64| {
            let params = json!({"path": path, "when_full": when_full, "max_bytes": max_bytes});
            run(make("FileSinkNode", params).unwrap().as_mut(), (0..9).map(item))
        };
        // Opening and end have 64 bytes each, these items 384.
        for (max_bytes, count) in [(128 + 3 * 384, 3), (128 + 3 * 384 - 1, 2), (1_000_000, 9)] {
            record("stop", max_bytes).unwrap();
            let items = run_source(source(json!({"path": path})).as_mut()).unwrap();
            assert_eq!(items.len(), count);
            assert!(fs::metadata(&path).unwrap().len() <= max_bytes);
        }
        assert_eq!(
            record("error", 1_000).unwrap_err().to_string(),
            format!("{} would have 1280 bytes, above max_bytes (1000)", path.display())
        );
    }

    #[test]
    fn a_sink_that_is_dropped_leaves_what_it_has_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        let mut node = make("FileSinkNode", json!({"path": path})).unwrap();
        node.initialize().unwrap();
        for number in 1..=3 {
            node.process(item(number), &mut rm_core::Output::default()).unwrap();
        }
        drop(node);
        let params = json!({"path": path, "truncated": "accept"});
        let items = run_source(source(params).as_mut()).unwrap();
        assert_eq!(numbers(&items), [1, 2, 3]);
    }

    #[test]
    fn a_file_has_one_sink_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        let sink = || make("FileSinkNode", json!({"path": path})).unwrap();
        let mut first = sink();
        first.initialize().unwrap();
        let error = sink().initialize().unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "another sink is writing it");
        run(first.as_mut(), [item(1)]).unwrap();
        drop(first);
        sink().initialize().unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_before_the_first_item() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file/a.rec");
        let error = make("FileSinkNode", json!({"path": path})).unwrap().initialize().unwrap_err();
        assert!(matches!(error, NodeError::File { action: "create", .. }), "{error}");
        let mut node = make("FileSinkNode", json!({"path": "/dev/null"})).unwrap();
        let error = node.initialize().unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "it is not a regular file");
        for path in [folder.path().to_str().unwrap(), "", "/"] {
            assert!(make("FileSinkNode", json!({"path": path})).is_err());
        }
    }

    #[test]
    fn recording_allocates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rec");
        let mut node = make("FileSinkNode", json!({"path": path})).unwrap();
        assert_eq!(allocations_per_item(node.as_mut(), &item(1)), 0.0);
    }
}
