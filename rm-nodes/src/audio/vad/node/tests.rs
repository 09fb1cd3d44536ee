//! Tests of the voice activity node on signals whose segments are known.

use super::*;
use crate::testing::{cut, make, run, samples, sine};
use proptest::prelude::*;
use rm_core::AudioFormat;
use serde_json::Value;

const RATE: u32 = 16_000;

/// Silence and tones of amplitude 0.5 (-9.03 dB), by turns, in milliseconds, silence first.
fn signal(lengths_ms: &[usize]) -> Vec<f32> {
    let mut samples = Vec::new();
    for (index, ms) in lengths_ms.iter().enumerate() {
        let frames = ms * RATE as usize / 1000;
        match index % 2 {
            0 => samples.extend(vec![0.0; frames]),
            _ => samples.extend(sine(500.0, RATE, frames).iter().map(|s| s * 0.5)),
        }
    }
    samples
}

fn vad(params: Value, input: Vec<RuntimeData>) -> Vec<RuntimeData> {
    run(make("VADNode", params).unwrap().as_mut(), input).unwrap()
}

/// `start_ms` and `end_ms` of each segment.
fn segments(params: Value, samples: &[f32]) -> Vec<(f64, f64)> {
    let out = vad(params, cut(samples, RATE, 1, &[320]));
    let parse = |item: &RuntimeData| {
        let json = item.parse_json().unwrap();
        (json["start_ms"].as_f64().unwrap(), json["end_ms"].as_f64().unwrap())
    };
    out.iter().map(parse).collect()
}

#[test]
fn a_segment_is_where_the_sound_is() {
    let signal = signal(&[600, 600, 900]);
    assert_eq!(segments(json!({"padding_ms": 0}), &signal), [(600.0, 1200.0)]);
    assert_eq!(segments(json!({"padding_ms": 90}), &signal), [(510.0, 1290.0)]);
}

#[test]
fn energy_db_is_the_level_of_the_speech_without_its_padding() {
    let out = vad(json!({}), cut(&signal(&[600, 600, 900]), RATE, 1, &[320]));
    let energy = out[0].parse_json().unwrap()["energy_db"].as_f64().unwrap();
    assert!((energy + 9.031).abs() < 0.01, "{energy}");
}

#[test]
fn sound_below_the_threshold_is_silence() {
    let signal = signal(&[600, 600, 900]);
    assert!(segments(json!({"threshold": -8.0}), &signal).is_empty());
    let all = json!({"threshold": -9.5, "padding_ms": 0});
    assert_eq!(segments(all, &signal).len(), 1);
}

#[test]
fn speech_that_has_begun_may_fall_by_the_hysteresis() {
    let mut signal = signal(&[600, 300, 0]);
    signal.extend(sine(500.0, RATE, 9_600).iter().map(|s| s * 0.5 * 0.75));
    signal.extend(vec![0.0; 16_000]);
    let ends = |hysteresis: f64| {
        let params = json!({"threshold": -10, "hysteresis_db": hysteresis, "padding_ms": 0});
        segments(params, &signal)[0].1
    };
    assert_eq!(ends(0.0), 900.0);
    assert_eq!(ends(3.0), 1500.0);
}

#[test]
fn short_sounds_are_dropped_and_short_pauses_do_not_split() {
    let params = json!({"padding_ms": 0});
    assert!(segments(params.clone(), &signal(&[600, 150, 900])).is_empty());
    let one = segments(params.clone(), &signal(&[600, 300, 300, 300, 900]));
    assert_eq!(one, [(600.0, 1500.0)]);
    let two = segments(params, &signal(&[600, 300, 600, 300, 900]));
    assert_eq!(two, [(600.0, 900.0), (1500.0, 1800.0)]);
}

#[test]
fn speech_that_lasts_to_the_end_is_given_with_the_last_partial_frame() {
    let found = segments(json!({"padding_ms": 0}), &signal(&[600, 405]));
    assert_eq!(found, [(600.0, 1005.0)]);
}

#[test]
fn speech_output_holds_exactly_the_segment() {
    let signal = signal(&[600, 600, 900, 300, 900]);
    let out = vad(json!({"output": "speech", "padding_ms": 90}), cut(&signal, RATE, 1, &[160]));
    assert_eq!(out.len(), 2);
    let ms = |ms: usize| ms * 16;
    assert_eq!(samples(&out[..1]), signal[ms(510)..ms(1290)]);
    assert_eq!(samples(&out[1..]), signal[ms(2010)..ms(2490)]);
    let view = out[0].as_audio().unwrap();
    assert_eq!((view.sample_rate, view.channels), (RATE, 1));
}

