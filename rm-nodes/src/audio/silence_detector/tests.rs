//! Tests of the silence detector: places of silence, hysteresis, the two ways out.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, sine};
use proptest::prelude::*;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// A square wave of these levels in dB, each for so many milliseconds, at 1000 Hz.
fn levels(parts: &[(f64, usize)]) -> Vec<f32> {
    let part = |(db, ms): &(f64, usize)| {
        let level = amplitude(*db) as f32;
        (0..*ms).map(move |n| if n % 2 == 0 { level } else { -level }).collect::<Vec<_>>()
    };
    parts.iter().flat_map(part).collect()
}

/// What is told of a mono stream at 1000 Hz: silence or not, place, duration.
fn told(params: Value, input: &[f32]) -> Vec<(bool, f64, f64)> {
    let mut node = make("SilenceDetectorNode", params).unwrap();
    let items = run(node.as_mut(), cut(input, 1_000, 1, &[17])).unwrap();
    let event = |item: &RuntimeData| {
        let value: Value = serde_json::from_slice(item.payload()).unwrap();
        let number = |name: &str| value[name].as_f64().unwrap();
        (value["silence"].as_bool().unwrap(), number("at_ms"), number("duration_ms"))
    };
    items.iter().map(event).collect()
}

#[test]
fn silence_is_told_where_it_begins_and_ends() {
    let input = levels(&[(-20.0, 1_000), (-60.0, 800), (-20.0, 300), (-60.0, 100), (-20.0, 100)]);
    assert_eq!(told(json!({}), &input), [(true, 1_000.0, 1_000.0), (false, 1_800.0, 800.0)]);
}

#[test]
fn quiet_that_is_long_enough_is_silence_and_shorter_is_not() {
    let check = |quiet: usize, found: bool| {
        let input = levels(&[(-20.0, 100), (-60.0, quiet), (-20.0, 100)]);
        assert_eq!(!told(json!({"min_silence_ms": 200}), &input).is_empty(), found, "{quiet} ms");
    };
    check(190, false);
    check(200, true);
}

#[test]
fn a_silence_lasts_until_the_level_is_above_the_hysteresis() {
    let check = |level: f64, ends: bool| {
        let input = levels(&[(-60.0, 600), (level, 100), (-60.0, 300)]);
        let told = told(json!({"threshold_db": -50, "hysteresis_db": 6}), &input);
        assert_eq!(told[0], (true, 0.0, 0.0));
        let expected = if ends { (false, 600.0, 600.0) } else { (false, 1_000.0, 1_000.0) };
        assert_eq!(told[1], expected, "{level} dB");
    };
    check(-49.0, false);
    check(-44.1, false);
    check(-43.9, true);
}

#[test]
fn an_open_silence_ends_with_the_stream_and_a_sound_is_not_told() {
    let input = levels(&[(-20.0, 100), (-90.0, 555)]);
    assert_eq!(told(json!({}), &input), [(true, 100.0, 100.0), (false, 655.0, 555.0)]);
    assert_eq!(told(json!({}), &levels(&[(-20.0, 1_000)])), []);
    assert_eq!(told(json!({}), &[]), []);
}

#[test]
fn the_loudest_channel_decides() {
    let mut node = make("SilenceDetectorNode", json!({})).unwrap();
    let one_sounds: Vec<f32> = (0..2_000).flat_map(|_| [0.0, 0.5]).collect();
    assert_eq!(run(node.as_mut(), cut(&one_sounds, 1_000, 2, &[100])).unwrap(), []);
}

#[test]
fn what_is_not_a_number_changes_nothing() {
    let mut input = levels(&[(-20.0, 100), (-60.0, 600), (-20.0, 100)]);
    (input[50], input[400], input[700]) = (f32::NAN, f32::NAN, f32::INFINITY);
    assert_eq!(told(json!({}), &input), [(true, 100.0, 100.0), (false, 700.0, 600.0)]);
}

