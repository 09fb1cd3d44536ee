//! `ThumbnailNode`: a small picture of every n-th frame, or of one frame in each interval.
//!
//! Pictures keep the aspect ratio, lie within a width and a height, and are never larger than the frame.
//! They are scaled by the triangle filter in the format that comes, and given as the bytes of a JPEG or
//! PNG file or as frames of RGB, with the time of the frame. The first frame is always taken.

use std::time::{Duration, SystemTime};

use rm_core::{
    DataType, Formats, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData, Values, VideoFormat, VideoFormats,
};
use serde::{Deserialize, Serialize};

use super::colour::{Coding, Matrix, Range};
use super::convert::{Converter, Pair};
use super::frames::{MAX_SIDE, coding_specs, frame_bytes, metadata, unknown_format};
use super::geometry::{Fit, Placement, size_within};
use super::image_file::{Encoder, Form};
use super::resize::{Filter, Frame, Resizer};
use crate::define::define_with_formats;
use crate::input::video;
use crate::pool::Pool;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Given {
    Jpeg,
    Png,
    Frame,
}

#[derive(Deserialize)]
struct Params {
    every: u64,
    interval_ms: u64,
    width: u32,
    height: u32,
    output: Given,
    quality: u8,
    matrix: Matrix,
    range: Range,
}

struct Thumbnail {
    params: Params,
    resizer: Resizer,
    encoder: Encoder,
    converter: Option<Converter>,
    pool: Pool,
    /// Frames that have come, and when the last one that was taken came into being.
    frames: u64,
    taken: Option<SystemTime>,
}

impl Thumbnail {
    fn new(params: Params) -> Self {
        let form = if params.output == Given::Png { Form::Png } else { Form::Jpeg };
        Self {
            resizer: Resizer::new(Filter::Bilinear, [0; 3]),
            encoder: Encoder::new(form, params.quality, (params.matrix, params.range)),
            params,
            converter: None,
            pool: Pool::default(),
            frames: 0,
            taken: None,
        }
    }

    /// Whether the next frame, which came into being at this time, is one to be taken.
    fn takes(&mut self, now: SystemTime) -> bool {
        let place = self.frames;
        self.frames += 1;
        let interval = Duration::from_millis(self.params.interval_ms);
        let due = match self.taken {
            // A clock that was set back begins anew.
            Some(taken) if !interval.is_zero() => {
                now.duration_since(taken).map_or(true, |passed| passed >= interval)
            }
            _ => true,
        };
        let takes = due && place.is_multiple_of(self.params.every);
        if takes {
            self.taken = Some(now);
        }
        takes
    }
}

impl Node for Thumbnail {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = video(&input, "video")?;
        if !self.takes(input.header().timestamp) {
            return Ok(());
        }
        let (format, source) = (view.format, [view.width, view.height]);
        let size = size_within([self.params.width, self.params.height], source);
        let coding = Coding::of(self.params.matrix, self.params.range, view.height);
        let placement = Placement::new(Fit::Stretch, source, size, [1, 1]);
        let mut buffer = self.pool.take(frame_bytes(format, size)?);
        let frame = Frame { format, size: source, bytes: view.bytes };
        self.resizer.resize(&frame, buffer.bytes(), &placement, coding)?;
        let payload = self.pool.seal(buffer);
        let [width, height] = size;
        let mut small = RuntimeData::video(payload, width, height, format, view.fps)?;
        // The coding is that of the frame, whose height decides on it where it is automatic.
        let pair = Pair { from: format, to: VideoFormat::Rgb24, codings: [coding; 2] };
        if !pair.is_same() {
            let mut buffer = self.pool.take(frame_bytes(pair.to, size)?);
            let converter =
                Converter::of(&mut self.converter, pair).ok_or_else(|| unknown_format(format))?;
            converter.convert(size, small.payload(), buffer.bytes());
            let payload = self.pool.seal(buffer);
            small = RuntimeData::video(payload, width, height, pair.to, view.fps)?;
        }
        let item = match self.params.output {
            Given::Frame => small,
            _ => RuntimeData::binary(self.encoder.encode(&video(&small, "video")?)?)?,
        };
        output.push(item.made_from(input.header()));
        Ok(())
    }

    fn flush(&mut self) {
        (self.frames, self.taken) = (0, None);
    }
}

fn formats(params: &Params) -> NodeFormats {
    let given: Formats = match params.output {
        Given::Frame => VideoFormats {
            width: Values::Range(1, params.width),
            height: Values::Range(1, params.height),
            format: Values::only(VideoFormat::Rgb24),
        }
        .into(),
        _ => DataType::Binary.into(),
    };
    NodeFormats::takes([DataType::Video]).gives([given])
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let whole = |name, default: u64, description| {
        ParameterSpec::optional(name, ParameterKind::Integer, default, description)
    };
    let mut parameters = vec![
        whole("every", 1, "one in so many frames is taken").range(1.0, f64::from(u32::MAX)),
        whole(
            "interval_ms",
            0,
            "least time from one frame that is taken to the next; 0 takes all that every lets through",
        )
        .range(0.0, f64::from(u32::MAX))
        .unit("ms"),
        whole("width", 320, "largest width of a picture")
            .range(1.0, f64::from(MAX_SIDE))
            .unit("pixels"),
        whole("height", 320, "largest height of a picture")
            .range(1.0, f64::from(MAX_SIDE))
            .unit("pixels"),
        ParameterSpec::optional(
            "output",
            ParameterKind::String,
            "jpeg",
            "what is given: the bytes of a JPEG or PNG file, or a frame in rgb24",
        )
        .choices(["jpeg", "png", "frame"]),
        whole("quality", 80, "quality of JPEG").range(1.0, 100.0),
    ];
    parameters.extend(coding_specs());
    let metadata = NodeMetadata {
        accepts: vec![DataType::Video],
        produces: vec![DataType::Binary, DataType::Video],
        ..metadata(
            "ThumbnailNode",
            "gives a small picture of every n-th frame or of one frame in each interval",
            parameters,
        )
    };
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| formats(params),
        |params, _| Ok(Thumbnail::new(params)),
    )
}

#[cfg(test)]
mod tests;
