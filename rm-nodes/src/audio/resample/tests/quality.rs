//! How well tones are kept and kept out, by their spectra.
//!
//! A tone of full scale goes in. Of what comes out, a window of the middle is transformed: what lies
//! at the tone's own frequency is its gain, and the highest line anywhere else is what should not be
//! there, be it an alias, an image, or noise. Tones stand in the pass band, on either side of the lower
//! Nyquist frequency, and above it up to the source's own.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::{RealFftPlanner, RealToComplex};
use serde_json::json;

use super::*;
use crate::testing::make;

/// Samples that are transformed.
const LEN: usize = 16_384;
/// How many lines the window spreads a tone over, to either side of it.
const SPREAD: f64 = 8.0;

/// What transforms a window of samples.
struct Spectrum {
    window: Vec<f64>,
    transform: Arc<dyn RealToComplex<f64>>,
}

impl Spectrum {
    /// With the window of Blackman and Harris with seven terms, whose side lobes are below -180 dB
    /// (Albrecht, "A family of cosine-sum windows for high-resolution measurements", 2001).
    fn new() -> Self {
        const TERMS: [f64; 7] = [
            0.27105140069342,
            -0.43329793923448,
            0.21812299954311,
            -0.06592544638803,
            0.01081174209837,
            -0.00077658482522,
            0.00001388721735,
        ];
        let value = |n: usize| {
            let angle = TAU * n as f64 / LEN as f64;
            TERMS.iter().enumerate().map(|(k, term)| term * (k as f64 * angle).cos()).sum()
        };
        let transform = RealFftPlanner::new().plan_fft_forward(LEN);
        Self { window: (0..LEN).map(value).collect(), transform }
    }

    /// The level of the tone on this line, and the highest level of anything else, in dB.
    fn levels(&self, samples: &[f32], line: f64) -> (f64, f64) {
        let pairs = samples.iter().zip(&self.window);
        let mut windowed: Vec<_> = pairs.map(|(s, window)| f64::from(*s) * window).collect();
        let mut spectrum = self.transform.make_output_vec();
        self.transform.process(&mut windowed, &mut spectrum).unwrap();
        // A tone of full scale: the power of all of its lines, and the highest of them.
        let spread: f64 = self.window.iter().map(|w| w * w).sum::<f64>() * LEN as f64 / 4.0;
        let peak = (self.window.iter().sum::<f64>() / 2.0).powi(2);
        let (mut own, mut other) = (0.0, 0.0_f64);
        for (k, value) in spectrum.iter().enumerate() {
            if (k as f64 - line).abs() <= SPREAD {
                own += value.norm_sqr();
            } else {
                other = other.max(value.norm_sqr());
            }
        }
        (10.0 * (own / spread).log10(), 10.0 * (other / peak).log10())
    }
}

/// The worst of all tones: ripple of the pass band up to `pass` of the lower Nyquist frequency, and
/// rejection of everything that should not be there.
fn worst((source_rate, target_rate): (u32, u32), quality: &str, pass: f64) -> (f64, f64) {
    let spectrum = Spectrum::new();
    let nyquist = f64::from(source_rate.min(target_rate)) / 2.0;
    let top = f64::from(source_rate) / 2.0 / nyquist;
    let steps = |from: f64, to: f64, count: u32| {
        (0..count).map(move |k| from + (to - from) * f64::from(k) / f64::from(count - 1))
    };
    let kept = steps(0.01, pass, 7).chain(steps(pass + 0.01, 0.999, 4));
    let rejected = steps(1.0005, 1.02, 4).chain(steps(1.05, top * 0.999, 7));
    let frames = (LEN + 2_000) as u64 * u64::from(source_rate) / u64::from(target_rate);
    let (mut ripple, mut rejection) = (0.0_f64, f64::INFINITY);
    for share in kept.chain(rejected).filter(|share| *share < top) {
        let frequency = share * nyquist;
        let tone = sine(frequency, source_rate, frames as usize);
        let params = json!({"target_rate": target_rate, "quality": quality});
        let mut node = make("ResampleNode", params).unwrap();
        let out = samples(&run(node.as_mut(), cut(&tone, source_rate, 1, &[960])).unwrap());
        let line = frequency * LEN as f64 / f64::from(target_rate);
        let (own, other) = spectrum.levels(&out[1_000..1_000 + LEN], line);
        rejection = rejection.min(-other);
        if share <= pass {
            ripple = ripple.max(own.abs());
        }
    }
    (ripple, rejection)
}

fn check(pairs: &[(u32, u32)], quality: &str, pass: f64, max_ripple: f64, min_rejection: f64) {
    for (source_rate, target_rate) in pairs {
        let (ripple, rejection) = worst((*source_rate, *target_rate), quality, pass);
        assert!(
            ripple <= max_ripple && rejection >= min_rejection,
            "{quality}, {source_rate} to {target_rate} Hz: ripple of {ripple} dB, rejection of \
             {rejection} dB"
        );
    }
}

/// The pairs of the promise, and one whose reduced terms are large.
const PAIRS: [(u32, u32); 6] = [
    (48_000, 16_000),
    (44_100, 16_000),
    (16_000, 48_000),
    (44_100, 48_000),
    (48_000, 44_100),
    (44_101, 48_000),
];

#[test]
fn high_quality_keeps_91_percent_of_the_band_and_rejects_by_120_db() {
    check(&PAIRS, "high", 0.913, 0.0001, 120.0);
}

#[test]
fn medium_quality_keeps_80_percent_of_the_band_and_rejects_by_100_db() {
    check(&PAIRS[..1], "medium", 0.8, 0.001, 100.0);
    check(&PAIRS[4..], "medium", 0.8, 0.001, 100.0);
}

#[test]
fn low_quality_keeps_68_percent_of_the_band_and_rejects_by_80_db() {
    check(&PAIRS[..1], "low", 0.68, 0.01, 80.0);
    check(&PAIRS[4..], "low", 0.68, 0.01, 80.0);
}
