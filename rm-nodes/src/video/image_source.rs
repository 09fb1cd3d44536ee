//! `ImageFileSourceNode`: still pictures from files, as video.
//!
//! The files are one, a list, or a numbered sequence, which ends before the first number that is not
//! there. Each picture becomes a frame of its own size; the first is stamped with the time at which it
//! is given, each later one exactly so many periods after it. Pictures are decoded one at a time, within
//! the limits of `image_file.rs`. It does not scale.

use std::path::PathBuf;

use rm_core::{
    DataType, Node, NodeContext, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, Produced, RegistryError, RuntimeData, Values, VideoFormat,
    VideoFormats,
};
use serde::Deserialize;
use serde_json::Value;

use super::colour::{Coding, Matrix, Range};
use super::convert::{Converter, Pair};
use super::file_source::source_specs;
use super::frames::{coding_specs, frame_bytes, metadata, unknown_format};
use super::image_file::{decode, size_of};
use super::numbered::Numbered;
use super::rate::{Pace, Rate};
use crate::define::{define_with_formats, wrong};
use crate::files::file_error;
use crate::pool::Pool;

#[derive(Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Params {
    path: Paths,
    first: Option<u64>,
    fps: Value,
    format: Option<VideoFormat>,
    realtime: bool,
    repeat: u64,
    matrix: Matrix,
    range: Range,
}

/// Which files there are.
enum Files {
    List(Vec<PathBuf>),
    /// With the number of the first one, where it is given.
    Numbered(Numbered, Option<u64>),
}

impl Files {
    fn new(params: &Params, context: &NodeContext) -> Result<Self, NodeError> {
        let resolve = |path: &String| context.resolve_path(path);
        let expected = "the path of a picture, a list of them, or one with {index}";
        match &params.path {
            Paths::Many(paths)
                if !paths.is_empty() && paths.iter().all(|path| !path.is_empty()) =>
            {
                Ok(Self::List(paths.iter().map(resolve).collect()))
            }
            Paths::One(path) if !path.is_empty() => {
                let resolved = resolve(path);
                let text = resolved.to_string_lossy();
                let numbered = Numbered::parse(&text);
                Ok(match numbered.map_err(|expected| wrong("path", path, expected))? {
                    Some(numbered) => Self::Numbered(numbered, params.first),
                    None => Self::List(vec![resolved]),
                })
            }
            _ => Err(wrong("path", "empty", expected)),
        }
    }

    /// The file at a place, counted from 0; `None` behind the last.
    fn at(&self, place: u64) -> Option<PathBuf> {
        match self {
            Self::List(paths) => paths.get(usize::try_from(place).ok()?).cloned(),
            Self::Numbered(numbered, first) => {
                // Sequences are counted from 0 or from 1.
                let lowest = || u64::from(!numbered.path(0).exists());
                let path = numbered.path(first.unwrap_or_else(lowest).checked_add(place)?);
                (place == 0 || path.exists()).then_some(path)
            }
        }
    }
}

struct ImageFileSource {
    files: Files,
    format: Option<VideoFormat>,
    coding: (Matrix, Range),
    /// How often all files are still to be read from the first; `None` for ever.
    repeats: Option<u64>,
    place: u64,
    pace: Pace,
    converter: Option<Converter>,
    pool: Pool,
}

impl ImageFileSource {
    fn new(params: Params, context: &NodeContext) -> Result<Self, NodeError> {
        let rate = Rate::parse(&params.fps).ok_or_else(|| {
            wrong("fps", &params.fps, "from 0.001 to 1000 frames a second, or a fraction")
        })?;
        Ok(Self {
            files: Files::new(&params, context)?,
            format: params.format,
            coding: (params.matrix, params.range),
            repeats: params.repeat.checked_sub(1),
            place: 0,
            pace: Pace::new(rate, params.realtime),
            converter: None,
            pool: Pool::default(),
        })
    }
}

