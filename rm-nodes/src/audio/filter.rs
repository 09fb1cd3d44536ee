//! Recursive filters over interleaved channels.
//!
//! Main types: [`Section`], the coefficients of a second-order section, and [`Cascade`], sections one
//! behind the other with a state in double precision for each channel (direct form 2 transposed).

use std::f64::consts::PI;

/// Every so many frames of a stream, states that have died away become zero.
const TIDY_FRAMES: u64 = 1024;
/// What has died away: -600 dB, far below the least 32-bit float, and far above the numbers that
/// processors are slow with.
const TINY: f64 = 1e-30;

/// `(b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2)`
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Section {
    pub(super) b: [f64; 3],
    pub(super) a: [f64; 2],
}

impl Section {
    /// A high-pass of first order: the bilinear transform of `s / (s + 1)`, warped so that it has
    /// -3 dB at the cutoff.
    pub(super) fn high_pass_1(cutoff_hz: f64, sample_rate: u32) -> Self {
        let k = (PI * cutoff_hz / f64::from(sample_rate)).tan();
        let b = 1.0 / (1.0 + k);
        Self { b: [b, -b, 0.0], a: [(k - 1.0) / (k + 1.0), 0.0] }
    }

    /// A high-pass of second order: `HPF` of the Audio EQ Cookbook (Robert Bristow-Johnson).
    pub(super) fn high_pass_2(cutoff_hz: f64, q: f64, sample_rate: u32) -> Self {
        let (sin, cos) = (2.0 * PI * cutoff_hz / f64::from(sample_rate)).sin_cos();
        let alpha = sin / (2.0 * q);
        let a0 = 1.0 + alpha;
        let b = (1.0 + cos) / 2.0 / a0;
        Self { b: [b, -2.0 * b, b], a: [-2.0 * cos / a0, (1.0 - alpha) / a0] }
    }

    /// A Butterworth high-pass of even order. The poles of such a filter lie evenly on a half circle,
    /// which says the Q of each pair.
    pub(super) fn butterworth(cutoff_hz: f64, order: u8, sample_rate: u32) -> Vec<Self> {
        let q = |pair: u8| 0.5 / (PI * f64::from(2 * pair + 1) / f64::from(2 * order)).cos();
        let pairs = 0..order / 2;
        pairs.map(|pair| Self::high_pass_2(cutoff_hz, q(pair), sample_rate)).collect()
    }
}

/// What a section remembers of one channel.
type State = [f64; 2];

/// Sections in series, the same for every channel.
pub(super) struct Cascade {
    sections: Vec<Section>,
    /// By pairs of channels (the last may be alone), in them by sections, in them by channels.
    states: Vec<State>,
    channels: usize,
    /// Frames filtered so far.
    frames: u64,
}

impl Cascade {
    /// One to four sections.
    pub(super) fn new(sections: Vec<Section>, channels: usize) -> Self {
        debug_assert!((1..=4).contains(&sections.len()));
        let states = vec![State::default(); sections.len() * channels];
        Self { sections, states, channels, frames: 0 }
    }

    /// Goes on with other sections, as many as before; what has been remembered stays.
    pub(super) fn change(&mut self, sections: Vec<Section>) {
        debug_assert_eq!(sections.len(), self.sections.len());
        self.sections = sections;
    }

    /// Writes the next frames, filtered; all samples are finite.
    pub(super) fn run(&mut self, mut input: &[f32], mut out: &mut [f32]) {
        while !input.is_empty() {
            // Tidied at places of the stream, so that the result does not depend on how it is cut.
            let free = TIDY_FRAMES - self.frames % TIDY_FRAMES;
            let now = input.len().min(free as usize * self.channels);
            let (block, rest) = input.split_at(now);
            let (block_out, rest_out) = out.split_at_mut(now);
            self.run_block(block, block_out);
            self.frames += (now / self.channels) as u64;
            if self.frames.is_multiple_of(TIDY_FRAMES) {
                self.tidy();
            }
            (input, out) = (rest, rest_out);
        }
    }

