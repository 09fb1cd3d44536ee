//! Tests of the high-pass nodes: their responses beside the analytic ones.

use rm_core::Node;
use serde_json::{Value, json};
use std::f64::consts::{PI, SQRT_2};

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
use proptest::prelude::*;

/// The level of a frequency behind the node, in dB, once it has settled: by correlation with the
/// frequency, which lies on the bins of one second.
fn response_db(node_type: &str, params: &Value, frequency: f64, rate: u32) -> f64 {
    let frames = rate as usize * 4;
    let input = sine(frequency, rate, frames);
    let mut node = make(node_type, params.clone()).unwrap();
    let given = samples(&run(node.as_mut(), cut(&input, rate, 1, &[1_000])).unwrap());
    let step = 2.0 * PI * frequency / f64::from(rate);
    let last = (frames - rate as usize..frames).map(|n| (step * n as f64, f64::from(given[n])));
    let (re, im) = last.fold((0.0, 0.0), |(re, im), (angle, sample)| {
        (re + sample * angle.cos(), im + sample * angle.sin())
    });
    20.0 * (re.hypot(im) * 2.0 / f64::from(rate)).log10()
}

/// A Butterworth high-pass behind the bilinear transform: `1 / sqrt(1 + (wc / w)^2n)` of the warped
/// frequencies.
fn butterworth_db(order: i32, cutoff: f64, frequency: f64, rate: u32) -> f64 {
    let warped = |f: f64| (PI * f / f64::from(rate)).tan();
    -10.0 * (1.0 + (warped(cutoff) / warped(frequency)).powi(2 * order)).log10()
}

#[test]
fn nothing_of_what_was_before_a_flush_is_heard_behind_it() {
    let mut output = Output::default();
    let item = cut(&sine(100.0, 8_000, 400), 8_000, 2, &[200]).remove(0);
    for node_type in ["DcBlockNode", "HighPassNode"] {
        let mut node = make(node_type, json!({"cutoff_hz": 50})).unwrap();
        node.process(item.clone(), &mut output).unwrap();
        // In the middle of a glide, whose end is where it then begins.
        node.set_params(&json!({"cutoff_hz": 200})).unwrap();
        node.process(cut(&[1.0; 8], 8_000, 2, &[4]).remove(0), &mut output).unwrap();
        output.clear();
        node.flush();
        node.process(item.clone(), &mut output).unwrap();
        let given = samples(&output.drain().collect::<Vec<_>>());
        let mut fresh = make(node_type, json!({"cutoff_hz": 200})).unwrap();
        assert!(given == samples(&run(fresh.as_mut(), [item.clone()]).unwrap()), "{node_type}");
    }
}

#[test]
fn the_responses_are_the_analytic_ones() {
    let check = |node_type: &str, params: Value, order, cutoff: f64, rate: u32| {
        let nyquist = f64::from(rate) / 2.0;
        for frequency in [0.25, 0.5, 1.0, 1.5, 4.0, 20.0].map(|times| (cutoff * times).round()) {
            if frequency < 1.0 || frequency >= nyquist {
                continue;
            }
            let expected = butterworth_db(order, cutoff, frequency, rate);
            let measured = response_db(node_type, &params, frequency, rate);
            assert!(
                (measured - expected).abs() < 0.01,
                "{node_type} {params} at {frequency} Hz: {measured} dB, not {expected} dB"
            );
        }
    };
    for rate in [8_000, 48_000] {
        check("DcBlockNode", json!({}), 1, 5.0, rate);
        check("DcBlockNode", json!({"cutoff_hz": 40}), 1, 40.0, rate);
        for order in [2, 4, 6, 8] {
            check("HighPassNode", json!({"order": order}), order, 80.0, rate);
            let params = json!({"order": order, "cutoff_hz": 1_000});
            check("HighPassNode", params, order, 1_000.0, rate);
        }
    }
    assert!((butterworth_db(4, 80.0, 80.0, 48_000) + 20.0 * SQRT_2.log10()).abs() < 1e-9);
}

#[test]
fn a_constant_goes_away() {
    for (node_type, left) in [("DcBlockNode", 1e-6), ("HighPassNode", 1e-12)] {
        let mut node = make(node_type, json!({})).unwrap();
        let input = vec![0.5; 48_000];
        let given = samples(&run(node.as_mut(), cut(&input, 48_000, 1, &[480])).unwrap());
        assert!(given[0] > 0.49, "{node_type}");
        assert!(given[47_999].abs() < left, "{node_type}: {}", given[47_999]);
    }
}

