//! `FrameRateNode`: video at a fixed number of frames a second.
//!
//! Frames are given at the points of a regular grid that begins with the first frame: at each point the
//! frame whose time is nearest, the earlier of two. So frames are dropped and repeated as needed, and
//! the result depends on the times of the frames alone, not on when they arrive. A frame is given once
//! the next one has come. It does not blend frames.

use std::time::{Duration, SystemTime};

use rm_core::{
    DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind,
    ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::frames::metadata;
use super::rate::Rate;
use crate::define::{changed, define_with_formats, wrong};
use crate::input::video;

/// Longest gap that can be filled, which bounds what one frame can set off.
const MAX_GAP_MS: u64 = 10_000;

/// What happens in a gap that is longer than what is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnGap {
    Duplicate,
    Skip,
}

#[derive(Clone, Serialize, Deserialize)]
struct Params {
    fps: Value,
    on_gap: OnGap,
    max_gap_ms: u64,
}

#[derive(Default)]
struct Counts {
    frames_in: u64,
    frames_out: u64,
    dropped: u64,
    duplicated: u64,
}

/// The latest frame.
struct Held {
    frame: RuntimeData,
    /// How often it has been given.
    given: u64,
}

struct FrameRate {
    params: Params,
    rate: Rate,
    /// When the grid begins, once there is one, and the number of its next point.
    begin: Option<SystemTime>,
    next: u64,
    held: Option<Held>,
    counts: Counts,
}

fn rate(params: &Params) -> Result<Rate, NodeError> {
    Rate::parse(&params.fps).ok_or_else(|| {
        let expected = "from 0.001 to 1000 frames a second as a number or a fraction, such as 25 or \
                        \"30000/1001\"";
        wrong("fps", &params.fps, expected)
    })
}

impl FrameRate {
    fn new(params: Params) -> Result<Self, NodeError> {
        let rate = rate(&params)?;
        let counts = Counts::default();
        Ok(Self { params, rate, begin: None, next: 0, held: None, counts })
    }

    /// The time of the next point of the grid.
    fn point(&self) -> Option<SystemTime> {
        self.begin?.checked_add(self.rate.time_of(self.next))
    }

    /// How near to a point a frame is that is nearer to it than to others: a little less than half of
    /// the time between two.
    fn half(&self) -> Duration {
        (self.rate.time_of(1) / 2).saturating_sub(Duration::from_nanos(1))
    }

    /// Gives the held frame at all points up to a time.
    fn give_until(&mut self, until: SystemTime, output: &mut Output) -> Result<(), NodeError> {
        let Some(mut held) = self.held.take() else { return Ok(()) };
        while let Some(point) = self.point().filter(|point| *point <= until) {
            let view = video(&held.frame, "video")?;
            let (payload, fps) = (held.frame.payload().clone(), self.rate.fps());
            let item = RuntimeData::video(payload, view.width, view.height, view.format, fps)?;
            output.push(item.made_from(held.frame.header()).with_timestamp(point));
            held.given += 1;
            self.next += 1;
        }
        self.held = Some(held);
        Ok(())
    }

    /// Lets go of the held frame.
    fn release(&mut self) {
        let Some(Held { given, .. }) = self.held.take() else { return };
        self.counts.frames_out += given;
        self.counts.duplicated += given.saturating_sub(1);
        self.counts.dropped += u64::from(given == 0);
    }

    /// Gives the held frame for the last time, where nothing follows it.
    fn give_last(&mut self, output: &mut Output) -> Result<(), NodeError> {
        if let Some(held) = &self.held {
            let now = held.frame.header().timestamp;
            self.give_until(now.checked_add(self.half()).unwrap_or(now), output)?;
        }
        self.release();
        Ok(())
    }
}

impl Node for FrameRate {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        video(&input, "video")?;
        self.counts.frames_in += 1;
        let now = input.header().timestamp;
        let max_gap = Duration::from_millis(self.params.max_gap_ms);
        if let Some(held) = &self.held {
            let before = held.frame.header().timestamp;
            match now.duration_since(before) {
                Ok(gap) if gap.is_zero() => {
                    self.counts.dropped += 1;
                    return Ok(());
                }
                Ok(gap) if gap <= max_gap => self.give_until(before + gap / 2, output)?,
                Ok(gap) => {
                    let filled = match self.params.on_gap {
                        OnGap::Duplicate => max_gap.max(self.half()),
                        OnGap::Skip => self.half(),
                    };
                    // Points that are nearer to this frame, or near it, are left to it.
                    let left = (gap / 2).max(gap.saturating_sub(self.half()));
                    self.give_until(before + filled.min(left), output)?;
                    // The points up to this frame, but for the one that is near it, are left out.
                    let reached = self.begin.and_then(|begin| now.duration_since(begin).ok());
                    let near = reached.unwrap_or_default().saturating_sub(self.half());
                    self.next = self.next.max(self.rate.frame_at(near));
                }
                // The frame is late, or the clock has been set back.
                Err(back) if back.duration() <= max_gap => {
                    self.counts.dropped += 1;
                    return Ok(());
                }
                Err(_) => {
                    self.give_last(output)?;
                    self.begin = None;
                }
            }
            self.release();
        }
        if self.begin.is_none() {
            (self.begin, self.next) = (Some(now), 0);
        }
        self.held = Some(Held { frame: input, given: 0 });
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let params = changed(&self.params, params)?;
        let rate = rate(&params)?;
        if rate != self.rate {
            // A new grid begins at the next point of the old one.
            (self.begin, self.next) = (self.point(), 0);
        }
        (self.params, self.rate) = (params, rate);
        Ok(())
    }

    fn flush(&mut self) {
        self.release();
        self.begin = None;
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        self.give_last(output)?;
        let Counts { frames_in, frames_out, dropped, duplicated } = self.counts;
        let stats = json!({
            "frames_in": frames_in,
            "frames_out": frames_out,
            "dropped": dropped,
            "duplicated": duplicated,
        });
        output.push_to("stats", RuntimeData::json(&stats)?);
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let parameters = vec![
        ParameterSpec::required(
            "fps",
            ParameterKind::Any,
            "frames a second, as a number or as a fraction such as \"30000/1001\"; 23.976, 29.97 and \
             59.94 stand for the fractions of NTSC",
        )
        .unit("frames/s"),
        ParameterSpec::optional(
            "on_gap",
            ParameterKind::String,
            "duplicate",
            "what happens where no frame comes for longer than max_gap_ms: duplicate repeats the last \
             one for that long and then gives nothing, skip gives nothing at once",
        )
        .choices(["duplicate", "skip"]),
        ParameterSpec::optional(
            "max_gap_ms",
            ParameterKind::Integer,
            1_000,
            "longest gap that is filled with repeated frames; a frame that is earlier than the one \
             before it by more than this begins anew",
        )
        .range(0.0, MAX_GAP_MS as f64)
        .unit("ms"),
    ];
    let metadata = NodeMetadata {
        accepts: vec![DataType::Video],
        produces: vec![DataType::Video, DataType::Json],
        output_ports: vec!["stats".to_owned()],
        ..metadata(
            "FrameRateNode",
            "gives video at a fixed number of frames a second, by the frames' times; the port stats \
             tells at the end how many were dropped and duplicated",
            parameters,
        )
    };
    let formats = |_: &Params, _: &_| NodeFormats::takes([DataType::Video]);
    define_with_formats(registry, metadata, formats, |params, _| FrameRate::new(params))
}

#[cfg(test)]
mod tests;
