//! Tests of the voice activity node on signals whose segments are known.

use super::*;
use crate::testing::{check_cuts, check_no_allocation, content, cut, lengths, make, samples, sine};
use proptest::prelude::*;
use std::time::Duration;

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

/// What the node gives at a port for a whole stream.
fn given(port: Option<&str>, params: Value, input: Vec<RuntimeData>) -> Vec<RuntimeData> {
    let mut node = make("VADNode", params).unwrap();
    let mut output = Output::default();
    for item in input {
        node.process(item, &mut output).unwrap();
    }
    node.finish(&mut output).unwrap();
    output.drain_ports().filter(|(at, _)| *at == port).map(|(_, item)| item).collect()
}

fn vad(params: Value, input: Vec<RuntimeData>) -> Vec<RuntimeData> {
    given(None, params, input)
}

/// `start_ms` and `end_ms` of each segment.
fn segments(params: Value, samples: &[f32]) -> Vec<(f64, f64)> {
    segments_of(&vad(params, cut(samples, RATE, 1, &[320])))
}

fn segments_of(items: &[RuntimeData]) -> Vec<(f64, f64)> {
    let parse = |item: &RuntimeData| {
        let json = item.parse_json().unwrap();
        (json["start_ms"].as_f64().unwrap(), json["end_ms"].as_f64().unwrap())
    };
    items.iter().map(parse).collect()
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
    assert!((energy + 9.0309).abs() < 1e-3, "{energy}");
}

#[test]
fn the_threshold_is_met_within_a_hundredth_of_a_decibel() {
    // 500 Hz has whole periods in a frame, so every frame has the same level.
    let signal = signal(&[600, 600, 900]);
    let level = -20.0 * 2.0_f64.log10() - 10.0 * 2.0_f64.log10();
    let found = |threshold: f64| {
        segments(json!({"threshold": threshold, "hysteresis_db": 0, "padding_ms": 0}), &signal)
    };
    assert_eq!(found(level - 0.01), [(600.0, 1200.0)]);
    assert_eq!(found(level + 0.01), []);
}

