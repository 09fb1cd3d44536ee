//! Tests of the resampler.

use super::*;
use crate::testing::{cut, make, run, samples, sine};
use proptest::prelude::*;
use rm_core::AudioFormat;
use serde_json::json;

fn resample(input: Vec<RuntimeData>, target_rate: u32) -> Vec<RuntimeData> {
    let mut node = make("ResampleNode", json!({"target_rate": target_rate})).unwrap();
    run(node.as_mut(), input).unwrap()
}

/// Signal-to-noise ratio of `found` against `ideal`, in dB.
fn snr_db(ideal: &[f32], found: &[f32]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f64>| samples.map(|s| s * s).sum::<f64>();
    let noise = ideal.iter().zip(found).map(|(a, b)| f64::from(a - b));
    let signal = power(&mut ideal.iter().map(|s| f64::from(*s)));
    10.0 * (signal / power(&mut noise.into_iter())).log10()
}

fn check_sine(source_rate: u32, target_rate: u32, frequency: f64) {
    let input = sine(frequency, source_rate, source_rate as usize / 2);
    let out = samples(&resample(cut(&input, source_rate, 1, &[480]), target_rate));
    let ideal = sine(frequency, target_rate, out.len());
    assert_eq!(out.len(), (target_rate as usize).div_ceil(2));
    // The sine starts and stops abruptly, which rings; the middle is free of that.
    let interior = 1_000..out.len() - 1_000;
    let snr = snr_db(&ideal[interior.clone()], &out[interior]);
    assert!(snr > 110.0, "{frequency} Hz, {source_rate} to {target_rate} Hz: {snr:.1} dB");
}

#[test]
fn a_sine_in_the_pass_band_stays_where_and_what_it_is() {
    let rates = [
        (48_000, 16_000),
        (44_100, 16_000),
        (16_000, 48_000),
        (22_050, 48_000),
        (44_100, 48_000),
        (48_000, 44_100),
        (8_000, 16_000),
    ];
    for (source_rate, target_rate) in rates {
        let nyquist = f64::from(source_rate.min(target_rate)) / 2.0;
        for share in [0.05, 0.31, 0.6, 0.85] {
            check_sine(source_rate, target_rate, nyquist * share);
        }
    }
}

#[test]
fn what_the_target_rate_cannot_hold_is_gone() {
    for frequency in [8_100.0, 9_000.0, 12_345.0, 20_000.0] {
        let input = sine(frequency, 48_000, 24_000);
        let out = samples(&resample(cut(&input, 48_000, 1, &[960]), 16_000));
        let interior = &out[1_000..out.len() - 1_000];
        let peak = interior.iter().fold(0.0_f32, |peak, s| peak.max(s.abs()));
        assert!(peak < 1e-5, "{frequency} Hz leaves {peak}");
    }
}

#[test]
fn channels_stay_apart() {
    let (left, right) = (sine(440.0, 48_000, 9_600), sine(1_000.0, 48_000, 9_600));
    let both: Vec<_> = left.iter().zip(&right).flat_map(|(l, r)| [*l, *r]).collect();
    let out = samples(&resample(cut(&both, 48_000, 2, &[441]), 44_100));
    let pick = |channel: usize| out.iter().skip(channel).step_by(2).copied().collect::<Vec<_>>();
    let alone = |one: &[f32]| samples(&resample(cut(one, 48_000, 1, &[960]), 44_100));
    assert_eq!(pick(0), alone(&left));
    assert_eq!(pick(1), alone(&right));
}

#[test]
fn the_right_rate_is_given_on_uncopied() {
    let item = RuntimeData::audio_f32(vec![0.5; 10], 16_000, 1).unwrap();
    let out = resample(vec![item.clone()], 16_000);
    assert_eq!(out[0].payload().as_ptr(), item.payload().as_ptr());
    assert_eq!(out, [item]);
}

#[test]
fn items_carry_the_time_of_the_input_that_completed_them() {
    let input = cut(&sine(440.0, 48_000, 1_000), 48_000, 1, &[800]);
    let times: Vec<_> = input.iter().map(|item| item.header().timestamp).collect();
    let out = resample(input, 16_000);
    let out_times: Vec<_> = out.iter().map(|item| item.header().timestamp).collect();
    assert_eq!(out_times, times);
}

