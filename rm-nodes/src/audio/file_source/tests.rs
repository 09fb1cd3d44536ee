//! Tests of the file source.

use super::*;
use crate::testing::{bytes, make, run_source};
use hound::{SampleFormat, WavSpec, WavWriter};
use serde_json::json;
use std::fs;
use std::path::Path;

fn spec(sample_format: SampleFormat, bits_per_sample: u16) -> WavSpec {
    WavSpec { channels: 2, sample_rate: 8_000, bits_per_sample, sample_format }
}

fn write_ints(path: &Path, bits: u16, samples: &[i32]) {
    let mut writer = WavWriter::create(path, spec(SampleFormat::Int, bits)).unwrap();
    for sample in samples {
        writer.write_sample(*sample).unwrap();
    }
    writer.finalize().unwrap();
}

fn read(params: serde_json::Value) -> Result<Vec<RuntimeData>, NodeError> {
    run_source(make("AudioFileSourceNode", params)?.as_mut())
}

#[test]
fn each_sample_format_comes_out_as_it_lies_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let check = |format: AudioFormat, expected: Vec<u8>| {
        let out = read(json!({"path": path})).unwrap();
        let view = out[0].as_audio().unwrap();
        assert_eq!((view.format, view.channels, view.sample_rate), (format, 2, 8_000));
        assert_eq!(bytes(&out), expected, "{format}");
    };
    let values = [-100, 100, 0, 1];
    write_ints(&path, 8, &values);
    check(AudioFormat::U8, vec![28, 228, 128, 129]);
    write_ints(&path, 16, &values);
    check(AudioFormat::I16, values.map(|v| (v as i16).to_le_bytes()).concat());
    write_ints(&path, 24, &values);
    let low_three = values.map(|value: i32| value.to_le_bytes()[..3].to_vec());
    check(AudioFormat::I24, low_three.concat());
    write_ints(&path, 32, &[i32::MIN, i32::MAX, 5, -5]);
    let wide = [i32::MIN, i32::MAX, 5, -5].map(i32::to_le_bytes);
    check(AudioFormat::I32, wide.concat());

    let mut writer = WavWriter::create(&path, spec(SampleFormat::Float, 32)).unwrap();
    for sample in [0.5_f32, -0.25] {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    check(AudioFormat::F32, [0.5_f32, -0.25].map(f32::to_le_bytes).concat());
}

#[test]
fn chunks_have_the_length_asked_for_and_the_last_one_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write_ints(&path, 16, &[3; 2 * 200]);
    let out = read(json!({"path": path, "chunk_ms": 10})).unwrap();
    let frames: Vec<_> = out.iter().map(|item| item.as_audio().unwrap().frames()).collect();
    assert_eq!(frames, [80, 80, 40]);
}

#[test]
fn several_files_follow_one_another_with_a_gap_of_silence_after_each() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.wav", "b.wav"].map(|name| folder.path().join(name));
    write_ints(&paths[0], 8, &[5; 2 * 3]);
    write_ints(&paths[1], 8, &[6; 2 * 2]);
    let out = read(json!({"path": paths, "gap_ms": 1})).unwrap();
    let expected = [vec![133; 6], vec![128; 16], vec![134; 4], vec![128; 16]];
    assert_eq!(bytes(&out), expected.concat());
}

#[test]
fn relative_paths_start_from_the_base_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_ints(&folder.path().join("a.wav"), 16, &[1, 2]);
    let mut context = NodeContext { params: json!({"path": "a.wav"}), ..NodeContext::default() };
    let base = json!(folder.path());
    context.metadata.insert(NodeContext::BASE_DIR.to_owned(), base);
    let mut source = AudioFileSource::new(&context).unwrap();
    assert_eq!(run_source(&mut source).unwrap().len(), 1);
}

#[test]
fn an_empty_file_gives_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    write_ints(&path, 16, &[]);
    assert!(read(json!({"path": path})).unwrap().is_empty());
}

/// Why a file that holds `content` fails, which it does before the first chunk.
fn check_refused(content: Option<&[u8]>, expected_action: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    if let Some(content) = content {
        fs::write(&path, content).unwrap();
    }
    let mut node = make("AudioFileSourceNode", json!({"path": path})).unwrap();
    match node.initialize().unwrap_err() {
        NodeError::File { action, path: named, source } => {
            assert_eq!((action, named), (expected_action, path));
            source.to_string()
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_or_broken_file_fails_before_the_first_chunk() {
    check_refused(None, "open");
    check_refused(Some(b""), "decode");
    check_refused(Some(b"this is not a sound but a text"), "decode");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.wav");
    write_ints(&path, 16, &[7; 1_000]);
    let good = fs::read(&path).unwrap();
    let cause = check_refused(Some(&good[..1_000]), "decode");
    assert_eq!(cause, "its header promises at least 2044 bytes, but it has 1000");
    check_refused(Some(&good[..30]), "decode");
    let mut no_channels = good.clone();
    no_channels[22..24].fill(0);
    check_refused(Some(&no_channels), "decode");
    let mut no_rate = good.clone();
    no_rate[24..28].fill(0);
    check_refused(Some(&no_rate), "decode");
}

#[test]
fn a_folder_is_no_file_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = make("AudioFileSourceNode", json!({"path": folder.path()})).unwrap();
    let error = node.initialize().unwrap_err();
    assert!(matches!(error, NodeError::File { action: "read", .. }), "{error}");
}

#[test]
fn files_that_do_not_agree_are_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.wav", "b.wav"].map(|name| folder.path().join(name));
    write_ints(&paths[0], 16, &[1, 2]);
    write_ints(&paths[1], 24, &[1, 2]);
    let mut node = make("AudioFileSourceNode", json!({"path": paths})).unwrap();
    let message = node.initialize().unwrap_err().to_string();
    for part in ["a.wav", "b.wav", "i16 of 2 channels", "i24 of 2 channels"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn wrong_parameters_are_refused() {
    for params in [
        json!(null),
        json!({"path": []}),
        json!({"path": ""}),
        json!({"path": 7}),
        json!({"path": "a.wav", "chunk_ms": 0}),
        json!({"path": "a.wav", "gap_ms": 600_001}),
    ] {
        assert!(make("AudioFileSourceNode", params.clone()).is_err(), "{params}");
    }
}

#[test]
fn a_source_takes_no_input() {
    let mut node = make("AudioFileSourceNode", json!({"path": "a.wav"})).unwrap();
    let item = RuntimeData::text("hello").unwrap();
    let error = node.process(item, &mut Output::default()).unwrap_err();
    assert!(matches!(error, NodeError::Input { .. }));
}
