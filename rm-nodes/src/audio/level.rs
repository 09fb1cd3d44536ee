//! Levels in dB, and the peaks and powers of samples.
//!
//! Main functions: [`amplitude`], [`decibels`], [`magnitude`] and [`add_squares`]. 0 dB is full scale: a peak of 1,
//! or the power of a square wave of that peak, so a sine of full scale has an RMS level of -3.01 dB.

/// The lowest level: everything below counts as silence.
pub(super) const SILENCE_DB: f64 = -120.0;

/// The factor of a gain in dB; 0 from -120 dB down.
pub(super) fn amplitude(db: f64) -> f64 {
    if db <= SILENCE_DB { 0.0 } else { 10_f64.powf(db / 20.0) }
}

/// The level of an amplitude, not below -120 dB. Rounded to 0.001 dB, which is finer than anything
/// that is measured here.
pub(super) fn decibels(amplitude: f64) -> f64 {
    rounded(20.0 * amplitude.log10()).max(SILENCE_DB)
}

/// `db` rounded to 0.001.
pub(super) fn rounded(db: f64) -> f64 {
    (db * 1000.0).round() / 1000.0
}

/// The largest magnitude among samples: 0 where there are none, and not finite if one of them is not.
pub(super) fn magnitude(samples: &[f32]) -> f32 {
    // Without their sign, floats are in the order of their bits, and the greatest integer is found
    // several at a time.
    f32::from_bits(samples.iter().fold(0, |most, s| most.max(s.to_bits() & 0x7fff_ffff)))
}

/// Adds the squares of the samples of each channel to its sum, in the order of the frames, so that the
/// sums are the same however a stream is cut.
pub(super) fn add_squares(samples: &[f32], sums: &mut [f64]) {
    fn add<const CHANNELS: usize>(samples: &[f32], sums: &mut [f64]) {
        let mut sum = [0.0; CHANNELS];
        sum.copy_from_slice(sums);
        for frame in samples.as_chunks::<CHANNELS>().0 {
            for (sum, sample) in sum.iter_mut().zip(frame) {
                *sum += f64::from(*sample) * f64::from(*sample);
            }
        }
        sums.copy_from_slice(&sum);
    }
    match sums.len() {
        1 => add::<1>(samples, sums),
        2 => add::<2>(samples, sums),
        channels => {
            for frame in samples.chunks_exact(channels) {
                for (sum, sample) in sums.iter_mut().zip(frame) {
                    *sum += f64::from(*sample) * f64::from(*sample);
                }
            }
        }
    }
}

/// Raises the peak of each channel to the largest magnitude of its samples, which are finite.
pub(super) fn raise_peaks(samples: &[f32], peaks: &mut [f32]) {
    fn raise<const CHANNELS: usize>(samples: &[f32], peaks: &mut [f32]) {
        let mut peak = [0.0; CHANNELS];
        peak.copy_from_slice(peaks);
        for frame in samples.as_chunks::<CHANNELS>().0 {
            for (peak, sample) in peak.iter_mut().zip(frame) {
                *peak = f32::max(*peak, sample.abs());
            }
        }
        peaks.copy_from_slice(&peak);
    }
    match peaks.len() {
        1 => raise::<1>(samples, peaks),
        2 => raise::<2>(samples, peaks),
        channels => {
            for frame in samples.chunks_exact(channels) {
                for (peak, sample) in peaks.iter_mut().zip(frame) {
                    *peak = f32::max(*peak, sample.abs());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_and_amplitudes_are_inverse() {
        for (db, factor) in [(0.0, 1.0), (20.0, 10.0), (-40.0, 0.01), (-120.0, 0.0)] {
            assert!((amplitude(db) - factor).abs() < 1e-12, "{db}");
            assert_eq!(decibels(factor), db);
        }
        assert_eq!(decibels(0.5), -6.021);
    }

    #[test]
    fn squares_and_peaks_are_those_of_each_channel() {
        for channels in 1..5 {
            let samples: Vec<f32> = (0..channels * 10).map(|n| n as f32 * -0.5).collect();
            let (mut sums, mut peaks) = (vec![1.0; channels], vec![0.0; channels]);
            add_squares(&samples, &mut sums);
            raise_peaks(&samples, &mut peaks);
            for channel in 0..channels {
                let own = samples[channel..].iter().step_by(channels);
                let sum: f64 = own.clone().map(|s| f64::from(*s).powi(2)).sum();
                assert_eq!(sums[channel], sum + 1.0);
                assert_eq!(peaks[channel], own.map(|s| s.abs()).fold(0.0, f32::max));
            }
        }
    }

    #[test]
    fn the_magnitude_is_that_of_the_largest_sample() {
        assert_eq!(magnitude(&[]), 0.0);
        assert_eq!(magnitude(&[0.25, -3.0, 2.0]), 3.0);
        assert_eq!(magnitude(&[1.0, f32::NEG_INFINITY]), f32::INFINITY);
        assert!(magnitude(&[f32::INFINITY, -f32::NAN, 1.0]).is_nan());
    }
}
