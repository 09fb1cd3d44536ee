//! `VideoCropNode`: a rectangle of each frame.
//!
//! The rectangle must lie within the frame and begin where samples of chroma begin: at even columns
//! (and rows) where two of them share chroma. Its width and height may be odd. Frames may change their
//! size within the stream as long as the rectangle lies within them. It does not scale, and copies
//! nothing where the rectangle is the whole frame.

use rm_core::{
    DataType, Formats, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData, Values, VideoFormats, VideoView,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::colour::Layout;
use super::convert::Picture;
use super::frames::{MAX_SIDE, frame_bytes, metadata, unknown_format};
use crate::define::{changed, define_with_formats};
use crate::input::video;
use crate::pool::Pool;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Params {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

struct VideoCrop {
    params: Params,
    pool: Pool,
}

impl Params {
    /// The rectangle within a frame: its corner and its size.
    fn within(&self, view: &VideoView<'_>) -> Result<([u32; 2], [u32; 2]), NodeError> {
        let (corner, frame) = ([self.x, self.y], [view.width, view.height]);
        let mut size = [self.width, self.height];
        for axis in 0..2 {
            // Up to the edge.
            if size[axis] == 0 {
                size[axis] = frame[axis].saturating_sub(corner[axis]);
            }
            let end = u64::from(corner[axis]) + u64::from(size[axis]);
            if size[axis] == 0 || end > u64::from(frame[axis]) {
                let [x, y] = corner;
                let [width, height] = size.map(|side| side.max(1));
                return Err(NodeError::Input {
                    found: format!("a frame of {} x {} pixels", view.width, view.height),
                    expected: format!(
                        "one that holds the {width} x {height} pixels from x {x}, y {y}"
                    ),
                });
            }
        }
        Ok((corner, size))
    }
}

/// Refuses a corner between pixels that share chroma.
fn check_corner(view: &VideoView<'_>, corner: [u32; 2], block: [u32; 2]) -> Result<(), NodeError> {
    for (axis, (at, step)) in ["x", "y"].into_iter().zip(corner.into_iter().zip(block)) {
        if at % step != 0 {
            let (below, above) = (at / step * step, at.div_ceil(step) * step);
            return Err(NodeError::Input {
                found: format!("video in {}, of which {step} pixels share chroma", view.format),
                expected: format!(
                    "for {axis} {at} a format in which they do not; {axis} {below} or {above} would \
                     do, and so would a VideoConverterNode before it"
                ),
            });
        }
    }
    Ok(())
}

impl Node for VideoCrop {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = video(&input, "video")?;
        let (corner, size) = self.params.within(&view)?;
        if size == [view.width, view.height] {
            output.push(input);
            return Ok(());
        }
        let format = view.format;
        let layout = Layout::of(format).ok_or_else(|| unknown_format(format))?;
        check_corner(&view, corner, [layout.across as u32, layout.down as u32])?;
        let mut buffer = self.pool.take(frame_bytes(format, size)?);
        let source = Picture::new(format, [view.width, view.height], view.bytes);
        let target = Picture::new(format, size, buffer.bytes());
        let (source, mut target) = source.zip(target).expect("both have been counted");
        for index in 0..target.planes.len() {
            let [across, down] = layout.block(index);
            let whole = format.planes(across, down).expect("a block is small");
            let begin = (corner[0] / across) as usize * whole[index].row_bytes;
            let top = (corner[1] / down) as usize;
            for y in 0..target.planes[index].rows {
                let row = target.row(index, y);
                let length = row.len();
                row.copy_from_slice(&source.row(index, top + y)[begin..][..length]);
            }
        }
        let payload = self.pool.seal(buffer);
        let item = RuntimeData::video(payload, size[0], size[1], format, view.fps)?;
        output.push(item.made_from(input.header()));
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        self.params = changed(&self.params, params)?;
        Ok(())
    }
}

/// The sizes that are taken and given along one axis.
fn sides(corner: u32, size: u32, come: &Values<u32>) -> (Values<u32>, Values<u32>) {
    let taken = Values::Range(corner.saturating_add(size.max(1)), u32::MAX);
    let given = match (size, come.single()) {
        (0, Some(side)) => Values::only(side.saturating_sub(corner)),
        (0, None) => Values::Any,
        (size, _) => Values::only(size),
    };
    (taken, given)
}

fn formats(params: &Params) -> NodeFormats {
    let Params { x, y, width, height } = *params;
    let taken = VideoFormats {
        width: sides(x, width, &Values::Any).0,
        height: sides(y, height, &Values::Any).0,
        ..VideoFormats::ANY
    };
    NodeFormats::takes([taken]).gives_from(move |input| match input {
        Formats::Video(video) => vec![
            VideoFormats {
                width: sides(x, width, &video.width).1,
                height: sides(y, height, &video.height).1,
                format: video.format.clone(),
            }
            .into(),
        ],
        _ => Vec::new(),
    })
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let side = |name, description| {
        ParameterSpec::optional(name, ParameterKind::Integer, 0, description)
            .range(0.0, f64::from(4 * MAX_SIDE))
            .unit("pixels")
    };
    let parameters = vec![
        side("x", "columns to the left of the rectangle; even where two columns share chroma"),
        side("y", "rows above the rectangle; even where two rows share chroma"),
        side("width", "width of the rectangle; 0 is up to the right edge"),
        side("height", "height of the rectangle; 0 is up to the lower edge"),
    ];
    let metadata = NodeMetadata {
        accepts: vec![DataType::Video],
        produces: vec![DataType::Video],
        ..metadata("VideoCropNode", "cuts a rectangle out of each frame", parameters)
    };
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| formats(params),
        |params, _| Ok(VideoCrop { params, pool: Pool::default() }),
    )
}

#[cfg(test)]
mod tests;