impl Node for ImageFileSource {
    /// Looks at the files that are known by now, so that a wrong one fails the session before it starts.
    fn initialize(&mut self) -> Result<(), NodeError> {
        match &self.files {
            Files::List(paths) => paths.iter().try_for_each(|path| size_of(path).map(|_| ())),
            numbered => match numbered.at(0) {
                Some(path) => size_of(&path).map(|_| ()),
                None => Ok(()),
            },
        }
    }

    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        Err(NodeError::Input {
            found: input.data_type().to_string(),
            expected: "nothing; it is a source".to_owned(),
        })
    }

    fn produce(&mut self, output: &mut Output) -> Result<Produced, NodeError> {
        let Some(path) = self.files.at(self.place) else {
            if self.repeats == Some(0) {
                return Ok(Produced::End);
            }
            self.repeats = self.repeats.map(|repeats| repeats - 1);
            self.place = 0;
            return Ok(Produced::More);
        };
        self.place += 1;
        let picture = decode(&path)?;
        let [width, height] = picture.size;
        let to = self.format.unwrap_or(picture.format);
        let (matrix, range) = self.coding;
        let codings = [Coding::of(matrix, range, height); 2];
        let pair = Pair { from: picture.format, to, codings };
        let payload = if pair.is_same() {
            picture.bytes.into()
        } else {
            let mut buffer = self.pool.take(frame_bytes(to, picture.size)?);
            let converter =
                Converter::of(&mut self.converter, pair).ok_or_else(|| unknown_format(to))?;
            converter.convert(picture.size, &picture.bytes, buffer.bytes());
            self.pool.seal(buffer)
        };
        let frame = RuntimeData::video(payload, width, height, to, self.pace.rate().fps())
            .map_err(|error| file_error("decode", &path, error))?;
        output.push(frame.with_timestamp(self.pace.stamp()));
        Ok(self.pace.next())
    }
}

fn formats(params: &Params, context: &NodeContext) -> NodeFormats {
    let only = |format: VideoFormat| Values::only(format);
    let mut video =
        VideoFormats { format: params.format.map_or(Values::Any, only), ..VideoFormats::ANY };
    if let Ok(Files::List(paths)) = Files::new(params, context)
        && let [path] = &paths[..]
        && path.is_file()
        && let Ok([width, height]) = size_of(path)
    {
        (video.width, video.height) = (Values::only(width), Values::only(height));
    }
    NodeFormats::source([video])
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let mut parameters = vec![
        ParameterSpec::required(
            "path",
            ParameterKind::Paths,
            "a picture (PNG, JPEG, BMP, PNM, WebP), a list of them, or the path of a numbered \
             sequence with {index}, or {index:06} for numbers of at least 6 digits",
        ),
        ParameterSpec::optional(
            "first",
            ParameterKind::Integer,
            None::<u64>,
            "number of the first file of a sequence; by default 0 if it is there, else 1",
        )
        .range(0.0, f64::from(u32::MAX)),
        ParameterSpec::optional(
            "fps",
            ParameterKind::Any,
            25,
            "frames a second, as a number or as a fraction such as \"30000/1001\"",
        )
        .unit("frames/s"),
        ParameterSpec::optional(
            "format",
            ParameterKind::String,
            VideoFormat::Rgb24.name(),
            "pixel format of the frames; null for that of each file: rgb24, rgba32, gray8 or gray16",
        )
        .choices(VideoFormat::ALL.iter().map(|format| format.name())),
    ];
    if let Some(format) = parameters.last_mut() {
        format.nullable = true;
    }
    parameters.extend(source_specs());
    parameters.extend(coding_specs());
    let metadata = NodeMetadata {
        produces: vec![DataType::Video],
        source: true,
        ..metadata(
            "ImageFileSourceNode",
            "reads pictures (PNG, JPEG, BMP, PNM, WebP) and gives them as frames of video",
            parameters,
        )
    };
    define_with_formats(registry, metadata, formats, ImageFileSource::new)
}

#[cfg(test)]
mod tests;
