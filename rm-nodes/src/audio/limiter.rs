//! `LimiterNode`: holds audio below a ceiling, and touches nothing that is below it.
//!
//! A look-ahead limiter of sample peaks after Geraint Luff, "Designing a straightforward limiter"
//! (Signalsmith, 2022): the factor that each frame needs, its least value over the look-ahead, an
//! exponential release, and the mean over the look-ahead. The least value is there before the peak
//! is, so the mean has come down to it when the peak comes: no sample is above the ceiling. Factors
//! are whole numbers of 2^-32, so sums are exact, and where nothing is above the ceiling the factor
//! is 1 and samples stay as they are, bit by bit.
//!
//! All channels of a frame get the same factor. The delay of the look-ahead is taken out: output
//! has the times and the length of the input, and the tail that is held back comes with the end.
//! Samples that are not finite become 0. Peaks between samples may be above the ceiling (see
//! `true_peak_db` of the LevelMeterNode): leave them room.

use std::collections::VecDeque;

use rm_core::{
    DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind,
    ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grid::Grid;
use super::level::{amplitude, magnitude};
use super::stream::{EXPECTED, admit, finite, stream_formats};
use crate::define::{changed, define_with_formats, wrong};
use crate::input::{StreamFormat, audio, f32_samples};
use crate::pool::Pool;
use crate::stamps::Stamps;

/// The factor 1.
const ONE: u64 = 1 << 32;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    ceiling_db: f64,
    lookahead_ms: f64,
    release_ms: f64,
}

/// Makes factors from peaks, one behind the other; a factor is for the frame that came
/// `window - 1` frames before.
struct Envelope {
    ceiling: f32,
    /// Part of the way back to 1 that is gone in one frame.
    release: u64,
    /// Frames over which the least is taken, and the mean.
    window: u64,
    /// Factors below 1 that may be the least: number of the frame, and factor; rising from the front.
    least: VecDeque<(u64, u64)>,
    frame: u64,
    released: u64,
    /// The last `window` released factors, the oldest at `place`, and their sum.
    recent: Vec<u64>,
    place: usize,
    sum: u64,
    /// What makes a factor of the sum.
    scale: f64,
}

impl Envelope {
    fn new(params: &Params, sample_rate: u32) -> Self {
        let window = lookahead_frames(params, sample_rate) + 1;
        let len = usize::try_from(window).expect("at most 100 ms at 384 kHz");
        let mut envelope = Self {
            ceiling: 0.0,
            release: 0,
            window,
            least: VecDeque::with_capacity(len + 1),
            frame: 0,
            released: ONE,
            recent: vec![ONE; len],
            place: 0,
            sum: window * ONE,
            scale: 1.0 / (window * ONE) as f64,
        };
        envelope.change(params, sample_rate);
        envelope
    }

    fn change(&mut self, params: &Params, sample_rate: u32) {
        self.ceiling = amplitude(params.ceiling_db) as f32;
        let frames = params.release_ms / 1000.0 * f64::from(sample_rate);
        self.release = (-(-1.0 / frames).exp_m1() * ONE as f64) as u64;
    }

    /// Whether the factor has been 1 for so long that it stays so until a peak comes.
    fn is_idle(&self) -> bool {
        self.sum == self.window * ONE
    }

    /// The factor after the next frame, whose largest magnitude is `peak`.
    fn next(&mut self, peak: f32) -> f64 {
        if peak > self.ceiling {
            // Rounded down, as everything here.
            let needed = (f64::from(self.ceiling) / f64::from(peak) * ONE as f64) as u64;
            while self.least.back().is_some_and(|(_, factor)| *factor >= needed) {
                self.least.pop_back();
            }
            self.least.push_back((self.frame, needed));
        }
        if self.least.front().is_some_and(|(frame, _)| frame + self.window <= self.frame) {
            self.least.pop_front();
        }
        let least = self.least.front().map_or(ONE, |(_, factor)| *factor);
        // At least one step, so that it comes to its end.
        let step = (((ONE - self.released) * self.release) >> 32).max(1);
        self.released = (self.released + step).min(least);
        self.sum = self.sum + self.released - self.recent[self.place];
        self.recent[self.place] = self.released;
        self.place = if self.place + 1 == self.recent.len() { 0 } else { self.place + 1 };
        self.frame += 1;
        if self.is_idle() { 1.0 } else { self.sum as f64 * self.scale }
    }
}

fn lookahead_frames(params: &Params, sample_rate: u32) -> u64 {
    Grid::every_us((params.lookahead_ms * 1000.0).round() as u64, sample_rate).at(1)
}

struct Stream {
    format: StreamFormat,
    channels: usize,
    envelope: Envelope,
    /// The latest samples, which wait for their factors: `keep` once so many have come.
    held: Vec<f32>,
    keep: usize,
    /// Frames given so far.
    given: u64,
    stamps: Stamps,
    /// Factors of the frames of one item.
    factors: Vec<f64>,
}

impl Stream {
    fn new(format: StreamFormat, params: &Params) -> Self {
        let channels = usize::from(format.channels);
        let envelope = Envelope::new(params, format.sample_rate);
        Self {
            keep: (envelope.recent.len() - 1) * channels,
            format,
            channels,
            envelope,
            held: Vec::new(),
            given: 0,
            stamps: Stamps::default(),
            factors: Vec::new(),
        }
    }

