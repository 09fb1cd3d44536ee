//! `ChannelMixerNode`: other channels from those that come.
//!
//! Each output channel is a sum of input channels, each times a gain. The gains are those between two
//! layouts of loudspeakers (`layout`, or `channels` for the layout of so many), or a `matrix`, or 1 for
//! the one channel that a `map` names. They can be changed while it runs, and then get there within
//! `ramp_ms`; the number of channels stays.
//!
//! Interleaved f32 only. One item in, one item out, untouched where nothing changes. Three channels are
//! taken for front left, right and centre, as WAVE, FLAC and Vorbis have them.

mod matrix;
mod ramp;

use rm_core::{
    AudioFormat, AudioFormats, AudioView, DataType, Formats, Node, NodeError, NodeFormats,
    NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec, RegistryError, RuntimeData,
    Values,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::define::{changed, define_with_formats, wrong};
use crate::input::{StreamFormat, audio, describe, f32_samples};
use crate::pool::Pool;
use matrix::{KEEP, LAYOUTS, MAX_CHANNELS, Matrix, Rule};
use ramp::Ramp;

#[derive(Deserialize, Serialize)]
struct Params {
    channels: usize,
    layout: String,
    matrix: Option<Vec<Vec<f32>>>,
    map: Option<Vec<i64>>,
    normalize: bool,
    ramp_ms: f64,
}

struct ChannelMixer {
    params: Params,
    rule: Rule,
    /// The format that came first, and what is done with it; `None` where all of it stays.
    stream: Option<(StreamFormat, Option<Ramp>)>,
    pool: Pool,
}

/// Says what of the input would be right for a rule.
fn expected(rule: &Rule) -> String {
    let inputs = rule.inputs();
    let channels = if inputs == Values::only(1) { "channel" } else { "channels" };
    let why = match rule {
        Rule::Layout { .. } => ", whose layout is known; others need a matrix or a map",
        _ => "",
    };
    format!("audio of {inputs} {channels}{why}")
}

impl ChannelMixer {
    fn new(params: Params) -> Result<Self, NodeError> {
        let rule = Rule::of(&params)?;
        Ok(Self { params, rule, stream: None, pool: Pool::default() })
    }

    /// The matrix for what came.
    fn matrix(&self, view: &AudioView<'_>) -> Result<Matrix, NodeError> {
        if self.rule.inputs().contains(view.channels) {
            return Ok(self.rule.matrix(usize::from(view.channels)));
        }
        Err(NodeError::Input { found: describe(view), expected: expected(&self.rule) })
    }
}

impl Node for ChannelMixer {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "interleaved f32 audio")?;
        let samples = f32_samples(&view)?;
        if self.stream.is_none() {
            let ramp = match self.rule {
                Rule::Keep => None,
                _ => Some(Ramp::new(self.matrix(&view)?)),
            };
            self.stream = Some((StreamFormat::of(&view), ramp));
        }
        let (format, ramp) = self.stream.as_mut().expect("has just been set");
        format.check(&view)?;
        let Some(ramp) = ramp.as_mut().filter(|ramp| !ramp.is_identity()) else {
            output.push(input);
            return Ok(());
        };
        let len = (view.frames() as u64 * ramp.outputs() as u64).saturating_mul(4);
        if len > RuntimeData::MAX_PAYLOAD as u64 {
            return Err(NodeError::Input {
                found: format!("{} frames", view.frames()),
                expected: format!("items that become at most {} bytes", RuntimeData::MAX_PAYLOAD),
            });
        }
        let mut buffer = self.pool.take(len as usize);
        ramp.mix(&samples, buffer.samples());
        let channels = u16::try_from(ramp.outputs()).expect("there are at most 256");
        let payload = self.pool.seal(buffer);
        let item = RuntimeData::audio(payload, view.sample_rate, channels, AudioFormat::F32)?;
        output.push(item.made_from(input.header()));
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        let params: Params = changed(&self.params, params)?;
        let rule = Rule::of(&params)?;
        // What flows, or without that what has been promised.
        let inputs = self.stream.as_ref().map(|(format, _)| usize::from(format.channels));
        let outputs = |rule: &Rule| rule.outputs().or(inputs);
        if outputs(&rule) != outputs(&self.rule) {
            let count = |rule| outputs(rule).map_or("as many as come".into(), |n| n.to_string());
            let expected = format!("{} output channels as before", count(&self.rule));
            return Err(wrong("channels", count(&rule), expected));
        }
        if let Some((format, ramp)) = &mut self.stream {
            if !rule.inputs().contains(format.channels) {
                let expected = format!("what takes the {} channels that come", format.channels);
                return Err(wrong("matrix", self::expected(&rule), expected));
            }
            if ramp.is_some() || rule != Rule::Keep {
                let channels = usize::from(format.channels);
                let ramp = ramp.get_or_insert_with(|| Ramp::new(Rule::Keep.matrix(channels)));
                let frames = params.ramp_ms * f64::from(format.sample_rate) / 1_000.0;
                ramp.change(rule.matrix(channels), frames.round() as u64);
            }
        }
        (self.params, self.rule) = (params, rule);
        Ok(())
    }

    fn flush(&mut self) {
        self.stream = None;
    }

    fn finish(&mut self, _output: &mut Output) -> Result<(), NodeError> {
        self.stream = None;
        Ok(())
    }
}

