//! `ClippingDetectorNode`: finds samples that were cut off at full scale.
//!
//! Clipped is a run of at least `min_samples` samples of one channel whose magnitude is `level_db` or
//! more. For each interval of `interval_ms` that holds such samples there is one event: its
//! `start_ms` and `end_ms`, the number of `runs` that began to count in it, of `samples`, the same by
//! channel in `channels`, and in `positions` the first 64 runs: `channel`, `at_ms`, `samples`. A run
//! that is open at the end of an interval is told there as far as it goes, and the rest of its
//! samples in the next one; so all samples are counted once, and every run is counted once. How
//! events are given stands in `events.rs`.

use rm_core::ParameterKind::{Float, Integer};
use rm_core::{
    DataHeader, Node, NodeError, NodeRegistry, Output, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::{self, Events, Give, later, milliseconds};
use super::grid::Grid;
use super::level::{amplitude, magnitude};
use super::stream::{EXPECTED, admit};
use crate::define::{changed, define_with_formats, wrong};
use crate::input::{StreamFormat, audio, f32_samples};

/// Most runs whose place is told in one event.
const MAX_POSITIONS: usize = 64;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    level_db: f64,
    min_samples: u64,
    interval_ms: u32,
    output: Give,
}

#[derive(Serialize)]
struct Event<'a> {
    start_ms: f64,
    end_ms: f64,
    runs: u64,
    samples: u64,
    channels: &'a [Counts],
    positions: &'a [Position],
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Counts {
    runs: u64,
    samples: u64,
}

#[derive(Serialize)]
struct Position {
    channel: usize,
    at_ms: f64,
    samples: u64,
}

/// The samples at the end of a channel that may be a run.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    samples: u64,
    /// How many of them have been told.
    told: u64,
}

struct Stream {
    format: StreamFormat,
    level: f32,
    min_samples: u64,
    intervals: Grid,
    /// Intervals that are over.
    over: u64,
    taken: u64,
    runs: Vec<Run>,
    counts: Vec<Counts>,
    positions: Vec<Position>,
    /// Header for what begins with the open interval.
    begin: Option<DataHeader>,
}

impl Stream {
    fn new(format: StreamFormat, params: &Params) -> Self {
        let channels = usize::from(format.channels);
        Self {
            format,
            level: amplitude(params.level_db) as f32,
            min_samples: params.min_samples,
            intervals: Grid::every_ms(params.interval_ms, format.sample_rate),
            over: 0,
            taken: 0,
            runs: vec![Run::default(); channels],
            counts: vec![Counts::default(); channels],
            positions: Vec::with_capacity(MAX_POSITIONS),
            begin: None,
        }
    }

    fn push(
        &mut self,
        mut samples: &[f32],
        header: &DataHeader,
        events: &mut Events,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let (channels, first) = (self.runs.len(), self.taken);
        while !samples.is_empty() {
            let begin = || later(header, self.taken - first, self.format.sample_rate);
            self.begin.get_or_insert_with(begin);
            let end = self.intervals.at(self.over + 1);
            let free = (end - self.taken) as usize * channels;
            let (now, later) = samples.split_at(samples.len().min(free));
            self.search(now);
            self.taken += (now.len() / channels) as u64;
            samples = later;
            if self.taken == end {
                self.end_interval(events, output)?;
            }
        }
        Ok(())
    }

    fn search(&mut self, samples: &[f32]) {
        // Most audio is nowhere near. NaN counts as no level, but hides the others.
        let magnitude = magnitude(samples);
        if magnitude < self.level && self.runs.iter().all(|run| run.samples == 0) {
            return;
        }
        // In the order of time, so that the order of the positions does not depend on the cut.
        for (frame, samples) in (self.taken..).zip(samples.chunks_exact(self.runs.len())) {
            for (channel, sample) in samples.iter().enumerate() {
                if sample.abs() >= self.level {
                    self.runs[channel].samples += 1;
                } else if self.runs[channel].samples > 0 {
                    self.tell_run(channel, frame);
                    self.runs[channel] = Run::default();
                }
            }
        }
    }

