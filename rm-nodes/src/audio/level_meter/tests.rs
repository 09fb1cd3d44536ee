//! Tests of the level meter: analytic levels, and the signals of EBU Tech 3341 and 3342.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, content, cut, lengths, make, run, sine};
use proptest::prelude::*;
use serde_json::{Value, json};

const RATE: u32 = 48_000;

/// The measurements of a stream.
fn measured(params: Value, input: &[f32], rate: u32, channels: u16) -> Vec<Value> {
    let mut node = make("LevelMeterNode", params).unwrap();
    let items = run(node.as_mut(), cut(input, rate, channels, &[960])).unwrap();
    items.iter().map(|item| serde_json::from_slice(item.payload()).unwrap()).collect()
}

/// A sine of 1 kHz at 48 kHz whose peak has these levels in dB, by channel, for so many seconds each.
fn tones<const CHANNELS: usize>(parts: &[(f64, [f64; CHANNELS])]) -> Vec<f32> {
    let frames: usize = parts.iter().map(|(seconds, _)| (seconds * 48_000.0) as usize).sum();
    let mut sine = sine(1_000.0, RATE, frames).into_iter();
    let mut out = Vec::new();
    for (seconds, levels) in parts {
        let factors = levels.map(|level| 10_f64.powf(level / 20.0) as f32);
        for sample in sine.by_ref().take((seconds * 48_000.0) as usize) {
            out.extend(factors.map(|factor| sample * factor));
        }
    }
    out
}

fn stereo(parts: &[(f64, f64)]) -> Vec<f32> {
    tones(&parts.iter().map(|(seconds, level)| (*seconds, [*level; 2])).collect::<Vec<_>>())
}

fn number(event: &Value, name: &str) -> f64 {
    event[name].as_f64().unwrap_or(f64::NAN)
}

#[track_caller]
fn check_near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected} ± {tolerance}");
}

#[test]
fn levels_of_a_sine_and_of_silence_are_the_analytic_ones() {
    let input = tones(&[(1.0, [-6.0, -26.0])]);
    let events = measured(json!({}), &input, RATE, 2);
    assert_eq!(events.len(), 10);
    let event = &events[4];
    assert_eq!((number(event, "start_ms"), number(event, "end_ms")), (400.0, 500.0));
    let [left, right] = [&event["channels"][0], &event["channels"][1]];
    check_near(number(left, "peak_db"), -6.0, 0.001);
    check_near(number(left, "rms_db"), -9.01, 0.001);
    check_near(number(right, "rms_db"), -29.01, 0.001);
    check_near(number(event, "peak_db"), -6.0, 0.001);
    // The mean of the powers.
    let power = (10_f64.powf(-0.901) + 10_f64.powf(-2.901)) / 2.0;
    check_near(number(event, "rms_db"), 10.0 * power.log10(), 0.002);
    let silent = &measured(json!({}), &[0.0; 4_800], RATE, 1)[0];
    assert_eq!((number(silent, "rms_db"), number(silent, "peak_db")), (-120.0, -120.0));
    assert_eq!(number(silent, "true_peak_db"), -120.0);
}

#[test]
fn what_was_before_a_flush_is_not_measured() {
    let mut node = make("LevelMeterNode", json!({})).unwrap();
    node.process(cut(&[1.0; 480], RATE, 1, &[480]).remove(0), &mut Output::default()).unwrap();
    node.flush();
    let quiet = cut(&sine(1_000.0, RATE, 4_800), RATE, 2, &[2_400]);
    let given = content(node.as_mut(), quiet.clone()).unwrap();
    let mut fresh = make("LevelMeterNode", json!({})).unwrap();
    assert_eq!(given, content(fresh.as_mut(), quiet).unwrap());
}

#[test]
fn the_last_interval_may_be_shorter() {
    let events = measured(json!({"interval_ms": 30}), &vec![1.0; 3_000], RATE, 1);
    let ends: Vec<_> = events.iter().map(|event| number(event, "end_ms")).collect();
    assert_eq!(ends, [30.0, 60.0, 62.5]);
    assert_eq!(number(&events[2], "rms_db"), 0.0);
    assert_eq!(measured(json!({}), &[], RATE, 1), [] as [Value; 0]);
}

#[test]
fn integrated_loudness_is_that_of_tech_3341() {
    // Cases 1 to 5, of which all but the second are to have -23 LUFS.
    let cases: [(&[(f64, f64)], f64); 5] = [
        (&[(20.0, -23.0)], -23.0),
        (&[(20.0, -33.0)], -33.0),
        (&[(10.0, -36.0), (60.0, -23.0), (10.0, -36.0)], -23.0),
        (&[(10.0, -72.0), (10.0, -36.0), (60.0, -23.0), (10.0, -36.0), (10.0, -72.0)], -23.0),
        (&[(20.0, -26.0), (20.1, -20.0), (20.0, -26.0)], -23.0),
    ];
    for (parts, expected) in cases {
        let events = measured(json!({"true_peak": false}), &stereo(parts), RATE, 2);
        check_near(number(events.last().unwrap(), "integrated_lufs"), expected, 0.1);
        if parts.len() == 1 {
            let event = &events[100];
            check_near(number(event, "momentary_lufs"), expected, 0.1);
            check_near(number(event, "short_term_lufs"), expected, 0.1);
        }
    }
    // Case 6: five channels.
    let surround = tones(&[(20.0, [-28.0, -28.0, -24.0, -30.0, -30.0])]);
    let events = measured(json!({"true_peak": false}), &surround, RATE, 5);
    check_near(number(events.last().unwrap(), "integrated_lufs"), -23.0, 0.1);
}

