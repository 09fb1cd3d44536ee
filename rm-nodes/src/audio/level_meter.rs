//! `LevelMeterNode`: how loud audio is, interval by interval.
//!
//! For each `interval_ms`, counted from the start of the stream, one event:
//! - `start_ms`, `end_ms`: where the interval lies; the last one may be shorter.
//! - `rms_db`, `peak_db`, `true_peak_db`: of the interval, over all channels, and for each channel in
//!   `channels`. 0 dB is full scale; a sine of full scale has -3.01 dB RMS. Not below -120.
//! - `max_true_peak_db`: the largest true peak since the start.
//! - `momentary_lufs`, `short_term_lufs`: loudness of the last 400 ms and 3 s, renewed every 100 ms.
//! - `integrated_lufs`, `loudness_range_lu`: since the start, as EBU R 128 and Tech 3342 ask for.
//!
//! What is not known is null: loudness before there is enough audio for it. How events are given
//! stands in `events.rs`, how loudness is measured in `loudness.rs`. Samples that are not finite
//! count as 0.

use rm_core::ParameterKind::{Boolean, Integer};
use rm_core::{
    DataHeader, Node, NodeError, NodeRegistry, Output, ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};

use super::events::{self, Events, Give, later, milliseconds};
use super::grid::Grid;
use super::level::{add_squares, decibels, raise_peaks};
use super::loudness::{Lufs, Meter};
use super::stream::{EXPECTED, admit, finite};
use crate::define::define_with_formats;
use crate::input::{StreamFormat, audio, f32_samples};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    interval_ms: u32,
    loudness: bool,
    true_peak: bool,
    output: Give,
}

#[derive(Serialize)]
struct Event<'a> {
    start_ms: f64,
    end_ms: f64,
    #[serde(flatten)]
    overall: Levels,
    max_true_peak_db: Option<f64>,
    #[serde(flatten)]
    loudness: Lufs,
    channels: &'a [Levels],
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Levels {
    rms_db: f64,
    peak_db: f64,
    true_peak_db: Option<f64>,
}

struct Stream {
    format: StreamFormat,
    intervals: Grid,
    /// Intervals that are over.
    over: u64,
    taken: u64,
    /// Of the open interval, by channel.
    sums: Vec<f64>,
    peaks: Vec<f32>,
    /// Loudness and true peaks, where they are wanted and can be had.
    meter: Option<Meter>,
    levels: Vec<Levels>,
    /// Header for what begins with the open interval.
    begin: Option<DataHeader>,
}

impl Stream {
    fn new(format: StreamFormat, params: &Params) -> Self {
        let channels = usize::from(format.channels);
        Self {
            format,
            intervals: Grid::every_ms(params.interval_ms, format.sample_rate),
            over: 0,
            taken: 0,
            sums: vec![0.0; channels],
            peaks: vec![0.0; channels],
            meter: Meter::new(&format, params.loudness, params.true_peak),
            levels: vec![Levels::default(); channels],
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
        let (channels, first) = (self.sums.len(), self.taken);
        while !samples.is_empty() {
            let begin = || later(header, self.taken - first, self.format.sample_rate);
            self.begin.get_or_insert_with(begin);
            let end = self.intervals.at(self.over + 1);
            let free = (end - self.taken) as usize * channels;
            let (now, later) = samples.split_at(samples.len().min(free));
            add_squares(now, &mut self.sums);
            raise_peaks(now, &mut self.peaks);
            if let Some(meter) = &mut self.meter {
                meter.add(now)?;
            }
            self.taken += (now.len() / channels) as u64;
            samples = later;
            if self.taken == end {
                self.end_interval(events, output)?;
            }
        }
        Ok(())
    }

    /// Gives the levels of the interval that ends here, if it has begun.
    fn end_interval(&mut self, events: &mut Events, output: &mut Output) -> Result<(), NodeError> {
        let Some(header) = self.begin.take() else {
            return Ok(());
        };
        let start = self.intervals.at(self.over);
        self.over += 1;
        let frames = (self.taken - start) as f64;
        let level = |sum: f64, peak: f32, true_peak: Option<f64>| Levels {
            rms_db: decibels((sum / frames).sqrt()),
            peak_db: decibels(f64::from(peak)),
            true_peak_db: true_peak.map(decibels),
        };
        let true_peaks = self.meter.as_ref().and_then(Meter::true_peaks);
        for (channel, levels) in self.levels.iter_mut().enumerate() {
            let true_peak = true_peaks.map(|peaks| peaks[channel]);
            *levels = level(self.sums[channel], self.peaks[channel], true_peak);
        }
        let rate = self.format.sample_rate;
        let event = Event {
            start_ms: milliseconds(start, rate),
            end_ms: milliseconds(self.taken, rate),
            overall: level(
                self.sums.iter().sum::<f64>() / self.sums.len() as f64,
                self.peaks.iter().copied().fold(0.0, f32::max),
                true_peaks.map(|peaks| peaks.iter().copied().fold(0.0, f64::max)),
            ),
            max_true_peak_db: self.meter.as_ref().and_then(Meter::max_true_peak).map(decibels),
            loudness: self.meter.as_ref().map(Meter::loudness).transpose()?.unwrap_or_default(),
            channels: &self.levels,
        };
        events.give(&event, &header, output)?;
        self.sums.fill(0.0);
        self.peaks.fill(0.0);
        if let Some(meter) = &mut self.meter {
            meter.begin_interval();
        }
        Ok(())
    }
}

struct LevelMeter {
    params: Params,
    stream: Option<Stream>,
    events: Events,
    scratch: Vec<f32>,
}

impl Node for LevelMeter {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, EXPECTED)?;
        let samples = f32_samples(&view)?;
        let format = admit(self.stream.as_ref().map(|stream| stream.format), &view)?;
        let stream = self.stream.get_or_insert_with(|| Stream::new(format, &self.params));
        let finite = finite(&samples, &mut self.scratch);
        stream.push(finite, input.header(), &mut self.events, output)?;
        drop(samples);
        self.events.pass(input, output);
        Ok(())
    }

    fn flush(&mut self) {
        self.stream = None;
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        match self.stream.take() {
            Some(mut stream) => stream.end_interval(&mut self.events, output),
            None => Ok(()),
        }
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = events::metadata(
        "LevelMeterNode",
        "measures RMS, peak, true peak and loudness (EBU R 128) of audio",
        vec![
            ParameterSpec::optional(
                "interval_ms",
                Integer,
                100,
                "time between measurements; loudness is renewed every 100 ms",
            )
            .range(1.0, 3_600_000.0)
            .unit("ms"),
            ParameterSpec::optional(
                "loudness",
                Boolean,
                true,
                "whether loudness is measured: of 1 to 8 channels at 8 kHz or more",
            ),
            ParameterSpec::optional(
                "true_peak",
                Boolean,
                true,
                "whether peaks between samples are measured, by oversampling; of up to 64 channels",
            ),
        ],
    );
    define_with_formats(
        registry,
        metadata,
        |params: &Params, _| events::formats(params.output),
        |params: Params, _| {
            let events = Events::new(params.output);
            Ok(LevelMeter { params, stream: None, events, scratch: Vec::new() })
        },
    )
}

#[cfg(test)]
mod tests;
