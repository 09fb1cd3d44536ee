//! `SilenceDetectorNode`: says where audio falls silent and where it sounds again.
//!
//! The level is the RMS of the loudest channel over windows of `window_ms`, which are counted from
//! the start of the stream. A window below the threshold is quiet, and quiet stays until one reaches
//! the threshold and the hysteresis above it. Quiet that lasts for `min_silence_ms` is a silence:
//! `{"silence": true, "at_ms": …, "duration_ms": …}` says where it began and how long the sound
//! before it was, `{"silence": false, …}` where it ended and how long it was. A silence that is open
//! at the end of the stream ends there. How events are given stands in `events.rs`.

use rm_core::ParameterKind::{Float, Integer};
use rm_core::{
    DataHeader, Node, NodeError, NodeRegistry, Output, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::{self, Events, Give, later, milliseconds};
use super::grid::Grid;
use super::level::{add_squares, amplitude};
use super::stream::{EXPECTED, admit};
use crate::define::{changed, define_with_formats, wrong};
use crate::input::{StreamFormat, audio, f32_samples};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    threshold_db: f64,
    hysteresis_db: f64,
    min_silence_ms: u32,
    window_ms: u32,
    output: Give,
}

impl Params {
    /// The power below which a window is quiet, and that from which on it sounds.
    fn powers(&self) -> (f64, f64) {
        let power = |db: f64| amplitude(db).powi(2);
        (power(self.threshold_db), power(self.threshold_db + self.hysteresis_db))
    }
}

#[derive(Serialize)]
struct Event {
    silence: bool,
    at_ms: f64,
    duration_ms: f64,
}

/// Whether it sounds.
enum State {
    Sound,
    /// Quiet since a frame, whose header it is, not yet for long enough.
    Quiet(u64, DataHeader),
    Silence,
}

struct Stream {
    format: StreamFormat,
    windows: Grid,
    /// Windows judged so far, and the place at which the next one ends.
    judged: u64,
    window_end: u64,
    taken: u64,
    /// Sums of squares of the open window, by channel.
    sums: Vec<f64>,
    state: State,
    /// Where the sound or the silence that was told last began.
    since: u64,
    /// Where the latest window begins, and the header for what begins there.
    window: Option<(u64, DataHeader)>,
}

impl Stream {
    fn new(format: StreamFormat, params: &Params) -> Self {
        let windows = Grid::every_ms(params.window_ms, format.sample_rate);
        Self {
            format,
            windows,
            judged: 0,
            window_end: windows.at(1),
            taken: 0,
            sums: vec![0.0; usize::from(format.channels)],
            state: State::Sound,
            since: 0,
            window: None,
        }
    }

    fn push(
        &mut self,
        mut samples: &[f32],
        header: &DataHeader,
        params: &Params,
        (events, output): (&mut Events, &mut Output),
    ) -> Result<(), NodeError> {
        let (channels, first) = (self.sums.len(), self.taken);
        while !samples.is_empty() {
            if self.taken == self.windows.at(self.judged) {
                let header = later(header, self.taken - first, self.format.sample_rate);
                self.window = Some((self.taken, header));
            }
            let free = (self.window_end - self.taken) as usize * channels;
            let (now, later) = samples.split_at(samples.len().min(free));
            add_squares(now, &mut self.sums);
            self.taken += (now.len() / channels) as u64;
            samples = later;
            if self.taken == self.window_end {
                self.judge(params, events, output)?;
            }
        }
        Ok(())
    }

