//! Tests of the decoder.

use super::*;
use crate::testing::{Content, content, make, run};
use proptest::prelude::*;
use rm_core::AudioFormat;
use serde_json::{Value, json};
use std::time::Duration;

fn pieces(bytes: &[u8], lengths: &[usize]) -> Vec<RuntimeData> {
    let mut rest = bytes;
    let mut items = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*length));
        items.push(RuntimeData::binary(piece.to_vec()).unwrap());
        rest = after;
    }
    items
}

fn decode(params: Value, items: Vec<RuntimeData>) -> Result<Content, NodeError> {
    content(make("AudioDecoderNode", params).unwrap().as_mut(), items)
}

/// The bytes of a sound, as the encoder gives them.
fn encoded(format: &str, items: Vec<RuntimeData>) -> Vec<u8> {
    let params = json!({"format": format, "tags": {"title": "A tone"}});
    let mut node = make("AudioEncoderNode", params).unwrap();
    crate::testing::bytes(&run(node.as_mut(), items).unwrap())
}

fn wav() -> Vec<u8> {
    let samples = (0..1_000).map(|n| n * 31).collect();
    encoded("wav", vec![RuntimeData::audio_i16(samples, 8_000, 2).unwrap()])
}

/// Streams of every format.
fn streams() -> Vec<(String, Vec<u8>)> {
    let all = [("wav".to_owned(), wav())].into_iter();
    #[cfg(feature = "codecs")]
    let all = {
        use super::super::codec::tests::{FILES, file};
        let read = |name: &str| (name.to_owned(), std::fs::read(file(name)).unwrap());
        all.chain(FILES.map(|(name, ..)| read(name)))
    };
    all.collect()
}

fn without_frames(mut content: Content) -> Content {
    // Of a stream its length may not be known before it ends.
    for (_, facts) in content.get_mut(&Some(TAGS)).unwrap() {
        let mut value: Value = serde_json::from_slice(facts).unwrap();
        value["frames"] = Value::Null;
        value["tags"] = Value::Null;
        *facts = value.to_string().into_bytes();
    }
    content
}

