//! A change of rate in the frequency domain, for rates whose ratio has small terms.
//!
//! Main type: [`Blocks`]. A window of the stream is transformed, its spectrum is filtered and cut or
//! extended to the length of the other rate, and transformed back; of the result only the middle is
//! used, which the ends of the window do not reach ("overlap-save"). One channel at a time, without
//! memory between windows: a NaN is gone as soon as its window is.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::converter::{Reach, interleave};
use super::filter::{Quality, Ratio};

/// Largest lower term of a ratio that is converted here. Windows are multiples of both terms, so
/// larger terms would have to be waited for too long.
pub(super) const MAX_TERM: usize = 512;

/// The filter of one ratio, with what the transforms need.
pub(super) struct Blocks {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    /// What the spectrum is multiplied by, from 0 up to below the lower Nyquist frequency.
    filter: Vec<Complex<f32>>,
    /// Frames at the front of the result that the front of the window has reached.
    skip: usize,
    time_in: Vec<f32>,
    spectrum_in: Vec<Complex<f32>>,
    spectrum_out: Vec<Complex<f32>>,
    time_out: Vec<f32>,
    scratch: Vec<Complex<f32>>,
}

impl Blocks {
    /// What converts by this ratio, and which window it takes.
    pub(super) fn new(ratio: Ratio, quality: Quality) -> (Self, Reach) {
        let Ratio { source, target } = ratio;
        let low = ratio.low();
        let overlap = (2 * quality.reach()).div_ceil(low);
        // Even, because only transforms of even length are fast.
        let times = (quality.hop().div_ceil(low) + overlap).next_multiple_of(2);
        let (frames_in, frames_out) = (times * source, times * target);
        let reach = Reach {
            before: overlap * source / 2,
            hop: (times - overlap) * source,
            window: frames_in,
        };
        let mut planner = RealFftPlanner::new();
        let (forward, inverse) =
            (planner.plan_fft_forward(frames_in), planner.plan_fft_inverse(frames_out));
        let scratch = forward.get_scratch_len().max(inverse.get_scratch_len());
        let blocks = Self {
            // The frame behind what lies before lies between two frames of the result; shifted by the
            // rest it becomes one.
            skip: reach.before * target / source,
            filter: filter(ratio, quality, times, reach.before * target % source),
            time_in: forward.make_input_vec(),
            spectrum_in: forward.make_output_vec(),
            spectrum_out: inverse.make_input_vec(),
            time_out: inverse.make_output_vec(),
            scratch: vec![Complex::default(); scratch],
            forward,
            inverse,
        };
        (blocks, reach)
    }

    /// Converts one channel of a window; the result goes to every `channels`th place of `out`, as far
    /// as that is long.
    pub(super) fn convert(&mut self, window: &[f32], out: &mut [f32], channels: usize) {
        let (time, spectrum) = (&mut self.time_in, &mut self.spectrum_in);
        time.copy_from_slice(window);
        let done = self.forward.process_with_scratch(time, spectrum, &mut self.scratch);
        done.expect("all lengths are those of the plan");
        let (kept, beyond) = self.spectrum_out.split_at_mut(self.filter.len());
        for ((to, from), factor) in kept.iter_mut().zip(spectrum).zip(&self.filter) {
            *to = *from * *factor;
        }
        beyond.fill(Complex::default());
        // The transform back wants a first value that is real. It is, but for a NaN.
        kept[0].im = 0.0;
        let (spectrum, time) = (&mut self.spectrum_out, &mut self.time_out);
        let done = self.inverse.process_with_scratch(spectrum, time, &mut self.scratch);
        done.expect("all lengths are those of the plan");
        interleave(&self.time_out[self.skip..], out, channels);
    }
}

/// The spectrum of the filter for windows of `times` times the ratio, shifted to the front by `shift`
/// parts of a frame of the result, of which there are as many as the ratio's source.
fn filter(ratio: Ratio, quality: Quality, times: usize, shift: usize) -> Vec<Complex<f32>> {
    let (low, high) = (ratio.low(), ratio.high());
    let len = times * high;
    let mut response = vec![0.0; len];
    for n in 0..=quality.reach() * high / low {
        let value = quality.response((n * low) as f64 / high as f64);
        response[n] = value;
        response[(len - n) % len] = value;
    }
    // The transforms there and back multiply by the length of the window.
    let scale = 1.0 / (response.iter().sum::<f64>() * (times * ratio.source) as f64);
    let transform = RealFftPlanner::<f64>::new().plan_fft_forward(len);
    let mut spectrum = transform.make_output_vec();
    transform.process(&mut response, &mut spectrum).expect("all lengths are those of the plan");
    spectrum.truncate(times * low / 2);
    let step = TAU * shift as f64 / (ratio.source * times * ratio.target) as f64;
    let shifted = spectrum.iter().enumerate().map(|(k, value)| {
        let value = Complex::from_polar(value.re * scale, k as f64 * step);
        Complex::new(value.re as f32, value.im as f32)
    });
    shifted.collect()
}
