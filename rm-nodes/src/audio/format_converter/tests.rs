//! Tests of the format converter.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, cut, lengths, make, run, samples, sine};
use proptest::prelude::*;
use rm_core::NodeContext;
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
fn one_channel_gets_the_layout_that_is_promised_without_being_copied() {
    let mono = |layout| {
        let (sample_rate, channels, format) = (8_000, 1, AudioFormat::F32);
        let metadata = DataMetadata::Audio { sample_rate, channels, format, layout };
        RuntimeData::new(metadata, vec![0; 16]).unwrap()
    };
    let (planar, interleaved) = (AudioLayout::Planar, AudioLayout::Interleaved);
    for (from, params, to) in [
        (planar, json!({}), interleaved),
        (interleaved, json!({"layout": "planar"}), planar),
        (planar, json!({"layout": "keep"}), planar),
    ] {
        let item = mono(from);
        let out = convert_one(item.clone(), params);
        assert_eq!(out.as_audio().unwrap().layout, to);
        assert_eq!(out.payload().as_ptr(), item.payload().as_ptr());
        assert_eq!(out.header().timestamp, item.header().timestamp);
    }
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
         of 1 or 2 channels; several channels can only become one, put a ChannelMixerNode before it"
    );
}

#[test]
fn wrong_parameters_are_refused() {
    let check = |params| make("FormatConverterNode", params).err().unwrap();
    let unknown = check(json!({"format": "i12"})).to_string();
    assert!(unknown.contains("one of f32, f64, i16, i24, i32, u8, keep"), "{unknown}");
    let many = check(json!({"channels": 300})).to_string();
    assert!(many.contains("from 0 to 256"), "{many}");
    check(json!({"layout": "striped"}));
    check(json!({"dither": "blue"}));
    check(json!({"dither_seed": -1}));
}

#[test]
fn every_change_of_layout_and_channels_is_what_a_plain_reference_says() {
    // Frames beyond one piece of the work, channels beyond it, and few of either.
    for (frames, channels) in [(0, 2), (1, 3), (5, 2), (700, 5), (3, 2_500)] {
        let values: Vec<_> = (0..frames * channels).map(|n| (n * 7_919 % 30_011) as i16).collect();
        let sample = |frame: usize, channel: usize| values[frame * channels + channel];
        let planar: Vec<_> =
            (0..channels).flat_map(|c| (0..frames).map(move |f| sample(f, c))).collect();
        let item = |samples: &[i16], channels, layout| {
            RuntimeData::audio_of(samples.to_vec(), 8_000, channels as u16, layout).unwrap()
        };
        let check = |params: serde_json::Value, expected: &[i16], layout: AudioLayout| {
            for from in [AudioLayout::Interleaved, AudioLayout::Planar] {
                let samples = if from == AudioLayout::Planar { &planar } else { &values };
                let out = convert_one(item(samples, channels, from), params.clone());
                let view = out.as_audio().unwrap();
                assert_eq!((view.layout, view.frames()), (layout, frames), "{params}");
                assert!(view.as_i16() == Some(expected), "{params} from {from}");
            }
        };
        check(json!({"format": "i16", "layout": "planar"}), &planar, AudioLayout::Planar);
        check(json!({"format": "keep"}), &values, AudioLayout::Interleaved);
        let means: Vec<_> = (0..frames)
            .map(|frame| {
                let sum: f64 = (0..channels).map(|c| f64::from(sample(frame, c))).sum();
                (sum / channels as f64).round_ties_even() as i16
            })
            .collect();
        check(json!({"format": "i16", "channels": 1}), &means, AudioLayout::Interleaved);
        let copies = |layout| {
            let copied = match layout {
                AudioLayout::Planar => means.repeat(3),
                _ => means.iter().flat_map(|mean| [*mean; 3]).collect(),
            };
            let params = json!({"format": "keep", "channels": 3, "layout": layout});
            let out = convert_one(item(&means, 1, AudioLayout::Interleaved), params);
            assert_eq!(out.as_audio().unwrap().as_i16(), Some(&copied[..]));
        };
        copies(AudioLayout::Interleaved);
        copies(AudioLayout::Planar);
    }
}

