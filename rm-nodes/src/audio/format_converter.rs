//! `FormatConverterNode`: audio in one sample format, channel count and layout, whatever comes.
//!
//! Any sample format becomes any other on the scale that `sample.rs` describes, planar audio
//! becomes interleaved or the other way round, all channels become one (their mean) or one becomes
//! several (copies). Where the depth of integers is reduced, noise can be added before. Audio that is
//! right already is given on untouched. One item in, one item out. It does not change the sample rate,
//! and other changes of channels are the work of a ChannelMixerNode.

mod dither;
mod stages;

use rm_core::{
    AudioFormat, AudioFormats, AudioLayout, AudioView, DataMetadata, DataType, Formats, Node,
    NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind, ParameterSpec,
    RegistryError, RuntimeData, Values,
};
use serde::Deserialize;

use super::sample::{bits, convert, is_integer, is_known};
use crate::define::define_with_formats;
use crate::input::{audio, describe, is_interleaved};
use crate::pool::Pool;
use dither::{Dither, Shape};
use stages::{ChannelChange, Stages, Task};

/// Most channels that one channel can be copied to.
const MAX_CHANNELS: u16 = 256;
/// What parameters are where the property stays as it is.
const KEEP: &str = "keep";

#[derive(Deserialize)]
struct Params {
    format: String,
    channels: u16,
    layout: String,
    dither: Shape,
    dither_seed: u64,
}

/// What comes out; `None` for what stays as it is.
#[derive(Debug, Clone, Copy)]
struct Target {
    format: Option<AudioFormat>,
    channels: Option<u16>,
    layout: Option<AudioLayout>,
}

impl Target {
    fn of(params: &Params) -> Self {
        Self {
            format: AudioFormat::from_name(&params.format),
            channels: (params.channels > 0).then_some(params.channels),
            layout: AudioLayout::from_name(&params.layout),
        }
    }

    fn channel_change(&self, view: &AudioView<'_>) -> Result<ChannelChange, NodeError> {
        match (view.channels, self.channels) {
            (_, None) => Ok(ChannelChange::Keep),
            (from, Some(to)) if from == to => Ok(ChannelChange::Keep),
            (_, Some(1)) => Ok(ChannelChange::Mean),
            (1, Some(to)) => Ok(ChannelChange::Duplicate(usize::from(to))),
            (_, Some(to)) => Err(NodeError::Input {
                found: describe(view),
                expected: format!(
                    "audio of 1 or {to} channels; several channels can only become one, put a \
                     ChannelMixerNode before it"
                ),
            }),
        }
    }

    /// What it takes and gives.
    fn formats(self) -> NodeFormats {
        let channels = match self.channels {
            None | Some(1) => Values::Any,
            Some(channels) => Values::OneOf(vec![channels, 1]),
        };
        NodeFormats::takes([AudioFormats { channels, ..AudioFormats::ANY }]).gives_from(
            move |input| {
                let Formats::Audio(audio) = input else { return Vec::new() };
                let AudioFormats { sample_rate, channels, format, layout } = audio.clone();
                let given = AudioFormats {
                    sample_rate,
                    channels: self.channels.map_or(channels, Values::only),
                    format: self.format.map_or(format, Values::only),
                    layout: self.layout.map_or(layout, Values::only),
                };
                vec![given.into()]
            },
        )
    }
}

struct FormatConverter {
    target: Target,
    dither: Dither,
    /// Frames so far, by which the noise is numbered.
    frames: u64,
    stages: Stages,
    pool: Pool,
}

impl FormatConverter {
    fn new(params: &Params) -> Self {
        Self {
            target: Target::of(params),
            dither: Dither { shape: params.dither, seed: params.dither_seed },
            frames: 0,
            stages: Stages::default(),
            pool: Pool::default(),
        }
    }

    /// What has to be done for an item, and the layout of what comes out.
    fn task(&self, view: &AudioView<'_>) -> Result<(Task, AudioLayout), NodeError> {
        if !is_known(view.format) {
            return Err(NodeError::Input {
                found: describe(view),
                expected: "audio in a format that can be converted".to_owned(),
            });
        }
        let change = self.target.channel_change(view)?;
        let (from, to) = (view.format, self.target.format.unwrap_or(view.format));
        let layout = self.target.layout.unwrap_or(view.layout);
        // A mean of integers lies between them.
        let is_finer = bits(from) > bits(to) || change == ChannelChange::Mean;
        let dithers = self.dither.shape != Shape::None && is_integer(to) && is_finer;
        let mut task = Task {
            frames: view.frames(),
            channels: usize::from(view.channels),
            change,
            from,
            to,
            from_planar: !is_interleaved(view),
            to_planar: layout == AudioLayout::Planar,
            dither: dithers.then_some((self.dither, self.frames)),
        };
        if task.channels == 1 && task.channels_out() == 1 {
            task.to_planar = false;
        }
        Ok((task, layout))
    }
}

