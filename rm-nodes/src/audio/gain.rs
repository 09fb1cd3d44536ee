//! `GainNode`: louder or softer, without a click.
//!
//! A change of the gain while audio flows is a ramp, linear in amplitude, that begins with the next
//! frame; it lies at the same frames however the stream is cut. Nothing is clipped: put a
//! LimiterNode behind it where the result may exceed full scale. At 0 dB items pass untouched.

use rm_core::{
    DataType, Node, NodeError, NodeFormats, NodeMetadata, NodeRegistry, Output, ParameterKind,
    ParameterSpec, RegistryError, RuntimeData,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grid::Grid;
use super::level::amplitude;
use super::stream::{EXPECTED, admit, stream_formats};
use crate::define::{changed, define_with_formats};
use crate::input::{StreamFormat, audio, f32_samples};
use crate::pool::Pool;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Params {
    gain_db: f64,
    ramp_ms: u32,
    mute: bool,
}

impl Params {
    fn factor(&self) -> f32 {
        if self.mute { 0.0 } else { amplitude(self.gain_db) as f32 }
    }
}

/// A way from one factor to another; there where all its frames are done.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    from: f32,
    to: f32,
    frames: u32,
    done: u32,
}

impl Ramp {
    /// A way that has come to its end.
    fn at(factor: f32) -> Self {
        Self { from: factor, to: factor, frames: 0, done: 0 }
    }

    fn has_ended(&self) -> bool {
        self.done == self.frames
    }

    /// The factor of the frame that was written last.
    fn factor(&self) -> f32 {
        if self.has_ended() {
            return self.to;
        }
        self.from + (self.to - self.from) * (self.done as f32 / self.frames as f32)
    }

    /// Writes the next frames, `channels` samples each.
    fn apply(&mut self, input: &[f32], out: &mut [f32], channels: usize) {
        let left = (self.frames - self.done) as usize;
        let (ramped, steady) = input.split_at(input.len().min(left.saturating_mul(channels)));
        let (out_ramped, out_steady) = out.split_at_mut(ramped.len());
        let frames = ramped.chunks_exact(channels).zip(out_ramped.chunks_exact_mut(channels));
        for (frame, out) in frames {
            self.done += 1;
            let factor = self.factor();
            for (sample, out) in frame.iter().zip(out) {
                *out = sample * factor;
            }
        }
        let factor = self.to;
        if factor == 0.0 {
            // Also where a sample is not finite.
            out_steady.fill(0.0);
            return;
        }
        for (sample, out) in steady.iter().zip(out_steady) {
            *out = sample * factor;
        }
    }
}

struct Gain {
    params: Params,
    format: Option<StreamFormat>,
    ramp: Ramp,
    pool: Pool,
}

impl Node for Gain {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        let view = audio(&input, EXPECTED)?;
        let samples = f32_samples(&view)?;
        let format = admit(self.format, &view)?;
        self.format = Some(format);
        if self.ramp.has_ended() && self.ramp.to == 1.0 {
            output.push(input);
            return Ok(());
        }
        let mut buffer = self.pool.take(size_of_val(&*samples));
        self.ramp.apply(&samples, buffer.samples(), usize::from(format.channels));
        let payload = self.pool.seal(buffer);
        let item = RuntimeData::audio(payload, format.sample_rate, format.channels, format.format)?;
        output.push(item.made_from(input.header()));
        Ok(())
    }

    fn set_params(&mut self, params: &Value) -> Result<(), NodeError> {
        self.params = changed(&self.params, params)?;
        let to = self.params.factor();
        if to != self.ramp.to {
            // Before the first item there is nothing that could click.
            let rate = self.format.map_or(0, |format| format.sample_rate);
            let frames = Grid::every_ms(self.params.ramp_ms, rate).at(1);
            let frames = u32::try_from(frames).expect("at most 10 s at 384 kHz");
            self.ramp = Ramp { from: self.ramp.factor(), to, frames, done: 0 };
        }
        Ok(())
    }
}

