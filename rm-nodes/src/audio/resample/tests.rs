//! Tests of the resampler: times, lengths, formats, cuts. How well it does stands in `quality.rs`.

mod quality;

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
use proptest::prelude::*;
use rm_core::{AudioFormat, NodeContext};
use serde_json::json;
use std::time::SystemTime;

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
fn items_carry_the_time_of_their_first_frame() {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let check = |source_rate: u32, target_rate: u32| {
        let input = cut(&sine(440.0, source_rate, 20_000), source_rate, 1, &[700, 1_300, 3]);
        let (mut frames, mut timed) = (0, Vec::new());
        for item in input {
            let time = begin + Duration::from_secs_f64(frames as f64 / f64::from(source_rate));
            frames += item.as_audio().unwrap().frames();
            timed.push(item.with_timestamp(time));
        }
        let mut frames = 0;
        for item in resample(timed, target_rate) {
            let time = item.header().timestamp.duration_since(begin).unwrap().as_secs_f64();
            let expected = f64::from(frames) / f64::from(target_rate);
            assert!((time - expected).abs() < 1e-8, "{time} s, expected {expected} s");
            frames += u32::try_from(item.as_audio().unwrap().frames()).unwrap();
        }
        assert!(frames > 0);
    };
    check(48_000, 16_000);
    check(44_100, 48_000);
    check(48_000, 44_101);
}

#[test]
fn a_flush_drops_what_is_held_and_the_next_item_begins_a_stream() {
    let mut node = make("ResampleNode", json!(null)).unwrap();
    let tone = |rate| cut(&sine(440.0, rate, 2_000), rate, 1, &[2_000]);
    let mut output = Output::default();
    for rate in [48_000, 48_000, 44_100] {
        node.process(tone(rate).remove(0), &mut output).unwrap();
        node.flush();
    }
    output.clear();
    node.finish(&mut output).unwrap();
    assert!(output.is_empty());
    let again = samples(&run(node.as_mut(), tone(48_000)).unwrap());
    assert_eq!(again, samples(&resample(tone(48_000), 16_000)));
    // The end of a stream is the beginning of another, too.
    assert_eq!(again, samples(&run(node.as_mut(), tone(48_000)).unwrap()));
}

#[test]
fn what_is_not_a_number_is_gone_with_its_surroundings() {
    for source_rate in [48_000, 48_001] {
        let mut input = sine(440.0, source_rate, 20_000);
        let clean = samples(&resample(cut(&input, source_rate, 1, &[960]), 16_000));
        (input[5_000], input[5_001]) = (f32::NAN, f32::INFINITY);
        let out = samples(&resample(cut(&input, source_rate, 1, &[960]), 16_000));
        assert_eq!(out[..1_200], clean[..1_200]);
        assert_eq!(out[2_200..], clean[2_200..]);
        assert!(out[1_666].is_nan());
    }
}

#[test]
fn silence_stays_silence() {
    for source_rate in [48_000, 44_101] {
        let out = samples(&resample(cut(&[0.0; 9_000], source_rate, 1, &[480]), 16_000));
        assert!(out.iter().all(|sample| *sample == 0.0));
    }
}

#[test]
fn nothing_is_allocated_for_an_item() {
    for (rate, channels) in [(48_000, 1), (44_100, 2), (44_101, 2), (8_000, 8)] {
        let frames = rate as usize / 50;
        let tone = sine(440.0, rate, frames * channels);
        let item = RuntimeData::audio_f32(tone, rate, channels as u16).unwrap();
        for quality in ["low", "medium", "high"] {
            check_no_allocation("ResampleNode", &json!({"quality": quality}), &item);
        }
    }
}