    /// Adds what has not been told of the run of a channel that goes up to a frame.
    fn tell_run(&mut self, channel: usize, end: u64) {
        let run = &mut self.runs[channel];
        let samples = run.samples - run.told;
        if run.samples < self.min_samples || samples == 0 {
            return;
        }
        let counts = &mut self.counts[channel];
        counts.runs += u64::from(run.told == 0);
        counts.samples += samples;
        run.told = run.samples;
        if self.positions.len() < MAX_POSITIONS {
            let at_ms = milliseconds(end - samples, self.format.sample_rate);
            self.positions.push(Position { channel, at_ms, samples });
        }
    }

    /// Gives what the interval holds that ends here.
    fn end_interval(&mut self, events: &mut Events, output: &mut Output) -> Result<(), NodeError> {
        for channel in 0..self.runs.len() {
            self.tell_run(channel, self.taken);
        }
        let start = self.intervals.at(self.over);
        self.over += 1;
        let samples = self.counts.iter().map(|counts| counts.samples).sum();
        if let Some(header) = self.begin.take().filter(|_| samples > 0) {
            let rate = self.format.sample_rate;
            let event = Event {
                start_ms: milliseconds(start, rate),
                end_ms: milliseconds(self.taken, rate),
                runs: self.counts.iter().map(|counts| counts.runs).sum(),
                samples,
                channels: &self.counts,
                positions: &self.positions,
            };
            events.give(&event, &header, output)?;
            self.counts.fill(Counts::default());
            self.positions.clear();
        }
        Ok(())
    }
}

struct ClippingDetector {
    params: Params,
    stream: Option<Stream>,
    events: Events,
}

impl Node for ClippingDetector {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, EXPECTED)?;
        let samples = f32_samples(&view)?;
        let format = admit(self.stream.as_ref().map(|stream| stream.format), &view)?;
        let stream = self.stream.get_or_insert_with(|| Stream::new(format, &self.params));
        stream.push(&samples, input.header(), &mut self.events, output)?;
        drop(samples);
        self.events.pass(input, output);
        Ok(())
    }

    fn set_params(&mut self, change: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, change)?;
        let old = &self.params;
        let fixed = [
            ("interval_ms", params.interval_ms == old.interval_ms),
            ("output", params.output == old.output),
        ];
        if let Some((name, _)) = fixed.iter().find(|(_, is_same)| !is_same) {
            return Err(wrong(name, &change[*name], "what it was; it cannot change in a stream"));
        }
        if let Some(stream) = &mut self.stream {
            stream.level = amplitude(params.level_db) as f32;
            stream.min_samples = params.min_samples;
        }
        self.params = params;
        Ok(())
    }

    fn flush(&mut self) {
        self.stream = None;
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        match self.stream.take() {
            Some(mut stream) if stream.taken > stream.intervals.at(stream.over) => {
                stream.end_interval(&mut self.events, output)
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = events::metadata(
        "ClippingDetectorNode",
        "finds runs of samples at full scale",
        vec![
            ParameterSpec::optional(
                "level_db",
                Float,
                -0.1,
                "magnitude from which on a sample may be clipped; 0 is full scale",
            )
            .range(-60.0, 20.0)
            .unit("dB"),
            ParameterSpec::optional(
                "min_samples",
                Integer,
                3,
                "how many such samples in a row of one channel are a clipping",
            )
            .range(1.0, 1_000_000.0),
            ParameterSpec::optional(
                "interval_ms",
                Integer,
                100,
                "time of which the findings make one event",
            )
            .range(1.0, 3_600_000.0)
            .unit("ms"),
        ],
    );
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| events::formats(params.output),
        |params: Params, _| {
            let events = Events::new(params.output);
            Ok(ClippingDetector { params, stream: None, events })
        },
    )
}

#[cfg(test)]
mod tests;
