//! Tests of the format converter.

use super::*;
use crate::testing::{bytes, cut, make, run, samples};
use proptest::prelude::*;
use rm_core::{AudioLayout, DataMetadata};
use serde_json::json;

fn convert_one(item: RuntimeData, params: serde_json::Value) -> RuntimeData {
    let mut node = make("FormatConverterNode", params).unwrap();
    let mut out = run(node.as_mut(), [item]).unwrap();
    assert_eq!(out.len(), 1);
    out.remove(0)
}

fn item(bytes: Vec<u8>, format: AudioFormat) -> RuntimeData {
    RuntimeData::audio(bytes, 8_000, 1, format).unwrap()
}

#[test]
fn known_values_take_their_place_on_the_scale() {
    let values = [-1.5_f32, -1.0, -0.5, 0.0, 0.5, 1.0, f32::NAN];
    let check = |format: &str, expected: &[u8]| {
        let audio = RuntimeData::audio_f32(values.to_vec(), 8_000, 1).unwrap();
        let out = convert_one(audio, json!({"format": format}));
        assert_eq!(out.payload(), expected, "{format}");
    };
    let i16s = [-32_768, -32_768, -16_384, 0, 16_384, 32_767, 0_i16];
    check("i16", &i16s.map(i16::to_le_bytes).concat());
    let i32s = [i32::MIN, i32::MIN, -1 << 30, 0, 1 << 30, i32::MAX, 0];
    check("i32", &i32s.map(i32::to_le_bytes).concat());
    let i24s = i32s.map(|value| value.to_le_bytes()[1..].to_vec());
    check("i24", &i24s.concat());
    check("u8", &[0, 0, 64, 128, 192, 255, 128]);
}

#[test]
fn halves_are_rounded_to_the_even_neighbour() {
    let halves = [0.5, 1.5, 2.5, -0.5, -1.5].map(|value| value / 32_768.0);
    let audio = RuntimeData::audio_f32(halves.to_vec(), 8_000, 1).unwrap();
    let out = convert_one(audio, json!({"format": "i16"}));
    assert_eq!(out.as_audio().unwrap().as_i16(), Some(&[0, 2, 2, 0, -2][..]));
}

#[test]
fn several_channels_become_their_mean_and_one_becomes_copies() {
    let stereo = RuntimeData::audio_i16(vec![100, 300, -7, -8], 48_000, 2).unwrap();
    let mono = convert_one(stereo, json!({"format": "i16", "channels": 1}));
    assert_eq!(mono.as_audio().unwrap().as_i16(), Some(&[200, -8][..]));
    let three = convert_one(mono, json!({"format": "i16", "channels": 3}));
    let view = three.as_audio().unwrap();
    assert_eq!((view.channels, view.sample_rate), (3, 48_000));
    assert_eq!(view.as_i16(), Some(&[200, 200, 200, -8, -8, -8][..]));
}

#[test]
fn planar_audio_becomes_interleaved() {
    let metadata = DataMetadata::Audio {
        sample_rate: 8_000,
        channels: 2,
        format: AudioFormat::U8,
        layout: AudioLayout::Planar,
    };
    let planar = RuntimeData::new(metadata, vec![1, 2, 3, 11, 12, 13]).unwrap();
    let out = convert_one(planar.clone(), json!({"format": "u8"}));
    assert_eq!(out.payload(), &[1, 11, 2, 12, 3, 13][..]);
    let mono = convert_one(planar, json!({"format": "u8", "channels": 1}));
    assert_eq!(mono.payload(), &[6, 7, 8][..]);
}

#[test]
fn audio_that_is_right_already_is_not_copied() {
    let audio = RuntimeData::audio_f32(vec![0.1; 6], 8_000, 2).unwrap();
    let out = convert_one(audio.clone(), json!({"channels": 2}));
    assert_eq!(out, audio);
    assert_eq!(out.payload().as_ptr(), audio.payload().as_ptr());
}

