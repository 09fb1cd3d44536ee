//! The parameters of `VADNode`.
//!
//! Main type: [`Params`]; [`specs`] declares them. What they mean for a stream is in the modules that
//! use them.

use rm_core::ParameterKind::{Float, Integer, String};
use rm_core::{AudioFormats, DataType, Formats, NodeError, NodeFormats, ParameterSpec, Values};
use serde::{Deserialize, Serialize};

use super::scorer::{MODEL_FRAME_MS, MODEL_RATE};
use super::segmenter::Rules;
use crate::define::wrong;

/// Least and highest sample rate, in Hz.
pub(super) const MIN_RATE: u32 = 1_000;
pub(super) const MAX_RATE: u32 = 384_000;

/// How a frame is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Energy,
    Model,
}

/// What goes to the connections that name no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Give {
    Segments,
    Speech,
    Gated,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Params {
    pub(super) mode: Mode,
    pub(super) output: Give,
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
    fade_ms: u32,
}

/// The parameters as manifests see them.
pub(super) fn specs() -> Vec<ParameterSpec> {
    let float = |name, default: f64, [min, max]: [f64; 2], description| {
        ParameterSpec::optional(name, Float, default, description).range(min, max)
    };
    let ms = |name, default: u32, [min, max]: [f64; 2], description| {
        ParameterSpec::optional(name, Integer, default, description).range(min, max).unit("ms")
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
            "what is given: of each segment JSON with start_ms, end_ms and energy_db, or its \
             audio, or all of the audio with silence outside of the segments",
        )
        .choices(["segments", "speech", "gated"]),
        float(
            "threshold",
            -30.0,
            [-120.0, 0.0],
            "energy mode: least level of speech, relative to a square wave of full scale",
        )
        .unit("dB"),
        float(
            "hysteresis_db",
            3.0,
            [0.0, 60.0],
            "energy mode: how far below the threshold speech that has begun may fall",
        )
        .unit("dB"),
        float("model_threshold", 0.5, [0.0, 1.0], "model mode: least probability of speech"),
        float(
            "model_hysteresis",
            0.0,
            [0.0, 1.0],
            "model mode: how far below the threshold speech that has begun may fall",
        ),
        ms("frame_length_ms", 30, [1.0, 1_000.0], "energy mode: length of a frame"),
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
            48,
            [0.0, 10_000.0],
            "speech without a break that begins a segment; at least one frame",
        ),
        ms(
            "min_speech_ms",
            192,
            [0.0, 60_000.0],
            "least speech in a segment; one with less is dropped",
        ),
        ms(
            "min_silence_ms",
            400,
            [0.0, 60_000.0],
            "silence without a break that ends a segment; at least one frame",
        ),
        ms(
            "padding_ms",
            320,
            [0.0, 10_000.0],
            "how much of what surrounds the speech belongs to the segment; behind it at most \
             min_silence_ms",
        ),
        ms(
            "max_speech_ms",
            30_000,
            [1_000.0, 600_000.0],
            "most length of a segment without its padding, above min_speech_ms; a longer one is \
             cut and goes on as the next one",
        ),
        ms(
            "fade_ms",
            5,
            [0.0, 1_000.0],
            "gated output: how long the sound takes to rise within a segment and to fall behind it",
        ),
    ]
}

impl Params {
    /// The parameters, if they go together.
    pub(super) fn checked(self) -> Result<Self, NodeError> {
        let (least, most) = (self.min_speech_ms, self.max_speech_ms);
        if least >= most {
            let expected = format!("less than max_speech_ms, which is {most}");
            return Err(wrong("min_speech_ms", least, expected));
        }
        let rate = self.sample_rate;
        match self.mode {
            _ if rate == 0 => Ok(self),
            Mode::Model if rate != MODEL_RATE => {
                Err(wrong("sample_rate", rate, format!("0 or {MODEL_RATE}, as model mode takes")))
            }
            _ if rate < MIN_RATE => {
                Err(wrong("sample_rate", rate, format!("0 or from {MIN_RATE} to {MAX_RATE}")))
            }
            _ => Ok(self),
        }
    }

    /// `self` in place of `old` while the node runs.
    pub(super) fn checked_change(self, old: &Self) -> Result<Self, NodeError> {
        let fixed = |params: &Self| {
            [params.frame_length_ms, params.sample_rate, params.fade_ms].map(u64::from)
        };
        let names = ["frame_length_ms", "sample_rate", "fade_ms"];
        let expected = "no change of it while the node runs";
        for (name, (new, old)) in names.into_iter().zip(fixed(&self).into_iter().zip(fixed(old))) {
            if new != old {
                return Err(wrong(name, new, format!("{old}; {expected}")));
            }
        }
        if self.mode != old.mode {
            return Err(wrong("mode", "another one", expected));
        }
        if self.output != old.output {
            return Err(wrong("output", "another one", expected));
        }
        self.checked()
    }

    /// The sample rate that the input must have, if there is one.
    pub(super) fn rate(&self) -> Option<u32> {
        match self.mode {
            Mode::Model => Some(MODEL_RATE),
            Mode::Energy => (self.sample_rate != 0).then_some(self.sample_rate),
        }
    }

    /// What the node takes and gives.
    pub(super) fn formats(&self) -> NodeFormats {
        let sample_rate = match self.rate() {
            Some(rate) => Values::only(rate),
            None => Values::Range(MIN_RATE, MAX_RATE),
        };
        let channels = Values::only(1);
        let formats = AudioFormats { sample_rate, channels, ..AudioFormats::f32() };
        let node = NodeFormats::takes([formats]);
        match self.output {
            Give::Segments => node.gives([Formats::any(DataType::Json)]),
            Give::Speech | Give::Gated => node,
        }
    }

    /// Length of a frame.
    pub(super) fn frame_ms(&self) -> u32 {
        match self.mode {
            Mode::Energy => self.frame_length_ms,
            Mode::Model => MODEL_FRAME_MS,
        }
    }

    /// Samples that the sound takes to rise or fall.
    pub(super) fn fade(&self, sample_rate: u32) -> u32 {
        let samples = u64::from(self.fade_ms) * u64::from(sample_rate) / 1_000;
        u32::try_from(samples).expect("a second at the highest rate fits")
    }

    /// The rules for segments. Lengths round up to whole frames.
    pub(super) fn rules(&self) -> Rules {
        let frames = |ms: u32| u64::from(ms.div_ceil(self.frame_ms()));
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
