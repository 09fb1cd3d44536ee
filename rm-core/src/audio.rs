//! Audio: how samples are stored and laid out, and a borrowed look at them.
//!
//! Main types: [`AudioFormat`], [`AudioLayout`] and [`AudioView`]. It does not convert between
//! sample rates or channel counts, and only to one other sample format: 32-bit float.

use std::time::Duration;

use crate::cast::Plain;
use crate::metadata::wire_enum;

wire_enum! {
    /// How one audio sample is stored. All are little-endian.
    AudioFormat {
        /// 32-bit float, nominal range -1 to 1.
        F32 = 1, "f32";
        /// 64-bit float, nominal range -1 to 1.
        F64 = 2, "f64";
        /// 16-bit signed integer.
        I16 = 3, "i16";
        /// 24-bit signed integer in three bytes.
        I24 = 4, "i24";
        /// 32-bit signed integer.
        I32 = 5, "i32";
        /// 8-bit unsigned integer, silence at 128.
        U8 = 6, "u8";
    }
}

impl AudioFormat {
    /// Bytes of one sample of one channel.
    pub const fn bytes_per_sample(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::F32 | Self::I32 => 4,
            Self::F64 => 8,
        }
    }
}

wire_enum! {
    /// How the channels of an audio payload lie in memory.
    AudioLayout {
        /// Sample 0 of every channel, then sample 1 of every channel, and so on.
        Interleaved = 0, "interleaved";
        /// All samples of channel 0, then all of channel 1, and so on.
        Planar = 1, "planar";
    }
}

/// A Rust type that samples can be seen as: `f32`, `f64`, `i16`, `i32`, `u8`, and `[u8; 3]` for
/// 24-bit samples.
pub trait AudioSample: Plain {
    /// The same type in the metadata of audio.
    const FORMAT: AudioFormat;
}

macro_rules! audio_sample {
    ($($name:ty => $format:ident),*) => {
        $(impl AudioSample for $name {
            const FORMAT: AudioFormat = AudioFormat::$format;
        })*
    };
}
audio_sample!(f32 => F32, f64 => F64, i16 => I16, [u8; 3] => I24, i32 => I32, u8 => U8);

/// A borrowed look at audio; given by [`RuntimeData::as_audio`](crate::RuntimeData::as_audio).
///
/// What is called `as_…` or `plane…` borrows, and is `None` where that cannot be; what is called
/// `copy_…` copies, and always works, also where the samples are not aligned.
///
/// ```
/// use rm_core::{AudioLayout, RuntimeData};
///
/// let item = RuntimeData::audio_i16(vec![16_384, -32_768, 0, 8_192], 8_000, 2)?;
/// let view = item.as_audio().expect("is audio");
/// assert_eq!(view.frames(), 2);
/// assert_eq!(view.as_i16(), Some(&[16_384, -32_768, 0, 8_192][..]));
/// assert_eq!(view.as_f32(), None);
/// assert_eq!(view.copy_to_f32(AudioLayout::Interleaved), [0.5, -1.0, 0.0, 0.25]);
/// assert_eq!(view.copy_to_f32(AudioLayout::Planar), [0.5, 0.0, -1.0, 0.25]);
/// # Ok::<(), rm_core::DataError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AudioView<'a> {
    /// Samples per second and channel, in Hz; at least 1.
    pub sample_rate: u32,
    /// Number of channels; at least 1.
    pub channels: u16,
    /// How one sample is stored.
    pub format: AudioFormat,
    /// How the channels lie in memory.
    pub layout: AudioLayout,
    /// The raw samples.
    pub bytes: &'a [u8],
}

impl<'a> AudioView<'a> {
    /// Number of frames (samples per channel).
    pub fn frames(&self) -> usize {
        self.bytes.len() / (usize::from(self.channels) * self.format.bytes_per_sample())
    }

    /// How long it sounds, rounded down to nanoseconds.
    pub fn duration(&self) -> Duration {
        let (frames, rate) = (self.frames() as u64, u64::from(self.sample_rate));
        // Below one second, so that it fits 32 bits.
        let nanos = (frames % rate) * 1_000_000_000 / rate;
        Duration::new(frames / rate, nanos as u32)
    }

