//! Tests of the clipping detector: what counts, what is told where.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, sine};
use proptest::prelude::*;
use serde_json::json;

/// The events for a stream at 1000 Hz.
fn told(params: Value, input: &[f32], channels: u16) -> Vec<Value> {
    let mut node = make("ClippingDetectorNode", params).unwrap();
    let items = run(node.as_mut(), cut(input, 1_000, channels, &[17])).unwrap();
    items.iter().map(|item| serde_json::from_slice(item.payload()).unwrap()).collect()
}

/// Silence with full scale at these places.
fn clipped(places: &[(usize, usize)], frames: usize) -> Vec<f32> {
    let mut input = vec![0.0; frames];
    for (n, (start, len)) in places.iter().enumerate() {
        input[*start..start + len].fill(if n % 2 == 0 { 1.0 } else { -1.0 });
    }
    input
}

#[test]
fn an_interval_with_clipping_is_told_with_counts_and_places() {
    let input = clipped(&[(110, 3), (120, 5), (140, 2)], 250);
    let expected = json!({
        "start_ms": 100.0, "end_ms": 200.0, "runs": 2, "samples": 8,
        "channels": [{"runs": 2, "samples": 8}],
        "positions": [
            {"channel": 0, "at_ms": 110.0, "samples": 3},
            {"channel": 0, "at_ms": 120.0, "samples": 5},
        ],
    });
    assert_eq!(told(json!({}), &input, 1), [expected]);
}

#[test]
fn a_run_over_several_intervals_is_counted_once_and_its_samples_where_they_lie() {
    let told = told(json!({}), &clipped(&[(150, 120)], 400), 1);
    let counts =
        |event: &Value| (event["runs"].as_u64().unwrap(), event["samples"].as_u64().unwrap());
    assert_eq!(told.iter().map(counts).collect::<Vec<_>>(), [(1, 50), (0, 70)]);
    assert_eq!(told[1]["positions"][0]["at_ms"], 200.0);
}

#[test]
fn a_run_that_becomes_long_enough_in_the_next_interval_is_told_there() {
    let told = told(json!({}), &clipped(&[(98, 4)], 400), 1);
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["start_ms"], &told[0]["samples"]), (&json!(100.0), &json!(4)));
    assert_eq!(told[0]["positions"][0]["at_ms"], 98.0);
}

#[test]
fn channels_are_searched_one_by_one() {
    // Three in a row only where both channels are taken together.
    let mixed: Vec<f32> =
        (0..100).flat_map(|n| if n % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
    assert_eq!(told(json!({}), &mixed, 2), [] as [Value; 0]);
    let right: Vec<f32> = (0..100).flat_map(|n| [0.0, if n < 10 { 1.0 } else { 0.0 }]).collect();
    let told = told(json!({}), &right, 2);
    assert_eq!(told[0]["channels"], json!([{"runs": 0, "samples": 0}, {"runs": 1, "samples": 10}]));
}

#[test]
fn the_level_and_the_length_of_a_run_are_parameters() {
    let sine = sine(100.0, 1_000, 100);
    assert_eq!(told(json!({}), &sine, 1), [] as [Value; 0]);
    // 72 and 108 degrees are above 0.9, two in a row.
    let params = json!({"level_db": -0.9, "min_samples": 2});
    assert_eq!(told(params.clone(), &sine, 1)[0]["runs"], 20);
    assert_eq!(told(json!({"level_db": -0.9}), &sine, 1), [] as [Value; 0]);
}

#[test]
fn positions_are_bounded_and_counts_are_not() {
    let input: Vec<f32> = (0..400).map(|n| if n % 4 == 0 { 0.0 } else { 1.0 }).collect();
    let told = told(json!({"interval_ms": 400}), &input, 1);
    assert_eq!(told[0]["runs"], 100);
    assert_eq!(told[0]["positions"].as_array().unwrap().len(), 64);
}

#[test]
fn infinities_are_clipped_and_what_is_not_a_number_is_not() {
    let input = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.0, f32::NAN, 1.0, 1.0];
    assert_eq!(told(json!({}), &input, 1)[0]["samples"], 3);
}

#[test]
fn the_level_can_change_while_it_runs_and_the_interval_cannot() {
    let mut node = make("ClippingDetectorNode", json!({})).unwrap();
    let mut output = Output::default();
    let mut feed = |node: &mut dyn Node| {
        node.process(cut(&[0.5; 100], 1_000, 1, &[100]).remove(0), &mut output).unwrap();
        output.drain().count()
    };
    assert_eq!(feed(node.as_mut()), 0);
    node.set_params(&json!({"level_db": -7})).unwrap();
    assert_eq!(feed(node.as_mut()), 1);
    assert!(node.set_params(&json!({"interval_ms": 50})).is_err());
}

#[test]
fn samples_before_and_after_a_flush_are_no_run() {
    let mut node = make("ClippingDetectorNode", json!({"min_samples": 3})).unwrap();
    let mut output = Output::default();
    for _ in 0..2 {
        node.flush();
        node.process(cut(&[1.0; 2], 1_000, 1, &[2]).remove(0), &mut output).unwrap();
    }
    node.finish(&mut output).unwrap();
    assert!(output.is_empty());
}

#[test]
fn steady_work_allocates_nothing() {
    for amplitude in [0.5, 2.0] {
        let sound: Vec<_> = sine(440.0, 48_000, 1_920).iter().map(|s| s * amplitude).collect();
        let item = RuntimeData::audio_f32(sound, 48_000, 2).unwrap();
        check_no_allocation("ClippingDetectorNode", &json!({"output": "audio"}), &item);
    }
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_how_the_stream_is_cut(
        lengths in lengths(), interval in 1_u32..300, channels in 1_u16..4,
    ) {
        let swell = sine(3.0, 22_050, 24_000);
        let sound: Vec<_> =
            sine(440.0, 22_050, 24_000).iter().zip(swell).map(|(s, a)| s * a * 5.0).collect();
        let params = json!({"interval_ms": interval, "min_samples": 3});
        check_cuts("ClippingDetectorNode", &params, (&sound, 22_050, channels), &lengths);
    }
}
