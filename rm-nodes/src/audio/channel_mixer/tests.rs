//! Tests of the channel mixer.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, content, cut, lengths, make, run, samples};
use proptest::prelude::*;
use rm_core::NodeContext;
use serde_json::json;

const HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

fn mixed(params: Value, input: &[f32], channels: u16) -> Vec<f32> {
    let mut node = make("ChannelMixerNode", params).unwrap();
    let item = RuntimeData::audio_f32(input.to_vec(), 48_000, channels).unwrap();
    samples(&run(node.as_mut(), [item]).unwrap())
}

/// The gains that a node has: what it makes of each channel alone.
fn gains(params: &Value, inputs: u16) -> Vec<Vec<f32>> {
    let alone = |channel: u16| {
        let frame: Vec<_> = (0..inputs).map(|index| f32::from(index == channel)).collect();
        mixed(params.clone(), &frame, inputs)
    };
    let columns: Vec<_> = (0..inputs).map(alone).collect();
    (0..columns[0].len()).map(|row| columns.iter().map(|column| column[row]).collect()).collect()
}

#[test]
fn layouts_are_mixed_by_the_coefficients_of_the_recommendation() {
    let check = |inputs, layout: &str, expected: &[&[f32]]| {
        let found = gains(&json!({"layout": layout}), inputs);
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            for (a, b) in found.iter().zip(*expected) {
                assert!((a - b).abs() < 1e-6, "{inputs} to {layout}: {found:?}");
            }
        }
    };
    // Downward mixing of 3/2 material as in BS.775, and what follows from it.
    check(5, "stereo", &[&[1.0, 0.0, HALF, HALF, 0.0], &[0.0, 1.0, HALF, 0.0, HALF]]);
    check(5, "mono", &[&[HALF, HALF, 1.0, 0.5, 0.5]]);
    check(6, "stereo", &[&[1.0, 0.0, HALF, 0.0, HALF, 0.0], &[0.0, 1.0, HALF, 0.0, 0.0, HALF]]);
    check(2, "mono", &[&[HALF, HALF]]);
    check(3, "stereo", &[&[1.0, 0.0, HALF], &[0.0, 1.0, HALF]]);
    check(3, "3.0", &[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]]);
    check(
        6,
        "2.1",
        &[
            &[1.0, 0.0, HALF, 0.0, HALF, 0.0],
            &[0.0, 1.0, HALF, 0.0, 0.0, HALF],
            &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        ],
    );
    check(1, "stereo", &[&[HALF], &[HALF]]);
    check(1, "5.0", &[&[0.0], &[0.0], &[1.0], &[0.0], &[0.0]]);
    check(4, "stereo", &[&[1.0, 0.0, HALF, 0.0], &[0.0, 1.0, 0.0, HALF]]);
    check(
        8,
        "5.1",
        &[
            &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, HALF, 0.0],
            &[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, HALF],
        ],
    );
}

#[test]
fn every_layout_becomes_every_other_and_itself_untouched() {
    for (_, from) in LAYOUTS {
        for (name, to) in LAYOUTS {
            let inputs = u16::try_from(from.len()).unwrap();
            let by_name = gains(&json!({"layout": name}), inputs);
            assert_eq!(by_name.len(), to.len());
            // Three channels are 3.0.
            if name != "2.1" {
                assert_eq!(by_name, gains(&json!({"channels": to.len()}), inputs));
            }
        }
        let channels = u16::try_from(from.len()).unwrap();
        let item = RuntimeData::audio_f32(vec![0.5; from.len()], 48_000, channels).unwrap();
        for params in [json!({}), json!({"channels": channels}), json!({"map": [0]})] {
            let mut node = make("ChannelMixerNode", params.clone()).unwrap();
            let out = run(node.as_mut(), [item.clone()]).unwrap();
            let is_same = out[0].payload().as_ptr() == item.payload().as_ptr();
            assert_eq!(is_same, channels == 1 || params["map"].is_null(), "{params}");
        }
    }
}

