//! `VADNode`: cuts a stream of mono f32 audio into segments of speech.
//!
//! Each frame gets a score ([`Scorer`]), the scores become segments ([`Segmenter`]), and a
//! segment becomes a JSON item that says where it lies, or an audio item that holds it. Frames
//! are aligned to the start of the stream, so the result does not depend on how it is cut. An
//! item carries the time of the input that holds its first sample. It keeps no more audio than
//! the padding and the segment that is open.

use std::collections::VecDeque;

use rm_core::{
    DataHeader, DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output, ParameterKind,
    ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;
use serde_json::json;

use super::scorer::{MODEL_FRAME, MODEL_RATE, Scorer, level_db};
use super::segmenter::{Rules, Segment, Segmenter};
use crate::input::{audio, describe, f32_samples};

const MAX_RATE: u32 = 384_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Energy,
    Model,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Give {
    Segments,
    Speech,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    mode: Mode,
    output: Give,
    threshold: f32,
    hysteresis_db: f32,
    model_threshold: f32,
    model_hysteresis: f32,
    frame_length_ms: u32,
    sample_rate: u32,
    onset_ms: u32,
    min_speech_ms: u32,
    min_silence_ms: u32,
    padding_ms: u32,
    max_speech_ms: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            mode: Mode::Energy,
            output: Give::Segments,
            threshold: -30.0,
            hysteresis_db: 3.0,
            model_threshold: 0.5,
            model_hysteresis: 0.0,
            frame_length_ms: 30,
            sample_rate: 0,
            onset_ms: 48,
            min_speech_ms: 192,
            min_silence_ms: 400,
            padding_ms: 320,
            max_speech_ms: 30_000,
        }
    }
}

/// The parameters as manifests see them; the ranges here are the ones that are enforced.
fn specs() -> Vec<ParameterSpec> {
    use ParameterKind::{Float, Integer, String};
    let default = Params::default();
    let ms = |name, default: u32, (min, max): (u32, u32), description| {
        ParameterSpec::optional(name, Integer, default, description)
            .range(f64::from(min), f64::from(max))
            .unit("ms")
    };
    vec![
        ParameterSpec::optional(
            "mode",
            String,
            "energy",
            "how a frame is judged: by its level, or by a model of speech (16000 Hz, frames of \
             16 ms)",
        )
        .choices(["energy", "model"]),
        ParameterSpec::optional(
            "output",
            String,
            "segments",
            "what is given for a segment: JSON with start_ms, end_ms and energy_db, or its audio",
        )
        .choices(["segments", "speech"]),
        ParameterSpec::optional(
            "threshold",
            Float,
            default.threshold,
            "energy mode: least level of speech, relative to a square wave of full scale",
        )
        .range(-120.0, 0.0)
        .unit("dB"),
        ParameterSpec::optional(
            "hysteresis_db",
            Float,
            default.hysteresis_db,
            "energy mode: how far below the threshold speech that has begun may fall",
        )
        .range(0.0, 60.0)
        .unit("dB"),
        ParameterSpec::optional(
            "model_threshold",
            Float,
            default.model_threshold,
            "model mode: least probability of speech",
        )
        .range(0.0, 1.0),
        ParameterSpec::optional(
            "model_hysteresis",
            Float,
            default.model_hysteresis,
            "model mode: how far below the threshold speech that has begun may fall",
        )
        .range(0.0, 1.0),
        ms(
            "frame_length_ms",
            default.frame_length_ms,
            (1, 1_000),
            "energy mode: length of a frame",
        ),
        ParameterSpec::optional(
            "sample_rate",
            Integer,
            0,
            "sample rate that the input must have; 0 for whatever it has",
        )
        .range(0.0, f64::from(MAX_RATE))
        .unit("Hz"),
        ms(
            "onset_ms",
            default.onset_ms,
            (0, 10_000),
            "speech without a break that begins a segment; at least one frame",
        ),
        ms(
            "min_speech_ms",
            default.min_speech_ms,
            (0, 60_000),
            "least speech in a segment; one with less is dropped",
        ),
        ms(
            "min_silence_ms",
            default.min_silence_ms,
            (0, 60_000),
            "silence without a break that ends a segment; at least one frame",
        ),
        ms(
            "padding_ms",
            default.padding_ms,
            (0, 10_000),
            "how much of what surrounds the speech belongs to the segment; behind it at most \
             min_silence_ms",
        ),
        ms(
            "max_speech_ms",
            default.max_speech_ms,
            (1_000, 600_000),
            "most length of a segment without its padding, above min_speech_ms; a longer one is \
             cut and goes on as the next one",
        ),
    ]
}