/// What it takes and gives; nothing where the parameters contradict each other.
fn formats(params: &Params) -> NodeFormats {
    let Ok(rule) = Rule::of(params) else { return NodeFormats::takes([] as [Formats; 0]) };
    let takes = AudioFormats { channels: rule.inputs(), ..AudioFormats::f32() };
    let outputs = rule.outputs().map(|outputs| outputs as u16);
    NodeFormats::takes([takes]).gives_from(move |input| match (input, outputs) {
        (Formats::Audio(audio), Some(outputs)) => {
            vec![AudioFormats { channels: Values::only(outputs), ..audio.clone() }.into()]
        }
        _ => vec![input.clone()],
    })
}

/// The parameters, in the order in which they are best read.
fn parameters() -> Vec<ParameterSpec> {
    let matrix = "gains of the input channels, a row for each output channel";
    let mut matrix = ParameterSpec::optional("matrix", ParameterKind::List, Value::Null, matrix);
    matrix.items = Some(ParameterKind::List);
    let map = "the input channel that each output channel is, from 0; -1 for silence";
    let mut map = ParameterSpec::optional("map", ParameterKind::List, Value::Null, map);
    map.items = Some(ParameterKind::Integer);
    vec![
        ParameterSpec::optional(
            "layout",
            ParameterKind::String,
            KEEP,
            "loudspeakers to mix for by ITU-R BS.775; channels are taken to come in the order front \
             left, front right, centre, low frequencies, back left, back right, side left, side right",
        )
        .choices(LAYOUTS.iter().map(|(name, _)| *name).chain([KEEP])),
        ParameterSpec::optional(
            "channels",
            ParameterKind::Integer,
            0,
            "number of channels to mix for: the layout that has so many; 0 for what the other \
             parameters say",
        )
        .range(0.0, MAX_CHANNELS as f64),
        matrix,
        map,
        ParameterSpec::optional(
            "normalize",
            ParameterKind::Boolean,
            false,
            "whether a mix that could go beyond full scale is made quieter as a whole",
        ),
        ParameterSpec::optional(
            "ramp_ms",
            ParameterKind::Float,
            10,
            "time in which gains that are changed while it runs get there",
        )
        .unit("ms")
        .range(0.0, 60_000.0),
    ]
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "ChannelMixerNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "mixes, picks and reorders the channels of f32 audio".to_owned(),
        parameters: parameters(),
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |params, _| formats(params),
        |params, _| ChannelMixer::new(params),
    )
}

#[cfg(test)]
mod tests;
