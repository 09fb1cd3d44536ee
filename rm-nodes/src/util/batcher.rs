//! `BatcherNode`: puts several items together into one, by number, by bytes and by time.
//!
//! Audio of one format becomes longer audio, texts are joined, JSON documents become a list, tensors of
//! one shape are stacked along a new first axis, and so are video frames whose pixels lie side by side,
//! as a tensor of frames, rows, columns and channels. An item that does not fit the batch ends it. A
//! batch carries the header of its first item. It is no buffer of exact length: items are not cut.

use std::time::{Duration, Instant};

use rm_core::{
    AudioFormats, AudioLayout, DataError, DataMetadata, DataType, Formats, Node, NodeError,
    NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError,
    RuntimeData, TensorType, Values, VideoFormat, VideoFormats,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::define::{changed, define_with_formats};
use crate::input::describe_item;
use crate::pool::Pool;

const EXPECTED: &str = "audio, text in UTF-8, JSON, tensors of up to 7 dimensions and not too long to \
                        be stacked, or video in rgb24, bgr24, rgba32, bgra32, argb32, gray8 or \
                        gray16";

/// Most items of a batch.
const MAX_ITEMS: usize = 100_000;

/// Video formats whose pixels lie side by side, with type and number of the samples of one pixel.
const PACKED: [(VideoFormat, TensorType, usize); 7] = [
    (VideoFormat::Rgb24, TensorType::U8, 3),
    (VideoFormat::Bgr24, TensorType::U8, 3),
    (VideoFormat::Rgba32, TensorType::U8, 4),
    (VideoFormat::Bgra32, TensorType::U8, 4),
    (VideoFormat::Argb32, TensorType::U8, 4),
    (VideoFormat::Gray8, TensorType::U8, 1),
    (VideoFormat::Gray16, TensorType::U16, 1),
];

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Params {
    max_items: usize,
    max_wait_ms: u64,
    max_bytes: u64,
    separator: String,
}

struct Batcher {
    params: Params,
    pool: Pool,
    /// The batch so far: items of the same metadata.
    batch: Vec<RuntimeData>,
    /// Bytes of their payloads.
    bytes: u64,
    /// When the first of them came.
    began: Option<Instant>,
}

impl Batcher {
    fn new(params: Params) -> Self {
        Self { params, pool: Pool::default(), batch: Vec::new(), bytes: 0, began: None }
    }

    /// Takes an item that came at `now`.
    fn take(
        &mut self,
        now: Instant,
        input: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        check(&input)?;
        let len = input.payload().len() as u64;
        let fits = self.batch.first().is_none_or(|first| {
            first.header().metadata == input.header().metadata
                && self.size() + self.between(first) + len <= self.params.max_bytes
        });
        if !fits {
            self.give(output)?;
        }
        if self.batch.is_empty() {
            self.began = Some(now);
        }
        self.bytes += len;
        self.batch.push(input);
        if self.is_full() { self.give(output) } else { Ok(()) }
    }

    /// Bytes that stand between two items.
    fn between(&self, item: &RuntimeData) -> u64 {
        match item.data_type() {
            DataType::Text => self.params.separator.len() as u64,
            _ => 0,
        }
    }

    /// Bytes of the batch: its payloads, and what stands between them.
    fn size(&self) -> u64 {
        let Some(first) = self.batch.first() else { return 0 };
        self.bytes + self.between(first) * (self.batch.len() as u64 - 1)
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= self.params.max_items || self.size() >= self.params.max_bytes
    }

    /// Gives the batch, if there is one.
    fn give(&mut self, output: &mut Output) -> Result<(), NodeError> {
        let Some(first) = self.batch.first() else { return Ok(()) };
        let header = first.header().clone();
        let made = match &header.metadata {
            DataMetadata::Audio { .. } | DataMetadata::Text { .. } if self.batch.len() == 1 => {
                Ok(first.clone())
            }
            DataMetadata::Audio { channels, layout, .. } => {
                let planes = match layout {
                    AudioLayout::Planar => usize::from(*channels),
                    _ => 1,
                };
                RuntimeData::new(header.metadata.clone(), self.joined_planes(planes))
            }
            DataMetadata::Json => {
                RuntimeData::new(DataMetadata::Json, self.joined(b"[", b",", b"]"))
            }
            DataMetadata::Tensor { shape, dtype } => self.stacked(shape, *dtype),
            DataMetadata::Video { width, height, format, .. } => {
                let (_, dtype, samples) =
                    packed(*format).expect("other formats were refused when they came");
                self.stacked(&[*height as usize, *width as usize, samples], dtype)
            }
            text => {
                let separator = std::mem::take(&mut self.params.separator);
                let payload = self.joined(b"", separator.as_bytes(), b"");
                self.params.separator = separator;
                RuntimeData::new(text.clone(), payload)
            }
        };
        self.flush();
        output.push(made?.made_from(&header));
        Ok(())
    }

    /// The payloads one after another, with bytes before, between and behind them.
    fn joined(&mut self, before: &[u8], between: &[u8], behind: &[u8]) -> bytes::Bytes {
        let payloads: usize = self.batch.iter().map(|item| item.payload().len()).sum();
        let separators = between.len() * (self.batch.len() - 1);
        let mut buffer = self.pool.take(before.len() + payloads + separators + behind.len());
        let mut place = buffer.bytes();
        put(&mut place, before);
        for (index, item) in self.batch.iter().enumerate() {
            put(&mut place, if index > 0 { between } else { b"" });
            put(&mut place, item.payload());
        }
        put(&mut place, behind);
        self.pool.seal(buffer)
    }

    /// The payloads, each of so many equal planes, with each plane's parts one after another.
    fn joined_planes(&mut self, planes: usize) -> bytes::Bytes {
        let payloads = self.batch.iter().map(|item| item.payload().len()).sum();
        let mut buffer = self.pool.take(payloads);
        let mut place = buffer.bytes();
        for plane in 0..planes {
            for item in &self.batch {
                let len = item.payload().len() / planes;
                put(&mut place, &item.payload()[plane * len..(plane + 1) * len]);
            }
        }
        self.pool.seal(buffer)
    }

    /// The payloads as one tensor, with the number of them before their shape.
    fn stacked(&mut self, shape: &[usize], dtype: TensorType) -> Result<RuntimeData, DataError> {
        let shape: Vec<_> = [self.batch.len()].iter().chain(shape).copied().collect();
        let payload = match &self.batch[..] {
            [only] => only.payload().clone(),
            _ => self.joined_planes(1),
        };
        RuntimeData::tensor(payload, shape, dtype)
    }
}

/// Writes `bytes` at the front of `place`, and leaves what is behind them.
fn put(place: &mut &mut [u8], bytes: &[u8]) {
    let (front, rest) = std::mem::take(place).split_at_mut(bytes.len());
    front.copy_from_slice(bytes);
    *place = rest;
}

fn packed(format: VideoFormat) -> Option<(VideoFormat, TensorType, usize)> {
    PACKED.into_iter().find(|(known, ..)| *known == format)
}

/// Refuses what cannot be put together.
fn check(item: &RuntimeData) -> Result<(), NodeError> {
    let is_right = match &item.header().metadata {
        DataMetadata::Audio { .. } => true,
        DataMetadata::Text { .. } => item.as_text().is_some(),
        DataMetadata::Json => {
            // Something else would break the whole list.
            let parsed = serde_json::from_slice::<IgnoredAny>(item.payload());
            parsed.map_err(|error| DataError::NotJson { message: error.to_string() })?;
            true
        }
        DataMetadata::Tensor { shape, dtype } => {
            // A tensor without elements can have sides of any length, of which many make too long a one.
            let most = MAX_ITEMS * dtype.bytes_per_element();
            let bytes = shape.iter().try_fold(most, |bytes, side| bytes.checked_mul(*side.max(&1)));
            shape.len() < DataMetadata::MAX_RANK && bytes.is_some()
        }
        DataMetadata::Video { format, .. } => packed(*format).is_some(),
        DataMetadata::Binary => false,
    };
    if is_right {
        return Ok(());
    }
    Err(NodeError::Input { found: describe_item(item), expected: EXPECTED.to_owned() })
}

impl Node for Batcher {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.take(Instant::now(), input, output)
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        self.params = changed(&self.params, params)?;
        Ok(())
    }

    fn flush(&mut self) {
        self.batch.clear();
        (self.bytes, self.began) = (0, None);
    }

    fn due(&self) -> Option<Instant> {
        let began = self.began?;
        if self.is_full() {
            // A limit has been lowered.
            return Some(began);
        }
        let wait = Duration::from_millis(self.params.max_wait_ms);
        (!wait.is_zero()).then(|| began + wait)
    }

    fn on_time(&mut self, now: Instant, output: &mut Output) -> Result<(), NodeError> {
        if self.due().is_some_and(|due| due <= now) { self.give(output) } else { Ok(()) }
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        self.give(output)
    }
}

