//! One sample from any format into any other.
//!
//! Main function: [`convert`]. The scale is the usual one: an integer of `b` bits is divided by
//! `2^(b-1)`, so that its range becomes -1 up to just below 1; back, the value is multiplied,
//! rounded to the nearest integer (halves to the even one, as NumPy's `rint` does) and clamped.
//! Unsigned 8-bit samples lie around 128. Values go through `f64`, which holds every format
//! exactly, so a conversion loses only what its target cannot hold. NaN becomes 0 in integers.

use rm_core::AudioFormat;

/// A sample format as it lies in memory.
trait Sample {
    /// Bytes of one sample.
    const BYTES: usize;
    /// Reads one sample.
    fn read(bytes: &[u8]) -> f64;
    /// Writes one sample.
    fn write(value: f64, bytes: &mut [u8]);
}

/// `value` times `scale` as an integer of that scale.
fn to_integer(value: f64, scale: f64) -> i32 {
    (value * scale).round_ties_even().clamp(-scale, scale - 1.0) as i32
}

macro_rules! sample_format {
    ($name:ident, $bytes:literal, $read:expr, $write:expr) => {
        struct $name;
        impl Sample for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            fn read(bytes: &[u8]) -> f64 {
                let bytes: [u8; $bytes] = bytes.try_into().expect("chunks have this length");
                $read(bytes)
            }
            #[inline(always)]
            fn write(value: f64, bytes: &mut [u8]) {
                let sample: [u8; $bytes] = $write(value);
                bytes.copy_from_slice(&sample);
            }
        }
    };
}

const SCALE_8: f64 = 128.0;
const SCALE_16: f64 = 32_768.0;
const SCALE_24: f64 = 8_388_608.0;
const SCALE_32: f64 = 2_147_483_648.0;

sample_format!(F32, 4, |b| f64::from(f32::from_le_bytes(b)), |v| (v as f32).to_le_bytes());
sample_format!(F64, 8, f64::from_le_bytes, f64::to_le_bytes);
sample_format!(I16, 2, |b| f64::from(i16::from_le_bytes(b)) / SCALE_16, |v| {
    (to_integer(v, SCALE_16) as i16).to_le_bytes()
});
sample_format!(
    I24,
    3,
    |[low, mid, high]: [u8; 3]| f64::from(i32::from_le_bytes([0, low, mid, high]) >> 8) / SCALE_24,
    |v| {
        let [low, mid, high, _] = to_integer(v, SCALE_24).to_le_bytes();
        [low, mid, high]
    }
);
sample_format!(I32, 4, |b| f64::from(i32::from_le_bytes(b)) / SCALE_32, |v| to_integer(
    v, SCALE_32
)
.to_le_bytes());
sample_format!(U8, 1, |[b]: [u8; 1]| (f64::from(b) - SCALE_8) / SCALE_8, |v| [(to_integer(
    v, SCALE_8
) + 128) as u8]);

/// How samples lie in the source, and which channels the target has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Number of frames.
    pub(super) frames: usize,
    /// Channels of the source.
    pub(super) channels: usize,
    /// Whether the source is planar.
    pub(super) planar: bool,
    /// What becomes of the channels.
    pub(super) channel_change: ChannelChange,
}

/// What becomes of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelChange {
    /// They stay.
    Keep,
    /// One channel: the mean of all.
    Mean,
    /// So many copies of the only one.
    Duplicate(usize),
}

impl Shape {
    /// Channels of the target.
    pub(super) fn channels_out(&self) -> usize {
        match self.channel_change {
            ChannelChange::Keep => self.channels,
            ChannelChange::Mean => 1,
            ChannelChange::Duplicate(channels) => channels,
        }
    }
}

/// Writes the samples of `input` to `output` as interleaved samples of another format.
///
/// Both slices have exactly the length that `shape` says.
pub(super) fn convert(
    (input, from): (&[u8], AudioFormat),
    (output, to): (&mut [u8], AudioFormat),
    shape: Shape,
) {
    macro_rules! dispatch {
        ($format:expr, $name:ident => $body:expr) => {
            match $format {
                AudioFormat::F32 => {
                    type $name = F32;
                    $body
                }
                AudioFormat::F64 => {
                    type $name = F64;
                    $body
                }
                AudioFormat::I16 => {
                    type $name = I16;
                    $body
                }
                AudioFormat::I24 => {
                    type $name = I24;
                    $body
                }
                AudioFormat::I32 => {
                    type $name = I32;
                    $body
                }
                AudioFormat::U8 => {
                    type $name = U8;
                    $body
                }
                other => unreachable!("{other} is refused before the conversion"),
            }
        };
    }
    dispatch!(from, From => dispatch!(to, To => convert_as::<From, To>(input, output, shape)));
}

/// Whether [`convert`] knows the format; formats may be added elsewhere first.
pub(super) const fn is_known(format: AudioFormat) -> bool {
    use AudioFormat as A;
    matches!(format, A::F32 | A::F64 | A::I16 | A::I24 | A::I32 | A::U8)
}

fn convert_as<S: Sample, D: Sample>(input: &[u8], output: &mut [u8], shape: Shape) {
    let Shape { frames, channels, .. } = shape;
    if shape.channel_change == ChannelChange::Keep && !shape.planar {
        let pairs = input.chunks_exact(S::BYTES).zip(output.chunks_exact_mut(D::BYTES));
        pairs.for_each(|(from, to)| D::write(S::read(from), to));
        return;
    }
    let (frame_step, channel_step) = match shape.planar {
        true => (1, frames),
        false => (channels, 1),
    };
    let read = |frame: usize, channel: usize| {
        let at = (frame * frame_step + channel * channel_step) * S::BYTES;
        S::read(&input[at..at + S::BYTES])
    };
    let frames_out = output.chunks_exact_mut(D::BYTES * shape.channels_out());
    for (frame, out) in frames_out.enumerate() {
        match shape.channel_change {
            ChannelChange::Mean => {
                let sum: f64 = (0..channels).map(|channel| read(frame, channel)).sum();
                D::write(sum / channels as f64, out);
            }
            ChannelChange::Keep => {
                let samples = out.chunks_exact_mut(D::BYTES).enumerate();
                samples.for_each(|(channel, to)| D::write(read(frame, channel), to));
            }
            ChannelChange::Duplicate(_) => {
                let value = read(frame, 0);
                let samples = out.chunks_exact_mut(D::BYTES);
                samples.for_each(|to| D::write(value, to));
            }
        }
    }
}