#[test]
fn what_is_to_be_kept_is_kept() {
    let audio = RuntimeData::audio_planar(vec![1, 2, 3, 4], 8_000, 2, AudioFormat::U8).unwrap();
    let keep = json!({"format": "keep", "layout": "keep", "dither": "triangular"});
    let out = convert_one(audio.clone(), keep);
    assert_eq!(out.payload().as_ptr(), audio.payload().as_ptr());
    let wide = convert_one(audio.clone(), json!({"format": "i16", "layout": "keep"}));
    let view = wide.as_audio().unwrap();
    assert_eq!((view.layout, view.as_i16().unwrap()[3]), (AudioLayout::Planar, -124 * 256));
    let planar = convert_one(audio.clone(), json!({"format": "keep", "layout": "planar"}));
    assert_eq!(planar, audio);
}

#[test]
fn nothing_is_allocated_for_an_item() {
    let audio = RuntimeData::audio_f32(vec![0.3; 1_920], 48_000, 2).unwrap();
    for params in [
        json!({"format": "i16"}),
        json!({"format": "i24", "dither": "triangular"}),
        json!({"channels": 1}),
        json!({"layout": "planar"}),
    ] {
        check_no_allocation("FormatConverterNode", &params, &audio);
    }
}

#[test]
fn what_it_says_that_it_takes_and_gives_is_true() {
    let check = |params: serde_json::Value, takes: &str, gives: &str| {
        let mut registry = NodeRegistry::new();
        crate::register_all(&mut registry).unwrap();
        let context = NodeContext {
            node_type: "FormatConverterNode".into(),
            params,
            ..NodeContext::default()
        };
        let formats = registry.formats(&context).unwrap();
        assert_eq!(formats.taken()[0].to_string(), takes);
        let from = Formats::from(AudioFormats { channels: Values::only(2), ..AudioFormats::f32() });
        let given: Vec<_> = formats.given(&[from]).iter().map(ToString::to_string).collect();
        assert_eq!(given, [gives]);
    };
    check(json!({}), "audio", "audio (f32, interleaved, 2 channels)");
    let params = json!({"format": "i24", "layout": "planar"});
    check(params, "audio", "audio (i24, planar, 2 channels)");
    check(json!({"channels": 1, "format": "keep"}), "audio", "audio (f32, mono)");
    let params = json!({"channels": 2, "layout": "keep"});
    check(params, "audio (2 or 1 channels)", "audio (f32, interleaved, 2 channels)");
}

/// What dither leaves of a sine of less than a step, and of a constant between two steps.
#[test]
fn triangular_dither_keeps_what_is_smaller_than_a_step_and_adds_no_harmonics() {
    const LEN: usize = 1 << 16;
    let step = 1.0 / 32_768.0;
    // A whole number of periods.
    let line = 1_001;
    let tone: Vec<_> = sine(line as f64, LEN as u32, LEN).iter().map(|s| s * 0.7 * step).collect();
    let spectrum = |dither: &str| {
        let audio = RuntimeData::audio_f32(tone.clone(), 48_000, 1).unwrap();
        let out = convert_one(audio, json!({"format": "i16", "dither": dither}));
        let mut samples: Vec<_> =
            out.as_audio().unwrap().as_i16().unwrap().iter().map(|s| f64::from(*s)).collect();
        let transform = realfft::RealFftPlanner::new().plan_fft_forward(LEN);
        let mut spectrum = transform.make_output_vec();
        transform.process(&mut samples, &mut spectrum).unwrap();
        // The amplitude of a sine on this line, in steps.
        spectrum.iter().map(|line| line.norm() * 2.0 / LEN as f64).collect::<Vec<_>>()
    };
    let dithered = spectrum("triangular");
    assert!((dithered[line] - 0.7).abs() < 0.02, "{}", dithered[line]);
    // Noise of a quarter step squared lies evenly on all lines.
    let noise = (0.25_f64 * 4.0 / LEN as f64).sqrt();
    for harmonic in 2..20 {
        let level = dithered[line * harmonic];
        assert!(level < 4.0 * noise, "harmonic {harmonic}: {level}");
    }
    let plain = spectrum("none");
    assert!(plain[line * 3] > 40.0 * noise, "{}", plain[line * 3]);
}

