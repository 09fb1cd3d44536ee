//! `AudioFileSinkNode`: writes what it gets to a WAV or FLAC file.
//!
//! The file has the format of the first item. It is written under a temporary name beside its
//! place and moved there once it is complete, so nobody ever sees half a file; a sink that is
//! dropped before the end removes what it has written. A stream without any audio leaves a file
//! without samples (mono at 48 kHz, f32 in WAV and i16 in FLAC, since nothing tells its format), so
//! that the result of an earlier run is not taken for this one's.

use std::fs::File;
use std::path::{Path, PathBuf};

use rm_core::{
    AudioFormat, DataType, InputSite, Node, NodeContext, NodeError, NodeFormats, NodeMetadata,
    NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::codec::{FileWriter, Tags, WriteFormat};
use crate::define::{define_with_formats, wrong};
use crate::files::TemporaryFile;
use crate::input::{StreamFormat, audio, describe, describe_item, is_interleaved};

/// The port by which tags come.
const TAGS: &str = "tags";

#[derive(Deserialize)]
struct Params {
    path: String,
    format: String,
    tags: Value,
}

/// How far the file is.
enum State {
    /// Nothing on the disk.
    Idle,
    /// A file without a header: no item has come yet.
    Created(TemporaryFile, File),
    /// A file that grows.
    Writing(TemporaryFile, FileWriter),
}

struct AudioFileSink {
    path: PathBuf,
    write: WriteFormat,
    tags: Tags,
    state: State,
}

/// The format that the parameters name, or that the path ends in.
fn write_format(params: &Params) -> Result<WriteFormat, NodeError> {
    if params.format != "auto" {
        return WriteFormat::named(&params.format)
            .map_err(|expected| wrong("format", &params.format, expected));
    }
    let extension = Path::new(&params.path).extension().unwrap_or_default();
    let extension = extension.to_string_lossy().to_ascii_lowercase();
    let name = match extension.as_str() {
        "wav" | "wave" => "wav",
        "flac" => "flac",
        _ => {
            let expected = "a path that ends in .wav, .wave or .flac, or the parameter \"format\"";
            return Err(wrong("path", format!("{:?}", params.path), expected));
        }
    };
    WriteFormat::named(name).map_err(|expected| {
        wrong("path", format!("{:?}", params.path), format!("a file of the format {expected}"))
    })
}

impl AudioFileSink {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        let path = context.resolve_path(&params.path);
        if path.file_name().is_none() || path.is_dir() {
            let found = format!("{}, which names no file", path.display());
            return Err(wrong("path", found, "where to write a WAV or FLAC file"));
        }
        let tags = Tags::from_json(&params.tags)
            .map_err(|problem| NodeError::Param { name: "tags", problem })?;
        Ok(Self { path, write: write_format(&params)?, tags, state: State::Idle })
    }

    /// The file with its header written for `format`.
    fn writing(&mut self, format: StreamFormat) -> Result<&mut FileWriter, NodeError> {
        let (temporary, file) = match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => TemporaryFile::create(&self.path)?,
            State::Created(temporary, file) => (temporary, file),
            State::Writing(temporary, writer) => {
                self.state = State::Writing(temporary, writer);
                return self.written();
            }
        };
        let writer = FileWriter::new(file, &self.path, self.write, format, self.tags.clone())?;
        self.state = State::Writing(temporary, writer);
        self.written()
    }

    fn written(&mut self) -> Result<&mut FileWriter, NodeError> {
        match &mut self.state {
            State::Writing(_, writer) => Ok(writer),
            _ => Err(NodeError::Failed { message: "no file is open".to_owned(), source: None }),
        }
    }

    /// The format of a file about whose stream nothing is known.
    fn empty(&self) -> StreamFormat {
        let format = match self.write {
            WriteFormat::Wav => AudioFormat::F32,
            #[cfg(feature = "codecs")]
            WriteFormat::Flac => AudioFormat::I16,
        };
        StreamFormat { sample_rate: 48_000, channels: 1, format }
    }
}

impl Node for AudioFileSink {
    fn initialize(&mut self) -> Result<(), NodeError> {
        let (temporary, file) = TemporaryFile::create(&self.path)?;
        self.state = State::Created(temporary, file);
        Ok(())
    }

    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "audio")?;
        if !is_interleaved(&view) {
            return Err(NodeError::Input {
                found: describe(&view),
                expected: "interleaved audio; put a FormatConverterNode before it".to_owned(),
            });
        }
        let writer = self.writing(StreamFormat::of(&view))?;
        writer.format().check(&view)?;
        writer.write(view.bytes)
    }

    fn process_from(
        &mut self,
        site: InputSite<'_>,
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        if site.port != Some(TAGS) {
            return self.process(input, output);
        }
        let wrong = |found: String| NodeError::Input {
            found,
            expected: "an object of tags as JSON on its port \"tags\"".to_owned(),
        };
        if input.data_type() != DataType::Json {
            return Err(wrong(describe_item(&input)));
        }
        let tags = Tags::from_json(&input.parse_json()?);
        self.tags.replace_by(&tags.map_err(|problem| wrong(format!("JSON whose tags {problem}")))?);
        Ok(())
    }

    fn finish(&mut self, _: &mut Output) -> Result<(), NodeError> {
        self.writing(self.empty())?;
        if let State::Writing(temporary, writer) = std::mem::replace(&mut self.state, State::Idle) {
            writer.complete(temporary.path(), &self.tags)?;
            temporary.keep_as(&self.path)?;
        }
        Ok(())
    }
}

fn formats(params: &Params, _: &NodeContext) -> NodeFormats {
    let none = [] as [DataType; 0];
    match write_format(params) {
        Ok(write) => NodeFormats::takes(write.takes()).gives(none),
        Err(_) => NodeFormats::takes([DataType::Audio]).gives(none),
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "AudioFileSinkNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "writes audio to a file of the same sample format: WAV of any format or, with \
                      the feature \"codecs\", FLAC of i16, i24, i32 or u8; tags come as JSON on the \
                      port \"tags\", as an AudioFileSourceNode gives them"
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![
            ParameterSpec::required(
                "path",
                ParameterKind::String,
                "the file to write; a missing folder is made, an existing file is replaced once \
                 the new one is complete",
            ),
            ParameterSpec::optional(
                "format",
                ParameterKind::String,
                "auto",
                "format of the file; auto goes by the end of its path",
            )
            .choices(["auto", "wav", "flac"]),
            ParameterSpec::optional(
                "tags",
                ParameterKind::Object,
                json!({}),
                "title, artist and so on: texts, or lists of texts, by name; what comes by the port \
                 goes before them",
            ),
        ],
        accepts: vec![DataType::Audio, DataType::Json],
        produces: Vec::new(),
        source: false,
        input_ports: vec![TAGS.to_owned()],
        ..NodeMetadata::default()
    };
    define_with_formats(registry, metadata, formats, AudioFileSink::new)
}

#[cfg(test)]
mod tests;
