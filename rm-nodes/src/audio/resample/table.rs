//! A change of rate by a filter that is looked up for each frame, for rates of any ratio.
//!
//! Main type: [`Table`]. The filter is known at some places between two frames of the source; between
//! those it is interpolated by a polynomial of third degree. The place of each frame of the result is
//! exact, so nothing drifts. It takes several times as long as [`Blocks`](super::blocks::Blocks), but
//! waits only for what the filter needs.

use super::converter::Reach;
use super::filter::{Quality, Ratio};

/// Known places of the filter for each frame of the lower rate. The error of the interpolation is
/// below `3/128 (π/64)^4`, that is -137 dB.
const PLACES: usize = 64;

/// Products that are summed side by side.
const LANES: usize = 8;

/// The filter of one ratio.
pub(super) struct Table {
    ratio: Ratio,
    /// The filter's values at each known place, from the one before the first up to the second behind
    /// the last.
    rows: Vec<f32>,
    /// Frames of the source that the filter spans.
    taps: usize,
    /// Known places between two frames of the source.
    places: usize,
}

impl Table {
    /// What converts by this ratio, and which window it takes.
    pub(super) fn new(ratio: Ratio, quality: Quality) -> (Self, Reach) {
        let Ratio { source, .. } = ratio;
        let low = ratio.low();
        let half = (quality.reach() * source).div_ceil(low).next_multiple_of(LANES / 2);
        let hop = (quality.hop() * source).div_ceil(low);
        let (taps, places) = (2 * half, (PLACES * low).div_ceil(source));
        // The filter lies around a place `row - 1` of `places` behind the frame `half - 1`.
        let value = |index: usize| {
            let (row, tap) = (index / taps, index % taps);
            let frames = tap as f64 - (half - 1) as f64 - (row as f64 - 1.0) / places as f64;
            quality.response(frames * low as f64 / source as f64)
        };
        let sum: f64 = (taps..2 * taps).map(value).sum();
        let rows = (0..(places + 3) * taps).map(|index| (value(index) / sum) as f32).collect();
        let reach = Reach { before: half - 1, hop, window: half - 1 + hop + half };
        (Self { ratio, rows, taps, places }, reach)
    }

    /// Converts all channels of a window, which lie `len` frames apart. The first frame of the result
    /// lies `phase` parts of a frame behind the first that the window is for; a frame has as many parts
    /// as the ratio's target.
    pub(super) fn convert(
        &self,
        windows: &[f32],
        len: usize,
        phase: u64,
        out: &mut [f32],
        channels: usize,
    ) {
        let target = self.ratio.target as u64;
        let mut phase = phase;
        for frame in out.chunks_exact_mut(channels) {
            let (begin, part) = ((phase / target) as usize, phase % target);
            let (rows, weights) = self.filter(part as f64 / target as f64);
            for (sample, window) in frame.iter_mut().zip(windows.chunks_exact(len)) {
                *sample = product(&window[begin..begin + self.taps], rows, weights);
            }
            phase += self.ratio.source as u64;
        }
    }

    /// The filter at a part of a frame: four rows of the table and their weights.
    fn filter(&self, part: f64) -> ([&[f32]; 4], [f32; 4]) {
        let place = part * self.places as f64;
        let row = (place as usize).min(self.places - 1);
        let x = (place - row as f64) as f32;
        // Lagrange's polynomials through places -1, 0, 1 and 2.
        let weights = [
            -x * (x - 1.0) * (x - 2.0) / 6.0,
            (x + 1.0) * (x - 1.0) * (x - 2.0) / 2.0,
            -(x + 1.0) * x * (x - 2.0) / 2.0,
            (x + 1.0) * x * (x - 1.0) / 6.0,
        ];
        let row = |which: usize| &self.rows[(row + which) * self.taps..][..self.taps];
        ([row(0), row(1), row(2), row(3)], weights)
    }
}

/// The sum of products of samples and the weighted sum of four rows, as long as the samples are a
/// multiple of [`LANES`]; in as many sums at a time, because one alone would wait for each addition.
fn product(samples: &[f32], rows: [&[f32]; 4], weights: [f32; 4]) -> f32 {
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<LANES>().0);
    let samples = samples.as_chunks::<LANES>().0;
    let mut sums = [0.0; LANES];
    for ((samples, (a, b)), (c, d)) in samples.iter().zip(a.iter().zip(b)).zip(c.iter().zip(d)) {
        for lane in 0..LANES {
            let filter = (weights[0] * a[lane] + weights[1] * b[lane])
                + (weights[2] * c[lane] + weights[3] * d[lane]);
            sums[lane] += samples[lane] * filter;
        }
    }
    sums.iter().sum()
}
