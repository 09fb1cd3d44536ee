//! Tests of the limiter: its ceiling, its transparency, its times.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
use proptest::prelude::*;
use serde_json::json;
use std::time::{Duration, SystemTime};

fn limited(params: Value, input: &[f32], channels: u16, cuts: &[usize]) -> Vec<f32> {
    let mut node = make("LimiterNode", params).unwrap();
    samples(&run(node.as_mut(), cut(input, 48_000, channels, cuts)).unwrap())
}

fn scaled(samples: &[f32], factor: f32) -> Vec<f32> {
    samples.iter().map(|sample| sample * factor).collect()
}

#[test]
fn what_is_below_the_ceiling_passes_bit_by_bit() {
    let ceiling = amplitude(-1.0) as f32;
    let mut input = scaled(&sine(997.0, 48_000, 9_600), ceiling);
    input[100] = ceiling;
    input[101] = -0.0;
    let given = limited(json!({}), &input, 2, &[480]);
    assert!(given.iter().map(|s| s.to_bits()).eq(input.iter().map(|s| s.to_bits())));
}

#[test]
fn a_steady_sine_comes_out_at_the_ceiling_without_distortion() {
    let input = scaled(&sine(1_000.0, 48_000, 48_000), 2.0);
    let given = limited(json!({"ceiling_db": -6}), &input, 1, &[480]);
    let ceiling = amplitude(-6.0) as f32;
    // The release lets the factor rise between peaks by up to 1 % of what is gone.
    for (sample, was) in given.iter().zip(&input).skip(1_000).take(40_000) {
        assert!((sample - was / 2.0 * ceiling).abs() < 0.01, "{sample} for {was}");
    }
    let most = given.iter().fold(0.0, |most: f32, s| most.max(s.abs()));
    assert!((0.999 * ceiling..=ceiling).contains(&most), "{most}");
}

#[test]
fn the_level_is_down_before_a_peak_and_recovers_behind_it() {
    let mut input = vec![0.25; 96_000];
    input[10_000] = 4.0;
    let params = json!({"ceiling_db": 0, "lookahead_ms": 5, "release_ms": 100});
    let given = limited(params, &input, 1, &[480]);
    assert_eq!(given[10_000], 1.0);
    // 240 frames of look-ahead: the mean over them falls in a straight line.
    assert_eq!(given[10_000 - 240 - 1], 0.25);
    let half = 0.25 * (1.0 - 0.75 * 121.0 / 241.0);
    assert!((given[10_000 - 120] - half).abs() < 1e-3, "{} {half}", given[10_000 - 120]);
    // One time constant after the least factor begins to leave the mean, 63 % of the way is gone.
    let gone = 1.0 - 0.75 * (-1.0_f32).exp();
    let after = given[10_000 + 4_800 + 120] / 0.25;
    assert!((after - gone).abs() < 0.02, "{after} {gone}");
    assert_eq!(given[95_999], 0.25);
}

#[test]
fn all_channels_get_the_same_factor() {
    let mut input: Vec<f32> = (0..9_600).flat_map(|_| [0.5, 0.125]).collect();
    input[8_000] = 3.0;
    let given = limited(json!({}), &input, 2, &[480]);
    for (frame, was) in given.chunks_exact(2).zip(input.chunks_exact(2)) {
        assert!((frame[0] / was[0] - frame[1] / was[1]).abs() < 1e-6);
    }
}