#[test]
fn with_output_audio_the_audio_passes_and_events_go_to_their_port() {
    let input = cut(&levels(&[(-20.0, 100), (-60.0, 600), (-20.0, 100)]), 1_000, 1, &[100]);
    let mut node = make("SilenceDetectorNode", json!({"output": "audio"})).unwrap();
    let mut output = Output::default();
    for item in input.clone() {
        node.process(item, &mut output).unwrap();
    }
    node.finish(&mut output).unwrap();
    let (mut audio, mut events) = (Vec::new(), 0);
    for (port, item) in output.drain_ports() {
        match port {
            None => audio.push(item),
            Some(port) => {
                assert_eq!((port, item.data_type()), ("events", rm_core::DataType::Json));
                events += 1;
            }
        }
    }
    assert_eq!((audio, events), (input, 2));
}

#[test]
fn an_event_carries_the_time_of_its_place() {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let input = levels(&[(-20.0, 105), (-60.0, 600), (-20.0, 100)]);
    let items = cut(&input, 1_000, 1, &[25]).into_iter().enumerate();
    let items =
        items.map(|(n, item)| item.with_timestamp(begin + Duration::from_millis(25) * n as u32));
    let mut node = make("SilenceDetectorNode", json!({"window_ms": 5})).unwrap();
    let events = run(node.as_mut(), items).unwrap();
    let times: Vec<_> = events.iter().map(|event| event.header().timestamp).collect();
    assert_eq!(times, [105, 705].map(|ms| begin + Duration::from_millis(ms)));
}

#[test]
fn the_threshold_can_change_while_it_runs_and_the_window_cannot() {
    let mut node = make("SilenceDetectorNode", json!({})).unwrap();
    let mut output = Output::default();
    let mut feed = |node: &mut dyn Node| {
        for item in cut(&levels(&[(-30.0, 1_000)]), 1_000, 1, &[100]) {
            node.process(item, &mut output).unwrap();
        }
        output.drain().count()
    };
    assert_eq!(feed(node.as_mut()), 0);
    node.set_params(&json!({"threshold_db": -20})).unwrap();
    assert_eq!(feed(node.as_mut()), 1);
    assert!(node.set_params(&json!({"window_ms": 20})).is_err());
}

#[test]
fn quiet_before_and_after_a_flush_is_no_silence() {
    let mut node = make("SilenceDetectorNode", json!({"min_silence_ms": 500})).unwrap();
    let mut output = Output::default();
    for _ in 0..2 {
        node.process(cut(&[0.0; 300], 1_000, 1, &[300]).remove(0), &mut output).unwrap();
        node.flush();
    }
    node.finish(&mut output).unwrap();
    assert!(output.is_empty());
}

#[test]
fn steady_work_allocates_nothing() {
    let item = RuntimeData::audio_f32(sine(440.0, 48_000, 1_920), 48_000, 2).unwrap();
    for output in ["events", "audio"] {
        check_no_allocation("SilenceDetectorNode", &json!({"output": output}), &item);
    }
    // Silence and sound in turn, so that there are events.
    let swell = levels(&[(-20.0, 10), (-90.0, 10)]);
    let item = RuntimeData::audio_f32(swell, 1_000, 1).unwrap();
    check_no_allocation("SilenceDetectorNode", &json!({"min_silence_ms": 10}), &item);
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_how_the_stream_is_cut(
        lengths in lengths(), window in 1_u32..50, rate in prop_oneof![Just(8_000), Just(22_050)],
    ) {
        let swell = sine(3.0, rate, 24_000);
        let sound: Vec<_> =
            sine(440.0, rate, 24_000).iter().zip(swell).map(|(s, a)| s * a * 0.1).collect();
        let params = json!({
            "threshold_db": -30, "min_silence_ms": 40, "window_ms": window, "output": "audio",
        });
        check_cuts("SilenceDetectorNode", &params, (&sound, rate, 2), &lengths);
    }
}