#[test]
fn an_item_carries_the_time_of_the_input_that_holds_its_first_sample() {
    for kind in ["speech", "segments"] {
        let input = cut(&signal(&[600, 600, 900]), RATE, 1, &[320]);
        let expected = input[510 / 20].header().timestamp;
        let out = vad(json!({"output": kind, "padding_ms": 90}), input);
        assert_eq!(out[0].header().timestamp, expected);
    }
}

#[test]
fn endless_sound_is_cut_without_loss() {
    let signal = signal(&[0, 3_500, 600]);
    let params = json!({"output": "speech", "max_speech_ms": 1_000, "padding_ms": 0});
    let out = vad(params, cut(&signal, RATE, 1, &[1_000]));
    assert_eq!(out.len(), 4);
    assert_eq!(samples(&out), signal[..3_510 * 16]);
}

#[test]
fn the_model_drops_noise_that_the_level_alone_takes_for_speech() {
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 0.3 - 0.15
    };
    let mut samples = signal(&[1_000]);
    samples.extend((0..8_000).map(|_| noise()));
    samples.extend(signal(&[1_000]));
    assert!(segments(json!({"mode": "model"}), &samples).is_empty());
    assert_eq!(segments(json!({"mode": "energy"}), &samples).len(), 1);
}

#[test]
fn input_that_cannot_be_judged_names_the_node_that_helps() {
    let refuse = |params: Value, item: RuntimeData| {
        let mut node = make("VADNode", params).unwrap();
        let error = node.process(item, &mut Output::default()).unwrap_err();
        assert!(matches!(error, NodeError::Input { .. }));
        error.to_string()
    };
    let audio = |rate, channels| RuntimeData::audio_f32(vec![0.0; 4], rate, channels).unwrap();
    let check = |message: String, advice: &str| assert!(message.contains(advice), "{message}");
    check(
        refuse(json!({}), audio(16_000, 2)),
        "put a FormatConverterNode with channels 1 before it",
    );
    let i16s = RuntimeData::audio(vec![0; 4], 16_000, 1, AudioFormat::I16).unwrap();
    check(refuse(json!({}), i16s), "put a FormatConverterNode before it");
    check(
        refuse(json!({"mode": "model"}), audio(48_000, 1)),
        "the node takes 16000 Hz; put a ResampleNode before it",
    );
    check(
        refuse(json!({"sample_rate": 8_000}), audio(48_000, 1)),
        "the node takes 8000 Hz; put a ResampleNode before it",
    );
    check(refuse(json!({}), audio(400_000, 1)), "at most 384000 Hz");
    check(refuse(json!({}), RuntimeData::text("hello").unwrap()), "mono f32 audio");
}

#[test]
fn a_change_of_rate_within_the_stream_is_refused() {
    let mut node = make("VADNode", json!({"sample_rate": 0})).unwrap();
    let mut process = |rate| {
        let item = RuntimeData::audio_f32(vec![0.0; 4], rate, 1).unwrap();
        node.process(item, &mut Output::default())
    };
    process(8_000).unwrap();
    assert!(process(16_000).is_err());
    process(8_000).unwrap();
}

#[test]
fn wrong_parameters_are_refused() {
    for params in [
        json!({"mode": "magic"}),
        json!({"output": "words"}),
        json!({"threshold": 1.0}),
        json!({"frame_length_ms": 0}),
        json!({"model_threshold": 1.5}),
        json!({"min_speech_ms": -1}),
        json!({"max_speech_ms": 999}),
        json!({"max_speech_ms": 1_000, "min_speech_ms": 1_000}),
        json!({"mode": "model", "sample_rate": 48_000}),
    ] {
        assert!(make("VADNode", params.clone()).is_err(), "{params}");
    }
}

#[test]
fn a_stream_without_audio_gives_nothing() {
    assert!(vad(json!({}), vec![]).is_empty());
    let nothing = RuntimeData::audio_f32(vec![], RATE, 1).unwrap();
    assert!(vad(json!({"output": "speech"}), vec![nothing]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_result_does_not_depend_on_the_cuts(
        turns in prop::collection::vec(1_usize..800, 0..8),
        lengths in prop::collection::vec(1_usize..1_500, 1..6),
        mode in prop::sample::select(vec!["energy", "model"]),
        output in prop::sample::select(vec!["segments", "speech"]),
    ) {
        let signal = signal(&turns);
        let params = json!({"mode": mode, "output": output, "model_threshold": 0.05});
        let payloads = |lengths: &[usize]| -> Vec<_> {
            let out = vad(params.clone(), cut(&signal, RATE, 1, lengths));
            out.iter().map(|item| item.payload().clone()).collect()
        };
        prop_assert_eq!(payloads(&[100_000]), payloads(&lengths));
    }
}