    /// Takes the next samples and gives those whose look-ahead is over. Without samples it gives the
    /// rest.
    fn push(&mut self, samples: &[f32], pool: &mut Pool) -> Result<Option<RuntimeData>, NodeError> {
        let ending = samples.is_empty();
        let keep = if ending { 0 } else { self.keep };
        let Some(len) = (self.held.len() + samples.len()).checked_sub(keep).filter(|n| *n > 0)
        else {
            self.follow(samples);
            self.held.extend_from_slice(samples);
            return Ok(None);
        };
        let mut buffer = pool.take(len * size_of::<f32>());
        let out: &mut [f32] = buffer.samples();
        let from_held = len.min(self.held.len());
        let (first, second) = out.split_at_mut(from_held);
        first.copy_from_slice(&self.held[..from_held]);
        let (now, later) = samples.split_at(second.len());
        second.copy_from_slice(now);
        self.held.drain(..from_held);
        self.held.extend_from_slice(later);
        if ending {
            let frames = self.envelope.window - 1;
            self.factors.clear();
            self.factors.extend((0..frames).map(|_| self.envelope.next(0.0)));
        } else {
            self.follow(samples);
        }
        // Factors of the frames that came last are for those that are given now; there are none
        // where all of them are 1.
        if let Some(first) = self.factors.len().checked_sub(len / self.channels) {
            let frames = out.chunks_exact_mut(self.channels);
            for (frame, factor) in frames.zip(&self.factors[first..]) {
                for sample in frame {
                    *sample = (f64::from(*sample) * factor) as f32;
                }
            }
        }
        let StreamFormat { sample_rate, channels, format } = self.format;
        let header = self.stamps.at(self.given, sample_rate);
        let header = header.expect("the input that the frame came from was noted");
        let item = RuntimeData::audio(pool.seal(buffer), sample_rate, channels, format)?;
        self.given += (len / self.channels) as u64;
        self.stamps.forget_before(self.given);
        Ok(Some(item.made_from(&header)))
    }

    /// Finds the factors after each of these frames; none where all are 1.
    fn follow(&mut self, samples: &[f32]) {
        self.factors.clear();
        if self.envelope.is_idle() && magnitude(samples) <= self.envelope.ceiling {
            return;
        }
        let frames = samples.chunks_exact(self.channels);
        self.factors.extend(frames.map(|frame| self.envelope.next(magnitude(frame))));
    }

    fn taken(&self) -> u64 {
        self.given + (self.held.len() / self.channels) as u64
    }
}

struct Limiter {
    params: Params,
    stream: Option<Stream>,
    pool: Pool,
    scratch: Vec<f32>,
}

impl Node for Limiter {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, EXPECTED)?;
        let samples = f32_samples(&view)?;
        let format = admit(self.stream.as_ref().map(|stream| stream.format), &view)?;
        let stream = self.stream.get_or_insert_with(|| Stream::new(format, &self.params));
        if samples.is_empty() {
            return Ok(());
        }
        stream.stamps.note(stream.taken(), input.header());
        let samples = finite(&samples, &mut self.scratch);
        if let Some(item) = stream.push(samples, &mut self.pool)? {
            output.push(item);
        }
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, params)?;
        if params.lookahead_ms != self.params.lookahead_ms {
            let expected = format!("{} as before; it is a delay", self.params.lookahead_ms);
            return Err(wrong("lookahead_ms", params.lookahead_ms, expected));
        }
        if let Some(stream) = &mut self.stream {
            stream.envelope.change(&params, stream.format.sample_rate);
        }
        self.params = params;
        Ok(())
    }

    fn flush(&mut self) {
        if let Some(stream) = &mut self.stream {
            *stream = Stream::new(stream.format, &self.params);
        }
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        if let Some(mut stream) = self.stream.take()
            && let Some(rest) = stream.push(&[], &mut self.pool)?
        {
            output.push(rest);
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let float = |name, default: f64, min, max, unit, description| {
        ParameterSpec::optional(name, ParameterKind::Float, default, description)
            .range(min, max)
            .unit(unit)
    };
    let metadata = NodeMetadata {
        name: "LimiterNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "keeps every sample at or below a ceiling, with look-ahead and without delay \
                      in the result"
            .to_owned(),
        parameters: vec![
            float("ceiling_db", -1.0, -60.0, 0.0, "dB", "highest level of a sample"),
            float(
                "lookahead_ms",
                5.0,
                0.0,
                100.0,
                "ms",
                "how long before a peak the level begins to fall; so much audio is held back",
            ),
            float(
                "release_ms",
                50.0,
                1.0,
                10_000.0,
                "ms",
                "how fast the level recovers: the time in which 63 % of the way is gone",
            ),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |_: &Params, _| NodeFormats::takes([stream_formats()]),
        |params: Params, _| {
            Ok(Limiter { params, stream: None, pool: Pool::default(), scratch: Vec::new() })
        },
    )
}

#[cfg(test)]
mod tests;
