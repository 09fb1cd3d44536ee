//! How much a frame of audio is like speech.
//!
//! Main type: [`Scorer`]: either the frame's level, or the judgement of a small neural network
//! with its weights inside (the `earshot` crate). Both take frames of a stream in turn; which frames
//! make a segment is decided elsewhere.

use earshot::Detector;

/// Sample rate that the model takes, in Hz.
pub(super) const MODEL_RATE: u32 = 16_000;
/// Length of a frame that the model takes, in samples and in milliseconds.
pub(super) const MODEL_FRAME: usize = 256;
pub(super) const MODEL_FRAME_MS: u32 = 16;

/// By how many frames the model is late: it sees the last three frames of samples and of features,
/// and finds that speech begins and ends about 30 ms after it does (`benches/python/vad`).
const MODEL_LAG: usize = 2;

/// Level of a frame of which every sample is zero, in dB.
const SILENCE_DB: f32 = -120.0;

/// Sums that are added up side by side, so that the compiler uses vector instructions.
const LANES: usize = 8;

/// Sum of the squares of a frame. A frame with a sample that is no number, or is infinite, counts as
/// silence: it must not spoil what is added to it.
pub(super) fn energy(frame: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (rows, rest) = frame.as_chunks::<LANES>();
    for row in rows {
        for (lane, sample) in lanes.iter_mut().zip(row) {
            *lane += f64::from(*sample) * f64::from(*sample);
        }
    }
    for (lane, sample) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(*sample) * f64::from(*sample);
    }
    let total: f64 = lanes.iter().sum();
    if total.is_finite() { total } else { 0.0 }
}

/// Level of samples whose mean square is `mean_square`: dB relative to a square wave of full
/// scale, so a sine of full scale has -3.01 dB. Not below -120 dB.
pub(super) fn level_db(mean_square: f64) -> f32 {
    // Also where the logarithm is infinite or none.
    ((10.0 * mean_square.log10()) as f32).max(SILENCE_DB)
}

/// What gives frames their scores.
pub(super) enum Scorer {
    /// The level in dB.
    Energy,
    /// The probability of speech, 0 to 1.
    Model(Box<Detector>),
}

impl Scorer {
    /// The model.
    pub(super) fn model() -> Self {
        Self::Model(Detector::default_boxed())
    }

    /// How many frames before the one that it is given the frame lies that a score is about.
    pub(super) fn lag(&self) -> usize {
        match self {
            Self::Energy => 0,
            Self::Model(_) => MODEL_LAG,
        }
    }

    /// The score that follows from the next frame, whose squares add up to `energy`.
    pub(super) fn score(&mut self, frame: &[f32], energy: f64) -> f32 {
        match self {
            Self::Energy => level_db(energy / frame.len() as f64),
            Self::Model(detector) => {
                let mut samples = [0.0; MODEL_FRAME];
                for (sample, given) in samples.iter_mut().zip(frame) {
                    // The model takes -1 to 1 and would remember a NaN for ever.
                    *sample = if given.is_nan() { 0.0 } else { given.clamp(-1.0, 1.0) };
                }
                detector.predict_f32(&samples)
            }
        }
    }

    /// Forgets the frames before.
    pub(super) fn reset(&mut self) {
        if let Self::Model(detector) = self {
            detector.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sine;

    #[test]
    fn levels_are_relative_to_a_full_scale_square() {
        assert_eq!(level_db(1.0), 0.0);
        assert!((level_db(0.5) + 3.0103).abs() < 1e-4);
        assert_eq!(level_db(0.0), -120.0);
        assert_eq!(level_db(f64::NAN), -120.0);
    }

    #[test]
    fn the_energy_is_the_sum_of_the_squares() {
        for length in [0, 1, 7, 8, 9, 480, 1_323] {
            let frame: Vec<f32> = sine(997.0, 48_000, length).iter().map(|s| s * 0.3).collect();
            let exact: f64 = frame.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
            let error = (energy(&frame) - exact).abs();
            assert!(error <= exact * 1e-14, "{length}: {error} of {exact}");
        }
    }

    #[test]
    fn samples_that_are_no_numbers_make_a_frame_silent() {
        for spoiled in [f32::NAN, f32::INFINITY] {
            assert_eq!(energy(&[0.5, spoiled, 0.5]), 0.0);
        }
    }

    #[test]
    fn the_model_survives_samples_that_are_no_numbers_or_out_of_range() {
        let mut scorer = Scorer::model();
        for spoiled in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            scorer.score(&[spoiled; MODEL_FRAME], 0.0);
        }
        let tone = sine(200.0, MODEL_RATE, MODEL_FRAME);
        assert!((0.0..=1.0).contains(&scorer.score(&tone, 0.0)));
    }

    #[test]
    fn a_model_that_was_reset_judges_as_a_new_one() {
        let mut used = Scorer::model();
        let tone = sine(200.0, MODEL_RATE, MODEL_FRAME);
        for _ in 0..20 {
            used.score(&tone, 0.0);
        }
        used.reset();
        assert_eq!(used.score(&tone, 0.0), Scorer::model().score(&tone, 0.0));
    }
}
