//! `VideoFileSinkNode`: writes video to a Y4M file.
//!
//! The file has the size, format and rate of the first frame, and a stream that changes its size or
//! format is refused. It is written under a temporary name beside its place and moved there once it is
//! complete; a sink that is dropped before removes what it has written. A stream without any frame
//! leaves an empty file, so that the result of an earlier run is not taken for this one's.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use rm_core::{
    DataType, Node, NodeContext, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData, Values, VideoFormat, VideoFormats,
};
use serde::Deserialize;

use super::frames::metadata;
use super::rate::Rate;
use super::y4m::Header;
use crate::define::{define_with_formats, wrong};
use crate::files::{TemporaryFile, file_error};
use crate::input::{describe_item, video};

/// What a Y4M file can hold.
const FORMATS: [VideoFormat; 4] =
    [VideoFormat::Yuv420p, VideoFormat::Yuv422p, VideoFormat::Yuv444p, VideoFormat::Gray8];

#[derive(Deserialize)]
struct Params {
    path: String,
}

struct VideoFileSink {
    path: PathBuf,
    file: Option<(TemporaryFile, BufWriter<File>)>,
    header: Option<Header>,
}

impl VideoFileSink {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        let path = context.resolve_path(&params.path);
        if path.file_name().is_none() || path.is_dir() {
            return Err(wrong("path", path.display(), "where to write a Y4M file"));
        }
        Ok(Self { path, file: None, header: None })
    }

    fn file(&mut self) -> Result<&mut BufWriter<File>, NodeError> {
        if self.file.is_none() {
            let (temporary, file) = TemporaryFile::create(&self.path)?;
            self.file = Some((temporary, BufWriter::new(file)));
        }
        Ok(&mut self.file.as_mut().expect("it was made above").1)
    }

    fn write(&mut self, parts: &[&[u8]]) -> Result<(), NodeError> {
        let file = self.file()?;
        let written: io::Result<()> = parts.iter().try_for_each(|part| file.write_all(part));
        written.map_err(|error| file_error("write", &self.path, error))
    }
}

impl Node for VideoFileSink {
    fn initialize(&mut self) -> Result<(), NodeError> {
        self.file().map(|_| ())
    }

    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        let view = video(&input, "video")?;
        let refused =
            |expected: String| NodeError::Input { found: describe_item(&input), expected };
        let rate = Rate::of(f64::from(view.fps));
        let header = Header { size: [view.width, view.height], format: view.format, rate };
        match self.header {
            None => {
                let line = header.line().ok_or_else(|| {
                    let names = FORMATS.map(|format| format.name()).join(", ");
                    refused(format!("video in one of {names}; put a VideoConverterNode before it"))
                })?;
                self.write(&[line.as_bytes()])?;
                self.header = Some(header);
            }
            Some(first) if (first.size, first.format) != (header.size, header.format) => {
                let Header { size: [width, height], format, .. } = first;
                return Err(refused(format!(
                    "video in {format} of {width} x {height} pixels as before, since a Y4M file has \
                     one format"
                )));
            }
            Some(_) => {}
        }
        self.write(&[b"FRAME\n", view.bytes])
    }

    fn finish(&mut self, _: &mut Output) -> Result<(), NodeError> {
        self.file()?;
        if let Some((temporary, mut file)) = self.file.take() {
            file.flush().map_err(|error| file_error("write", &self.path, error))?;
            temporary.keep_as(&self.path)?;
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let parameters = vec![ParameterSpec::required(
        "path",
        ParameterKind::String,
        "the Y4M file to write; a missing folder is made, an existing file is replaced once the new \
         one is complete",
    )];
    let metadata = NodeMetadata {
        accepts: vec![DataType::Video],
        ..metadata(
            "VideoFileSinkNode",
            "writes video to a Y4M file (yuv420p, yuv422p, yuv444p, gray8)",
            parameters,
        )
    };
    let formats = |_: &Params, _: &_| {
        let format = Values::OneOf(FORMATS.to_vec());
        NodeFormats::takes([VideoFormats { format, ..VideoFormats::ANY }])
            .gives([] as [rm_core::Formats; 0])
    };
    define_with_formats(registry, metadata, formats, VideoFileSink::new)
}