#[test]
fn time_and_trace_of_the_input_are_kept() {
    let audio = RuntimeData::audio_i16(vec![1, 2], 8_000, 1).unwrap();
    let (mut header, payload) = audio.into_parts();
    header.correlation_id = 7;
    header.trace.flags = 1;
    let audio = RuntimeData::from_parts(header.clone(), payload).unwrap();
    let out = convert_one(audio, json!(null));
    assert_eq!(out.header().timestamp, header.timestamp);
    assert_eq!(out.header().correlation_id, 7);
    assert_eq!(out.header().trace, header.trace);
}

#[test]
fn input_that_cannot_be_converted_is_refused() {
    let mut node = make("FormatConverterNode", json!({"channels": 2})).unwrap();
    let mut refuse = |item: RuntimeData| {
        let error = node.process(item, &mut Output::default()).unwrap_err();
        assert!(matches!(error, NodeError::Input { .. }));
        error.to_string()
    };
    assert_eq!(
        refuse(RuntimeData::text("hello").unwrap()),
        "input is text, but the node takes audio"
    );
    assert_eq!(
        refuse(RuntimeData::audio_f32(vec![0.0; 6], 48_000, 6).unwrap()),
        "input is interleaved audio in f32 of 6 channels at 48000 Hz, but the node takes audio \
         of 1 or 2 channels; several channels can only become one"
    );
}

#[test]
fn wrong_parameters_are_refused() {
    let check = |params| make("FormatConverterNode", params).err().unwrap();
    let unknown = check(json!({"format": "i12"}));
    assert!(matches!(unknown, NodeError::Params(_)));
    let many = check(json!({"channels": 300}));
    assert_eq!(many.to_string(), "parameter \"channels\" is 300, expected from 0 (keep) to 256");
}

fn any_format() -> impl Strategy<Value = AudioFormat> {
    prop::sample::select(AudioFormat::ALL)
}

/// Whether every value of `narrow` is one of `wide`.
fn holds(wide: AudioFormat, narrow: AudioFormat) -> bool {
    let bits = |format| match format {
        AudioFormat::U8 => 8,
        AudioFormat::I16 => 16,
        AudioFormat::I24 => 24,
        AudioFormat::I32 => 32,
        AudioFormat::F32 => 25,
        _ => 54,
    };
    bits(wide) >= bits(narrow) && narrow != AudioFormat::F32 && narrow != AudioFormat::F64
}

proptest! {
    #[test]
    fn a_way_through_a_wider_format_and_back_loses_nothing(
        narrow in any_format(),
        wide in any_format(),
        mut data in prop::collection::vec(any::<u8>(), 0..240),
    ) {
        prop_assume!(holds(wide, narrow));
        data.truncate(data.len() / 24 * 24);
        let there = convert_one(item(data.clone(), narrow), json!({"format": wide.name()}));
        let back = convert_one(there, json!({"format": narrow.name()}));
        prop_assert_eq!(back.payload(), &data);
    }

    #[test]
    fn any_bytes_in_any_format_convert_to_any_other(
        from in any_format(),
        to in any_format(),
        mut data in prop::collection::vec(any::<u8>(), 0..240),
    ) {
        data.truncate(data.len() / 24 * 24);
        let frames = data.len() / from.bytes_per_sample();
        let out = convert_one(item(data, from), json!({"format": to.name()}));
        prop_assert_eq!(out.as_audio().unwrap().frames(), frames);
    }

    #[test]
    fn the_result_does_not_depend_on_the_cuts(
        data in prop::collection::vec(-1.1_f32..1.1, 0..200),
        lengths in prop::collection::vec(1_usize..40, 1..6),
        to in any_format(),
    ) {
        let data = &data[..data.len() / 2 * 2];
        let whole = cut(data, 8_000, 2, &[usize::MAX / 2]);
        let parts = cut(data, 8_000, 2, &lengths);
        let params = json!({"format": to.name(), "channels": 1});
        let mut node = make("FormatConverterNode", params).unwrap();
        let whole = run(node.as_mut(), whole).unwrap();
        let parts = run(node.as_mut(), parts).unwrap();
        prop_assert_eq!(bytes(&whole), bytes(&parts));
        if to == AudioFormat::F32 {
            let means: Vec<_> = data.chunks(2).map(|pair| {
                ((f64::from(pair[0]) + f64::from(pair[1])) / 2.0) as f32
            }).collect();
            prop_assert_eq!(samples(&whole), means);
        }
    }
}
