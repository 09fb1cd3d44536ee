//! The samples of a stream that are held until it is known what they belong to.
//!
//! Main types: [`Held`], a window of the stream, and [`Gate`], which lets through what is speech and
//! makes silence of everything else. Neither decides what is speech.

use std::collections::VecDeque;

/// Samples of a stream, from one of them on.
#[derive(Default)]
pub(super) struct Held {
    samples: VecDeque<f32>,
    /// The number of the first of them in the stream.
    first: u64,
}

impl Held {
    /// Adds the next samples of the stream.
    pub(super) fn extend(&mut self, samples: &[f32]) {
        self.samples.extend(samples);
    }

    /// Drops the samples before this one.
    pub(super) fn forget_before(&mut self, sample: u64) {
        let count = usize::try_from(sample.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = count.min(self.samples.len());
        self.samples.drain(..count);
        self.first += count as u64;
    }

    /// Drops all, and goes on with this sample of the stream.
    pub(super) fn restart_at(&mut self, sample: u64) {
        self.samples.clear();
        self.first = sample;
    }

    /// Copies the samples from `start` on, which are held, to `target`.
    pub(super) fn copy_to(&self, start: u64, target: &mut [f32]) {
        let start = usize::try_from(start - self.first).expect("what is held fits in memory");
        let (front, back) = self.samples.as_slices();
        let from_front = front.len().saturating_sub(start).min(target.len());
        let (one, two) = target.split_at_mut(from_front);
        one.copy_from_slice(&front[front.len().min(start)..][..from_front]);
        let start = start.saturating_sub(front.len());
        two.copy_from_slice(&back[start..][..two.len()]);
    }
}

/// A part of the stream that is speech or is not, up to a sample.
#[derive(Clone, Copy)]
struct Part {
    is_speech: bool,
    end: u64,
}

/// Where the sound is let through.
///
/// The gain rises within the first samples of speech and falls within those behind it, both in a
/// straight line, so it needs to see nothing in advance.
pub(super) struct Gate {
    /// The sample that comes out next.
    next: u64,
    /// Where what is known ends, and the parts up to there.
    known: u64,
    parts: Vec<Part>,
    /// Samples from silence to full gain, and how many of them the gain has gone.
    fade: u32,
    level: u32,
}

impl Gate {
    /// A closed gate at the start of a stream.
    pub(super) fn new(fade: u32) -> Self {
        Self { next: 0, known: 0, parts: Vec::new(), fade, level: 0 }
    }

    /// Learns that what follows is speech, or is not, up to this sample.
    pub(super) fn learn(&mut self, is_speech: bool, end: u64) {
        if end <= self.known {
            return;
        }
        self.known = end;
        match self.parts.last_mut() {
            Some(last) if last.is_speech == is_speech => last.end = end,
            _ => self.parts.push(Part { is_speech, end }),
        }
    }

    /// Goes on with this sample of the stream; what was to come before is dropped.
    pub(super) fn restart_at(&mut self, sample: u64) {
        self.parts.clear();
        (self.next, self.known, self.level) = (sample, sample, 0);
    }

    /// How many samples can come out now.
    pub(super) fn ready(&self) -> usize {
        usize::try_from(self.known - self.next).expect("what is held fits in memory")
    }

    /// The sample that comes out next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Writes all samples that can come out.
    pub(super) fn write(&mut self, held: &Held, mut target: &mut [f32]) {
        for place in 0..self.parts.len() {
            let Part { is_speech, end } = self.parts[place];
            let length = usize::try_from(end - self.next).expect("what is held fits in memory");
            let (part, rest) = target.split_at_mut(length);
            target = rest;
            self.write_part(held, is_speech, part);
            self.next = end;
        }
        self.parts.clear();
    }

    fn write_part(&mut self, held: &Held, is_speech: bool, part: &mut [f32]) {
        let to_go = if is_speech { self.fade - self.level } else { self.level };
        let fading = part.len().min(to_go as usize);
        if is_speech {
            held.copy_to(self.next, part);
        } else {
            held.copy_to(self.next, &mut part[..fading]);
            part[fading..].fill(0.0);
        }
        for sample in &mut part[..fading] {
            if is_speech {
                self.level += 1;
            } else {
                self.level -= 1;
            }
            *sample *= self.level as f32 / self.fade as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(samples: &[f32]) -> Held {
        let mut held = Held::default();
        held.extend(samples);
        held
    }

    fn written(gate: &mut Gate, held: &Held) -> Vec<f32> {
        let mut target = vec![9.0; gate.ready()];
        gate.write(held, &mut target);
        target
    }

    #[test]
    fn the_gain_rises_within_speech_and_falls_behind_it() {
        let (mut gate, held) = (Gate::new(4), held(&[1.0; 20]));
        gate.learn(false, 2);
        gate.learn(true, 8);
        gate.learn(false, 14);
        let expected = [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0];
        assert_eq!(written(&mut gate, &held), expected);
        assert_eq!(gate.next(), 14);
    }

    #[test]
    fn speech_that_follows_at_once_goes_on_from_where_the_gain_is() {
        let (mut gate, held) = (Gate::new(4), held(&[1.0; 20]));
        gate.learn(true, 2);
        gate.learn(false, 3);
        assert_eq!(written(&mut gate, &held), [0.25, 0.5, 0.25]);
        gate.learn(true, 6);
        assert_eq!(written(&mut gate, &held), [0.5, 0.75, 1.0]);
        gate.learn(true, 7);
        assert_eq!(written(&mut gate, &held), [1.0]);
    }

    #[test]
    fn without_fades_the_samples_are_those_of_the_stream() {
        let (mut gate, held) = (Gate::new(0), held(&[1.0, f32::NAN, 3.0, 4.0]));
        gate.learn(true, 1);
        gate.learn(false, 2);
        gate.learn(true, 4);
        assert_eq!(written(&mut gate, &held), [1.0, 0.0, 3.0, 4.0]);
    }

    #[test]
    fn samples_are_found_wherever_they_lie_in_the_ring() {
        let mut held = Held::default();
        for round in 0..50_u16 {
            let samples: Vec<_> = (0..7).map(|n| f32::from(round * 7 + n)).collect();
            held.extend(&samples);
            let first = u64::from(round).saturating_sub(2) * 7 + 3;
            held.forget_before(first);
            let count = u64::from(round + 1) * 7 - first;
            for start in 0..count {
                let mut target = vec![0.0; usize::try_from(count - start).unwrap()];
                held.copy_to(first + start, &mut target);
                let expected: Vec<_> = (first + start..first + count).map(|n| n as f32).collect();
                assert_eq!(target, expected);
            }
        }
    }
}
