//! What audio nodes ask of an item before they use it.
//!
//! Main functions: [`audio`] and [`f32_samples`]; [`StreamFormat`] holds a stream to the format
//! that it began with.

use std::borrow::Cow;
use std::fmt;

use rm_core::{AudioFormat, AudioLayout, AudioView, DataMetadata, NodeError, RuntimeData};
use zerocopy::FromBytes;

/// The item as audio.
pub(crate) fn audio<'a>(
    item: &'a RuntimeData,
    expected: &'static str,
) -> Result<AudioView<'a>, NodeError> {
    item.as_audio().ok_or_else(|| NodeError::Input {
        found: describe_item(item),
        expected: expected.to_owned(),
    })
}

/// The item as video.
#[cfg(feature = "video")]
pub(crate) fn video<'a>(
    item: &'a RuntimeData,
    expected: &'static str,
) -> Result<rm_core::VideoView<'a>, NodeError> {
    item.as_video().ok_or_else(|| NodeError::Input {
        found: describe_item(item),
        expected: expected.to_owned(),
    })
}

/// What an item is, in words.
pub(crate) fn describe_item(item: &RuntimeData) -> String {
    match &item.header().metadata {
        DataMetadata::Audio { sample_rate, channels, format, layout } => {
            format!("{layout} audio in {format} of {channels} channels at {sample_rate} Hz")
        }
        DataMetadata::Video { width, height, format, .. } => {
            format!("video in {format} of {width} x {height} pixels")
        }
        DataMetadata::Tensor { shape, dtype } => {
            format!("tensor of {dtype} in the shape {shape:?}")
        }
        other => other.data_type().to_string(),
    }
}

/// What `view` is, in words.
pub(crate) fn describe(view: &AudioView<'_>) -> String {
    let (format, layout) = (view.format, view.layout);
    let (channels, rate) = (view.channels, view.sample_rate);
    format!("{layout} audio in {format} of {channels} channels at {rate} Hz")
}

/// Whether the samples of one frame lie side by side, which those of one channel always do.
pub(crate) fn is_interleaved(view: &AudioView<'_>) -> bool {
    view.layout == AudioLayout::Interleaved || view.channels == 1
}

/// The samples of interleaved f32 audio; copied only where the payload is not aligned.
pub(crate) fn f32_samples<'a>(view: &AudioView<'a>) -> Result<Cow<'a, [f32]>, NodeError> {
    if view.format != AudioFormat::F32 || !is_interleaved(view) {
        return Err(NodeError::Input {
            found: describe(view),
            expected: "interleaved f32 audio; put a FormatConverterNode before it".to_owned(),
        });
    }
    Ok(view.as_f32().map_or_else(
        || {
            let samples = view.bytes.chunks_exact(4);
            let decode = |bytes| f32::read_from_bytes(bytes).expect("chunks are of 4 bytes");
            Cow::Owned(samples.map(decode).collect())
        },
        Cow::Borrowed,
    ))
}

/// The format that a stream began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamFormat {
    /// Samples per second and channel, in Hz.
    pub(crate) sample_rate: u32,
    /// Number of channels.
    pub(crate) channels: u16,
    /// How one sample is stored.
    pub(crate) format: AudioFormat,
}

impl StreamFormat {
    /// The format of `view`.
    pub(crate) fn of(view: &AudioView<'_>) -> Self {
        Self { sample_rate: view.sample_rate, channels: view.channels, format: view.format }
    }

    /// Refuses an item of another format.
    pub(crate) fn check(&self, view: &AudioView<'_>) -> Result<(), NodeError> {
        if *self == Self::of(view) {
            return Ok(());
        }
        Err(NodeError::Input {
            found: describe(view),
            expected: format!("{self} as before; a stream cannot change its format"),
        })
    }
}

impl fmt::Display for StreamFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (format, channels) = (self.format, self.channels);
        write!(f, "{format} of {channels} channels at {} Hz", self.sample_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn unaligned_samples_are_copied_and_aligned_ones_are_not() {
        let bytes = Bytes::from_owner([0_u64; 4].map(u64::to_le_bytes).concat());
        for offset in 0..4 {
            let payload = bytes.slice(offset..offset + 8);
            let aligned = payload.as_ptr().cast::<f32>().is_aligned();
            let item = RuntimeData::audio(payload, 8_000, 1, AudioFormat::F32).unwrap();
            let view = item.as_audio().unwrap();
            let samples = f32_samples(&view).unwrap();
            assert_eq!(*samples, [0.0, 0.0]);
            assert_eq!(matches!(samples, Cow::Borrowed(_)), aligned);
        }
    }
}