#[test]
fn speech_that_has_begun_may_fall_by_the_hysteresis_and_no_further() {
    let mut signal = signal(&[600, 300, 0]);
    signal.extend(sine(500.0, RATE, 9_600).iter().map(|s| s * 0.5 * 0.75));
    signal.extend(vec![0.0; 16_000]);
    // The second tone has -11.53 dB.
    let fall = -10.0 - (10.0 * (0.5 * 0.75_f64.powi(2) * 0.25).log10());
    let ends = |hysteresis: f64| {
        let params = json!({"threshold": -10, "hysteresis_db": hysteresis, "padding_ms": 0});
        segments(params, &signal)[0].1
    };
    assert_eq!([ends(0.0), ends(fall - 0.01)], [900.0, 900.0]);
    assert_eq!([ends(fall + 0.01), ends(3.0)], [1500.0, 1500.0]);
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
fn least_lengths_count_whole_frames() {
    let speech = |ms: usize, min_speech_ms: u32| {
        let params = json!({"min_speech_ms": min_speech_ms, "padding_ms": 0, "onset_ms": 0});
        segments(params, &signal(&[600, ms, 900])).len()
    };
    assert_eq!([speech(210, 210), speech(210, 211), speech(180, 181)], [1, 0, 0]);
    let pause = |ms: usize, min_silence_ms: u32| {
        let params = json!({"min_silence_ms": min_silence_ms, "padding_ms": 0, "onset_ms": 0});
        segments(params, &signal(&[600, 300, ms, 300, 900])).len()
    };
    assert_eq!([pause(210, 210), pause(210, 211), pause(240, 211)], [2, 1, 2]);
    let onset = |ms: usize, onset_ms: u32| {
        let params = json!({"onset_ms": onset_ms, "padding_ms": 0, "min_speech_ms": 0});
        segments(params, &signal(&[600, ms, 900])).len()
    };
    assert_eq!([onset(30, 0), onset(90, 90), onset(90, 91)], [1, 1, 0]);
}

#[test]
fn segments_lie_on_the_grid_of_frames_at_any_rate() {
    for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
        for frame_ms in [7_u32, 10, 25, 30] {
            // A tone that fills ten frames in the middle of silence, at every sample of them.
            let at = |frame: u32| (u64::from(frame * frame_ms * rate)).div_ceil(1_000) as usize;
            let mut samples = vec![0.0; at(20)];
            samples[at(5)..at(15)].fill(0.25);
            samples[at(5)..at(15)].iter_mut().step_by(2).for_each(|sample| *sample = -0.25);
            let params = json!({
                "frame_length_ms": frame_ms, "threshold": -13, "hysteresis_db": 0, "onset_ms": 0,
                "min_speech_ms": 0, "min_silence_ms": 0, "padding_ms": 0,
            });
            for length in [samples.len(), 1_001, 160] {
                let input = cut(&samples, rate, 1, &[length]);
                let found = vad(params.clone(), input.clone());
                let expected = (f64::from(5 * frame_ms), f64::from(15 * frame_ms));
                assert_eq!(segments_of(&found), [expected], "{rate} Hz, {frame_ms} ms");
                let level = found[0].parse_json().unwrap()["energy_db"].as_f64().unwrap();
                assert!((level - 20.0 * 0.25_f64.log10()).abs() < 1e-4, "{level}");

                let mut with_audio = params.clone();
                with_audio["output"] = "speech".into();
                let audio = vad(with_audio, input);
                assert_eq!(super::tests::samples(&audio), samples[at(5)..at(15)]);
            }
        }
    }
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
fn gated_output_is_the_stream_with_silence_outside_of_the_segments() {
    // Faint hiss, so that silence can be told from what is let through.
    let signal: Vec<f32> = signal(&[600, 600, 900, 300, 905])
        .iter()
        .enumerate()
        .map(|(place, sample)| sample + if place % 2 == 0 { 0.001 } else { -0.001 })
        .collect();
    let params = json!({"output": "gated", "padding_ms": 90, "fade_ms": 5});
    let out = samples(&vad(params, cut(&signal, RATE, 1, &[160])));
    assert_eq!(out.len(), signal.len());
    let fade = 5 * 16;
    let segments = [(510 * 16, 1_290 * 16), (2_010 * 16, 2_490 * 16)];
    for (place, (found, sample)) in out.iter().zip(&signal).enumerate() {
        let gain = segments
            .iter()
            .map(|&(start, end): &(usize, usize)| {
                let rising = (place + 1).saturating_sub(start).min(fade);
                let fallen = (place + 1).saturating_sub(end).min(fade);
                (rising - fallen) as f32 / fade as f32
            })
            .fold(0.0, f32::max);
        assert_eq!(*found, sample * gain, "sample {place}");
    }
}

#[test]
fn gated_speech_comes_as_soon_as_it_will_not_be_dropped() {
    let params = json!({"output": "gated", "padding_ms": 90, "onset_ms": 60, "min_speech_ms": 150});
    let mut node = make("VADNode", params).unwrap();
    let mut output = Output::default();
    let signal = signal(&[600, 600, 900]);
    // How much is still held after each frame of 30 ms.
    let mut held_ms = Vec::new();
    let (mut taken, mut given) = (0, 0);
    for item in cut(&signal, RATE, 1, &[480]) {
        taken += 30;
        node.process(item, &mut output).unwrap();
        let audio = output.drain_ports().filter(|(port, _)| port.is_none());
        given += audio.map(|(_, item)| item.as_audio().unwrap().frames() / 16).sum::<usize>();
        held_ms.push(taken - given);
    }
    assert_eq!(held_ms[..5], [30, 60, 90, 90, 90], "silence waits for the padding");
    assert_eq!(held_ms[20..26], [120, 150, 180, 210, 0, 0], "speech for what is not dropped");
    assert_eq!(held_ms[40..44], [0, 0, 0, 30], "the padding behind it for nothing");
    assert!(held_ms[43..].iter().all(|ms| *ms <= 400));
}

#[test]
fn every_output_has_its_segments_at_their_port() {
    let signal = signal(&[600, 600, 900]);
    for output in ["segments", "speech", "gated"] {
        let params = json!({"output": output, "padding_ms": 90});
        let found = given(Some("segments"), params, cut(&signal, RATE, 1, &[320]));
        assert_eq!(segments_of(&found), [(510.0, 1290.0)], "{output}");
    }
}

#[test]
fn events_say_at_once_that_speech_begins_and_ends() {
    let mut node = make("VADNode", json!({"onset_ms": 60, "min_silence_ms": 300})).unwrap();
    let mut output = Output::default();
    let mut found = Vec::new();
    let input = cut(&signal(&[600, 600, 900, 90, 900]), RATE, 1, &[160]);
    let times: Vec<_> = input.iter().map(|item| item.header().timestamp).collect();
    for (place, item) in input.into_iter().enumerate() {
        node.process(item, &mut output).unwrap();
        let events = output.drain_ports().filter(|(port, _)| *port == Some("events"));
        found.extend(events.map(|(_, event)| ((place + 1) * 10, event)));
    }
    let events: Vec<_> =
        found.iter().map(|(ms, event)| (*ms, event.parse_json().unwrap())).collect();
    assert_eq!(
        events,
        [
            (660, json!({"speech": true, "at_ms": 600.0})),
            (1_500, json!({"speech": false, "at_ms": 1200.0, "kept": true})),
            (2_160, json!({"speech": true, "at_ms": 2100.0})),
            (2_490, json!({"speech": false, "at_ms": 2190.0, "kept": false})),
        ]
    );
    // An event has the time of what it tells of.
    assert_eq!(found[0].1.header().timestamp, times[60]);
    assert_eq!(found[3].1.header().timestamp, times[219]);
}

#[test]
fn speech_that_lasts_to_the_end_ends_with_the_stream() {
    let events = given(Some("events"), json!({}), cut(&signal(&[600, 405]), RATE, 1, &[160]));
    let last = events.last().unwrap().parse_json().unwrap();
    assert_eq!(last, json!({"speech": false, "at_ms": 1005.0, "kept": true}));
}

#[test]
fn an_item_carries_the_time_of_its_own_first_sample() {
    for (kind, first) in [("speech", 510), ("segments", 510), ("gated", 0)] {
        let input = cut(&signal(&[600, 600, 900]), RATE, 1, &[320]);
        let inside = Duration::from_millis(first % 20);
        let expected = input[first as usize / 20].header().timestamp + inside;
        let out = vad(json!({"output": kind, "padding_ms": 90}), input);
        assert_eq!(out[0].header().timestamp, expected, "{kind}");
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
fn a_segment_that_goes_on_from_a_cut_has_the_time_of_the_cut() {
    // An item that ends with the cut, and a gap in the times behind it.
    let mut input = cut(&signal(&[0, 3_000]), RATE, 1, &[480]);
    let begin = input[0].header().timestamp;
    for (place, item) in input.iter_mut().enumerate() {
        let gap = if place < 34 { 0 } else { 5_000 };
        let at = begin + Duration::from_millis(place as u64 * 30 + gap);
        *item = item.clone().with_timestamp(at);
    }
    let params = json!({"max_speech_ms": 1_000, "padding_ms": 0});
    let out = vad(params, input);
    assert_eq!(out[1].header().timestamp, begin + Duration::from_millis(1_020 + 5_000));
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
fn the_model_is_late_and_its_segments_are_not() {
    // All frames are speech, and the first and the last get their score later.
    let params = json!({"mode": "model", "model_threshold": 0});
    let found = segments(params.clone(), &signal(&[500]));
    assert_eq!(found, [(0.0, 500.0)]);
    let events = given(Some("events"), params, cut(&signal(&[500]), RATE, 1, &[256]));
    let at = |event: &RuntimeData| event.parse_json().unwrap()["at_ms"].as_f64().unwrap();
    assert_eq!([at(&events[0]), at(&events[1])], [0.0, 500.0]);
}

#[test]
fn thresholds_change_while_it_runs_and_what_frames_are_does_not() {
    let mut node = make("VADNode", json!({"padding_ms": 0})).unwrap();
    let mut output = Output::default();
    let signal = signal(&[600, 600, 900]);
    let mut play = |node: &mut dyn Node| {
        for item in cut(&signal, RATE, 1, &[320]) {
            node.process(item, &mut output).unwrap();
        }
        let out: Vec<_> = output.drain_ports().filter(|(port, _)| port.is_none()).collect();
        out.len()
    };
    assert_eq!(play(node.as_mut()), 1);
    node.set_params(&json!({"threshold": -5})).unwrap();
    assert_eq!(play(node.as_mut()), 0);
    node.set_params(&json!({"threshold": -20, "min_speech_ms": 600})).unwrap();
    assert_eq!(play(node.as_mut()), 1);
    node.set_params(&json!({"min_speech_ms": 601})).unwrap();
    assert_eq!(play(node.as_mut()), 0);
    for change in [
        json!({"mode": "model"}),
        json!({"output": "gated"}),
        json!({"frame_length_ms": 20}),
        json!({"sample_rate": 16_000}),
        json!({"fade_ms": 1}),
        json!({"threshold": -10, "min_speech_ms": 60_000}),
    ] {
        assert!(node.set_params(&change).is_err(), "{change}");
    }
    node.set_params(&json!({"min_speech_ms": 600})).unwrap();
    assert_eq!(play(node.as_mut()), 1, "what was refused has changed nothing");
}

#[test]
fn what_is_flushed_is_not_given_and_time_goes_on() {
    for output_kind in ["segments", "speech", "gated"] {
        let params = json!({"output": output_kind, "padding_ms": 90, "fade_ms": 0});
        let mut node = make("VADNode", params).unwrap();
        let mut output = Output::default();
        for item in cut(&signal(&[600, 305]), RATE, 1, &[320]) {
            node.process(item, &mut output).unwrap();
        }
        output.clear();
        node.flush();
        let after = signal(&[595, 600, 900]);
        for item in cut(&after, RATE, 1, &[320]) {
            node.process(item, &mut output).unwrap();
        }
        node.finish(&mut output).unwrap();
        let all: Vec<_> = output.drain_ports().collect();
        let at = |port| -> Vec<_> {
            all.iter().filter(|(at, _)| *at == port).map(|(_, item)| item.clone()).collect()
        };
        assert_eq!(segments_of(&at(Some("segments"))), [(1_410.0, 2_190.0)], "{output_kind}");
        assert_eq!(at(Some("events")).len(), 2);
        match output_kind {
            "speech" => assert_eq!(samples(&at(None)), after[505 * 16..1_285 * 16]),
            // From the frame on in which the flush came.
            "gated" => assert_eq!(samples(&at(None)).len(), after.len() + 5 * 16),
            _ => {}
        }
    }
}

#[test]
fn frames_of_the_model_stay_where_they_are_when_it_is_flushed() {
    let params = json!({
        "mode": "model", "model_threshold": 0, "min_speech_ms": 0, "output": "gated", "fade_ms": 0,
    });
    let mut node = make("VADNode", params).unwrap();
    let mut output = Output::default();
    let sound = vec![0.25; 1_000];
    for item in cut(&sound, RATE, 1, &[100]) {
        node.process(item, &mut output).unwrap();
    }
    output.clear();
    node.flush();
    for item in cut(&sound, RATE, 1, &[100]) {
        node.process(item, &mut output).unwrap();
    }
    node.finish(&mut output).unwrap();
    let all: Vec<_> = output.drain_ports().collect();
    let place = all.iter().find(|(port, _)| *port == Some("segments")).unwrap();
    // From the beginning of the fourth frame, of which the flush has left silence.
    assert_eq!(segments_of(std::slice::from_ref(&place.1)), [(48.0, 125.0)]);
    let audio = all.into_iter().filter(|(port, _)| port.is_none());
    let audio: Vec<_> = audio.map(|(_, item)| item).collect();
    assert_eq!(samples(&audio), [vec![0.0; 1_000 - 768], sound].concat());
}

#[test]
fn steady_work_allocates_nothing() {
    let tone: Vec<f32> = sine(500.0, RATE, 480).iter().map(|s| s * 0.5).collect();
    let tone = RuntimeData::audio_f32(tone, RATE, 1).unwrap();
    let silence = RuntimeData::audio_f32(vec![0.0; 480], RATE, 1).unwrap();
    let odd = RuntimeData::audio_f32(vec![0.0; 333], RATE, 1).unwrap();
    for output in ["segments", "speech", "gated"] {
        for mode in ["energy", "model"] {
            let params = json!({"mode": mode, "output": output});
            check_no_allocation("VADNode", &params, &silence);
            check_no_allocation("VADNode", &params, &odd);
        }
        // A segment of which one item is given holds more and more until then.
        if output != "speech" {
            check_no_allocation("VADNode", &json!({"output": output}), &tone);
            let params = json!({"mode": "model", "model_threshold": 0, "output": output});
            check_no_allocation("VADNode", &params, &tone);
        }
    }
}

#[test]
fn all_formats_that_are_said_to_be_taken_are_taken() {
    for (params, rates) in [
        (json!({}), vec![1_000, 44_100, 384_000]),
        (json!({"sample_rate": 8_000}), vec![8_000]),
        (json!({"mode": "model"}), vec![16_000]),
        (json!({"output": "gated"}), vec![1_000, 11_025]),
    ] {
        let mut registry = NodeRegistry::new();
        crate::register_all(&mut registry).unwrap();
        let context = rm_core::NodeContext {
            node_type: "VADNode".into(),
            params: params.clone(),
            ..rm_core::NodeContext::default()
        };
        let formats = registry.formats(&context).unwrap();
        for rate in rates {
            let only = rm_core::AudioFormats {
                sample_rate: rm_core::Values::only(rate),
                channels: rm_core::Values::only(1),
                ..rm_core::AudioFormats::f32()
            };
            let only = rm_core::Formats::from(only);
            assert!(formats.taken().iter().any(|taken| only.is_within(taken)), "{params} {rate}");
            let item = RuntimeData::audio_f32(vec![0.5; 2_000], rate, 1).unwrap();
            let mut node = make("VADNode", params.clone()).unwrap();
            content(node.as_mut(), [item]).unwrap();
            let given = formats.given(std::slice::from_ref(&only));
            match params["output"].as_str() {
                Some("gated") => assert!(given.iter().all(|given| given.is_within(&only))),
                _ => assert_eq!(given, [DataType::Json.into()]),
            }
        }
    }
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
    check(refuse(json!({}), audio(400_000, 1)), "1000 to 384000 Hz");
    check(refuse(json!({}), audio(1, 1)), "1000 to 384000 Hz");
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
        json!({"sample_rate": 999}),
    ] {
        assert!(make("VADNode", params.clone()).is_err(), "{params}");
    }
}

#[test]
fn a_stream_without_audio_gives_nothing() {
    assert!(vad(json!({}), vec![]).is_empty());
    for output in ["segments", "speech", "gated"] {
        let nothing = RuntimeData::audio_f32(vec![], RATE, 1).unwrap();
        assert!(vad(json!({"output": output}), vec![nothing]).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_result_does_not_depend_on_the_cuts(
        turns in prop::collection::vec(1_usize..800, 0..8),
        lengths in lengths(),
        mode in prop::sample::select(vec!["energy", "model"]),
        output in prop::sample::select(vec!["segments", "speech", "gated"]),
        frame_length_ms in 1_u32..60,
        padding_ms in 0_u32..500,
    ) {
        let mut signal = signal(&turns);
        signal.extend(super::tests::signal(&[10, 500]));
        let params = json!({
            "mode": mode, "output": output, "model_threshold": 0.05,
            "frame_length_ms": frame_length_ms, "padding_ms": padding_ms,
        });
        check_cuts("VADNode", &params, (&signal, RATE, 1), &lengths);
    }
}
