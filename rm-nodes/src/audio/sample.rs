//! Samples from any format into any other.
//!
//! Main function: [`convert`]. The scale is the usual one: an integer of `b` bits is divided by
//! `2^(b-1)`, so that its range becomes -1 up to just below 1; back, the value is multiplied,
//! rounded to the nearest integer (halves to the even one, as NumPy's `rint` does) and clamped.
//! Unsigned 8-bit samples lie around 128. A conversion is rounded once at most, so it loses only what
//! its target cannot hold. NaN becomes 0 in integers.
//!
//! Channels are not looked at here.

use rm_core::AudioFormat;
use zerocopy::little_endian::{F32, F64, I16, I32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A sample as it lies in memory, which need not be aligned.
pub(super) trait Sample: FromBytes + IntoBytes + Immutable + KnownLayout + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Copy> Sample for T {}

/// A sample that is an integer.
trait Integer: Sample {
    const BITS: u32;
    /// The value in the upper bits of 32; the others are 0.
    fn aligned(self) -> i32;
    /// The sample of a value within its range.
    fn of(value: i32) -> Self;
}

macro_rules! integer {
    ($type:ty, $bits:literal, |$sample:ident| $aligned:expr, |$value:ident| $of:expr) => {
        impl Integer for $type {
            const BITS: u32 = $bits;
            #[inline(always)]
            fn aligned(self) -> i32 {
                let $sample = self;
                $aligned
            }
            #[inline(always)]
            fn of($value: i32) -> Self {
                $of
            }
        }
    };
}

type I24 = [u8; 3];

integer!(u8, 8, |sample| i32::from(sample ^ 0x80) << 24, |value| value as u8 ^ 0x80);
integer!(I16, 16, |sample| i32::from(sample.get()) << 16, |value| I16::new(value as i16));
integer!(I24, 24, |sample| i32::from_le_bytes([0, sample[0], sample[1], sample[2]]), |value| {
    let [low, mid, high, _] = value.to_le_bytes();
    [low, mid, high]
});
integer!(I32, 32, |sample| sample.get(), |value| I32::new(value));

/// Full scale of what [`Integer::aligned`] gives.
const FULL_SCALE: f64 = 2_147_483_648.0;

#[inline(always)]
fn integer_to_integer<S: Integer, D: Integer>(sample: S) -> D {
    let (value, shift) = (sample.aligned(), 32 - D::BITS);
    let whole = value >> shift;
    if D::BITS >= S::BITS {
        return D::of(whole);
    }
    let rest = value & ((1 << shift) - 1);
    // More than a half, or a half above an odd number.
    let up = rest + (whole & 1) > 1 << (shift - 1);
    D::of((whole + i32::from(up)).min(i32::MAX >> shift))
}

#[inline(always)]
fn integer_to_f32<S: Integer>(sample: S) -> F32 {
    F32::new(sample.aligned() as f32 * (1.0 / FULL_SCALE) as f32)
}

#[inline(always)]
fn integer_to_f64<S: Integer>(sample: S) -> F64 {
    F64::new(f64::from(sample.aligned()) * (1.0 / FULL_SCALE))
}

/// `value` times `2^(BITS-1)`, rounded and clamped. Adding 1.5 times the number from which on only
/// whole ones can be held rounds halves to even and leaves the result in the lowest bits: two
/// instructions that every processor has for several samples at a time, unlike rounding itself.
#[inline(always)]
fn f64_to_integer<D: Integer>(sample: F64) -> D {
    let scale = (1_i64 << (D::BITS - 1)) as f64;
    let value = sample.get() * scale;
    let value = if value.is_nan() { 0.0 } else { value };
    let value = if value > -scale { value } else { -scale };
    let value = if value < scale - 1.0 { value } else { scale - 1.0 };
    D::of((value + 6_755_399_441_055_744.0).to_bits() as i32)
}

/// As [`f64_to_integer`], for integers of up to 16 bits.
#[inline(always)]
fn f32_to_short<D: Integer>(sample: F32) -> D {
    const { assert!(D::BITS <= 16) };
    let scale = (1_i32 << (D::BITS - 1)) as f32;
    let value = sample.get() * scale;
    let value = if value.is_nan() { 0.0 } else { value };
    let value = if value > -scale { value } else { -scale };
    let value = if value < scale - 1.0 { value } else { scale - 1.0 };
    // The lowest 16 bits of the sum's 23 are those of the number.
    let bits = (value + 12_582_912.0).to_bits();
    D::of(i32::from(bits as i16))
}

#[inline(always)]
fn f32_to_long<D: Integer>(sample: F32) -> D {
    f64_to_integer(widened(sample))
}

#[inline(always)]
fn widened(sample: F32) -> F64 {
    F64::new(f64::from(sample.get()))
}

#[inline(always)]
fn narrowed(sample: F64) -> F32 {
    F32::new(sample.get() as f32)
}

/// The samples that lie in bytes.
///
/// # Panics
/// If they are not a whole number.
pub(super) fn samples<S: Sample>(bytes: &[u8]) -> &[S] {
    <[S]>::ref_from_bytes(bytes).expect("a whole number of samples, which need no alignment")
}

/// As [`samples`], to be written.
pub(super) fn samples_mut<S: Sample>(bytes: &mut [u8]) -> &mut [S] {
    <[S]>::mut_from_bytes(bytes).expect("a whole number of samples, which need no alignment")
}

#[inline(always)]
fn map<S: Sample, D: Sample>(input: &[u8], output: &mut [u8], sample: impl Fn(S) -> D) {
    for (to, from) in samples_mut(output).iter_mut().zip(samples(input)) {
        *to = sample(*from);
    }
}

/// Writes the samples of `input` to `output`, which has room for as many, in another format.
pub(super) fn convert((input, from): (&[u8], AudioFormat), (output, to): (&mut [u8], AudioFormat)) {
    use AudioFormat as A;
    macro_rules! from_integer {
        ($type:ty) => {
            match to {
                A::U8 => map(input, output, integer_to_integer::<$type, u8>),
                A::I16 => map(input, output, integer_to_integer::<$type, I16>),
                A::I24 => map(input, output, integer_to_integer::<$type, I24>),
                A::I32 => map(input, output, integer_to_integer::<$type, I32>),
                A::F32 => map(input, output, integer_to_f32::<$type>),
                A::F64 => map(input, output, integer_to_f64::<$type>),
                other => unreachable!("{other} is refused before the conversion"),
            }
        };
    }
    match (from, to) {
        (from, to) if from == to => output.copy_from_slice(input),
        (A::U8, _) => from_integer!(u8),
        (A::I16, _) => from_integer!(I16),
        (A::I24, _) => from_integer!(I24),
        (A::I32, _) => from_integer!(I32),
        (A::F32, A::U8) => map(input, output, f32_to_short::<u8>),
        (A::F32, A::I16) => map(input, output, f32_to_short::<I16>),
        (A::F32, A::I24) => map(input, output, f32_to_long::<I24>),
        (A::F32, A::I32) => map(input, output, f32_to_long::<I32>),
        (A::F32, A::F64) => map(input, output, widened),
        (A::F64, A::U8) => map(input, output, f64_to_integer::<u8>),
        (A::F64, A::I16) => map(input, output, f64_to_integer::<I16>),
        (A::F64, A::I24) => map(input, output, f64_to_integer::<I24>),
        (A::F64, A::I32) => map(input, output, f64_to_integer::<I32>),
        (A::F64, A::F32) => map(input, output, narrowed),
        (from, to) => unreachable!("{from} to {to} is refused before the conversion"),
    }
}

/// Whether [`convert`] knows the format; formats may be added elsewhere first.
pub(super) const fn is_known(format: AudioFormat) -> bool {
    use AudioFormat as A;
    matches!(format, A::F32 | A::F64 | A::I16 | A::I24 | A::I32 | A::U8)
}

/// Bits of which an integer of the format has to consist to hold every one of its values.
pub(super) const fn bits(format: AudioFormat) -> u32 {
    match format {
        AudioFormat::U8 => 8,
        AudioFormat::I16 => 16,
        AudioFormat::I24 => 24,
        AudioFormat::I32 => 32,
        // The sign and 24 bits of a number near full scale; smaller ones have finer steps.
        AudioFormat::F32 => 25,
        _ => 54,
    }
}

/// Whether samples of the format are integers.
pub(super) const fn is_integer(format: AudioFormat) -> bool {
    !matches!(format, AudioFormat::F32 | AudioFormat::F64)
}

#[cfg(test)]
mod tests;