/// What is taken, and what is made of it.
fn formats() -> NodeFormats {
    let video = VideoFormats {
        format: Values::OneOf(PACKED.iter().map(|(format, ..)| *format).collect()),
        ..VideoFormats::ANY
    };
    let others = [DataType::Text, DataType::Json, DataType::Tensor].map(Formats::from);
    let takes = [AudioFormats::ANY.into(), video.into()].into_iter().chain(others);
    NodeFormats::takes(takes).gives_from(|input| match input {
        Formats::Video(_) => vec![DataType::Tensor.into()],
        same => vec![same.clone()],
    })
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "BatcherNode".to_owned(),
        version: "1.0.0".to_owned(),
        description:
            "puts items together: audio end to end, text joined, JSON as a list, tensors and \
                      video frames stacked into a tensor"
                .to_owned(),
        parameters: vec![
            ParameterSpec::optional(
                "max_items",
                ParameterKind::Integer,
                8,
                "how many items make a batch",
            )
            .range(1.0, MAX_ITEMS as f64)
            .unit("items"),
            ParameterSpec::optional(
                "max_wait_ms",
                ParameterKind::Integer,
                0,
                "a smaller batch is given so long after its first item came; 0 for never",
            )
            .range(0.0, 3_600_000.0)
            .unit("ms"),
            ParameterSpec::optional(
                "max_bytes",
                ParameterKind::Integer,
                67_108_864,
                "a smaller batch is given before its payloads, with the separators of texts, would have \
                 more bytes than this",
            )
            .range(1.0, 2_147_483_648.0)
            .unit("bytes"),
            ParameterSpec::optional(
                "separator",
                ParameterKind::String,
                "",
                "what stands between two texts",
            ),
        ],
        accepts: vec![
            DataType::Audio,
            DataType::Video,
            DataType::Text,
            DataType::Tensor,
            DataType::Json,
        ],
        produces: vec![DataType::Audio, DataType::Text, DataType::Tensor, DataType::Json],
        timed: true,
        ..NodeMetadata::default()
    };
    let formats = |_: &Params, _: &_| formats();
    define_with_formats(registry, metadata, formats, |params, _| Ok(Batcher::new(params)))
}

#[cfg(test)]
mod tests;
