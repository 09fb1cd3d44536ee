//! Loudness by EBU R 128 and true peaks by ITU-R BS.1770, with the `ebur128` crate.
//!
//! Main type: [`Meter`]. Integrated loudness and loudness range come from histograms of 0.1 LU, so
//! that memory is bounded and nothing is allocated however long a stream is. Momentary and
//! short-term loudness are means over blocks of 100 ms, which costs a thirtieth of summing up the
//! last 3 s each time.

use ebur128::{Channel, EbuR128, Mode};
use rm_core::NodeError;
use serde::Serialize;

use super::level::{SILENCE_DB, rounded};
use crate::input::StreamFormat;

/// The K-weighting needs the band that it boosts, from about 1.7 kHz up.
const MIN_RATE: u32 = 8_000;
/// Most channels that have a standard layout here.
const MAX_CHANNELS: u16 = 8;
/// Blocks of 100 ms in 3 s and in 400 ms.
const SHORT_TERM: usize = 30;
const MOMENTARY: usize = 4;

/// Loudness at one place of a stream; `None` where there is not enough audio for it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Lufs {
    momentary_lufs: Option<f64>,
    short_term_lufs: Option<f64>,
    integrated_lufs: Option<f64>,
    loudness_range_lu: Option<f64>,
}

/// Measures a stream.
pub(super) struct Meter {
    ebur128: EbuR128,
    channels: usize,
    has_loudness: bool,
    /// Frames of a block, and how many of the open one have come.
    block: usize,
    filled: usize,
    /// Energies of the last blocks, block `n` at `n % SHORT_TERM`.
    energies: [f64; SHORT_TERM],
    blocks: usize,
    /// By channel, of the open interval; empty where they are not measured.
    true_peaks: Vec<f64>,
}

impl Meter {
    /// `None` where nothing is wanted that can be had for this format.
    pub(super) fn new(format: &StreamFormat, loudness: bool, true_peak: bool) -> Option<Self> {
        let measurable = format.sample_rate >= MIN_RATE && format.channels <= MAX_CHANNELS;
        let has_loudness = loudness && measurable;
        let mut mode = Mode::empty();
        if has_loudness {
            mode |= Mode::I | Mode::LRA | Mode::HISTOGRAM;
        }
        if true_peak {
            mode |= Mode::TRUE_PEAK;
        }
        let channels = u32::from(format.channels);
        let mut ebur128 = EbuR128::new(channels, format.sample_rate, mode).ok()?;
        if let Some(map) = channel_map(channels) {
            ebur128.set_channel_map(map).ok()?;
        }
        let channels = usize::from(format.channels);
        Some(Self {
            ebur128,
            channels,
            has_loudness,
            // As the crate rounds it.
            block: (format.sample_rate as usize + 5) / 10,
            filled: 0,
            energies: [0.0; SHORT_TERM],
            blocks: 0,
            true_peaks: vec![0.0; if true_peak { channels } else { 0 }],
        })
    }

    /// Measures the next samples.
    pub(super) fn add(&mut self, mut samples: &[f32]) -> Result<(), NodeError> {
        while !samples.is_empty() {
            let free = (self.block - self.filled) * self.channels;
            let (now, later) = samples.split_at(samples.len().min(free));
            self.ebur128.add_frames_f32(now).map_err(failed)?;
            for (channel, peak) in (0..).zip(&mut self.true_peaks) {
                *peak = peak.max(self.ebur128.prev_true_peak(channel).map_err(failed)?);
            }
            self.filled += now.len() / self.channels;
            samples = later;
            if self.filled == self.block {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), NodeError> {
        self.filled = 0;
        if self.has_loudness {
            let lufs = self.ebur128.loudness_window(100).map_err(failed)?;
            self.energies[self.blocks % SHORT_TERM] = 10_f64.powf(lufs / 10.0);
            self.blocks += 1;
        }
        Ok(())
    }

    /// Begins to look for the largest true peaks anew.
    pub(super) fn begin_interval(&mut self) {
        self.true_peaks.fill(0.0);
    }

    /// The largest true peak of each channel in the open interval, if they are measured.
    pub(super) fn true_peaks(&self) -> Option<&[f64]> {
        (!self.true_peaks.is_empty()).then_some(&self.true_peaks)
    }

    /// The largest true peak since the start, if they are measured.
    pub(super) fn max_true_peak(&self) -> Option<f64> {
        let peaks = (0..).zip(self.true_peaks()?);
        let peaks = peaks.filter_map(|(channel, _)| self.ebur128.true_peak(channel).ok());
        peaks.reduce(f64::max)
    }

    /// The loudness after the blocks that are full.
    pub(super) fn loudness(&self) -> Result<Lufs, NodeError> {
        if !self.has_loudness {
            return Ok(Lufs::default());
        }
        let mean = |last: usize| {
            let first = self.blocks.checked_sub(last)?;
            let blocks = (first..self.blocks).map(|block| self.energies[block % SHORT_TERM]);
            let lufs = 10.0 * (blocks.sum::<f64>() / last as f64).log10();
            Some(rounded(lufs).max(SILENCE_DB))
        };
        let integrated = self.ebur128.loudness_global().map_err(failed)?;
        let range = self.ebur128.loudness_range().map_err(failed)?;
        let short_term_lufs = mean(SHORT_TERM);
        Ok(Lufs {
            momentary_lufs: mean(MOMENTARY),
            short_term_lufs,
            integrated_lufs: integrated.is_finite().then_some(rounded(integrated)),
            loudness_range_lu: short_term_lufs.map(|_| rounded(range)),
        })
    }
}

/// Which channels there are, where the crate's own choice is not that of WAVEFORMATEXTENSIBLE.
fn channel_map(channels: u32) -> Option<&'static [Channel]> {
    use Channel::{Center, Left, Mm090, Mm135, Mp090, Mp135, Mp180, Right, Unused};
    match channels {
        // 6.1: the centre at the back before the sides.
        7 => Some(&[Left, Right, Center, Unused, Mp180, Mp090, Mm090]),
        // 7.1: the back before the sides.
        8 => Some(&[Left, Right, Center, Unused, Mp135, Mm135, Mp090, Mm090]),
        _ => None,
    }
}

fn failed(error: ebur128::Error) -> NodeError {
    NodeError::Failed {
        message: "loudness cannot be measured".to_owned(),
        source: Some(Box::new(error)),
    }
}