pub(crate) fn register(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    let metadata = NodeMetadata {
        name: "GainNode".to_owned(),
        version: "1.0.0".to_owned(),
        description: "changes the level of audio; changes while it runs are ramps without a click"
            .to_owned(),
        parameters: vec![
            ParameterSpec::optional(
                "gain_db",
                ParameterKind::Float,
                0.0,
                "how much louder, or softer where it is negative; -120 is silence",
            )
            .range(-120.0, 60.0)
            .unit("dB"),
            ParameterSpec::optional(
                "ramp_ms",
                ParameterKind::Integer,
                20,
                "how long a change takes while audio flows, linear in amplitude",
            )
            .range(0.0, 10_000.0)
            .unit("ms"),
            ParameterSpec::optional(
                "mute",
                ParameterKind::Boolean,
                false,
                "silence, whatever the gain is",
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
            let ramp = Ramp::at(params.factor());
            Ok(Gain { params, format: None, ramp, pool: Pool::default() })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
    use proptest::prelude::*;
    use serde_json::json;

    fn stereo(frames: usize) -> Vec<f32> {
        sine(440.0, 48_000, frames * 2)
    }

    /// What comes out of ones while the parameters change before some of the frames.
    fn ones(params: Value, changes: &[(usize, Value)], frames: usize) -> Vec<f32> {
        let mut node = make("GainNode", params).unwrap();
        let mut output = Output::default();
        let (mut done, mut changes) = (0, changes.iter().peekable());
        while done < frames {
            while let Some((_, change)) = changes.next_if(|(at, _)| *at == done) {
                node.set_params(change).unwrap();
            }
            let next = changes.peek().map_or(frames, |(at, _)| *at).min(done + 7);
            let item = RuntimeData::audio_f32(vec![1.0; next - done], 1_000, 1).unwrap();
            node.process(item, &mut output).unwrap();
            done = next;
        }
        samples(&output.drain().collect::<Vec<_>>())
    }

    #[test]
    fn every_sample_is_multiplied_and_nothing_is_clipped() {
        let check = |params: Value, factor: f32| {
            let input = stereo(1_000);
            let mut node = make("GainNode", params).unwrap();
            let items = run(node.as_mut(), cut(&input, 48_000, 2, &[100])).unwrap();
            assert_eq!(samples(&items), input.iter().map(|s| s * factor).collect::<Vec<_>>());
        };
        check(json!({}), 1.0);
        check(json!({"gain_db": 20}), 10.0);
        check(json!({"gain_db": -20.0}), 0.1);
        check(json!({"gain_db": -120}), 0.0);
        check(json!({"gain_db": 6, "mute": true}), 0.0);
    }

    #[test]
    fn a_change_is_a_ramp_that_is_linear_in_amplitude() {
        let given = ones(json!({"ramp_ms": 10}), &[(20, json!({"gain_db": 20}))], 40);
        let wanted: Vec<_> =
            (0..40).map(|frame| 1.0 + 9.0 * ((frame - 19).clamp(0, 10) as f32 / 10.0)).collect();
        assert_eq!(given, wanted);
    }

    #[test]
    fn a_change_within_a_ramp_goes_on_from_where_it_is() {
        let changes = [(10, json!({"gain_db": 20})), (15, json!({"mute": true}))];
        let given = ones(json!({"ramp_ms": 10}), &changes, 30);
        assert_eq!(given[14], 5.5);
        assert_eq!(given[15], 5.5 - 0.55);
        assert_eq!(given[24..], [0.0; 6]);
        let step = given.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        assert!(step < 0.91, "{step}");
    }

    #[test]
    fn a_change_before_the_first_item_is_there_at_once() {
        let given = ones(json!({}), &[(0, json!({"gain_db": -20}))], 3);
        assert_eq!(given, [0.1; 3]);
    }

    #[test]
    fn what_is_not_a_number_is_silenced_and_not_remembered() {
        let mut node = make("GainNode", json!({"mute": true})).unwrap();
        let item = RuntimeData::audio_f32(vec![f32::NAN, f32::INFINITY], 8_000, 1).unwrap();
        assert_eq!(samples(&run(node.as_mut(), [item]).unwrap()), [0.0, 0.0]);
    }

    #[test]
    fn a_change_of_the_format_is_refused() {
        let mut node = make("GainNode", json!({})).unwrap();
        let items = [8_000, 16_000].map(|rate| RuntimeData::audio_f32(vec![], rate, 1).unwrap());
        assert!(run(node.as_mut(), items).is_err());
    }

    #[test]
    fn steady_work_allocates_nothing() {
        let item = RuntimeData::audio_f32(stereo(960), 48_000, 2).unwrap();
        check_no_allocation("GainNode", &json!({"gain_db": -6}), &item);
        check_no_allocation("GainNode", &json!({}), &item);
    }

    proptest! {
        #[test]
        fn a_ramp_lies_at_the_same_frames_however_the_stream_is_cut(lengths in lengths()) {
            let check = |lengths: &[usize]| {
                let mut node = make("GainNode", json!({"gain_db": -3})).unwrap();
                let mut output = Output::default();
                for item in cut(&stereo(100), 48_000, 2, &[100]) {
                    node.process(item, &mut output).unwrap();
                }
                node.set_params(&json!({"gain_db": 9})).unwrap();
                for item in cut(&stereo(4_000), 48_000, 2, lengths) {
                    node.process(item, &mut output).unwrap();
                }
                samples(&output.drain().collect::<Vec<_>>())
            };
            prop_assert!(check(&lengths) == check(&[4_000]));
            check_cuts("GainNode", &json!({"gain_db": -3}), (&stereo(4_000), 48_000, 2), &lengths);
        }
    }
}
