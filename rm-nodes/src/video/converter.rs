//! `VideoConverterNode`: video in one format, whatever comes.
//!
//! Any pixel format becomes any other, as `convert.rs` describes it. Frames carry neither their matrix
//! nor their range, so parameters say both. A frame that is right already is given on untouched. The
//! format and the size of the frames may change within the stream. It does not scale.

use rm_core::{
    DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind,
    ParameterSpec, RegistryError, RuntimeData, Values, VideoFormat, VideoFormats,
};
use serde::Deserialize;

use super::colour::{Coding, Matrix, Range};
use super::convert::{Converter, Pair};
use super::frames::{coding_specs, frame_bytes, metadata, unknown_format};
use crate::define::define_with_formats;
use crate::input::video;
use crate::pool::Pool;

#[derive(Deserialize)]
struct Params {
    format: VideoFormat,
    matrix: Matrix,
    range: Range,
    source_matrix: Option<Matrix>,
    source_range: Option<Range>,
}

struct VideoConverter {
    params: Params,
    converter: Option<Converter>,
    pool: Pool,
}

impl VideoConverter {
    fn pair(&self, from: VideoFormat, height: u32) -> Pair {
        let Params { format, matrix, range, source_matrix, source_range } = self.params;
        let source =
            Coding::of(source_matrix.unwrap_or(matrix), source_range.unwrap_or(range), height);
        Pair { from, to: format, codings: [source, Coding::of(matrix, range, height)] }
    }
}

impl Node for VideoConverter {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = video(&input, "video")?;
        let pair = self.pair(view.format, view.height);
        if pair.is_same() {
            output.push(input);
            return Ok(());
        }
        let size = [view.width, view.height];
        let mut buffer = self.pool.take(frame_bytes(pair.to, size)?);
        let converter =
            Converter::of(&mut self.converter, pair).ok_or_else(|| unknown_format(view.format))?;
        converter.convert(size, view.bytes, buffer.bytes());
        let payload = self.pool.seal(buffer);
        let item = RuntimeData::video(payload, view.width, view.height, pair.to, view.fps)?;
        output.push(item.made_from(input.header()));
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let formats = VideoFormat::ALL.iter().map(|format| format.name());
    let mut parameters = vec![
        ParameterSpec::required(
            "format",
            ParameterKind::String,
            "pixel format to convert to; chroma is averaged or repeated where its resolution differs, \
             alpha is kept, dropped, or made opaque",
        )
        .choices(formats),
    ];
    parameters.extend(coding_specs());
    let source = |name, choices: &[&str], description| {
        ParameterSpec::optional(name, ParameterKind::String, None::<String>, description)
            .choices(choices.iter().copied())
    };
    parameters.push(source(
        "source_matrix",
        &["auto", "bt601", "bt709"],
        "matrix of what comes, where it is another one than that of what is given",
    ));
    parameters.push(source(
        "source_range",
        &["limited", "full"],
        "range of what comes, where it is another one than that of what is given",
    ));
    let metadata = NodeMetadata {
        accepts: vec![DataType::Video],
        produces: vec![DataType::Video],
        ..metadata(
            "VideoConverterNode",
            "converts video to one pixel format, by BT.601 or BT.709 in limited or full range",
            parameters,
        )
    };
    let formats = |params: &Params, _: &_| {
        let format = Values::only(params.format);
        NodeFormats::takes([DataType::Video]).gives_from(move |input| match input {
            rm_core::Formats::Video(video) => {
                vec![VideoFormats { format: format.clone(), ..video.clone() }.into()]
            }
            _ => Vec::new(),
        })
    };
    define_with_formats(registry, metadata, formats, |params, _| {
        Ok(VideoConverter { params, converter: None, pool: Pool::default() })
    })
}

#[cfg(test)]
mod tests;