#[test]
fn what_it_says_that_it_takes_it_takes() {
    let mut registry = NodeRegistry::new();
    crate::register_all(&mut registry).unwrap();
    let context = NodeContext {
        node_type: "ResampleNode".into(),
        params: json!({"target_rate": 8_000}),
        ..NodeContext::default()
    };
    let formats = registry.formats(&context).unwrap();
    let given = formats.given(&[Formats::any(DataType::Audio)]);
    assert_eq!(given[0].to_string(), "audio (f32, interleaved, 8000 Hz)");
    assert_eq!(formats.taken()[0].to_string(), "audio (f32, interleaved, 1000 to 384000 Hz)");
    for rate in [MIN_RATE, MIN_RATE + 1, 11_025, 383_999, MAX_RATE] {
        for channels in [1, 8] {
            let item = RuntimeData::audio_f32(vec![0.0; 80], rate, channels).unwrap();
            let out = resample(vec![item], 8_000);
            let frames: usize = out.iter().map(|item| item.as_audio().unwrap().frames()).sum();
            let frames_in = 80 / u64::from(channels);
            assert_eq!(frames as u64, (frames_in * 8_000).div_ceil(u64::from(rate)));
        }
    }
}

#[test]
fn eight_channels_are_taken_between_any_rates_and_memory_is_bounded() {
    // The windows that are longest for their ratio, of either way of converting.
    let rates = [1_000, 1_022, 1_533, 191_999, 383_616, 384_000];
    for source_rate in rates {
        for target_rate in rates.into_iter().filter(|rate| *rate != source_rate) {
            let converter = |channels| {
                Converter::new(Ratio::of(source_rate, target_rate), Quality::High, channels).err()
            };
            assert_eq!(converter(8), None, "{source_rate} to {target_rate}");
            assert!(converter(60_000).is_some(), "{source_rate} to {target_rate}");
        }
    }
    let mut node = make("ResampleNode", json!({"target_rate": 1_000})).unwrap();
    let item = RuntimeData::audio_f32(vec![0.0; 60], 384_000, 60).unwrap();
    let error = node.process(item, &mut Output::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "input is interleaved audio in f32 of 60 channels at 384000 Hz, but the node takes audio \
         of up to 28 channels from 384000 to 1000 Hz"
    );
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
        let expected = "expected from 1000 to 384000 Hz";
        assert!(error.to_string().contains(expected), "{error}");
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
    let common = vec![8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000];
    prop_oneof![4 => prop::sample::select(common), 1 => MIN_RATE..100_000]
}

fn any_quality() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["low", "medium", "high"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_result_does_not_depend_on_the_cuts_and_has_the_exact_length(
        source_rate in any_rate(),
        target_rate in any_rate(),
        quality in any_quality(),
        channels in 1_u16..4,
        frames in 1_usize..3_000,
        lengths in lengths(),
    ) {
        let input = sine(313.0, source_rate, frames * usize::from(channels));
        let params = json!({"target_rate": target_rate, "quality": quality});
        check_cuts("ResampleNode", &params, (&input, source_rate, channels), &lengths);
        let mut node = make("ResampleNode", params).unwrap();
        let out = run(node.as_mut(), cut(&input, source_rate, channels, &lengths)).unwrap();
        let expected = (frames as u64 * u64::from(target_rate)).div_ceil(u64::from(source_rate));
        prop_assert_eq!(samples(&out).len() as u64, expected * u64::from(channels));
    }

    #[test]
    fn a_low_tone_stays_where_it_is_between_any_rates(
        source_rate in any_rate(),
        target_rate in any_rate(),
        quality in any_quality(),
    ) {
        let input = sine(111.0, source_rate, source_rate as usize / 4);
        let params = json!({"target_rate": target_rate, "quality": quality});
        let mut node = make("ResampleNode", params).unwrap();
        let out = samples(&run(node.as_mut(), cut(&input, source_rate, 1, &[999])).unwrap());
        let ideal = sine(111.0, target_rate, out.len());
        let interior = out.len() / 4..out.len() * 3 / 4;
        let snr = snr_db(&ideal[interior.clone()], &out[interior]);
        prop_assert!(snr > 70.0, "{} dB", snr);
    }
}