#[test]
fn a_stream_gives_what_the_whole_file_gives() {
    for (name, bytes) in streams() {
        let whole = vec![RuntimeData::binary(bytes.clone()).unwrap()];
        let wanted = without_frames(decode(json!({"mode": "files"}), whole).unwrap());
        assert!(wanted.contains_key(&None), "{name}");
        for lengths in [&[1][..], &[7, 1, 0, 300], &[4_096], &[1 << 20]] {
            let given = decode(json!({}), pieces(&bytes, lengths)).unwrap();
            assert!(without_frames(given) == wanted, "{name} cut into {lengths:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_cutting_of_a_stream_changes_nothing(
        lengths in proptest::collection::vec(prop_oneof![0..20_usize, 1..5_000_usize], 1..20),
        last in 1..5_000_usize, place in 0..100_usize, end in 0..=100_usize,
    ) {
        let lengths = [lengths, vec![last]].concat();
        let all = streams();
        let (name, bytes) = &all[place % all.len()];
        // Also where it ends too early, up to its failure.
        let bytes = &bytes[..bytes.len() * end / 100];
        let given = |lengths: &[usize]| {
            let mut node = make("AudioDecoderNode", json!({})).unwrap();
            let mut output = Output::default();
            let mut errors = Vec::new();
            for item in pieces(bytes, lengths) {
                errors.extend(node.process(item, &mut output).err());
            }
            errors.extend(node.finish(&mut output).err());
            let mut audio = Vec::new();
            for (port, item) in output.drain_ports() {
                if port.is_none() {
                    audio.extend_from_slice(item.payload());
                }
            }
            (audio, errors.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let whole = given(&[usize::MAX]);
        prop_assert!(given(&lengths) == whole, "{name} cut into {lengths:?}");
        prop_assert!(whole.1.len() <= 1);
    }

    #[test]
    fn bytes_that_are_no_sound_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 1..2_000), files: bool,
    ) {
        let mode = if files { "files" } else { "stream" };
        let item = RuntimeData::binary(bytes).unwrap();
        let done = decode(json!({"mode": mode}), vec![item]);
        prop_assert!(done.is_err());
    }
}

#[test]
fn tags_come_before_the_audio_and_say_what_it_is() {
    let items = vec![RuntimeData::binary(wav()).unwrap()];
    let mut node = make("AudioDecoderNode", json!({})).unwrap();
    let items = run(node.as_mut(), items).unwrap();
    let facts = items[0].parse_json().unwrap();
    assert_eq!(
        facts,
        json!({
            "path": null, "format": "wav", "sample_rate": 8_000, "channels": 2,
            "sample_format": "i16", "frames": null, "tags": {"title": "A tone"},
        })
    );
    let view = items[1].as_audio().unwrap();
    assert_eq!((view.format, view.channels, view.sample_rate), (AudioFormat::I16, 2, 8_000));
}

#[test]
fn audio_has_the_time_of_its_place_in_the_stream() {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let items = pieces(&wav(), &[400]);
    let items = items.into_iter().map(|item| item.with_timestamp(begin).with_epoch(3));
    let mut node = make("AudioDecoderNode", json!({})).unwrap();
    let mut frames = 0;
    for item in run(node.as_mut(), items).unwrap().iter().skip(1) {
        let time = item.header().timestamp.duration_since(begin).unwrap();
        assert_eq!(time, Duration::from_micros(125 * frames));
        assert_eq!(item.header().epoch, 3);
        frames += item.as_audio().unwrap().frames() as u64;
    }
    assert_eq!(frames, 500);
}

#[test]
fn each_file_is_on_its_own() {
    let file = RuntimeData::binary(wav()).unwrap();
    let mut node = make("AudioDecoderNode", json!({"mode": "files"})).unwrap();
    let broken = RuntimeData::binary(wav()[..20].to_vec()).unwrap();
    let mut output = Output::default();
    for (item, is_sound) in [(&file, true), (&broken, false), (&file, true)] {
        assert_eq!(node.process(item.clone(), &mut output).is_ok(), is_sound);
        let given: usize = output.drain().filter_map(|item| Some(item.as_audio()?.frames())).sum();
        assert_eq!(given, if is_sound { 500 } else { 0 });
    }
}

#[test]
fn a_failure_is_told_once_and_a_flush_makes_room_for_another_stream() {
    let mut node = make("AudioDecoderNode", json!({})).unwrap();
    let mut output = Output::default();
    let noise = || RuntimeData::binary(vec![7; 3_000]).unwrap();
    let mut failures = 0;
    for _ in 0..600 {
        failures += usize::from(node.process(noise(), &mut output).is_err());
    }
    failures += usize::from(node.finish(&mut output).is_err());
    assert_eq!((failures, output.is_empty()), (1, true));
    node.flush();
    for item in pieces(&wav(), &[100]).into_iter().take(10) {
        node.process(item, &mut output).unwrap();
    }
    node.flush();
    output.clear();
    for item in pieces(&wav(), &[100]) {
        node.process(item, &mut output).unwrap();
    }
    node.finish(&mut output).unwrap();
    let given: usize = output.drain().filter_map(|item| Some(item.as_audio()?.frames())).sum();
    assert_eq!(given, 500);
}

#[test]
fn a_decoder_can_be_dropped_in_the_middle_of_a_stream() {
    for (_, bytes) in streams() {
        let mut node = make("AudioDecoderNode", json!({})).unwrap();
        node.process(RuntimeData::binary(bytes[..200].to_vec()).unwrap(), &mut Output::default())
            .unwrap();
    }
}

#[test]
fn one_item_makes_no_more_audio_than_allowed() {
    let silence = RuntimeData::audio_i16(vec![0; 8 * 48_000 * 3], 48_000, 8).unwrap();
    let format = if cfg!(feature = "codecs") { "flac" } else { "wav" };
    let bytes = encoded(format, vec![silence]);
    for mode in ["stream", "files"] {
        let item = RuntimeData::binary(bytes.clone()).unwrap();
        let params = json!({"mode": mode, "max_item_mb": 2});
        let done = decode(params, vec![item.clone()]).map(drop);
        let error = done.unwrap_err().to_string();
        assert!(error.contains("max_item_mb"), "{error}");
        assert!(decode(json!({"mode": mode, "max_item_mb": 3}), vec![item]).is_ok());
    }
}

#[test]
fn what_is_no_bytes_is_refused() {
    let mut node = make("AudioDecoderNode", json!({})).unwrap();
    let item = RuntimeData::text("RIFF").unwrap();
    let error = node.process(item, &mut Output::default()).unwrap_err();
    assert!(matches!(error, NodeError::Input { .. }), "{error}");
}
