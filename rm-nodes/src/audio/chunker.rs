//! `AudioChunkerNode`: audio in chunks of one length, at one distance.
//!
//! With `hop` below `size` chunks overlap, with a greater one what lies between is left out. Sizes
//! that are no whole number of frames alternate, so that nothing drifts: chunks of 10 ms at 22050 Hz
//! have 220 and 221 frames in turn. Chunks are counted from the start of the stream and carry the
//! time of their own first frame. It takes any sample format, interleaved, and copies only chunks
//! that lie in several items. If at the end frames are left that no chunk has held, a last chunk
//! begins where the next one would have; `last` says what becomes of it.

use bytes::Bytes;
use rm_core::{
    AudioFormat, AudioFormats, AudioLayout, DataType, Node, NodeError, NodeFormats, NodeMetadata,
    NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData, Values,
};
use serde::{Deserialize, Serialize};

use super::grid::Grid;
use super::stream::{admit, bounded};
use crate::define::{define_with_formats, wrong};
use crate::input::{StreamFormat, audio, describe, is_interleaved};
use crate::pool::Pool;
use crate::stamps::Stamps;

/// Most bytes of one chunk.
const MAX_CHUNK: u64 = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Ms,
    Frames,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Last {
    Pad,
    Keep,
    Drop,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    size: f64,
    hop: Option<f64>,
    unit: Unit,
    last: Last,
}

impl Params {
    /// The distance of the chunks and their length.
    fn grids(&self, sample_rate: u32) -> (Grid, Grid) {
        let grid = |length: f64| match self.unit {
            Unit::Ms => Grid::every_us((length * 1000.0).round() as u64, sample_rate),
            Unit::Frames => Grid::every_frames(length as u64),
        };
        (grid(self.hop.unwrap_or(self.size)), grid(self.size))
    }

    fn check(&self) -> Result<(), NodeError> {
        if self.unit == Unit::Frames {
            for (name, value) in [("size", Some(self.size)), ("hop", self.hop)] {
                if let Some(value) = value.filter(|value| value.fract() != 0.0 || *value < 1.0) {
                    return Err(wrong(name, value, "a whole number of frames"));
                }
            }
        }
        Ok(())
    }
}

struct Stream {
    format: StreamFormat,
    frame_bytes: usize,
    hop: Grid,
    size: Grid,
    /// Chunks given so far.
    given: u64,
    /// The end of the latest chunk.
    covered: u64,
    /// Frames taken so far; the latest of them are held.
    taken: u64,
    held: Vec<u8>,
    stamps: Stamps,
}

impl Stream {
    fn new(format: StreamFormat, params: &Params) -> Result<Self, NodeError> {
        let (hop, size) = params.grids(format.sample_rate);
        let frame_bytes = usize::from(format.channels) * format.format.bytes_per_sample();
        let fits = size.at(1) <= MAX_CHUNK / frame_bytes as u64;
        if !fits || !size.is_distinct() || !hop.is_distinct() {
            let rule = "1 frame to 256 MiB, at a distance of at least 1 frame";
            return Err(NodeError::Input {
                found: format.to_string(),
                expected: format!("a format in which chunks of this size have {rule}"),
            });
        }
        Ok(Self {
            format,
            frame_bytes,
            hop,
            size,
            given: 0,
            covered: 0,
            taken: 0,
            held: Vec::new(),
            stamps: Stamps::default(),
        })
    }

    /// Where the next chunk begins and ends.
    fn next(&self) -> (u64, u64) {
        (self.hop.at(self.given), self.hop.after(self.given, &self.size))
    }

    fn bytes(&self, frames: u64) -> usize {
        usize::try_from(frames).expect("frames that are in memory") * self.frame_bytes
    }