    fn run_block(&mut self, input: &[f32], out: &mut [f32]) {
        let mut first = 0;
        while first < self.channels {
            // A sample waits for the one before, but not for the other channel. Counts that are known
            // when this is compiled keep states in registers.
            let lanes = (self.channels - first).min(2);
            match (lanes, self.sections.len()) {
                (1, 1) => self.run_lanes::<1, 1>(first, input, out),
                (1, 2) => self.run_lanes::<1, 2>(first, input, out),
                (1, 3) => self.run_lanes::<1, 3>(first, input, out),
                (1, _) => self.run_lanes::<1, 4>(first, input, out),
                (_, 1) => self.run_lanes::<2, 1>(first, input, out),
                (_, 2) => self.run_lanes::<2, 2>(first, input, out),
                (_, 3) => self.run_lanes::<2, 3>(first, input, out),
                (_, _) => self.run_lanes::<2, 4>(first, input, out),
            }
            first += lanes;
        }
    }

    /// Filters channels that lie side by side.
    fn run_lanes<const LANES: usize, const SECTIONS: usize>(
        &mut self,
        first: usize,
        input: &[f32],
        out: &mut [f32],
    ) {
        let sections: [Section; SECTIONS] = std::array::from_fn(|index| self.sections[index]);
        let held = &mut self.states[first * SECTIONS..][..LANES * SECTIONS];
        let mut states = [[State::default(); LANES]; SECTIONS];
        states.as_flattened_mut().copy_from_slice(held);
        let frames = input.chunks_exact(self.channels).zip(out.chunks_exact_mut(self.channels));
        for (frame, out) in frames {
            let mut x: [f64; LANES] = std::array::from_fn(|lane| f64::from(frame[first + lane]));
            for (section, states) in sections.iter().zip(&mut states) {
                let ([b0, b1, b2], [a1, a2]) = (section.b, section.a);
                for (x, [s1, s2]) in x.iter_mut().zip(states) {
                    let y = b0 * *x + *s1;
                    *s1 = (b1 * *x + *s2) - a1 * y;
                    *s2 = b2 * *x - a2 * y;
                    *x = y;
                }
            }
            for (out, x) in out[first..].iter_mut().zip(x) {
                *out = x as f32;
            }
        }
        held.copy_from_slice(states.as_flattened());
    }

    fn tidy(&mut self) {
        for state in self.states.as_flattened_mut() {
            if state.abs() < TINY {
                *state = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y[n] = x[n] + y[n-1] / 2`
    const HALVING: Section = Section { b: [1.0, 0.0, 0.0], a: [-0.5, 0.0] };

    #[test]
    fn channels_are_filtered_one_by_one_and_sections_in_series() {
        for channels in 1..6 {
            let mut filter = Cascade::new(vec![HALVING; 2], channels);
            // An impulse in frame `n` of channel `n`.
            let frames = channels + 2;
            let mut input = vec![0.0; frames * channels];
            (0..channels).for_each(|n| input[n * channels + n] = 1.0);
            let mut out = vec![0.0; input.len()];
            filter.run(&input, &mut out);
            for channel in 0..channels {
                let out: Vec<_> = out[channel..].iter().step_by(channels).copied().collect();
                assert_eq!(out[..channel], vec![0.0; channel]);
                assert_eq!(out[channel..channel + 3], [1.0, 1.0, 0.75]);
            }
        }
    }

    #[test]
    fn a_state_that_has_died_away_becomes_zero() {
        let mut filter = Cascade::new(vec![Section { a: [-0.999, 0.0], ..HALVING }], 1);
        let mut out = vec![0.0; 100_000];
        let mut input = out.clone();
        input[0] = 1.0;
        filter.run(&input, &mut out);
        assert_eq!(filter.states, [[0.0; 2]]);
    }
}
