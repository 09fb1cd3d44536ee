//! `FormatConverterNode`: audio in one sample format and channel count, whatever comes.
//!
//! Any sample format becomes any other on the scale that `sample.rs` describes, planar audio
//! becomes interleaved, all channels become one (their mean) or one becomes several (copies).
//! Audio that is right already is given on untouched. It does not change the sample rate, and it
//! keeps no state: one item in, one item out.

use rm_core::{
    AudioFormat, AudioView, DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output,
    ParameterKind, ParameterSpec, RegistryError, RuntimeData,
};
use serde::Deserialize;

use super::buffer::SampleBuffer;
use super::sample::{ChannelChange, Shape, convert, is_known};
use crate::input::{audio, describe, is_interleaved};

/// Most channels that one channel can be copied to.
const MAX_CHANNELS: u16 = 256;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    format: AudioFormat,
    channels: u16,
}

impl Default for Params {
    fn default() -> Self {
        Self { format: AudioFormat::F32, channels: 0 }
    }
}

struct FormatConverter {
    format: AudioFormat,
    /// 0 where the channels stay as they are.
    channels: u16,
}

impl FormatConverter {
    fn new(params: Params) -> Result<Self, NodeError> {
        let Params { format, channels } = params;
        if channels > MAX_CHANNELS {
            return Err(NodeError::Param {
                name: "channels",
                problem: format!("is {channels}, expected from 0 (keep) to {MAX_CHANNELS}"),
            });
        }
        Ok(Self { format, channels })
    }

    fn channel_change(&self, view: &AudioView<'_>) -> Result<ChannelChange, NodeError> {
        match (view.channels, self.channels) {
            (_, 0) => Ok(ChannelChange::Keep),
            (from, to) if from == to => Ok(ChannelChange::Keep),
            (_, 1) => Ok(ChannelChange::Mean),
            (1, to) => Ok(ChannelChange::Duplicate(usize::from(to))),
            (_, to) => Err(NodeError::Input {
                found: describe(view),
                expected: format!(
                    "audio of 1 or {to} channels; several channels can only become one"
                ),
            }),
        }
    }
}

impl Node for FormatConverter {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "audio")?;
        let shape = Shape {
            frames: view.frames(),
            channels: usize::from(view.channels),
            planar: !is_interleaved(&view),
            channel_change: self.channel_change(&view)?,
        };
        if !is_known(view.format) {
            return Err(NodeError::Input {
                found: describe(&view),
                expected: "audio in a format that can be converted".to_owned(),
            });
        }
        let same = view.format == self.format && shape.channel_change == ChannelChange::Keep;
        if same && !shape.planar {
            output.push(input);
            return Ok(());
        }
        let frame_bytes = shape.channels_out() * self.format.bytes_per_sample();
        let mut buffer = SampleBuffer::zeroed(shape.frames * frame_bytes);
        let target = (buffer.as_mut_slice(), self.format);
        convert((view.bytes, view.format), target, shape);
        let channels = u16::try_from(shape.channels_out()).expect("at most 65535 by its type");
        let payload = buffer.into_bytes();
        let item = RuntimeData::audio(payload, view.sample_rate, channels, self.format)?;
        output.push(item.made_from(input.header()));
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let formats = || AudioFormat::ALL.iter().filter(|format| is_known(**format));
    let metadata = NodeMetadata {
        name: "FormatConverterNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "converts audio to one sample format and channel count, interleaved"
            .to_owned(),
        capabilities: Vec::new(),
        parameters: vec![
            ParameterSpec::optional(
                "format",
                ParameterKind::String,
                AudioFormat::F32.name(),
                "sample format to convert to; integers are scaled to -1..1 in floats, rounded \
                 and clamped on the way back",
            )
            .choices(formats().map(|format| format.name())),
            ParameterSpec::optional(
                "channels",
                ParameterKind::Integer,
                0,
                "number of channels to convert to; 0 keeps them, 1 is the mean of all, more are \
                 copies of the only one",
            )
            .range(0.0, f64::from(MAX_CHANNELS)),
        ],
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        source: false,
        ..NodeMetadata::default()
    };
    registry
        .register(metadata, |context| Ok(Box::new(FormatConverter::new(context.parse_params()?)?)))
}

#[cfg(test)]
mod tests;