#[test]
fn silence_after_sound_becomes_exactly_zero() {
    let mut input = sine(440.0, 8_000, 8_000);
    input.resize(8_000 * 12, 0.0);
    for node_type in ["DcBlockNode", "HighPassNode"] {
        let mut node = make(node_type, json!({})).unwrap();
        let given = samples(&run(node.as_mut(), cut(&input, 8_000, 1, &[100])).unwrap());
        assert_eq!(given[8_000 * 12 - 1_024..], [0.0; 1_024], "{node_type}");
    }
}

#[test]
fn what_is_not_finite_is_not_remembered() {
    for node_type in ["DcBlockNode", "HighPassNode"] {
        let mut input = vec![0.0; 1_000];
        (input[10], input[20], input[30]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        let mut node = make(node_type, json!({})).unwrap();
        let given = samples(&run(node.as_mut(), cut(&input, 8_000, 1, &[100])).unwrap());
        assert_eq!(given, [0.0; 1_000], "{node_type}");
    }
}

#[test]
fn the_cutoff_can_change_while_it_runs() {
    let mut node = make("HighPassNode", json!({"cutoff_hz": 100})).unwrap();
    let mut output = Output::default();
    let mut peak = |node: &mut dyn Node| {
        for item in cut(&sine(1_000.0, 48_000, 48_000), 48_000, 1, &[480]) {
            node.process(item, &mut output).unwrap();
        }
        let given = samples(&output.drain().collect::<Vec<_>>());
        assert!(given.iter().all(|sample| sample.abs() < 1.1));
        given[40_000..].iter().fold(0.0, |most: f32, sample| most.max(sample.abs()))
    };
    assert!(peak(node.as_mut()) > 0.999);
    node.set_params(&json!({"cutoff_hz": 4_000})).unwrap();
    assert!(peak(node.as_mut()) < 0.07);
    node.set_params(&json!({"cutoff_hz": 100})).unwrap();
    assert!(peak(node.as_mut()) > 0.999);
    assert!(node.set_params(&json!({"cutoff_hz": 24_000})).is_err());
    assert!(node.set_params(&json!({"order": 4})).is_err());
}

#[test]
fn a_cutoff_that_the_rate_does_not_have_is_refused() {
    let mut node = make("HighPassNode", json!({"cutoff_hz": 4_000})).unwrap();
    let item = RuntimeData::audio_f32(vec![0.0], 8_000, 1).unwrap();
    let error = run(node.as_mut(), [item]).unwrap_err().to_string();
    assert!(error.contains("above 8000 Hz"), "{error}");
    assert!(make("HighPassNode", json!({"order": 3})).is_err());
}

#[test]
fn steady_work_allocates_nothing() {
    let item = RuntimeData::audio_f32(sine(440.0, 48_000, 1_920), 48_000, 2).unwrap();
    check_no_allocation("DcBlockNode", &json!({}), &item);
    check_no_allocation("HighPassNode", &json!({"order": 8}), &item);
}

proptest! {
    #[test]
    fn the_result_does_not_depend_on_how_the_stream_is_cut(
        lengths in lengths(), channels in 1_u16..9,
    ) {
        let sound: Vec<_> = sine(100.0, 8_000, 12_000).iter().map(|s| s + 0.25).collect();
        let sound = &sound[..12_000 / usize::from(channels) * usize::from(channels)];
        check_cuts("DcBlockNode", &json!({}), (sound, 8_000, channels), &lengths);
        let gliding = |lengths: &[usize]| {
            let mut node = make("HighPassNode", json!({})).unwrap();
            let mut output = Output::default();
            node.process(cut(&[0.5; 100], 8_000, 1, &[100]).remove(0), &mut output).unwrap();
            node.set_params(&json!({"cutoff_hz": 300})).unwrap();
            for item in cut(&sound[..1_000], 8_000, 1, lengths) {
                node.process(item, &mut output).unwrap();
            }
            samples(&output.drain().collect::<Vec<_>>())
        };
        prop_assert!(gliding(&lengths) == gliding(&[1_000]));
        check_cuts("HighPassNode", &json!({"order": 6}), (sound, 8_000, channels), &lengths);
    }
}
