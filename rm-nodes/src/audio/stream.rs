//! What nodes take that keep a state from item to item: interleaved f32 audio of one format.
//!
//! Main functions: [`admit`], which holds a stream to the format that it began with, and
//! [`stream_formats`], which says the same before anything runs. Rates and channel counts are
//! bounded, because the state that nodes keep grows with them.

use rm_core::{AudioFormats, AudioView, NodeError, Values};

use super::level::magnitude;
use crate::input::{StreamFormat, describe};

const MIN_RATE: u32 = 1_000;
pub(super) const MAX_RATE: u32 = 384_000;
const MAX_CHANNELS: u16 = 256;

/// What the nodes call that in messages.
pub(super) const EXPECTED: &str = "interleaved f32 audio";

/// The formats that [`admit`] lets in.
pub(super) fn stream_formats() -> AudioFormats {
    bounded(AudioFormats::f32())
}

/// `formats` of a rate and a channel count that [`admit`] lets in.
pub(super) fn bounded(formats: AudioFormats) -> AudioFormats {
    AudioFormats {
        sample_rate: Values::Range(MIN_RATE, MAX_RATE),
        channels: Values::Range(1, MAX_CHANNELS),
        ..formats
    }
}

/// The format of `view`, which is that of the stream so far if there was one.
pub(super) fn admit(
    so_far: Option<StreamFormat>,
    view: &AudioView<'_>,
) -> Result<StreamFormat, NodeError> {
    if let Some(format) = so_far {
        format.check(view)?;
        return Ok(format);
    }
    let bounds = (MIN_RATE..=MAX_RATE).contains(&view.sample_rate);
    if !bounds || view.channels > MAX_CHANNELS {
        return Err(NodeError::Input {
            found: describe(view),
            expected: format!(
                "audio of up to {MAX_CHANNELS} channels at {MIN_RATE} to {MAX_RATE} Hz"
            ),
        });
    }
    Ok(StreamFormat::of(view))
}

/// `samples` with 0 in place of what is not finite, which a state would remember for ever. They are
/// copied, to `scratch`, only where there is such a sample.
pub(super) fn finite<'a>(samples: &'a [f32], scratch: &'a mut Vec<f32>) -> &'a [f32] {
    if magnitude(samples).is_finite() {
        return samples;
    }
    scratch.clear();
    scratch.extend(samples.iter().map(|sample| if sample.is_finite() { *sample } else { 0.0 }));
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{make, run};
    use rm_core::{
        AudioFormat, AudioLayout, DataType, Formats, NodeContext, NodeRegistry, RuntimeData,
    };
    use serde_json::json;

    #[test]
    fn rates_and_channel_counts_are_bounded() {
        let admitted = |rate, channels| {
            let item = RuntimeData::audio_f32(Vec::new(), rate, channels).unwrap();
            admit(None, &item.as_audio().unwrap()).is_ok()
        };
        assert!(admitted(1_000, 1) && admitted(384_000, 256));
        assert!(!admitted(999, 1) && !admitted(384_001, 1) && !admitted(48_000, 257));
    }

    #[test]
    fn nodes_take_what_they_say_and_give_what_they_say() {
        let mut registry = NodeRegistry::new();
        crate::register_all(&mut registry).unwrap();
        let f32s = ["GainNode", "AudioMixerNode", "LimiterNode", "DcBlockNode", "HighPassNode"];
        let watching = ["LevelMeterNode", "SilenceDetectorNode", "ClippingDetectorNode"];
        let any = ["AudioChunkerNode", "AudioBufferNode"];
        let plain = f32s.iter().chain(&watching).chain(&any).map(|name| (*name, json!({})));
        let others = watching.iter().map(|name| (*name, json!({"output": "audio"})));
        let cutoff = ("HighPassNode", json!({"cutoff_hz": 4_000}));
        for (name, params) in plain.chain(others).chain([cutoff]) {
            let node_type = name.to_owned();
            let context =
                NodeContext { node_type, params: params.clone(), ..NodeContext::default() };
            let formats = registry.formats(&context).unwrap();
            for (rate, channels, format) in [
                (1_000, 1, AudioFormat::F32),
                (8_001, 2, AudioFormat::F32),
                (384_000, 256, AudioFormat::F32),
                (48_000, 2, AudioFormat::I16),
                (48_000, 257, AudioFormat::F32),
                (500, 1, AudioFormat::F32),
            ] {
                let exact: Formats = AudioFormats {
                    sample_rate: Values::only(rate),
                    channels: Values::only(channels),
                    format: Values::only(format),
                    layout: Values::only(AudioLayout::Interleaved),
                }
                .into();
                let frame = usize::from(channels) * format.bytes_per_sample();
                let bytes = rate as usize / 100 * frame;
                let item = RuntimeData::audio(vec![0; bytes], rate, channels, format).unwrap();
                let given = run(make(name, params.clone()).unwrap().as_mut(), [item]);
                let taken = formats.taken().iter().any(|taken| exact.is_within(taken));
                assert_eq!(given.is_ok(), taken, "{name} {params} {exact}");
                let promised = formats.given(&[exact]);
                for item in given.unwrap_or_default() {
                    let kinds: Vec<_> = promised.iter().map(Formats::data_type).collect();
                    // Events beside audio go out by a port, of which formats say nothing.
                    let beside = params["output"] == "audio" && item.data_type() == DataType::Json;
                    assert!(kinds == [item.data_type()] || beside, "{name} {params}");
                }
            }
        }
    }

    #[test]
    fn only_what_is_not_finite_becomes_zero() {
        let mut scratch = Vec::new();
        let spoiled = [f32::NAN, 1.0, f32::NEG_INFINITY, f32::MAX];
        assert_eq!(finite(&spoiled, &mut scratch), [0.0, 1.0, 0.0, f32::MAX]);
        let sound = [1.0, -2.0];
        assert_eq!(finite(&sound, &mut scratch).as_ptr(), sound.as_ptr());
    }
}