#[test]
fn samples_that_are_not_finite_become_silence_and_are_not_remembered() {
    let mut input = vec![0.5; 4_800];
    (input[100], input[200], input[300]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    let given = limited(json!({}), &input, 1, &[480]);
    for (index, sample) in given.iter().enumerate() {
        let wanted = if [100, 200, 300].contains(&index) { 0.0 } else { 0.5 };
        assert_eq!(*sample, wanted, "{index}");
    }
}

#[test]
fn items_carry_the_times_of_their_first_frames() {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let stamped = cut(&[0.5; 4_800], 48_000, 1, &[480])
        .into_iter()
        .enumerate()
        .map(|(n, item)| item.with_timestamp(begin + Duration::from_millis(10) * n as u32));
    let mut node = make("LimiterNode", json!({"lookahead_ms": 25})).unwrap();
    let given = run(node.as_mut(), stamped).unwrap();
    let mut frames = 0;
    for item in &given {
        let time = begin + Duration::from_nanos(frames * 1_000_000_000 / 48_000);
        assert_eq!(item.header().timestamp, time);
        frames += item.as_audio().unwrap().frames() as u64;
    }
    assert_eq!(frames, 4_800);
}

#[test]
fn the_ceiling_can_change_while_it_runs_and_the_delay_cannot() {
    let mut node = make("LimiterNode", json!({"ceiling_db": 0, "release_ms": 1})).unwrap();
    let mut output = Output::default();
    let mut feed = |node: &mut dyn Node| {
        for item in cut(&[0.9; 9_600], 48_000, 1, &[480]) {
            node.process(item, &mut output).unwrap();
        }
        samples(&output.drain().collect::<Vec<_>>()).pop().unwrap()
    };
    assert_eq!(feed(node.as_mut()), 0.9);
    node.set_params(&json!({"ceiling_db": -6})).unwrap();
    assert!((feed(node.as_mut()) - amplitude(-6.0) as f32).abs() < 1e-6);
    node.set_params(&json!({"ceiling_db": 0})).unwrap();
    assert_eq!(feed(node.as_mut()), 0.9);
    assert!(node.set_params(&json!({"lookahead_ms": 6})).is_err());
}

#[test]
fn what_is_held_is_dropped_by_a_flush() {
    let mut node = make("LimiterNode", json!({})).unwrap();
    let mut output = Output::default();
    node.process(cut(&[4.0; 100], 48_000, 1, &[100]).remove(0), &mut output).unwrap();
    node.flush();
    node.process(cut(&[0.5; 100], 48_000, 1, &[100]).remove(0), &mut output).unwrap();
    node.finish(&mut output).unwrap();
    assert_eq!(samples(&output.drain().collect::<Vec<_>>()), [0.5; 100]);
}

#[test]
fn steady_work_allocates_nothing() {
    for factor in [0.5, 2.0] {
        let sound = scaled(&sine(440.0, 48_000, 1_920), factor);
        let item = RuntimeData::audio_f32(sound, 48_000, 2).unwrap();
        check_no_allocation("LimiterNode", &json!({}), &item);
        check_no_allocation("LimiterNode", &json!({"lookahead_ms": 100}), &item);
    }
}

/// Samples of any bits, and ordinary ones.
fn any_samples() -> impl Strategy<Value = Vec<f32>> {
    let sample = prop_oneof![any::<u32>().prop_map(f32::from_bits), -3.0_f32..3.0, Just(0.0)];
    proptest::collection::vec(sample, 2..3_000)
}

proptest! {
    #[test]
    fn no_sample_is_above_the_ceiling(
        input in any_samples(), ceiling in -60.0_f64..0.0, lookahead in 0.0_f64..20.0,
        release in 1.0_f64..200.0, lengths in lengths(),
    ) {
        let params = json!({
            "ceiling_db": ceiling, "lookahead_ms": lookahead, "release_ms": release,
        });
        let most = amplitude(ceiling) as f32;
        for channels in [1, 2] {
            let input = &input[..input.len() / 2 * 2];
            let given = limited(params.clone(), input, channels, &lengths);
            prop_assert_eq!(given.len(), input.len());
            for sample in given {
                prop_assert!(sample.abs() <= most, "{} is above {}", sample, most);
            }
        }
    }

    #[test]
    fn the_result_does_not_depend_on_how_the_stream_is_cut(
        lengths in lengths(), lookahead in 0.0_f64..20.0,
    ) {
        // Loud and soft in turn, so that it limits and rests.
        let swell = sine(3.0, 48_000, 24_000);
        let sound: Vec<_> =
            sine(440.0, 48_000, 24_000).iter().zip(swell).map(|(s, a)| s * a * 2.0).collect();
        let params = json!({"lookahead_ms": lookahead, "release_ms": 5});
        check_cuts("LimiterNode", &params, (&sound, 48_000, 2), &lengths);
    }
}
