//! The low-pass filter that a change of rate needs, and how sharp it is.
//!
//! Main types: [`Quality`] and [`Ratio`]. Lengths and frequencies are counted at the lower of the two
//! rates, because that is the side on which they decide what is kept. How the filter is applied is not
//! decided here.

use std::f64::consts::PI;

use serde::Deserialize;

/// How sharp the filter is. The stop band begins at the lower Nyquist frequency for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Quality {
    /// Pass band to 0.68 of the lower Nyquist frequency, rejection of 80 dB.
    Low,
    /// Pass band to 0.8 of the lower Nyquist frequency, rejection of 100 dB.
    Medium,
    /// Pass band to 0.913 of the lower Nyquist frequency, rejection of 120 dB: the bands of soxr's
    /// "HQ".
    High,
}

impl Quality {
    /// Frames of the lower rate over which the filter reaches to either side.
    pub(super) const fn reach(self) -> usize {
        match self {
            Self::Low => 18,
            Self::Medium => 36,
            Self::High => 96,
        }
    }

    /// Frames of the lower rate that are best converted at a time. More of them cost less time, and
    /// are waited for longer.
    pub(super) const fn hop(self) -> usize {
        match self {
            Self::Low => 60,
            Self::Medium => 120,
            Self::High => 192,
        }
    }

    /// End of the pass band, as part of the lower Nyquist frequency.
    pub(super) const fn pass_band(self) -> f64 {
        match self {
            Self::Low => 0.68,
            Self::Medium => 0.8,
            Self::High => 0.913,
        }
    }

    /// The filter's impulse response so many frames of the lower rate from its centre: a sinc under
    /// Kaiser's window, whose shape follows from length and transition band by the formulas in
    /// Oppenheim and Schafer, "Discrete-Time Signal Processing", section 7.5.3. Its sum over frames of
    /// the lower rate is about 1.
    pub(super) fn response(self, at: f64) -> f64 {
        let reach = self.reach() as f64;
        let attenuation = 8.0 + 2.285 * (1.0 - self.pass_band()) * PI * 2.0 * reach;
        let shape = 0.1102 * (attenuation - 8.7);
        let inside = 1.0 - (at / reach).powi(2);
        if inside < 0.0 {
            return 0.0;
        }
        let cutoff = (1.0 + self.pass_band()) / 2.0;
        let angle = PI * cutoff * at;
        let sinc = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
        cutoff * sinc * bessel_i0(shape * inside.sqrt()) / bessel_i0(shape)
    }
}

/// The modified Bessel function of the first kind of order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * f64::EPSILON {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

/// Two sample rates in lowest terms: so many frames in for so many frames out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio {
    pub(super) source: usize,
    pub(super) target: usize,
}

impl Ratio {
    /// The ratio of two rates, neither of which is 0.
    pub(super) fn of(source_rate: u32, target_rate: u32) -> Self {
        let (mut divisor, mut rest) = (source_rate, target_rate);
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        Self { source: (source_rate / divisor) as usize, target: (target_rate / divisor) as usize }
    }

    /// The lower of the two.
    pub(super) fn low(self) -> usize {
        self.source.min(self.target)
    }

    /// The higher of the two.
    pub(super) fn high(self) -> usize {
        self.source.max(self.target)
    }
}