impl Params {
    fn check(&self) -> Result<(), NodeError> {
        let values = [
            ("threshold", f64::from(self.threshold)),
            ("hysteresis_db", f64::from(self.hysteresis_db)),
            ("model_threshold", f64::from(self.model_threshold)),
            ("model_hysteresis", f64::from(self.model_hysteresis)),
            ("frame_length_ms", f64::from(self.frame_length_ms)),
            ("sample_rate", f64::from(self.sample_rate)),
            ("onset_ms", f64::from(self.onset_ms)),
            ("min_speech_ms", f64::from(self.min_speech_ms)),
            ("min_silence_ms", f64::from(self.min_silence_ms)),
            ("padding_ms", f64::from(self.padding_ms)),
            ("max_speech_ms", f64::from(self.max_speech_ms)),
        ];
        let specs = specs();
        for (name, value) in values {
            let spec = specs.iter().find(|spec| spec.name == name);
            let range = spec.and_then(|spec| spec.min.zip(spec.max));
            let (min, max) = range.expect("every number has a range");
            if !(min..=max).contains(&value) {
                let problem = format!("is {value}, expected from {min} to {max}");
                return Err(NodeError::Param { name, problem });
            }
        }
        let (min, max) = (self.min_speech_ms, self.max_speech_ms);
        if min >= max {
            let problem = format!("is {min}, expected less than max_speech_ms, which is {max}");
            let name = "min_speech_ms";
            return Err(NodeError::Param { name, problem });
        }
        Ok(())
    }

    /// The rules for frames of `frame` samples at `rate` Hz. Lengths round up to whole frames.
    fn rules(&self, frame: usize, rate: u32) -> Rules {
        let frames = |ms: u32| (u64::from(ms) * u64::from(rate)).div_ceil(1000 * frame as u64);
        let (enter, hysteresis) = match self.mode {
            Mode::Energy => (self.threshold, self.hysteresis_db),
            Mode::Model => (self.model_threshold, self.model_hysteresis),
        };
        Rules {
            enter,
            leave: enter - hysteresis,
            onset: frames(self.onset_ms).max(1),
            min_silence: frames(self.min_silence_ms).max(1),
            min_speech: frames(self.min_speech_ms),
            padding: frames(self.padding_ms),
            max_length: frames(self.max_speech_ms).max(1),
        }
    }
}

struct Vad {
    params: Params,
    stream: Option<Stream>,
}

/// A stream whose sample rate is known.
struct Stream {
    sample_rate: u32,
    output: Give,
    scorer: Scorer,
    segmenter: Segmenter,
    frame_len: usize,
    /// The frame being filled.
    frame: Vec<f32>,
    /// Samples taken so far.
    taken: u64,
    /// Sums of squares of the frames that a segment may still contain; the first one's number.
    energies: VecDeque<f64>,
    first_frame: u64,
    /// The samples of those frames, where they are to be given.
    samples: VecDeque<f32>,
    /// Headers of the inputs that those frames came from, each with the number of its first
    /// sample.
    headers: VecDeque<(u64, DataHeader)>,
}

impl Stream {
    fn new(params: &Params, sample_rate: u32) -> Self {
        let by_length = u64::from(sample_rate) * u64::from(params.frame_length_ms) / 1000;
        let (scorer, frame_len) = match params.mode {
            Mode::Energy => (Scorer::Energy, usize::try_from(by_length).unwrap_or(1).max(1)),
            Mode::Model => (Scorer::model(), MODEL_FRAME),
        };
        Self {
            sample_rate,
            output: params.output,
            scorer,
            segmenter: Segmenter::new(params.rules(frame_len, sample_rate)),
            frame_len,
            frame: Vec::with_capacity(frame_len),
            taken: 0,
            energies: VecDeque::new(),
            first_frame: 0,
            samples: VecDeque::new(),
            headers: VecDeque::new(),
        }
    }

    fn push(
        &mut self,
        mut samples: &[f32],
        header: &DataHeader,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        if !samples.is_empty() {
            self.headers.push_back((self.taken, header.clone()));
        }
        while !samples.is_empty() {
            let free = self.frame_len - self.frame.len();
            let (now, later) = samples.split_at(samples.len().min(free));
            self.frame.extend_from_slice(now);
            self.taken += now.len() as u64;
            samples = later;
            if self.frame.len() == self.frame_len {
                self.judge_frame(output)?;
            }
        }
        Ok(())
    }

