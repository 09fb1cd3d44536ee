//! Audio as 32-bit floats, wherever they lie.
//!
//! Main type: [`AudioBuffer`]. Samples that are interleaved floats already are shared, also where they
//! lie in shared memory; others are copied once. It does not change rates or channel counts.

use std::ops::Deref;
use std::sync::Arc;

use rm_core::{AudioFormat, AudioLayout, DataError, DataType, RuntimeData};

use super::error::ConversionError;

/// Samples that may have several owners. Clones share them.
#[derive(Debug, Clone)]
pub struct AudioSamples(Samples);

#[derive(Debug, Clone)]
enum Samples {
    /// Checked to be aligned interleaved floats.
    Item(RuntimeData),
    Owned(Arc<[f32]>),
}

impl Deref for AudioSamples {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Samples::Item(item) => floats(item).expect("it was checked, and does not change"),
            Samples::Owned(samples) => samples,
        }
    }
}

impl From<Vec<f32>> for AudioSamples {
    fn from(samples: Vec<f32>) -> Self {
        Self(Samples::Owned(samples.into()))
    }
}

impl PartialEq for AudioSamples {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// The samples where they lie, if they are what a buffer has.
fn floats(item: &RuntimeData) -> Option<&[f32]> {
    let view = item.as_audio()?;
    let is_interleaved = view.layout == AudioLayout::Interleaved || view.channels == 1;
    if is_interleaved { view.as_f32() } else { None }
}

/// A piece of audio.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioBuffer {
    /// The samples, those of one frame next to each other; nominal range -1 to 1.
    pub samples: AudioSamples,
    /// Samples per second and channel, in Hz.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u16,
    /// Number of samples, of all channels together.
    pub num_samples: usize,
    /// How the samples are stored: 32-bit floats.
    pub format: AudioFormat,
}

impl AudioBuffer {
    /// A buffer of these samples.
    ///
    /// # Errors
    /// [`DataError`] if the rate or the channel count is zero, or the number of samples is not a
    /// multiple of the channel count.
    pub fn new(samples: Vec<f32>, sample_rate: u32, channels: u16) -> Result<Self, DataError> {
        let item = RuntimeData::audio_f32(samples, sample_rate, channels)?;
        Ok(Self::shared(item, sample_rate, channels))
    }

    fn shared(item: RuntimeData, sample_rate: u32, channels: u16) -> Self {
        let num_samples = floats(&item).map_or(0, <[f32]>::len);
        let samples = AudioSamples(Samples::Item(item));
        Self { samples, sample_rate, channels, num_samples, format: AudioFormat::F32 }
    }

    /// The audio as an item: the one that it was made of, where it was shared.
    ///
    /// # Errors
    /// [`DataError`] if the public fields were changed to something that is no audio.
    pub fn into_data(self) -> Result<RuntimeData, DataError> {
        let Self { samples, sample_rate, channels, .. } = self;
        match samples.0 {
            Samples::Item(item)
                if item.as_audio().is_some_and(|view| {
                    view.sample_rate == sample_rate && view.channels == channels
                }) =>
            {
                Ok(item)
            }
            Samples::Item(item) => {
                RuntimeData::audio(item.payload().clone(), sample_rate, channels, AudioFormat::F32)
            }
            Samples::Owned(samples) => {
                RuntimeData::audio_f32(samples.to_vec(), sample_rate, channels)
            }
        }
    }
}

impl TryFrom<RuntimeData> for AudioBuffer {
    type Error = ConversionError;

    /// The audio of an item: shared where its samples are interleaved and aligned floats, copied
    /// otherwise.
    fn try_from(item: RuntimeData) -> Result<Self, ConversionError> {
        let Some(view) = item.as_audio() else {
            let (expected, actual) = (DataType::Audio, item.data_type());
            return Err(ConversionError::TypeMismatch { expected, actual });
        };
        let (sample_rate, channels) = (view.sample_rate, view.channels);
        if floats(&item).is_some() {
            return Ok(Self::shared(item, sample_rate, channels));
        }
        let samples = view.copy_to_f32(AudioLayout::Interleaved);
        let num_samples = samples.len();
        let samples = samples.into();
        Ok(Self { samples, sample_rate, channels, num_samples, format: AudioFormat::F32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_shared_and_others_are_copied() {
        let item = RuntimeData::audio_f32(vec![0.5, -0.5], 8_000, 2).unwrap();
        let place = item.payload().as_ptr();
        let buffer = AudioBuffer::try_from(item.clone()).unwrap();
        assert_eq!(buffer.samples.as_ptr().cast(), place);
        assert_eq!((buffer.num_samples, buffer.channels, buffer.sample_rate), (2, 2, 8_000));
        assert_eq!(buffer.into_data().unwrap(), item);

        let item = RuntimeData::audio_i16(vec![16_384, 0], 8_000, 1).unwrap();
        let buffer = AudioBuffer::try_from(item).unwrap();
        assert_eq!(*buffer.samples, [0.5, 0.0]);
        assert_eq!(buffer.format, AudioFormat::F32);
        assert_eq!(buffer, AudioBuffer::new(vec![0.5, 0.0], 8_000, 1).unwrap());
    }

    #[test]
    fn what_is_no_audio_is_refused_by_its_type() {
        let error = AudioBuffer::try_from(RuntimeData::text("x").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "type mismatch: expected audio, got text");
        assert!(AudioBuffer::new(vec![0.0; 3], 8_000, 2).is_err());
    }
}