#[test]
fn the_error_of_dithered_samples_is_zero_in_the_mean() {
    let step = 1.0 / 128.0;
    for dither in ["rectangular", "triangular"] {
        for part in [0.0, 0.1, 0.25, 0.5, 0.9] {
            let value = (7.0 + part) * step;
            let audio = RuntimeData::audio_of(vec![value; 100_000], 8_000, 2, AudioLayout::Planar);
            let params = json!({"format": "u8", "dither": dither, "dither_seed": 3});
            let out = convert_one(audio.unwrap(), params);
            let sum: f64 = out.payload().iter().map(|b| f64::from(*b) - 135.0 - part).sum();
            assert!(sum.abs() / 100_000.0 < 0.01, "{dither} {part}: {}", sum / 100_000.0);
        }
    }
}

#[test]
fn dither_follows_its_seed_and_leaves_alone_what_loses_nothing() {
    let audio = RuntimeData::audio_i16((0..2_000).map(|n| n * 13).collect(), 8_000, 2).unwrap();
    let to = |format: &str, dither: &str, seed: u32| {
        let params = json!({"format": format, "dither": dither, "dither_seed": seed});
        convert_one(audio.clone(), params).payload().clone()
    };
    for format in ["i16", "i24", "i32", "f32", "f64"] {
        assert_eq!(to(format, "triangular", 1), to(format, "none", 1), "{format}");
    }
    let first = to("u8", "triangular", 1);
    assert_eq!(first, to("u8", "triangular", 1));
    assert!(first != to("u8", "triangular", 2) && first != to("u8", "none", 1));
    let no_numbers = RuntimeData::audio_f32(vec![f32::NAN, f32::INFINITY], 8_000, 1).unwrap();
    let out = convert_one(no_numbers, json!({"format": "i16", "dither": "triangular"}));
    assert_eq!(out.as_audio().unwrap().as_i16(), Some(&[0, i16::MAX][..]));
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
        data in prop::collection::vec(-1.1_f32..1.1, 2..9_000),
        lengths in lengths(),
        to in any_format(),
        channels in 0..2,
        dither in prop::sample::select(vec!["none", "triangular"]),
    ) {
        let data = &data[..data.len() / 2 * 2];
        let params = json!({"format": to.name(), "channels": channels, "dither": dither});
        check_cuts("FormatConverterNode", &params, (data, 8_000, 2), &lengths);
        let params = json!({"channels": 1});
        let mut node = make("FormatConverterNode", params).unwrap();
        let parts = run(node.as_mut(), cut(data, 8_000, 2, &lengths)).unwrap();
        let means: Vec<_> = data.chunks(2).map(|pair| {
            ((f64::from(pair[0]) + f64::from(pair[1])) / 2.0) as f32
        }).collect();
        prop_assert_eq!(samples(&parts), means);
    }

    #[test]
    fn noise_does_not_depend_on_the_layout(
        data in prop::collection::vec(-1.1_f32..1.1, 0..9_000),
        channels in 1_u16..4,
    ) {
        let len = data.len() / usize::from(channels) * usize::from(channels);
        let audio = RuntimeData::audio_f32(data[..len].to_vec(), 8_000, channels).unwrap();
        let dither = |audio: RuntimeData, layout: &str| {
            let params = json!({"format": "u8", "dither": "triangular", "layout": layout});
            convert_one(audio, params)
        };
        let planar = convert_one(audio.clone(), json!({"layout": "planar"}));
        let expected = dither(audio.clone(), "interleaved");
        let found = dither(planar.clone(), "interleaved");
        prop_assert_eq!(found.payload(), expected.payload());
        let back = convert_one(dither(planar, "planar"), json!({"format": "keep"}));
        prop_assert_eq!(back.payload(), expected.payload());
    }
}