    /// Takes an item's frames and gives the chunks that they complete.
    fn push(
        &mut self,
        input: &Bytes,
        pool: &mut Pool,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let first = self.taken;
        self.taken += (input.len() / self.frame_bytes) as u64;
        let held_from = first - (self.held.len() / self.frame_bytes) as u64;
        loop {
            let (start, end) = self.next();
            if end > self.taken {
                break;
            }
            let payload = if let Some(skipped) = start.checked_sub(first) {
                let from = self.bytes(skipped);
                input.slice(from..from + self.bytes(end - start))
            } else {
                let mut buffer = pool.take(self.bytes(end - start));
                let held = &self.held[self.bytes(start - held_from)..];
                let len = held.len().min(buffer.bytes().len());
                let (front, back) = buffer.bytes().split_at_mut(len);
                front.copy_from_slice(&held[..len]);
                back.copy_from_slice(&input[..back.len()]);
                pool.seal(buffer)
            };
            self.give(payload, output)?;
        }
        // What later chunks need: nothing before the next one.
        let start = self.next().0;
        match start.checked_sub(first) {
            Some(skipped) => {
                self.held.clear();
                let skipped = skipped.min(self.taken - first);
                self.held.extend_from_slice(&input[self.bytes(skipped)..]);
            }
            None => {
                self.held.drain(..self.bytes(start - held_from));
                self.held.extend_from_slice(input);
            }
        }
        self.stamps.forget_before(start);
        Ok(())
    }

    /// Gives the next chunk.
    fn give(&mut self, payload: Bytes, output: &mut Output) -> Result<(), NodeError> {
        let (start, end) = self.next();
        let StreamFormat { sample_rate, channels, format } = self.format;
        let header = self.stamps.at(start, sample_rate).expect("an input has its first frame");
        let item = RuntimeData::audio(payload, sample_rate, channels, format)?;
        output.push(item.made_from(&header));
        (self.given, self.covered) = (self.given + 1, end);
        Ok(())
    }

    fn finish(
        &mut self,
        last: Last,
        pool: &mut Pool,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let (start, end) = self.next();
        if last == Last::Drop || start.max(self.covered) >= self.taken {
            return Ok(());
        }
        let frames = if last == Last::Pad { end } else { self.taken } - start;
        let mut buffer = pool.take(self.bytes(frames));
        let (front, back) = buffer.bytes().split_at_mut(self.held.len());
        front.copy_from_slice(&self.held);
        back.fill(if self.format.format == AudioFormat::U8 { 128 } else { 0 });
        self.give(pool.seal(buffer), output)
    }
}

struct Chunker {
    params: Params,
    stream: Option<Stream>,
    pool: Pool,
}

impl Node for Chunker {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "interleaved audio")?;
        if !is_interleaved(&view) {
            return Err(NodeError::Input {
                found: describe(&view),
                expected: "interleaved audio; put a FormatConverterNode before it".to_owned(),
            });
        }
        let format = admit(self.stream.as_ref().map(|stream| stream.format), &view)?;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(Stream::new(format, &self.params)?),
        };
        stream.stamps.note(stream.taken, input.header());
        stream.push(input.payload(), &mut self.pool, output)
    }

    fn flush(&mut self) {
        self.stream = None;
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        match self.stream.take() {
            Some(mut stream) => stream.finish(self.params.last, &mut self.pool, output),
            None => Ok(()),
        }
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    use ParameterKind::{Float, String};
    let metadata = NodeMetadata {
        name: "AudioChunkerNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "cuts audio into chunks of one length that follow, overlap or leave gaps"
            .to_owned(),
        parameters: vec![
            ParameterSpec::optional("size", Float, 20.0, "length of a chunk, in `unit`")
                .range(0.001, 10_000_000.0),
            ParameterSpec::optional(
                "hop",
                Float,
                serde_json::Value::Null,
                "from the start of one chunk to that of the next, in `unit`; null for `size`",
            )
            .range(0.001, 10_000_000.0),
            ParameterSpec::optional("unit", String, "ms", "what size and hop count")
                .choices(["ms", "frames"]),
            ParameterSpec::optional(
                "last",
                String,
                "keep",
                "what becomes of the last chunk where it is not full: silence fills it, it stays \
                 shorter, or it is dropped",
            )
            .choices(["pad", "keep", "drop"]),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |_: &Params, _| NodeFormats::takes([interleaved()]),
        |params: Params, _| {
            params.check()?;
            Ok(Chunker { params, stream: None, pool: Pool::default() })
        },
    )
}

/// Interleaved audio in any sample format.
pub(super) fn interleaved() -> AudioFormats {
    bounded(AudioFormats { layout: Values::only(AudioLayout::Interleaved), ..AudioFormats::ANY })
}

#[cfg(test)]
mod tests;
