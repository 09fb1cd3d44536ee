//! What one input of a mixer has given and has not been mixed yet.
//!
//! Main type: [`Track`]. It knows places, counted in frames, and no times; it does not decide where
//! samples lie or what is waited for.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

/// Frames that follow one another without a gap.
struct Piece {
    start: i64,
    frames: usize,
}

/// One input.
pub(super) struct Track {
    from: String,
    port: String,
    /// The factor now, and the one after the next block.
    factor: f32,
    wanted: f32,
    /// Interleaved samples of the pieces, one after another.
    samples: VecDeque<f32>,
    pieces: VecDeque<Piece>,
    end: Option<i64>,
    given: Instant,
    is_awaited: bool,
}

impl Track {
    pub(super) fn new(from: &str, port: &str, factor: f32) -> Self {
        Self {
            from: from.to_owned(),
            port: port.to_owned(),
            factor,
            wanted: factor,
            samples: VecDeque::new(),
            pieces: VecDeque::new(),
            end: None,
            given: Instant::now(),
            is_awaited: true,
        }
    }

    /// Holds samples that begin at a place, which is not before the end of what is held. The item
    /// that they are of ends at `end`.
    pub(super) fn hold(&mut self, start: i64, samples: &[f32], channels: usize, end: i64) {
        (self.given, self.is_awaited) = (Instant::now(), true);
        self.end = self.end.max(Some(end));
        let frames = samples.len() / channels;
        if frames == 0 {
            return;
        }
        self.samples.extend(samples);
        match self.pieces.back_mut() {
            Some(last) if last.start + last.frames as i64 == start => last.frames += frames,
            _ => self.pieces.push_back(Piece { start, frames }),
        }
    }

    /// Adds what lies at `start` and behind to `out`, as far as that goes, and holds it no more.
    pub(super) fn mix(&mut self, start: i64, out: &mut [f32], channels: usize) {
        let block = out.len() / channels;
        while let Some(piece) = self.pieces.front_mut() {
            let Ok(offset) = usize::try_from(piece.start - start) else {
                unreachable!("what lies before a block is dropped when it comes");
            };
            if offset >= block {
                break;
            }
            let frames = piece.frames.min(block - offset);
            let ramp = Ramp { from: self.factor, to: self.wanted, frames: block };
            let out = &mut out[offset * channels..][..frames * channels];
            let (first, second) = self.samples.as_slices();
            let first = &first[..first.len().min(out.len())];
            let (out_first, out_second) = out.split_at_mut(first.len());
            // The seam of the two may lie within a frame.
            ramp.add(first, out_first, offset * channels, channels);
            let second = &second[..out_second.len()];
            ramp.add(second, out_second, offset * channels + first.len(), channels);
            self.samples.drain(..frames * channels);
            piece.start += frames as i64;
            piece.frames -= frames;
            if piece.frames == 0 {
                self.pieces.pop_front();
            }
        }
        self.factor = self.wanted;
    }

    /// Changes the factor in the course of the next block.
    pub(super) fn change_gain(&mut self, factor: f32) {
        self.wanted = factor;
    }

    /// Stops waiting for it until it gives again.
    pub(super) fn give_up(&mut self) {
        self.is_awaited = false;
    }

    /// Drops what is held, and begins anew.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
        self.pieces.clear();
        self.end = None;
    }

    /// The node that it comes from and the port that it comes to.
    pub(super) fn name(&self) -> (&str, &str) {
        (&self.from, &self.port)
    }

    /// The place of the first frame that is held.
    pub(super) fn start(&self) -> Option<i64> {
        self.pieces.front().map(|piece| piece.start)
    }

    /// The place behind the last frame that has come.
    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    /// What is held, in samples: a piece takes the memory of four.
    pub(super) fn held(&self) -> usize {
        self.samples.len() + 4 * self.pieces.len()
    }

    /// Since when it is waited for, where the mix waits since then: not before its last item.
    pub(super) fn awaited_since(&self, waiting: Option<Instant>) -> Instant {
        waiting.map_or(self.given, |since| since.max(self.given))
    }

    /// Whether there is waiting for it where there is for inputs that end in this range.
    pub(super) fn is_late(&self, ends: &Range<i64>) -> bool {
        self.is_awaited && self.end.is_none_or(|end| ends.contains(&end))
    }
}

/// A factor that changes over the frames of a block.
struct Ramp {
    from: f32,
    to: f32,
    frames: usize,
}

impl Ramp {
    /// Adds samples that lie so many samples behind the start of the block.
    fn add(&self, samples: &[f32], out: &mut [f32], offset: usize, channels: usize) {
        let factor = self.to;
        if self.from == factor {
            for (out, sample) in out.iter_mut().zip(samples) {
                *out += sample * factor;
            }
            return;
        }
        for (index, (out, sample)) in out.iter_mut().zip(samples).enumerate() {
            let frame = (offset + index) / channels + 1;
            let part = frame as f32 / self.frames as f32;
            *out += sample * (self.from + (factor - self.from) * part);
        }
    }
}