#[test]
fn momentary_and_short_term_loudness_are_those_of_tech_3341() {
    let repeated =
        |parts: [(f64, f64); 2], times: usize| stereo(&[parts; 25].concat()[..2 * times]);
    let check = |input: &[f32], name: &str, from: usize| {
        for event in measured(json!({"true_peak": false}), input, RATE, 2).iter().skip(from) {
            check_near(number(event, name), -23.0, 0.1);
        }
    };
    // Case 9 after 3 s, and case 12 after 1 s.
    check(&repeated([(1.34, -20.0), (1.66, -30.0)], 5), "short_term_lufs", 30);
    check(&repeated([(0.18, -20.0), (0.22, -30.0)], 25), "momentary_lufs", 10);
}

#[test]
fn the_loudness_range_is_that_of_tech_3342() {
    let cases: [(&[f64], f64); 4] = [
        (&[-20.0, -30.0], 10.0),
        (&[-20.0, -15.0], 5.0),
        (&[-40.0, -20.0], 20.0),
        (&[-50.0, -35.0, -20.0, -35.0, -50.0], 15.0),
    ];
    for (levels, expected) in cases {
        let input = stereo(&levels.iter().map(|level| (20.0, *level)).collect::<Vec<_>>());
        let events = measured(json!({"true_peak": false}), &input, RATE, 2);
        check_near(number(events.last().unwrap(), "loudness_range_lu"), expected, 1.0);
    }
}

#[test]
fn true_peaks_are_those_of_tech_3341() {
    // Cases 15 to 19: a part of the sample rate, a phase, an amplitude, the true peak.
    let cases = [
        (4.0, 0.0, 0.5, -6.0),
        (4.0, 45.0, 0.5, -6.0),
        (6.0, 60.0, 0.5, -6.0),
        (8.0, 67.5, 0.5, -6.0),
        (4.0, 45.0, 1.41, 3.0),
    ];
    for (part, phase, amplitude, expected) in cases {
        let angle = |n: usize| std::f64::consts::TAU * (n as f64 / part + phase / 360.0);
        // Faded in and out, as a step has peaks of its own.
        let frames = 48_000;
        let fade = |n: usize| (n.min(frames - n) as f64 / 4_800.0).min(1.0);
        let input: Vec<_> =
            (0..frames).map(|n| (amplitude * fade(n) * angle(n).sin()) as f32).collect();
        let last = measured(json!({}), &input, RATE, 1).pop().unwrap();
        let found = number(&last, "max_true_peak_db");
        assert!((expected - 0.4..=expected + 0.2).contains(&found), "{part} {phase}: {found}");
    }
}

#[test]
fn what_is_not_known_is_null() {
    let event = |params: Value, rate, channels| {
        let input = vec![0.25; rate as usize / 5 * usize::from(channels)];
        measured(params, &input, rate, channels).remove(0)
    };
    // There is no loudness yet, of too many channels, at too low a rate, and where it is not wanted.
    let off = json!({"loudness": false});
    for (params, rate, channels) in
        [(json!({}), 48_000, 2), (json!({}), 48_000, 9), (json!({}), 1_000, 1), (off, 48_000, 2)]
    {
        let event = event(params, rate, channels);
        for name in ["momentary_lufs", "short_term_lufs", "integrated_lufs", "loudness_range_lu"] {
            assert_eq!(event[name], Value::Null, "{name}");
        }
        check_near(number(&event, "true_peak_db"), -12.04, 2.0);
    }
    assert_eq!(event(json!({"true_peak": false}), 48_000, 2)["true_peak_db"], Value::Null);
    assert_eq!(event(json!({}), 8_000, 256)["true_peak_db"], Value::Null);
}

#[test]
fn samples_that_are_not_finite_count_as_zero() {
    let mut input = vec![0.5; 48_000];
    (input[100], input[200]) = (f32::NAN, f32::INFINITY);
    let events = measured(json!({}), &input, RATE, 1);
    check_near(number(&events[0], "rms_db"), -6.02, 0.01);
    assert!(number(&events[9], "integrated_lufs").is_finite());
}

#[test]
fn audio_passes_beside_the_measurements() {
    let input = cut(&tones(&[(0.2, [-6.0; 2])]), RATE, 2, &[960]);
    let mut node = make("LevelMeterNode", json!({"output": "audio"})).unwrap();
    let content = content(node.as_mut(), input.clone()).unwrap();
    assert_eq!(content[&None][0].1, crate::testing::bytes(&input));
    assert_eq!(content[&Some("events")].len(), 2);
}

#[test]
fn steady_work_allocates_nothing() {
    let item = RuntimeData::audio_f32(sine(440.0, RATE, 1_920), RATE, 2).unwrap();
    for output in ["events", "audio"] {
        check_no_allocation("LevelMeterNode", &json!({"output": output}), &item);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_result_does_not_depend_on_how_the_stream_is_cut(
        lengths in lengths(), interval in 5_u32..300, channels in 1_u16..9,
        rate in prop_oneof![Just(8_000), Just(11_025)],
    ) {
        let sound = sine(440.0, rate, 20_000);
        let sound = &sound[..20_000 / usize::from(channels) * usize::from(channels)];
        let params = json!({"interval_ms": interval});
        check_cuts("LevelMeterNode", &params, (sound, rate, channels), &lengths);
    }
}