    /// All samples in the order in which they lie; `None` if they are of another format or not
    /// aligned.
    pub fn as_slice<S: AudioSample>(&self) -> Option<&'a [S]> {
        if self.format == S::FORMAT { S::cast(self.bytes) } else { None }
    }

    /// [`as_slice`](Self::as_slice) of 32-bit floats.
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        self.as_slice()
    }

    /// [`as_slice`](Self::as_slice) of 64-bit floats.
    pub fn as_f64(&self) -> Option<&'a [f64]> {
        self.as_slice()
    }

    /// [`as_slice`](Self::as_slice) of 16-bit integers.
    pub fn as_i16(&self) -> Option<&'a [i16]> {
        self.as_slice()
    }

    /// [`as_slice`](Self::as_slice) of 24-bit integers as their three bytes, the lowest first.
    pub fn as_i24(&self) -> Option<&'a [[u8; 3]]> {
        self.as_slice()
    }

    /// [`as_slice`](Self::as_slice) of 32-bit integers.
    pub fn as_i32(&self) -> Option<&'a [i32]> {
        self.as_slice()
    }

    /// [`as_slice`](Self::as_slice) of unsigned 8-bit integers.
    pub fn as_u8(&self) -> Option<&'a [u8]> {
        self.as_slice()
    }

    /// The bytes of one channel, counted from 0; `None` beyond the last, and where the samples of
    /// several channels are interleaved.
    pub fn plane(&self, channel: u16) -> Option<&'a [u8]> {
        let in_one_piece = self.layout == AudioLayout::Planar || self.channels == 1;
        if !in_one_piece || channel >= self.channels {
            return None;
        }
        let len = self.frames() * self.format.bytes_per_sample();
        self.bytes.get(usize::from(channel) * len..)?.get(..len)
    }

    /// The samples of one channel; `None` where [`plane`](Self::plane) or
    /// [`as_slice`](Self::as_slice) would be.
    pub fn plane_as<S: AudioSample>(&self, channel: u16) -> Option<&'a [S]> {
        if self.format == S::FORMAT { S::cast(self.plane(channel)?) } else { None }
    }

    /// A copy of all samples as 32-bit floats in the layout asked for.
    ///
    /// An integer of `b` bits is divided by `2^(b-1)`, so that its range becomes -1 up to just
    /// below 1; from 8-bit samples 128 is subtracted before. It is the scale of libsndfile, of
    /// WebRTC and of FFmpeg's resampler. 24 bits and fewer fit a float exactly; others are rounded
    /// to the nearest. Floats are not clamped.
    pub fn copy_to_f32(&self, layout: AudioLayout) -> Vec<f32> {
        let mut samples = Vec::new();
        self.copy_into_f32(layout, &mut samples);
        samples
    }

    /// As [`copy_to_f32`](Self::copy_to_f32), over what is in `samples`, whose memory is used
    /// again.
    pub fn copy_into_f32(&self, layout: AudioLayout, samples: &mut Vec<f32>) {
        // Shorter integers become the upper bytes of 32 bits, which spares instructions.
        let scaled = |bytes| i32::from_le_bytes(bytes) as f32 / 2_147_483_648.0;
        samples.clear();
        match self.format {
            AudioFormat::F32 => self.copy(layout, samples, f32::from_le_bytes),
            AudioFormat::F64 => self.copy(layout, samples, |b| f64::from_le_bytes(b) as f32),
            AudioFormat::I16 => self.copy(layout, samples, |[low, high]| scaled([0, 0, low, high])),
            AudioFormat::I24 => {
                self.copy(layout, samples, |[low, mid, high]| scaled([0, low, mid, high]));
            }
            AudioFormat::I32 => self.copy(layout, samples, scaled),
            AudioFormat::U8 => self.copy(layout, samples, |[b]| scaled([0, 0, 0, b ^ 0x80])),
        }
    }

    /// A copy of all bytes in the layout asked for; the samples themselves stay as they are.
    pub fn copy_to_layout(&self, layout: AudioLayout) -> Vec<u8> {
        fn rearranged<const N: usize>(view: &AudioView<'_>, layout: AudioLayout) -> Vec<u8> {
            let mut samples: Vec<[u8; N]> = Vec::new();
            view.copy(layout, &mut samples, |sample| sample);
            samples.into_flattened()
        }
        match self.format.bytes_per_sample() {
            _ if self.layout == layout => self.bytes.to_vec(),
            1 => rearranged::<1>(self, layout),
            2 => rearranged::<2>(self, layout),
            3 => rearranged::<3>(self, layout),
            4 => rearranged::<4>(self, layout),
            _ => rearranged::<8>(self, layout),
        }
    }

    /// Appends every sample, read by `read`, in the order of `layout`.
    fn copy<const N: usize, T: Clone>(
        &self,
        layout: AudioLayout,
        out: &mut Vec<T>,
        read: impl Fn([u8; N]) -> T + Copy,
    ) {
        let (samples, _) = self.bytes.as_chunks::<N>();
        if self.layout == layout || self.channels == 1 {
            out.extend(samples.iter().map(|sample| read(*sample)));
            return;
        }
        let channels = usize::from(self.channels);
        match self.layout {
            AudioLayout::Interleaved => {
                out.reserve(samples.len());
                for channel in 0..channels.min(samples.len()) {
                    let plane = samples[channel..].iter().step_by(channels);
                    out.extend(plane.map(|sample| read(*sample)));
                }
            }
            AudioLayout::Planar => {
                out.resize(samples.len(), read([0; N]));
                for (channel, plane) in samples.chunks_exact(self.frames().max(1)).enumerate() {
                    for (place, sample) in out[channel..].iter_mut().step_by(channels).zip(plane) {
                        *place = read(*sample);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RuntimeData;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn item(bytes: impl Into<Bytes>, channels: u16, format: AudioFormat) -> RuntimeData {
        RuntimeData::audio(bytes, 8_000, channels, format).expect("the length fits")
    }

    #[test]
    fn every_format_is_scaled_to_floats_by_the_usual_convention() {
        let check = |format, bytes: &[u8], expected: &[f32]| {
            let item = item(bytes.to_vec(), 1, format);
            let view = item.as_audio().unwrap();
            assert_eq!(view.copy_to_f32(AudioLayout::Planar), expected, "{format}");
        };
        check(AudioFormat::U8, &[0, 64, 128, 255], &[-1.0, -0.5, 0.0, 127.0 / 128.0]);
        let i16s = [i16::MIN, -1, 0, i16::MAX].map(i16::to_le_bytes).concat();
        check(AudioFormat::I16, &i16s, &[-1.0, -1.0 / 32_768.0, 0.0, 32_767.0 / 32_768.0]);
        let i24s = [[0, 0, 0x80], [0xff, 0xff, 0xff], [0, 0, 0], [0xff, 0xff, 0x7f]].concat();
        let top = 8_388_607.0 / 8_388_608.0;
        check(AudioFormat::I24, &i24s, &[-1.0, -1.0 / 8_388_608.0, 0.0, top]);
        let i32s = [i32::MIN, 1 << 30, 0, i32::MAX].map(i32::to_le_bytes).concat();
        check(AudioFormat::I32, &i32s, &[-1.0, 0.5, 0.0, 1.0]);
        check(AudioFormat::F32, &[2.5_f32, -0.1].map(f32::to_le_bytes).concat(), &[2.5, -0.1]);
        check(AudioFormat::F64, &[2.5_f64, -0.1].map(f64::to_le_bytes).concat(), &[2.5, -0.1]);
    }

    #[test]
    fn every_format_is_viewed_as_what_it_was_made_from() {
        fn check<S: AudioSample + PartialEq + std::fmt::Debug>(samples: Vec<S>) {
            assert_eq!(size_of::<S>(), S::FORMAT.bytes_per_sample());
            let place = samples.as_ptr().cast::<u8>();
            let item = RuntimeData::audio_of(samples.clone(), 8_000, 2, AudioLayout::Planar);
            let item = item.unwrap();
            let view = item.as_audio().unwrap();
            assert_eq!(view.as_slice::<S>(), Some(&samples[..]));
            assert_eq!(view.plane_as::<S>(0), Some(&samples[..2]));
            assert_eq!(view.plane_as::<S>(1), Some(&samples[2..]));
            assert_eq!(view.plane_as::<S>(2), None);
            let moved = RuntimeData::audio_of(samples, 8_000, 1, AudioLayout::Interleaved).unwrap();
            assert_eq!(moved.payload().as_ptr(), place);
        }
        check(vec![0.5_f32, 1.0, 2.0, 3.0]);
        check(vec![0.5_f64, 1.0, 2.0, 3.0]);
        check(vec![1_i16, 2, 3, 4]);
        check(vec![[1_u8, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]);
        check(vec![1_i32, 2, 3, 4]);
        check(vec![1_u8, 2, 3, 4]);
    }

    #[test]
    fn samples_that_are_not_aligned_are_not_borrowed_but_copied() {
        let values = [0.25_f32, -0.5];
        let mut bytes = vec![0; 9];
        let start = usize::from((bytes.as_ptr() as usize).is_multiple_of(4));
        bytes[start..start + 8].copy_from_slice(&values.map(f32::to_le_bytes).concat());
        let item = item(Bytes::from(bytes).slice(start..start + 8), 1, AudioFormat::F32);
        let view = item.as_audio().unwrap();
        assert_eq!(view.as_f32(), None);
        assert_eq!(view.copy_to_f32(AudioLayout::Interleaved), values);
    }

    #[test]
    fn interleaved_channels_have_no_plane_and_a_single_channel_has_one() {
        let stereo = item(vec![1, 2, 3, 4], 2, AudioFormat::U8);
        assert_eq!(stereo.as_audio().unwrap().plane(0), None);
        let mono = item(vec![1, 2], 1, AudioFormat::U8);
        assert_eq!(mono.as_audio().unwrap().plane(0), Some(&[1, 2][..]));
        let nothing = item(vec![], 2, AudioFormat::I16);
        let view = nothing.as_audio().unwrap();
        assert_eq!((view.frames(), view.as_i16()), (0, Some(&[][..])));
        assert!(view.copy_to_f32(AudioLayout::Planar).is_empty());
    }

    #[test]
    fn duration_is_frames_over_rate() {
        let view = |rate, frames: usize| {
            let item = RuntimeData::audio(vec![0; frames * 2], rate, 2, AudioFormat::U8).unwrap();
            item.as_audio().unwrap().duration()
        };
        assert_eq!(view(48_000, 960), Duration::from_millis(20));
        assert_eq!(view(3, 4), Duration::new(1, 333_333_333));
    }

    proptest! {
        #[test]
        fn integers_become_the_float_nearest_to_their_part_of_full_scale(value: i32, f in 0..4_usize) {
            let (format, bits) = [
                (AudioFormat::U8, 8), (AudioFormat::I16, 16), (AudioFormat::I24, 24),
                (AudioFormat::I32, 32),
            ][f];
            let value = value >> (32 - bits);
            let offset = if format == AudioFormat::U8 { 128 } else { 0 };
            let bytes = (value + offset).to_le_bytes()[..bits / 8].to_vec();
            let item = item(bytes, 1, format);
            let wanted = (f64::from(value) / f64::powi(2.0, bits as i32 - 1)) as f32;
            prop_assert_eq!(
                item.as_audio().unwrap().copy_to_f32(AudioLayout::Interleaved),
                [wanted]
            );
        }

        #[test]
        fn a_change_of_layout_and_back_changes_nothing(
            frames in 0_usize..50, channels in 1_u16..6, f in 0..AudioFormat::ALL.len(),
        ) {
            let format = AudioFormat::ALL[f];
            let len = frames * usize::from(channels) * format.bytes_per_sample();
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let there = item(bytes.clone(), channels, format);
            let planar = there.as_audio().unwrap().copy_to_layout(AudioLayout::Planar);
            let back = RuntimeData::audio_planar(planar, 8_000, channels, format).unwrap();
            let view = back.as_audio().unwrap();
            prop_assert_eq!(view.copy_to_layout(AudioLayout::Interleaved), &bytes[..]);
            for channel in 0..channels {
                let step = format.bytes_per_sample();
                let wanted = bytes.chunks(step).skip(usize::from(channel));
                let wanted = wanted.step_by(usize::from(channels)).collect::<Vec<_>>().concat();
                prop_assert_eq!(view.plane(channel), Some(&wanted[..]));
            }
        }
    }
}
