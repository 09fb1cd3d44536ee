//! A conversion that is more than one format for another: channels, layout, dither.
//!
//! Main type: [`Stages`]. It works on pieces of the audio that fit the processor's nearest memory, by
//! stages: the format, in which the arithmetic is done; the arithmetic; the format that is wanted; and
//! the place of each sample. What a plain change of format is, `sample.rs` does at once.

use rm_core::AudioFormat;
use zerocopy::IntoBytes;

use super::dither::Dither;
use crate::audio::sample::{bits, convert, samples, samples_mut};

/// Samples of one piece, where a frame does not have more.
const PIECE: usize = 2_048;

/// What becomes of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChannelChange {
    /// They stay.
    Keep,
    /// One channel: the mean of all.
    Mean,
    /// So many copies of the only one.
    Duplicate(usize),
}

/// What a conversion has to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) frames: usize,
    /// Channels of the source.
    pub(super) channels: usize,
    pub(super) change: ChannelChange,
    pub(super) from: AudioFormat,
    pub(super) to: AudioFormat,
    pub(super) from_planar: bool,
    pub(super) to_planar: bool,
    /// Noise to be added before rounding, and the number of the first frame in the stream.
    pub(super) dither: Option<(Dither, u64)>,
}

impl Task {
    /// Channels of the target.
    pub(super) fn channels_out(&self) -> usize {
        match self.change {
            ChannelChange::Keep => self.channels,
            ChannelChange::Mean => 1,
            ChannelChange::Duplicate(channels) => channels,
        }
    }

    /// The format in which the arithmetic is done: one that holds every sample exactly.
    fn inner(&self) -> AudioFormat {
        let has_arithmetic = self.dither.is_some() || self.change == ChannelChange::Mean;
        if has_arithmetic { AudioFormat::F64 } else { self.to }
    }
}

/// Memory for the stages of one piece.
#[derive(Default)]
pub(super) struct Stages {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Stages {
    /// Writes what the task makes of `input`. Both have exactly the lengths that it says.
    pub(super) fn run(&mut self, task: &Task, input: &[u8], output: &mut [u8]) {
        let piece = (PIECE / task.channels).max(1);
        let len = piece.min(task.frames) * task.channels;
        for memory in [&mut self.first, &mut self.second] {
            if memory.len() < len {
                memory.resize(len, 0.0);
            }
        }
        for begin in (0..task.frames).step_by(piece) {
            let frames = piece.min(task.frames - begin);
            self.load(task, input, begin, frames);
            let channels = if task.change == ChannelChange::Mean { 1 } else { task.channels };
            if task.inner() == AudioFormat::F64 {
                self.compute(task, begin, frames);
            }
            let size = task.to.bytes_per_sample();
            let inner_len = frames * channels * task.inner().bytes_per_sample();
            let inner = (&self.first.as_bytes()[..inner_len], task.inner());
            let is_in_place = channels == task.channels_out()
                && (channels == 1 || !task.from_planar && !task.to_planar);
            if is_in_place {
                let wanted = begin * channels * size..(begin + frames) * channels * size;
                convert(inner, (&mut output[wanted], task.to));
                continue;
            }
            let wanted = &mut self.second.as_mut_bytes()[..frames * channels * size];
            convert(inner, (wanted, task.to));
            match size {
                1 => self.place::<1>(task, output, begin, frames, channels),
                2 => self.place::<2>(task, output, begin, frames, channels),
                3 => self.place::<3>(task, output, begin, frames, channels),
                4 => self.place::<4>(task, output, begin, frames, channels),
                _ => self.place::<8>(task, output, begin, frames, channels),
            }
        }
    }

    /// The piece in the inner format, in its own layout.
    fn load(&mut self, task: &Task, input: &[u8], begin: usize, frames: usize) {
        let (size, inner) = (task.from.bytes_per_sample(), task.inner());
        let inner_size = inner.bytes_per_sample();
        let runs = if task.from_planar { task.channels } else { 1 };
        let per_run = task.channels / runs;
        for run in 0..runs {
            let from = (run * task.frames + begin) * per_run * size;
            let to = run * frames * inner_size;
            let (len, inner_len) = (frames * per_run * size, frames * per_run * inner_size);
            let target = &mut self.first.as_mut_bytes()[to..to + inner_len];
            convert((&input[from..from + len], task.from), (target, inner));
        }
    }

    /// Mean and noise, in the first memory.
    fn compute(&mut self, task: &Task, begin: usize, frames: usize) {
        let values = &self.first[..frames * task.channels];
        let mut channels = task.channels;
        if task.change == ChannelChange::Mean {
            mean(values, &mut self.second[..frames], task.from_planar);
            std::mem::swap(&mut self.first, &mut self.second);
            channels = 1;
        }
        let Some((dither, first)) = task.dither else { return };
        let step = f64::powi(2.0, 1 - bits(task.to) as i32);
        let (first, channels) = (first + begin as u64, channels as u64);
        let values = &mut self.first[..frames * channels as usize];
        if task.from_planar {
            for (channel, plane) in values.chunks_exact_mut(frames).enumerate() {
                dither.add(plane, step, first * channels + channel as u64, channels);
            }
        } else {
            dither.add(values, step, first * channels, 1);
        }
    }

    /// Puts the samples of the second memory where they belong.
    fn place<const N: usize>(
        &self,
        task: &Task,
        output: &mut [u8],
        begin: usize,
        frames: usize,
        channels: usize,
    ) {
        let piece: &[[u8; N]] = samples(&self.second.as_bytes()[..frames * channels * N]);
        let output: &mut [[u8; N]] = samples_mut(output);
        let out_channels = task.channels_out();
        let source = |channel: usize| {
            // All copies come from the only channel.
            let channel = channel.min(channels - 1);
            let (first, step) = match task.from_planar {
                true => (channel * frames, 1),
                false => (channel, channels),
            };
            piece[first..].iter().step_by(step)
        };
        if task.to_planar {
            for (channel, plane) in output.chunks_exact_mut(task.frames).enumerate() {
                copy(source(channel), plane[begin..begin + frames].iter_mut());
            }
        } else {
            let output = &mut output[begin * out_channels..][..frames * out_channels];
            for channel in 0..out_channels {
                copy(source(channel), output[channel..].iter_mut().step_by(out_channels));
            }
        }
    }
}

/// The mean of the channels of each frame.
fn mean(values: &[f64], means: &mut [f64], is_planar: bool) {
    let (frames, channels) = (means.len(), values.len() / means.len());
    if is_planar {
        means.copy_from_slice(&values[..frames]);
        for plane in values[frames..].chunks_exact(frames) {
            means.iter_mut().zip(plane).for_each(|(sum, value)| *sum += value);
        }
        means.iter_mut().for_each(|sum| *sum /= channels as f64);
    } else if channels == 2 {
        let pairs = values.as_chunks::<2>().0;
        means.iter_mut().zip(pairs).for_each(|(mean, [left, right])| *mean = (left + right) / 2.0);
    } else {
        for (mean, frame) in means.iter_mut().zip(values.chunks_exact(channels)) {
            *mean = frame.iter().sum::<f64>() / channels as f64;
        }
    }
}

fn copy<'a, T: Copy + 'a>(from: impl Iterator<Item = &'a T>, to: impl Iterator<Item = &'a mut T>) {
    for (to, from) in to.zip(from) {
        *to = *from;
    }
}
