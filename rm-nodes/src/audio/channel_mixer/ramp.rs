//! The mixing itself, with gains that change without a click.
//!
//! Main type: [`Ramp`]. Where its gains come from is not decided here.

use super::matrix::Matrix;

/// What one output channel gets of one input channel, before and after a change.
#[derive(Debug, Clone, Copy)]
struct Term {
    input: usize,
    from: f32,
    to: f32,
}

/// A matrix, and the one before, from which it is still on its way.
pub(super) struct Ramp {
    now: Matrix,
    /// The terms of all output channels one after another, without those that are 0: silence does not
    /// become NaN because of another channel.
    terms: Vec<Term>,
    /// Where the terms of each output channel end.
    ends: Vec<usize>,
    /// Frames since the change, and frames that it takes; the same when it is over.
    done: u64,
    frames: u64,
}

impl Ramp {
    /// A matrix that does not change.
    pub(super) fn new(matrix: Matrix) -> Self {
        let mut ramp =
            Self { now: matrix.clone(), terms: Vec::new(), ends: Vec::new(), done: 0, frames: 0 };
        ramp.change(matrix, 0);
        ramp
    }

    /// Goes from the gains that it has now to others of the same dimensions within so many frames.
    pub(super) fn change(&mut self, to: Matrix, frames: u64) {
        let part = self.part();
        let mut from = vec![0.0; to.gains.len()];
        let mut begin = 0;
        for (row, end) in from.chunks_exact_mut(to.inputs).zip(&self.ends) {
            for term in &self.terms[begin..*end] {
                row[term.input] = term.at(part);
            }
            begin = *end;
        }
        if frames == 0 {
            from.clone_from(&to.gains);
        }
        self.terms.clear();
        self.ends.clear();
        for (from, to) in from.chunks_exact(to.inputs).zip(to.gains.chunks_exact(to.inputs)) {
            let pairs = from.iter().zip(to).enumerate();
            let terms = pairs.map(|(input, (from, to))| Term { input, from: *from, to: *to });
            self.terms.extend(terms.filter(|term| (term.from, term.to) != (0.0, 0.0)));
            self.ends.push(self.terms.len());
        }
        (self.now, self.done, self.frames) = (to, 0, frames);
    }

    /// Mixes interleaved frames; both have as many of them.
    pub(super) fn mix(&mut self, input: &[f32], output: &mut [f32]) {
        let (inputs, outputs) = (self.now.inputs, self.ends.len());
        let frames = input.len() / inputs;
        let changing = usize::try_from(self.frames - self.done).map_or(frames, |n| n.min(frames));
        for frame in 0..changing {
            self.done += 1;
            let part = self.part();
            let (input, output) = (&input[frame * inputs..], &mut output[frame * outputs..]);
            self.mix_steady(&input[..inputs], &mut output[..outputs], |term| term.at(part));
        }
        if changing > 0 && self.done == self.frames {
            self.change(self.now.clone(), 0);
        }
        let (input, output) = (&input[changing * inputs..], &mut output[changing * outputs..]);
        self.mix_steady(input, output, |term| term.to);
    }

    fn mix_steady(&self, input: &[f32], output: &mut [f32], gain: impl Fn(&Term) -> f32) {
        let (inputs, outputs) = (self.now.inputs, self.ends.len());
        let mut begin = 0;
        for (channel, end) in self.ends.iter().enumerate() {
            let first_place = channel.min(output.len());
            let output = &mut output[first_place..];
            let Some((first, others)) = self.terms[begin..*end].split_first() else {
                output.iter_mut().step_by(outputs).for_each(|sample| *sample = 0.0);
                continue;
            };
            begin = *end;
            let of = |term: &Term| input[term.input.min(input.len())..].iter().step_by(inputs);
            let factor = gain(first);
            for (to, from) in output.iter_mut().step_by(outputs).zip(of(first)) {
                *to = factor * from;
            }
            for term in others {
                let factor = gain(term);
                for (to, from) in output.iter_mut().step_by(outputs).zip(of(term)) {
                    *to += factor * from;
                }
            }
        }
    }

    /// How much of the change is done, from 0 to 1.
    fn part(&self) -> f32 {
        if self.done == self.frames { 1.0 } else { self.done as f32 / self.frames as f32 }
    }

    /// Whether what comes out is what comes in, and stays so.
    pub(super) fn is_identity(&self) -> bool {
        self.done == self.frames && self.now.is_identity()
    }

    /// Channels that come out.
    pub(super) fn outputs(&self) -> usize {
        self.ends.len()
    }
}

impl Term {
    fn at(&self, part: f32) -> f32 {
        self.from + (self.to - self.from) * part
    }
}