#[test]
fn a_normalized_mix_stays_within_full_scale() {
    let rows = gains(&json!({"layout": "mono", "normalize": true}), 5);
    let sum = 2.0 + 2.0 * HALF;
    let expected = [HALF, HALF, 1.0, 0.5, 0.5].map(|gain| gain / sum);
    assert!(rows[0].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{rows:?}");
    assert_eq!(gains(&json!({"matrix": [[0.5, -0.25]], "normalize": true}), 2), [[0.5, -0.25]]);
}

#[test]
fn a_matrix_and_a_map_do_what_they_say() {
    let matrix = json!({"matrix": [[0.0, 1.0], [0.5, -0.5], [0.0, 0.0]]});
    assert_eq!(mixed(matrix, &[1.0, 2.0, 3.0, 7.0], 2), [2.0, -0.5, 0.0, 7.0, -2.0, 0.0]);
    let map = json!({"map": [2, 0, -1, 2]});
    assert_eq!(mixed(map, &[1.0, 2.0, 3.0], 3), [3.0, 1.0, 0.0, 3.0]);
}

#[test]
fn what_is_not_a_number_stays_in_its_channel() {
    let map = json!({"map": [1, 0, -1]});
    let out = mixed(map, &[f32::NAN, -0.0], 2);
    assert_eq!(out[0].to_bits(), (-0.0_f32).to_bits());
    assert!(out[1].is_nan());
    assert_eq!(out[2], 0.0);
}

#[test]
fn new_gains_are_reached_in_the_ramp_without_a_step() {
    let mut node = make("ChannelMixerNode", json!({"matrix": [[1.0, 0.0]]})).unwrap();
    let mut output = Output::default();
    let mut give = |node: &mut dyn Node, frames: usize| {
        let item = RuntimeData::audio_f32([1.0, 10.0].repeat(frames), 1_000, 2).unwrap();
        node.process(item, &mut output).unwrap();
        samples(&output.drain().collect::<Vec<_>>())
    };
    assert_eq!(give(node.as_mut(), 2), [1.0, 1.0]);
    node.set_params(&json!({"matrix": [[0.0, 1.0]], "ramp_ms": 10})).unwrap();
    let ramp = [give(node.as_mut(), 3), give(node.as_mut(), 9)].concat();
    for (frame, sample) in ramp.iter().enumerate() {
        let expected = (1.0 + 0.9 * (frame + 1) as f32).min(10.0);
        assert!((sample - expected).abs() < 1e-5, "{ramp:?}");
    }
    // A change on the way begins where the one before has got to.
    node.set_params(&json!({"matrix": [[1.0, 0.0]]})).unwrap();
    let half = give(node.as_mut(), 5);
    assert!((half[4] - 5.5).abs() < 1e-5, "{half:?}");
    node.set_params(&json!({"matrix": null, "map": [1]})).unwrap();
    let back = give(node.as_mut(), 11);
    assert!((back[0] - 5.95).abs() < 1e-5 && back[9..] == [10.0, 10.0], "{back:?}");
    node.set_params(&json!({"map": [0], "ramp_ms": 0})).unwrap();
    assert_eq!(give(node.as_mut(), 1), [1.0]);
}

#[test]
fn a_change_that_does_not_fit_the_stream_changes_nothing() {
    let mut node = make("ChannelMixerNode", json!({"map": [1]})).unwrap();
    let item = RuntimeData::audio_f32(vec![1.0, 2.0], 48_000, 2).unwrap();
    let mut output = Output::default();
    node.process(item.clone(), &mut output).unwrap();
    let mut refuse = |params: Value| node.set_params(&params).unwrap_err().to_string();
    let more = refuse(json!({"map": [0, 1]}));
    assert!(more.contains("1 output channels as before"), "{more}");
    let wide = refuse(json!({"map": [7]}));
    assert!(wide.contains("the 2 channels that come"), "{wide}");
    refuse(json!({"matrix": [[1.0, 0.0]]}));
    output.clear();
    node.process(item, &mut output).unwrap();
    assert_eq!(samples(&output.drain().collect::<Vec<_>>()), [2.0]);
}

#[test]
fn the_number_of_channels_stays_also_where_all_of_them_were_kept() {
    let mut node = make("ChannelMixerNode", json!({})).unwrap();
    let mut output = Output::default();
    let refused = |node: &mut dyn Node, params: Value, expected: &str| {
        let error = node.set_params(&params).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(node.as_mut(), json!({"channels": 1}), "as many as come output channels as before");
    let stereo = RuntimeData::audio_f32([1.0, 3.0].repeat(4), 1_000, 2).unwrap();
    node.process(stereo.clone(), &mut output).unwrap();
    refused(node.as_mut(), json!({"channels": 1}), "2 output channels as before");
    let mono = RuntimeData::audio_f32(vec![0.0; 2], 1_000, 1).unwrap();
    assert!(node.process(mono.clone(), &mut output).is_err());
    output.clear();
    // What keeps their number is reached in a ramp.
    node.set_params(&json!({"map": [1, 0], "ramp_ms": 4})).unwrap();
    node.process(stereo, &mut output).unwrap();
    let ramp = [1.5, 2.5, 2.0, 2.0, 2.5, 1.5, 3.0, 1.0];
    assert_eq!(samples(&output.drain().collect::<Vec<_>>()), ramp);
    let mut node = make("ChannelMixerNode", json!({"channels": 1})).unwrap();
    refused(node.as_mut(), json!({"channels": 2}), "1 output channels as before");
    node.process(mono, &mut output).unwrap();
}

#[test]
fn wrong_parameters_are_refused_in_words() {
    let check = |params: Value, expected: &str| {
        let error = make("ChannelMixerNode", params.clone()).err().unwrap().to_string();
        assert!(error.contains(expected), "{params}: {error}");
    };
    check(json!({"matrix": [[1.0, 0.0], [1.0]]}), "a row 1 of 1 gains");
    check(json!({"matrix": []}), "0 rows of 0 gains");
    check(json!({"matrix": [[]]}), "1 rows of 0 gains");
    check(json!({"matrix": [[1e300]]}), "finite");
    check(json!({"matrix": [1.0]}), "a list of lists");
    check(json!({"map": []}), "a list of 0");
    check(json!({"map": [-2]}), "-1 for silence");
    check(json!({"map": [256]}), "from 0 to 255");
    check(json!({"map": [0], "matrix": [[1.0]]}), "one of layout, matrix and map only");
    check(json!({"layout": "stereo", "map": [0]}), "one of layout, matrix and map only");
    check(json!({"layout": "9.1"}), "one of mono, stereo, 3.0, 2.1, quad, 5.0, 5.1, 7.1, keep");
    check(json!({"channels": 7}), "1, 2, 3, 4, 5, 6 or 8");
    check(json!({"channels": 3, "map": [0]}), "0 or 1");
}

#[test]
fn input_that_does_not_fit_is_refused() {
    let check = |params: Value, channels: u16, expected: &str| {
        let mut node = make("ChannelMixerNode", params).unwrap();
        let frame = vec![0.0; usize::from(channels)];
        let item = RuntimeData::audio_f32(frame, 48_000, channels).unwrap();
        let error = node.process(item, &mut Output::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(json!({"matrix": [[1.0, 0.0]]}), 3, "takes audio of 2 channels");
    check(json!({"map": [3]}), 3, "takes audio of 4 to 256 channels");
    check(json!({"layout": "stereo"}), 7, "1 or 2 or 3 or 4 or 5 or 6 or 8 channels, whose");
    let mut node = make("ChannelMixerNode", json!({"channels": 1})).unwrap();
    let stereo = RuntimeData::audio_f32(vec![0.0; 2], 48_000, 2).unwrap();
    let mono = RuntimeData::audio_f32(vec![0.0; 2], 48_000, 1).unwrap();
    let mut output = Output::default();
    node.process(stereo, &mut output).unwrap();
    assert!(node.process(mono.clone(), &mut output).is_err());
    node.flush();
    node.process(mono, &mut output).unwrap();
}

#[test]
fn what_it_says_that_it_takes_and_gives_is_true() {
    let check = |params: Value, takes: &str, gives: &str| {
        let mut registry = NodeRegistry::new();
        crate::register_all(&mut registry).unwrap();
        let context =
            NodeContext { node_type: "ChannelMixerNode".into(), params, ..NodeContext::default() };
        let formats = registry.formats(&context).unwrap();
        assert_eq!(formats.taken()[0].to_string(), takes);
        let given = formats.given(&[Formats::any(DataType::Audio)]);
        assert_eq!(given[0].to_string(), gives);
    };
    let any = "audio (f32, interleaved)";
    check(json!({}), any, any);
    let known = "audio (f32, interleaved, 1 or 2 or 3 or 4 or 5 or 6 or 8 channels)";
    check(json!({"layout": "5.1"}), known, "audio (f32, interleaved, 6 channels)");
    let two = "audio (f32, interleaved, 2 channels)";
    check(json!({"matrix": [[1.0, 0.0]]}), two, "audio (f32, mono)");
    let some = "audio (f32, interleaved, 3 to 256 channels)";
    check(json!({"map": [2, 0]}), some, two);
}

#[test]
fn nothing_is_allocated_for_an_item() {
    let item = RuntimeData::audio_f32(vec![0.1; 960 * 6], 48_000, 6).unwrap();
    check_no_allocation("ChannelMixerNode", &json!({"layout": "stereo"}), &item);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_result_does_not_depend_on_the_cuts(
        frames in 1_usize..5_000,
        lengths in lengths(),
        to in prop::sample::select(vec![1, 2, 6]),
    ) {
        let input: Vec<_> = (0..frames * 4).map(|n| (n as f32 * 0.37).sin()).collect();
        check_cuts("ChannelMixerNode", &json!({"channels": to}), (&input, 8_000, 4), &lengths);
    }

    #[test]
    fn a_ramp_does_not_depend_on_the_cuts(frames in 1_usize..3_000, lengths in lengths()) {
        let input: Vec<_> = (0..frames * 2).map(|n| (n as f32 * 0.37).sin()).collect();
        let given = |lengths: &[usize]| {
            let mut node = make("ChannelMixerNode", json!({"map": [0]})).unwrap();
            let begin = RuntimeData::audio_f32(vec![0.0; 2], 8_000, 2).unwrap();
            node.process(begin, &mut Output::default()).unwrap();
            node.set_params(&json!({"map": [1], "ramp_ms": 100})).unwrap();
            content(node.as_mut(), cut(&input, 8_000, 2, lengths)).unwrap()
        };
        prop_assert!(given(&lengths) == given(&[frames]));
    }

    #[test]
    fn any_matrix_is_applied_as_a_plain_reference_says(
        rows in (1_usize..9, 1_usize..9).prop_flat_map(|(rows, columns)| {
            let gain = prop_oneof![Just(0.0_f32), -2.0_f32..2.0];
            prop::collection::vec(prop::collection::vec(gain, columns), rows)
        }),
        frames in 0_usize..40,
    ) {
        let inputs = rows[0].len();
        let input: Vec<_> = (0..frames * inputs).map(|n| (n as f32 * 0.37).sin()).collect();
        let found = mixed(json!({"matrix": rows}), &input, inputs as u16);
        let mut expected = Vec::new();
        for frame in input.chunks_exact(inputs) {
            for row in &rows {
                let pairs = row.iter().zip(frame);
                let terms = pairs.map(|(gain, sample)| f64::from(*gain) * f64::from(*sample));
                expected.push(terms.sum::<f64>());
            }
        }
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5);
        }
    }
}
