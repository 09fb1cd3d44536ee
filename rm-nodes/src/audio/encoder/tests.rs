//! Tests of the encoder.

use super::*;
use crate::testing::{bytes, check_no_allocation, content, make, run};
use proptest::prelude::*;
use rm_core::AudioFormat;

const FORMATS: &[&str] = if cfg!(feature = "codecs") { &["wav", "flac"] } else { &["wav"] };

fn encode(format: &str, items: Vec<RuntimeData>) -> Result<Vec<u8>, NodeError> {
    let mut node = make("AudioEncoderNode", json!({"format": format}))?;
    Ok(bytes(&run(node.as_mut(), items)?))
}

/// What is decoded from bytes, with the format and the number of channels.
fn decode(stream: Vec<u8>) -> (AudioFormat, u16, Vec<u8>) {
    let mut node = make("AudioDecoderNode", json!({"mode": "files"})).unwrap();
    let items = run(node.as_mut(), [RuntimeData::binary(stream).unwrap()]).unwrap();
    let view = items[1].as_audio().unwrap();
    (view.format, view.channels, bytes(&items[1..]))
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(step).collect()
}

#[test]
fn every_format_and_number_of_channels_is_decoded_bit_by_bit() {
    for format in FORMATS {
        for sample in AudioFormat::ALL.iter().copied() {
            if *format == "flac" && matches!(sample, AudioFormat::F32 | AudioFormat::F64) {
                continue;
            }
            for channels in [1, 2, 6, 8, 12] {
                if *format == "flac" && channels > 8 {
                    continue;
                }
                let data = noise(4_200 * usize::from(channels) * sample.bytes_per_sample());
                let item = RuntimeData::audio(data.clone(), 44_100, channels, sample).unwrap();
                let (found, count, decoded) = decode(encode(format, vec![item]).unwrap());
                assert_eq!((found, count), (sample, channels), "{format}");
                assert!(decoded == data, "{format} {sample} of {channels} channels");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn the_cutting_of_the_audio_changes_nothing(
        lengths in proptest::collection::vec(0..3_000_usize, 1..10), last in 1..3_000_usize,
    ) {
        let data = noise(4 * 10_000);
        for format in FORMATS {
            let given = |lengths: &[usize]| {
                let mut rest = &data[..];
                let mut items = Vec::new();
                for length in lengths.iter().cycle() {
                    let (piece, after) = rest.split_at(rest.len().min(4 * length));
                    let item = RuntimeData::audio(piece.to_vec(), 8_000, 2, AudioFormat::I16);
                    items.push(item.unwrap());
                    rest = after;
                    if rest.is_empty() {
                        break;
                    }
                }
                let mut node = make("AudioEncoderNode", json!({"format": format})).unwrap();
                content(node.as_mut(), items).unwrap()
            };
            let lengths = [lengths.clone(), vec![last]].concat();
            prop_assert!(given(&lengths) == given(&[10_000]), "{format} cut into {lengths:?}");
        }
    }
}

#[test]
fn tags_are_in_the_stream() {
    for format in FORMATS {
        let params = json!({"format": format, "tags": {"title": "Grüße", "artist": ["a", "b"]}});
        let mut node = make("AudioEncoderNode", params).unwrap();
        let item = RuntimeData::audio_i16(vec![1, 2, 3], 8_000, 1).unwrap();
        let stream = run(node.as_mut(), [item]).unwrap();
        let mut node = make("AudioDecoderNode", json!({})).unwrap();
        let facts = run(node.as_mut(), stream).unwrap()[0].parse_json().unwrap();
        assert_eq!(facts["tags"], json!({"title": "Grüße", "artist": ["a", "b"]}), "{format}");
    }
}

#[test]
fn a_stream_without_audio_has_no_bytes() {
    for format in FORMATS {
        assert!(encode(format, vec![]).unwrap().is_empty());
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let refuse = |format: &str, items| encode(format, items).unwrap_err().to_string();
    let mono = RuntimeData::audio_i16(vec![1, 2], 8_000, 1).unwrap();
    let stereo = RuntimeData::audio_i16(vec![1, 2], 8_000, 2).unwrap();
    let error = refuse("wav", vec![mono.clone(), stereo]);
    assert!(error.contains("cannot change its format"), "{error}");
    let planar = RuntimeData::audio_planar(vec![0; 8], 8_000, 2, AudioFormat::I16).unwrap();
    assert!(refuse("wav", vec![planar]).contains("FormatConverterNode"));
    if cfg!(feature = "codecs") {
        let floats = RuntimeData::audio_f32(vec![0.0], 8_000, 1).unwrap();
        assert!(refuse("flac", vec![floats]).contains("FormatConverterNode"));
    } else {
        assert!(refuse("flac", vec![mono]).contains("the feature \"codecs\""));
    }
    assert!(make("AudioEncoderNode", json!({"format": "mp3"})).is_err());
    assert!(make("AudioEncoderNode", json!({"tags": {"a=b": "c"}})).is_err());
}

#[test]
fn wav_takes_no_memory_per_item() {
    let item = RuntimeData::audio_f32(vec![0.5; 960], 48_000, 2).unwrap();
    check_no_allocation("AudioEncoderNode", &json!({"format": "wav"}), &item);
}

#[test]
fn what_the_plan_is_told_is_what_is_taken() {
    use rm_core::{AudioFormats, Formats, NodeRegistry, Values};
    let mut registry = NodeRegistry::new();
    register(&mut registry).unwrap();
    for format in FORMATS {
        let (node_type, params) = ("AudioEncoderNode".to_owned(), json!({"format": format}));
        let context = NodeContext { node_type, params, ..NodeContext::default() };
        let formats = registry.formats(&context).unwrap();
        for sample in AudioFormat::ALL.iter().copied() {
            for (channels, rate) in [
                (1, 1),
                (8, 65_534),
                (2, 65_535),
                (1, 96_000),
                (1, 100_001),
                (8, 384_000),
                (9, 48_000),
                (8_191, 8_000),
                (8_192, 8_000),
            ] {
                let len = usize::from(channels) * sample.bytes_per_sample() * 3;
                let item = RuntimeData::audio(vec![0; len], rate, channels, sample).unwrap();
                let offered = Formats::Audio(AudioFormats {
                    sample_rate: Values::only(rate),
                    channels: Values::only(channels),
                    format: Values::only(sample),
                    layout: Values::only(rm_core::AudioLayout::Interleaved),
                });
                let is_told = formats.taken().iter().any(|taken| offered.is_within(taken));
                let is_taken = encode(format, vec![item]).is_ok();
                assert_eq!(is_told, is_taken, "{format}: {offered}");
            }
        }
    }
}