    /// Judges the last, shorter frame and gives the segment that is open.
    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        if !self.frame.is_empty() {
            self.judge_frame(output)?;
        }
        match self.segmenter.finish() {
            Some(segment) => self.give(segment, output),
            None => Ok(()),
        }
    }

    fn judge_frame(&mut self, output: &mut Output) -> Result<(), NodeError> {
        let energy: f64 = self.frame.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
        let level = level_db(energy / self.frame.len() as f64);
        let score = self.scorer.score(&self.frame, level);
        self.energies.push_back(energy);
        if self.output == Give::Speech {
            self.samples.extend(&self.frame);
        }
        self.frame.clear();
        if let Some(segment) = self.segmenter.push(score) {
            self.give(segment, output)?;
        }
        self.forget();
        Ok(())
    }

    /// Drops what no segment can contain any more.
    fn forget(&mut self) {
        let keep_from = self.segmenter.keep_from();
        let frames = usize::try_from(keep_from - self.first_frame).expect("no more than are held");
        self.energies.drain(..frames);
        let samples = (frames * self.frame_len).min(self.samples.len());
        self.samples.drain(..samples);
        self.first_frame = keep_from;
        let first_sample = keep_from * self.frame_len as u64;
        while self.headers.get(1).is_some_and(|(start, _)| *start <= first_sample) {
            self.headers.pop_front();
        }
    }

    /// The number of the first sample of a frame, or of the end of the stream so far.
    fn sample_at(&self, frame: u64) -> u64 {
        (frame * self.frame_len as u64).min(self.taken)
    }

    fn give(&mut self, segment: Segment, output: &mut Output) -> Result<(), NodeError> {
        let (start, end) = (self.sample_at(segment.start), self.sample_at(segment.end));
        let item = match self.output {
            Give::Speech => {
                let held_from = self.sample_at(self.first_frame);
                let index = |sample: u64| usize::try_from(sample - held_from).expect("is held");
                let range = index(start)..index(end);
                let samples = self.samples.range(range).copied().collect();
                RuntimeData::audio_f32(samples, self.sample_rate, 1)?
            }
            Give::Segments => {
                let held = |frame: u64| usize::try_from(frame - self.first_frame).expect("is held");
                let speech = held(segment.speech_start)..held(segment.speech_end);
                let energy: f64 = self.energies.range(speech).sum();
                let samples =
                    self.sample_at(segment.speech_end) - self.sample_at(segment.speech_start);
                let ms = |sample: u64| sample as f64 * 1000.0 / f64::from(self.sample_rate);
                RuntimeData::json(&json!({
                    "start_ms": ms(start),
                    "end_ms": ms(end),
                    "energy_db": level_db(energy / samples as f64),
                }))?
            }
        };
        let before = |(first, _): &&(u64, DataHeader)| *first <= start;
        let header = self.headers.iter().take_while(before).last();
        let (_, header) = header.expect("the header of the first held sample is held");
        output.push(item.made_from(header));
        Ok(())
    }
}

impl Node for Vad {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "mono f32 audio")?;
        let wrong = |expected: String| NodeError::Input { found: describe(&view), expected };
        if view.channels != 1 {
            let advice = "mono audio; put a FormatConverterNode with channels 1 before it";
            return Err(wrong(advice.to_owned()));
        }
        let samples = f32_samples(&view)?;
        let expected_rate = match (&self.stream, self.params.mode, self.params.sample_rate) {
            (Some(stream), ..) => Some(stream.sample_rate),
            (None, Mode::Model, _) => Some(MODEL_RATE),
            (None, Mode::Energy, 0) => None,
            (None, Mode::Energy, rate) => Some(rate),
        };
        if let Some(rate) = expected_rate.filter(|rate| *rate != view.sample_rate) {
            return Err(wrong(format!("{rate} Hz; put a ResampleNode before it")));
        }
        if view.sample_rate > MAX_RATE {
            return Err(wrong(format!("audio of at most {MAX_RATE} Hz")));
        }
        let new = || Stream::new(&self.params, view.sample_rate);
        let stream = self.stream.get_or_insert_with(new);
        stream.push(&samples, input.header(), output)
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        match self.stream.take() {
            Some(mut stream) => stream.finish(output),
            None => Ok(()),
        }
    }
}

impl Vad {
    fn new(params: Params) -> Result<Self, NodeError> {
        params.check()?;
        let rate = params.sample_rate;
        if params.mode == Mode::Model && rate != 0 && rate != MODEL_RATE {
            return Err(NodeError::Param {
                name: "sample_rate",
                problem: format!("is {rate}, but model mode takes {MODEL_RATE} Hz"),
            });
        }
        Ok(Self { params, stream: None })
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "VADNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "finds speech in mono f32 audio, and gives its segments or their audio"
            .to_owned(),
        capabilities: Vec::new(),
        parameters: specs(),
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Json, DataType::Audio],
        source: false,
        ..NodeMetadata::default()
    };
    registry.register(metadata, |context| Ok(Box::new(Vad::new(context.parse_params()?)?)))
}

#[cfg(test)]
mod tests;