#[test]
fn a_stream_without_audio_gives_nothing() {
    assert!(resample(vec![], 16_000).is_empty());
    let nothing = RuntimeData::audio_f32(vec![], 48_000, 2).unwrap();
    assert!(resample(vec![nothing], 16_000).is_empty());
}

#[test]
fn input_that_cannot_be_resampled_is_refused() {
    let mut node = make("ResampleNode", json!(null)).unwrap();
    let mut refuse = |item: RuntimeData| {
        let error = node.process(item, &mut Output::default()).unwrap_err();
        assert!(matches!(error, NodeError::Input { .. }));
        error.to_string()
    };
    assert_eq!(
        refuse(RuntimeData::audio_i16(vec![0; 4], 48_000, 1).unwrap()),
        "input is interleaved audio in i16 of 1 channels at 48000 Hz, but the node takes \
         interleaved f32 audio; put a FormatConverterNode before it"
    );
    refuse(RuntimeData::binary(vec![0; 4]).unwrap());
    refuse(RuntimeData::audio_f32(vec![0.0; 4], 999, 1).unwrap());
    refuse(RuntimeData::audio_f32(vec![0.0; 4], u32::MAX, 1).unwrap());
    refuse(RuntimeData::audio_f32(vec![0.0; 60_000], 48_000, 60_000).unwrap());
    let planar = RuntimeData::new(
        rm_core::DataMetadata::Audio {
            sample_rate: 48_000,
            channels: 2,
            format: AudioFormat::F32,
            layout: rm_core::AudioLayout::Planar,
        },
        vec![0; 16],
    );
    refuse(planar.unwrap());
}

#[test]
fn a_change_of_format_within_the_stream_is_refused() {
    let mut node = make("ResampleNode", json!(null)).unwrap();
    let mut output = Output::default();
    let mut process = |rate, channels| {
        let item = RuntimeData::audio_f32(vec![0.0; 4], rate, channels).unwrap();
        node.process(item, &mut output)
    };
    process(48_000, 1).unwrap();
    let error = process(44_100, 1).unwrap_err().to_string();
    assert_eq!(
        error,
        "input is interleaved audio in f32 of 1 channels at 44100 Hz, but the node takes f32 of \
         1 channels at 48000 Hz as before; a stream cannot change its format"
    );
    assert!(process(48_000, 2).is_err());
    process(48_000, 1).unwrap();
}

#[test]
fn a_target_rate_out_of_range_is_refused() {
    for rate in [0, 999, 384_001] {
        let error = make("ResampleNode", json!({"target_rate": rate})).err().unwrap();
        assert!(matches!(error, NodeError::Param { name: "target_rate", .. }));
    }
}

#[test]
fn rates_without_a_common_divisor_work() {
    let input = sine(1_000.0, 44_101, 44_101);
    let out = samples(&resample(cut(&input, 44_101, 1, &[999]), 48_000));
    assert_eq!(out.len(), 48_000);
    let ideal = sine(1_000.0, 48_000, 48_000);
    assert!(snr_db(&ideal[5_000..43_000], &out[5_000..43_000]) > 100.0);
}

fn any_rate() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_result_does_not_depend_on_the_cuts_and_has_the_exact_length(
        source_rate in any_rate(),
        target_rate in any_rate(),
        channels in 1_u16..4,
        frames in 0_usize..5_000,
        lengths in prop::collection::vec(1_usize..2_000, 1..6),
    ) {
        let input = sine(313.0, source_rate, frames * usize::from(channels));
        let whole = resample(cut(&input, source_rate, channels, &[10_000]), target_rate);
        let parts = resample(cut(&input, source_rate, channels, &lengths), target_rate);
        prop_assert_eq!(samples(&whole), samples(&parts));
        let expected = (frames as u64 * u64::from(target_rate)).div_ceil(u64::from(source_rate));
        prop_assert_eq!(samples(&whole).len() as u64, expected * u64::from(channels));
    }
}
