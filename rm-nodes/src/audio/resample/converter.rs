//! A stream of one rate turned into a stream of another.
//!
//! Main type: [`Converter`]. It collects windows of the stream, which overlap and lie at fixed places
//! of it, so the result does not depend on how the stream is cut; and it counts frames, so that the
//! first frame out lies at the time of the first frame in and the length is exact. What becomes of a
//! window is decided by `blocks.rs` and `table.rs`.

use super::blocks::{Blocks, MAX_TERM};
use super::filter::{Quality, Ratio};
use super::table::Table;

/// Most samples of all channels that are held at a time (16 MiB). It is enough for 10 channels between
/// any two rates from 1 to 384 kHz, and for some thousand between most.
const MAX_HELD: usize = 1 << 22;

/// Which frames are converted together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Frames of a window before the first that it is for.
    pub(super) before: usize,
    /// Frames that a window is for: what lies between two windows' beginnings.
    pub(super) hop: usize,
    /// All frames of a window.
    pub(super) window: usize,
}

enum Engine {
    Blocks(Blocks),
    Table(Table),
}

/// One stream.
pub(super) struct Converter {
    engine: Engine,
    ratio: Ratio,
    reach: Reach,
    channels: usize,
    /// The window being filled: one channel after another, and how many frames are filled.
    window: Vec<f32>,
    filled: usize,
    /// Where the next frame of the result lies behind the first that the window is for; a frame has as
    /// many parts as the ratio's target.
    phase: u64,
    frames_in: u64,
    frames_out: u64,
}

impl Converter {
    /// A converter for so many channels.
    ///
    /// # Errors
    /// The most channels that [`MAX_HELD`] is enough for, if it is fewer.
    pub(super) fn new(ratio: Ratio, quality: Quality, channels: usize) -> Result<Self, usize> {
        let (engine, reach) = if ratio.low() <= MAX_TERM {
            let (blocks, reach) = Blocks::new(ratio, quality);
            (Engine::Blocks(blocks), reach)
        } else {
            let (table, reach) = Table::new(ratio, quality);
            (Engine::Table(table), reach)
        };
        let most = MAX_HELD / reach.window;
        if channels > most {
            return Err(most);
        }
        Ok(Self {
            engine,
            ratio,
            reach,
            channels,
            window: vec![0.0; reach.window * channels],
            filled: reach.before,
            phase: 0,
            frames_in: 0,
            frames_out: 0,
        })
    }

    /// Forgets the stream; the next frame is the first of another.
    pub(super) fn reset(&mut self) {
        self.window.fill(0.0);
        (self.filled, self.phase) = (self.reach.before, 0);
        (self.frames_in, self.frames_out) = (0, 0);
    }

    /// Takes the next frames, whose samples are interleaved, and writes those that they complete: as
    /// many as [`ready`](Self::ready) has said.
    pub(super) fn push(&mut self, mut samples: &[f32], mut out: &mut [f32]) {
        self.frames_in += (samples.len() / self.channels) as u64;
        while !samples.is_empty() {
            let free = (self.reach.window - self.filled) * self.channels;
            let (now, later) = samples.split_at(samples.len().min(free));
            samples = later;
            self.fill(now);
            if self.filled == self.reach.window {
                out = self.convert(out);
            }
        }
    }

    /// Writes what is left, up to the exact length: as many frames as [`rest`](Self::rest) has said.
    pub(super) fn finish(&mut self, mut out: &mut [f32]) {
        while !out.is_empty() {
            for channel in self.window.chunks_exact_mut(self.reach.window) {
                channel[self.filled..].fill(0.0);
            }
            out = self.convert(out);
        }
    }

    /// Adds frames to the window.
    fn fill(&mut self, samples: &[f32]) {
        let frames = samples.len() / self.channels;
        let places = self.filled..self.filled + frames;
        let channels = self.window.chunks_exact_mut(self.reach.window).enumerate();
        for (channel, window) in channels {
            let window = &mut window[places.clone()];
            if self.channels == 1 {
                window.copy_from_slice(samples);
                continue;
            }
            if self.channels == 2 {
                // A stride that the compiler knows can be taken several samples at a time.
                let (pairs, _) = samples.as_chunks::<2>();
                window.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[channel & 1]);
                continue;
            }
            let samples = samples[channel.min(samples.len())..].iter().step_by(self.channels);
            for (to, from) in window.iter_mut().zip(samples) {
                *to = *from;
            }
        }
        self.filled += frames;
    }

    /// Converts the window, keeps what the next one needs of it, and gives the part of `out` that has
    /// not been written.
    fn convert<'a>(&mut self, out: &'a mut [f32]) -> &'a mut [f32] {
        let Reach { hop, window: len, .. } = self.reach;
        let (hop_parts, step) = ((hop * self.ratio.target) as u64, self.ratio.source as u64);
        let frames = (hop_parts - self.phase).div_ceil(step);
        let samples = (frames as usize * self.channels).min(out.len());
        let (now, later) = out.split_at_mut(samples);
        match &mut self.engine {
            Engine::Blocks(blocks) => {
                for (channel, window) in self.window.chunks_exact(len).enumerate() {
                    let now = now.get_mut(channel..).unwrap_or_default();
                    blocks.convert(window, now, self.channels);
                }
            }
            Engine::Table(table) => {
                table.convert(&self.window, len, self.phase, now, self.channels);
            }
        }
        for window in self.window.chunks_exact_mut(len) {
            window.copy_within(hop.., 0);
        }
        self.filled = len - hop;
        self.phase = self.phase + frames * step - hop_parts;
        self.frames_out += (samples / self.channels) as u64;
        later
    }

    /// Frames of the result so far.
    pub(super) fn frames_out(&self) -> u64 {
        self.frames_out
    }

    /// Frames of the stream so far.
    pub(super) fn frames_in(&self) -> u64 {
        self.frames_in
    }

    /// Frames that the next `frames` ones complete.
    pub(super) fn ready(&self, frames: usize) -> u64 {
        let Reach { hop, window, .. } = self.reach;
        let Some(beyond) = (self.filled + frames).checked_sub(window) else { return 0 };
        let parts = ((beyond / hop + 1) * hop * self.ratio.target) as u64;
        (parts - self.phase).div_ceil(self.ratio.source as u64)
    }

    /// Frames that are missing to the exact length: to as many as begin before the end of the stream.
    pub(super) fn rest(&self) -> u64 {
        let parts = u128::from(self.frames_in) * self.ratio.target as u128;
        let total = parts.div_ceil(self.ratio.source as u128);
        u64::try_from(total).expect("at most 384 times as many") - self.frames_out
    }

    /// The frame of the stream in which a frame of the result begins, and how much later, in frames.
    pub(super) fn place(&self, frame: u64) -> (u64, f64) {
        let parts = u128::from(frame) * self.ratio.source as u128;
        let target = self.ratio.target as u128;
        let begin = u64::try_from(parts / target).expect("at most 384 times as many");
        (begin, (parts % target) as f64 / target as f64)
    }
}

/// Writes to every `channels`th place.
pub(super) fn interleave(samples: &[f32], out: &mut [f32], channels: usize) {
    if channels == 1 {
        out.copy_from_slice(&samples[..out.len()]);
        return;
    }
    for (to, from) in out.iter_mut().step_by(channels).zip(samples) {
        *to = *from;
    }
}