    /// Judges the window that ends here.
    fn judge(
        &mut self,
        params: &Params,
        events: &mut Events,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let Some((start, header)) = self.window.clone() else {
            return Ok(());
        };
        self.judged += 1;
        self.window_end = self.windows.at(self.judged + 1);
        let loudest = self.sums.iter().fold(0.0, |most: f64, sum| most.max(*sum));
        // What is not a number says nothing of the level.
        let known = !self.sums.iter().any(|sum| sum.is_nan());
        self.sums.fill(0.0);
        let power = loudest / (self.taken - start) as f64;
        let (quiet_below, sound_from) = params.powers();
        let (quiet, sounds) = (known && power < quiet_below, known && power >= sound_from);
        match &self.state {
            State::Sound if quiet => self.state = State::Quiet(start, header),
            State::Quiet(..) if sounds => self.state = State::Sound,
            State::Silence if sounds => {
                self.tell(false, start, &header, events, output)?;
                self.state = State::Sound;
            }
            _ => {}
        }
        if let State::Quiet(since, header) = &self.state {
            let rate = u64::from(self.format.sample_rate);
            if (self.taken - since) * 1000 >= u64::from(params.min_silence_ms) * rate {
                let (since, header) = (*since, header.clone());
                self.tell(true, since, &header, events, output)?;
                self.state = State::Silence;
            }
        }
        Ok(())
    }

    fn tell(
        &mut self,
        silence: bool,
        at: u64,
        header: &DataHeader,
        events: &mut Events,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let rate = self.format.sample_rate;
        let event = Event {
            silence,
            at_ms: milliseconds(at, rate),
            duration_ms: milliseconds(at - self.since, rate),
        };
        self.since = at;
        events.give(&event, header, output)
    }

    fn finish(
        &mut self,
        params: &Params,
        events: &mut Events,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        if self.taken > self.windows.at(self.judged) {
            self.judge(params, events, output)?;
        }
        if let (State::Silence, Some((start, header))) = (&self.state, &self.window) {
            let header = later(header, self.taken - start, self.format.sample_rate);
            self.tell(false, self.taken, &header, events, output)?;
        }
        Ok(())
    }
}

struct SilenceDetector {
    params: Params,
    stream: Option<Stream>,
    events: Events,
}

impl Node for SilenceDetector {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, EXPECTED)?;
        let samples = f32_samples(&view)?;
        let format = admit(self.stream.as_ref().map(|stream| stream.format), &view)?;
        let stream = self.stream.get_or_insert_with(|| Stream::new(format, &self.params));
        let to = (&mut self.events, &mut *output);
        stream.push(&samples, input.header(), &self.params, to)?;
        drop(samples);
        self.events.pass(input, output);
        Ok(())
    }

    fn set_params(&mut self, change: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, change)?;
        let old = &self.params;
        let fixed = [
            ("window_ms", params.window_ms == old.window_ms),
            ("output", params.output == old.output),
        ];
        if let Some((name, _)) = fixed.iter().find(|(_, is_same)| !is_same) {
            return Err(wrong(name, &change[*name], "what it was; it cannot change in a stream"));
        }
        self.params = params;
        Ok(())
    }

    fn flush(&mut self) {
        self.stream = None;
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        match self.stream.take() {
            Some(mut stream) => stream.finish(&self.params, &mut self.events, output),
            None => Ok(()),
        }
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let db = |name, default: f64, min, max, description| {
        ParameterSpec::optional(name, Float, default, description).range(min, max).unit("dB")
    };
    let ms = |name, default: u32, max, description| {
        ParameterSpec::optional(name, Integer, default, description).range(1.0, max).unit("ms")
    };
    let metadata = events::metadata(
        "SilenceDetectorNode",
        "says where audio falls silent and where it sounds again",
        vec![
            db(
                "threshold_db",
                -50.0,
                -119.0,
                0.0,
                "RMS level below which it is quiet; 0 is a square wave of full scale",
            ),
            db(
                "hysteresis_db",
                3.0,
                0.0,
                60.0,
                "how far above the threshold the level has to rise to end a silence",
            ),
            ms("min_silence_ms", 500, 600_000.0, "how long it must be quiet to be a silence"),
            ms("window_ms", 10, 1_000.0, "time over which a level is taken"),
        ],
    );
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| events::formats(params.output),
        |params: Params, _| {
            let events = Events::new(params.output);
            Ok(SilenceDetector { params, stream: None, events })
        },
    )
}

#[cfg(test)]
mod tests;
