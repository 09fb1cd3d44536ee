//! `ImageFileSinkNode`: writes each frame to a picture file.
//!
//! Files are PNG or JPEG. A path with `{index}` gives a file for each frame; one without is replaced by
//! each frame, as a snapshot that is always the latest. Each file is written under a temporary name and
//! moved to its place once it is complete. Frames may be of any format and size. It does not scale.

use std::io::Write;
use std::path::PathBuf;

use rm_core::{
    DataType, Formats, Node, NodeContext, NodeError, NodeFormats, NodeMetadata, NodeRegistry,
    Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;

use super::colour::{Matrix, Range};
use super::frames::{coding_specs, metadata};
use super::image_file::{Encoder, Form};
use super::numbered::Numbered;
use crate::define::{define_with_formats, wrong};
use crate::files::{TemporaryFile, file_error};
use crate::input::video;

#[derive(Deserialize)]
struct Params {
    path: String,
    format: Option<Form>,
    quality: u8,
    first: u64,
    matrix: Matrix,
    range: Range,
}

struct ImageFileSink {
    path: PathBuf,
    numbered: Option<Numbered>,
    next: u64,
    encoder: Encoder,
}

impl ImageFileSink {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        let path = context.resolve_path(&params.path);
        if path.file_name().is_none() || path.is_dir() {
            return Err(wrong("path", path.display(), "where to write a picture"));
        }
        let form = params.format.or_else(|| Form::of(&path)).ok_or_else(|| {
            let expected = "a path that ends with .png, .jpg or .jpeg, unless format is given";
            wrong("path", path.display(), expected)
        })?;
        let numbered = Numbered::parse(&path.to_string_lossy())
            .map_err(|expected| wrong("path", path.display(), expected))?;
        let encoder = Encoder::new(form, params.quality, (params.matrix, params.range));
        Ok(Self { path, numbered, next: params.first, encoder })
    }
}

impl Node for ImageFileSink {
    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        let view = video(&input, "video")?;
        let picture = self.encoder.encode(&view)?;
        let path = match &self.numbered {
            Some(numbered) => numbered.path(self.next),
            None => self.path.clone(),
        };
        let (temporary, mut file) = TemporaryFile::create(&path)?;
        file.write_all(&picture).map_err(|error| file_error("write", &path, error))?;
        temporary.keep_as(&path)?;
        self.next += 1;
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let mut parameters = vec![
        ParameterSpec::required(
            "path",
            ParameterKind::String,
            "the file to write, with {index} (or {index:06}) for a file of each frame; without it \
             each frame replaces the file; a missing folder is made",
        ),
        ParameterSpec::optional(
            "format",
            ParameterKind::String,
            None::<String>,
            "form of the files; by default what the end of the path says",
        )
        .choices(["png", "jpeg"]),
        ParameterSpec::optional("quality", ParameterKind::Integer, 90, "quality of JPEG")
            .range(1.0, 100.0),
        ParameterSpec::optional(
            "first",
            ParameterKind::Integer,
            0,
            "number of the first file, where the path has {index}",
        )
        .range(0.0, f64::from(u32::MAX)),
    ];
    parameters.extend(coding_specs());
    let metadata = NodeMetadata {
        accepts: vec![DataType::Video],
        ..metadata("ImageFileSinkNode", "writes each frame to a PNG or JPEG file", parameters)
    };
    let formats =
        |_: &Params, _: &_| NodeFormats::takes([DataType::Video]).gives([] as [Formats; 0]);
    define_with_formats(registry, metadata, formats, ImageFileSink::new)
}
