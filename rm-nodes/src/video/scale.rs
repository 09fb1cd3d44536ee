//! `VideoScaleNode`: video of one size, whatever comes.
//!
//! Frames keep their pixel format. The filters are those of `resize.rs`, the places those of
//! `geometry.rs`. The size and the format of the frames may change within the stream; a frame that has
//! the right size already is given on untouched, as all are where neither side is given. It takes pixels
//! to be square.
//!
//! It does not convert colours: a frame keeps the matrix that it is coded by. Where its height crosses
//! 720 rows, that is not the one any more that `matrix: auto` assumes by the height. A
//! `VideoConverterNode` behind it must then be told: its `source_matrix` is `bt709` for what was 720
//! rows high or higher, and `bt601` for what was lower.

use rm_core::{
    DataType, Formats, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData, Values, VideoFormat, VideoFormats,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::colour::{Coding, Layout, Matrix, Range};
use super::frames::{MAX_SIDE, coding_specs, frame_bytes, metadata, unknown_format};
use super::geometry::{Fit, Placement, target_size};
use super::resize::{Filter, Frame, Resizer};
use crate::define::{changed, define_with_formats, wrong};
use crate::input::video;
use crate::pool::Pool;

#[derive(Serialize, Deserialize)]
struct Params {
    width: u32,
    height: u32,
    fit: Fit,
    filter: Filter,
    fill: String,
    matrix: Matrix,
    range: Range,
}

struct VideoScale {
    params: Params,
    resizer: Resizer,
    pool: Pool,
}

impl VideoScale {
    fn new(params: Params) -> Result<Self, NodeError> {
        let resizer = Resizer::new(params.filter, parse_colour(&params.fill)?);
        Ok(Self { params, resizer, pool: Pool::default() })
    }
}

/// Red, green and blue of a colour written as `#rrggbb`.
fn parse_colour(text: &str) -> Result<[u8; 3], NodeError> {
    let digits = text.strip_prefix('#').filter(|digits| {
        digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    let colour =
        digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(|| {
            wrong("fill", text, "a colour as #rrggbb in hexadecimal digits, such as #000000")
        })?;
    let [_, r, g, b] = colour.to_be_bytes();
    Ok([r, g, b])
}

/// How many pixels share chroma.
fn block(format: VideoFormat) -> Option<[u32; 2]> {
    Layout::of(format).map(|layout| [layout.across as u32, layout.down as u32])
}

impl Node for VideoScale {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = video(&input, "video")?;
        let source = [view.width, view.height];
        let Params { width, height, fit, matrix, range, .. } = self.params;
        let block = block(view.format).ok_or_else(|| unknown_format(view.format))?;
        let size = target_size([width, height], source, block);
        if size == source {
            output.push(input);
            return Ok(());
        }
        let placement = Placement::new(fit, source, size, block);
        let coding = Coding::of(matrix, range, size[1]);
        let mut buffer = self.pool.take(frame_bytes(view.format, size)?);
        let frame = Frame { format: view.format, size: source, bytes: view.bytes };
        self.resizer.resize(&frame, buffer.bytes(), &placement, coding)?;
        let payload = self.pool.seal(buffer);
        let item = RuntimeData::video(payload, size[0], size[1], view.format, view.fps)?;
        output.push(item.made_from(input.header()));
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, params)?;
        self.resizer.set(params.filter, parse_colour(&params.fill)?);
        self.params = params;
        Ok(())
    }
}

fn formats(params: &Params) -> NodeFormats {
    let given = [params.width, params.height];
    NodeFormats::takes([DataType::Video]).gives_from(move |input| {
        let Formats::Video(video) = input else { return Vec::new() };
        let mut sides = given.map(|side| if side == 0 { Values::Any } else { Values::only(side) });
        let known = (video.width.single(), video.height.single(), video.format.single());
        if let (Some(width), Some(height), Some(format)) = known
            && let Some(block) = block(format)
        {
            sides = target_size(given, [width, height], block).map(Values::only);
        }
        let [width, height] = sides;
        vec![VideoFormats { width, height, format: video.format.clone() }.into()]
    })
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let side = |name, description| {
        ParameterSpec::optional(name, ParameterKind::Integer, 0, description)
            .range(0.0, f64::from(MAX_SIDE))
            .unit("pixels")
    };
    let mut parameters = vec![
        side(
            "width",
            "width of the frames that are given; 0 is what the height and the aspect ratio say, even \
             where columns share chroma",
        ),
        side(
            "height",
            "height of the frames that are given; 0 is what the width and the aspect ratio say, even \
             where rows share chroma",
        ),
        ParameterSpec::optional(
            "fit",
            ParameterKind::String,
            "stretch",
            "what happens where the aspect ratios differ: stretch distorts, contain shows all of it \
             between bars, cover cuts off what is beyond",
        )
        .choices(["stretch", "contain", "cover"]),
        ParameterSpec::optional(
            "filter",
            ParameterKind::String,
            "bilinear",
            "how pixels are found: as Pillow's filter of the same name, each of which but nearest is \
             widened where the picture becomes smaller, so that it does not alias; box is the mean \
             of an area",
        )
        .choices(["nearest", "box", "bilinear", "bicubic", "lanczos3"]),
        ParameterSpec::optional(
            "fill",
            ParameterKind::String,
            "#000000",
            "colour of the bars of contain, as #rrggbb",
        ),
    ];
    parameters.extend(coding_specs());
    let metadata = NodeMetadata {
        accepts: vec![DataType::Video],
        produces: vec![DataType::Video],
        ..metadata(
            "VideoScaleNode",
            "scales video to a width, a height or both, in the pixel format and by the matrix that come; \
             where the height crosses 720 rows, matrix auto of a VideoConverterNode behind it assumes \
             another matrix than theirs, and its source_matrix has to name it",
            parameters,
        )
    };
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| formats(params),
        |params, _| VideoScale::new(params),
    )
}

#[cfg(test)]
mod tests;
