//! How much a frame of audio is like speech.
//!
//! Main type: [`Scorer`]: either the frame's level, or the judgement of a small neural network
//! with its weights inside (the `earshot` crate).

use earshot::Detector;

/// Sample rate that the model takes, in Hz.
pub(super) const MODEL_RATE: u32 = 16_000;
/// Samples of a frame that the model takes: 16 ms.
pub(super) const MODEL_FRAME: usize = 256;

/// Level of a frame of which every sample is zero, in dB.
const SILENCE_DB: f32 = -120.0;

/// Level of samples whose mean square is `mean_square`: dB relative to a square wave of full
/// scale, so a sine of full scale has -3.01 dB. Not below -120 dB.
pub(super) fn level_db(mean_square: f64) -> f32 {
    let level = (10.0 * mean_square.log10()) as f32;
    // NaN and infinities in the input must not reach the thresholds.
    if level.is_finite() { level.max(SILENCE_DB) } else { SILENCE_DB }
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
        Self::Model(Box::default())
    }

    /// The score of the next frame, whose level is `level_db`.
    pub(super) fn score(&mut self, frame: &[f32], level_db: f32) -> f32 {
        match self {
            Self::Energy => level_db,
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
    fn the_model_survives_samples_that_are_no_numbers_or_out_of_range() {
        let mut scorer = Scorer::model();
        for spoiled in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            scorer.score(&[spoiled; MODEL_FRAME], 0.0);
        }
        let tone = sine(200.0, MODEL_RATE, MODEL_FRAME);
        assert!((0.0..=1.0).contains(&scorer.score(&tone, 0.0)));
    }
}