impl Node for FormatConverter {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, "audio")?;
        let (task, layout) = self.task(&view)?;
        let Task { frames, channels, from, to, .. } = task;
        self.frames += frames as u64;
        let in_place = task.change == ChannelChange::Keep && task.from_planar == task.to_planar;
        let is_same = in_place && from == to;
        if is_same && layout == view.layout {
            output.push(input);
            return Ok(());
        }
        let metadata = DataMetadata::Audio {
            sample_rate: view.sample_rate,
            channels: u16::try_from(task.channels_out()).expect("at most 65535 by its type"),
            format: to,
            layout,
        };
        if is_same {
            // A single channel lies the same way in both layouts.
            let item = RuntimeData::new(metadata, input.payload().clone())?;
            output.push(item.made_from(input.header()));
            return Ok(());
        }
        let len = (frames as u64)
            .saturating_mul(task.channels_out() as u64)
            .saturating_mul(to.bytes_per_sample() as u64);
        if len > RuntimeData::MAX_PAYLOAD as u64 {
            return Err(NodeError::Input {
                found: format!("{frames} frames of {channels} channels in {from}"),
                expected: format!("items that become at most {} bytes", RuntimeData::MAX_PAYLOAD),
            });
        }
        let mut buffer = self.pool.take(len as usize);
        if in_place && task.dither.is_none() {
            convert((view.bytes, from), (buffer.bytes(), to));
        } else {
            self.stages.run(&task, view.bytes, buffer.bytes());
        }
        let item = RuntimeData::new(metadata, self.pool.seal(buffer))?;
        output.push(item.made_from(input.header()));
        Ok(())
    }

    fn flush(&mut self) {
        self.frames = 0;
    }

    fn finish(&mut self, _output: &mut Output) -> Result<(), NodeError> {
        self.frames = 0;
        Ok(())
    }
}

/// The parameters, in the order in which they are best read.
fn parameters() -> Vec<ParameterSpec> {
    let formats = AudioFormat::ALL.iter().filter(|format| is_known(**format));
    vec![
        ParameterSpec::optional(
            "format",
            ParameterKind::String,
            AudioFormat::F32.name(),
            "sample format to convert to; integers are scaled to -1..1 in floats, rounded and \
             clamped on the way back",
        )
        .choices(formats.map(|format| format.name()).chain([KEEP])),
        ParameterSpec::optional(
            "channels",
            ParameterKind::Integer,
            0,
            "number of channels to convert to; 0 keeps them, 1 is the mean of all, more are \
             copies of the only one",
        )
        .range(0.0, f64::from(MAX_CHANNELS)),
        ParameterSpec::optional(
            "layout",
            ParameterKind::String,
            AudioLayout::Interleaved.name(),
            "how the channels are to lie in memory",
        )
        .choices(AudioLayout::ALL.iter().map(|layout| layout.name()).chain([KEEP])),
        ParameterSpec::optional(
            "dither",
            ParameterKind::String,
            "none",
            "noise to add before samples are rounded to integers of fewer bits, so that the error \
             does not follow the signal: over one step (rectangular) or two (triangular)",
        )
        .choices(["none", "rectangular", "triangular"]),
        ParameterSpec::optional(
            "dither_seed",
            ParameterKind::Integer,
            0,
            "which noise; the same seed gives the same",
        )
        .range(0.0, f64::from(u32::MAX)),
    ]
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "FormatConverterNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "converts audio to one sample format, channel count and layout".to_owned(),
        parameters: parameters(),
        accepts: vec![DataType::Audio],
        produces: vec![DataType::Audio],
        ..NodeMetadata::default()
    };
    define_with_formats(
        registry,
        metadata,
        |params, _| Target::of(params).formats(),
        |params, _| Ok(FormatConverter::new(&params)),
    )
}

#[cfg(test)]
mod tests;
