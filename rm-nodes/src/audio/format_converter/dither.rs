//! Noise that makes the error of rounding independent of the signal.
//!
//! Main type: [`Dither`]. The noise of a sample follows from the seed and from where the sample stands
//! in the stream, so it does not depend on how the stream is cut.

use serde::Deserialize;

/// How the noise is distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shape {
    /// There is none.
    None,
    /// Evenly over one step: the mean error no longer depends on the signal.
    Rectangular,
    /// Over two steps, as the sum of two even ones: neither mean nor power of the error depends on the
    /// signal (Lipshitz, Wannamaker and Vanderkooy, "Quantization and Dither: A Theoretical Survey",
    /// 1992).
    Triangular,
}

/// Noise of one stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dither {
    pub(super) shape: Shape,
    pub(super) seed: u64,
}

impl Dither {
    /// Adds noise of `step`-sized steps to samples of which the first has this number in the stream,
    /// and each the number of the one before plus `stride`.
    pub(super) fn add(&self, samples: &mut [f64], step: f64, first: u64, stride: u64) {
        let mut number = first;
        for sample in samples {
            // Two numbers from 0 up to below 1, in the middle of 2^32 intervals.
            let random = self.random(number);
            let [a, b] = [random >> 32, random & 0xffff_ffff]
                .map(|part| (part as f64 + 0.5) / 4_294_967_296.0);
            *sample += step
                * match self.shape {
                    Shape::None => 0.0,
                    Shape::Rectangular => a - 0.5,
                    Shape::Triangular => a + b - 1.0,
                };
            number = number.wrapping_add(stride);
        }
    }

    /// The number at this place of the sequence that the seed begins: SplitMix64 (Steele, Lea and Flood,
    /// "Fast Splittable Pseudorandom Number Generators", 2014), whose state is a counter.
    fn random(&self, place: u64) -> u64 {
        let state = place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed.wrapping_add(state);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
