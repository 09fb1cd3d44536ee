//! Tests of the file sink.

use super::*;
use crate::testing::{bytes, make, run, run_source};
use rm_core::ParameterProblem;
use serde_json::json;
use std::fs;

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    entries.map(name).map(|name| name.into_string().unwrap()).collect()
}

fn write(path: &Path, items: Vec<RuntimeData>) -> Result<(), NodeError> {
    let mut node = make("AudioFileSinkNode", json!({"path": path}))?;
    let out = run(node.as_mut(), items)?;
    assert!(out.is_empty());
    Ok(())
}

fn read(path: &Path) -> Vec<RuntimeData> {
    let mut node = make("AudioFileSourceNode", json!({"path": path})).unwrap();
    let items = run_source(node.as_mut()).unwrap();
    items.into_iter().filter(|item| item.data_type() == DataType::Audio).collect()
}

/// What a source says of a file.
fn facts(path: &Path) -> Value {
    let mut node = make("AudioFileSourceNode", json!({"path": path})).unwrap();
    run_source(node.as_mut()).unwrap()[0].parse_json().unwrap()
}

#[test]
fn each_format_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let data: Vec<u8> = (0..=239).collect();
    for format in AudioFormat::ALL.iter().copied() {
        let items = data
            .chunks(48)
            .map(|chunk| RuntimeData::audio(chunk.to_vec(), 44_100, 2, format).unwrap());
        write(&path, items.collect()).unwrap();
        let back = read(&path);
        let view = back[0].as_audio().unwrap();
        assert_eq!((view.format, view.channels, view.sample_rate), (format, 2, 44_100));
        assert_eq!(bytes(&back), data, "{format}");
    }
    assert_eq!(names_in(folder.path()), ["a.wav"]);
}

#[test]
fn a_missing_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/yet/there.wav");
    let item = RuntimeData::audio_i16(vec![1, 2, 3], 8_000, 1).unwrap();
    write(&path, vec![item]).unwrap();
    assert_eq!(names_in(&folder.path().join("not/yet")), ["there.wav"]);
}

#[test]
fn a_stream_without_audio_replaces_an_old_file_by_one_without_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let item = RuntimeData::audio_i16(vec![1, 2, 3], 8_000, 1).unwrap();
    write(&path, vec![item]).unwrap();
    write(&path, vec![]).unwrap();
    let reader = hound::WavReader::open(&path).unwrap();
    assert_eq!((reader.len(), reader.spec().sample_rate), (0, 48_000));
}

#[test]
fn a_sink_dropped_before_the_end_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    fs::write(&path, "old").unwrap();
    let mut node = make("AudioFileSinkNode", json!({"path": path})).unwrap();
    node.initialize().unwrap();
    assert_eq!(names_in(folder.path()).len(), 2);
    let item = RuntimeData::audio_i16(vec![1, 2, 3], 8_000, 1).unwrap();
    node.process(item, &mut Output::default()).unwrap();
    drop(node);
    assert_eq!(names_in(folder.path()), ["a.wav"]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn what_a_killed_process_has_left_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    fs::write(folder.path().join(".a.wav.0.part"), [9; 500]).unwrap();
    let item = RuntimeData::audio_i16(vec![1, 2, 3], 8_000, 1).unwrap();
    write(&path, vec![item]).unwrap();
    assert_eq!(names_in(folder.path()), ["a.wav"]);
    assert_eq!(fs::metadata(&path).unwrap().len(), 44 + 6);
}

#[test]
fn two_sinks_for_one_path_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let mut nodes = [1, 2].map(|_| make("AudioFileSinkNode", json!({"path": path})).unwrap());
    for (value, node) in nodes.iter_mut().enumerate() {
        node.initialize().unwrap();
        let item = RuntimeData::audio_i16(vec![value as i16], 8_000, 1).unwrap();
        node.process(item, &mut Output::default()).unwrap();
    }
    for (value, node) in nodes.iter_mut().enumerate() {
        node.finish(&mut Output::default()).unwrap();
        assert_eq!(bytes(&read(&path)), (value as i16).to_le_bytes());
    }
    assert_eq!(names_in(folder.path()), ["a.wav"]);
}

#[test]
fn a_change_of_format_within_the_stream_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let first = RuntimeData::audio_i16(vec![1, 2], 8_000, 1).unwrap();
    for second in [
        RuntimeData::audio_i16(vec![1, 2], 16_000, 1).unwrap(),
        RuntimeData::audio_i16(vec![1, 2], 8_000, 2).unwrap(),
        RuntimeData::audio_f32(vec![1.0], 8_000, 1).unwrap(),
        RuntimeData::text("hello").unwrap(),
    ] {
        let error = write(&path, vec![first.clone(), second]).unwrap_err();
        assert!(matches!(error, NodeError::Input { .. }), "{error}");
        assert!(names_in(folder.path()).is_empty());
    }
}

#[test]
fn a_path_that_names_no_format_is_refused_unless_the_format_is_given() {
    for path in ["sound", "sound.mp3", "wav"] {
        let error = make("AudioFileSinkNode", json!({"path": path})).err().unwrap().to_string();
        assert!(error.contains(".wav, .wave or .flac"), "{error}");
        assert!(make("AudioFileSinkNode", json!({"path": path, "format": "wav"})).is_ok());
    }
    assert!(make("AudioFileSinkNode", json!({"path": "A.WAV"})).is_ok());
    let flac = make("AudioFileSinkNode", json!({"path": "a.flac"}));
    match cfg!(feature = "codecs") {
        true => assert!(flac.is_ok()),
        false => {
            let error = flac.err().unwrap().to_string();
            assert!(error.contains("the feature \"codecs\""), "{error}");
        }
    }
}

/// Writes tags by parameter and by port, before and behind the audio, and says what is read back.
fn round_trip(path: &Path, items: &[RuntimeData]) -> Value {
    let params = json!({"path": path, "tags": {"title": "old", "genre": "Test", "Mood": "calm"}});
    let mut node = make("AudioFileSinkNode", params).unwrap();
    let tags = InputSite { from: None, port: Some("tags") };
    let mut output = Output::default();
    let mut push = |node: &mut dyn Node, tags_: Value| {
        node.process_from(tags, RuntimeData::json(&tags_).unwrap(), &mut output)
    };
    node.initialize().unwrap();
    push(node.as_mut(), json!({"path": "x", "tags": {"title": "Grüße", "artist": ["a", "b"]}}))
        .unwrap();
    for item in items {
        node.process(item.clone(), &mut Output::default()).unwrap();
    }
    push(node.as_mut(), json!({"comment": "late", "genre": "Other", "long": "x".repeat(9_000)}))
        .unwrap();
    assert!(push(node.as_mut(), json!(["title"])).is_err());
    node.finish(&mut Output::default()).unwrap();
    facts(path)
}

#[test]
fn tags_come_back_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let item = RuntimeData::audio(vec![1, 2, 3], 8_000, 1, AudioFormat::U8).unwrap();
    let wanted = json!({
        "title": "Grüße", "artist": ["a", "b"], "genre": "Other", "comment": "late", "mood": "calm",
        "long": "x".repeat(9_000),
    });
    for name in if cfg!(feature = "codecs") { &["a.wav", "a.flac"][..] } else { &["a.wav"] } {
        let path = folder.path().join(name);
        let facts = round_trip(&path, std::slice::from_ref(&item));
        assert_eq!(facts["tags"], wanted, "{name}");
        assert_eq!(facts["frames"], 3);
        assert_eq!(bytes(&read(&path)), [1, 2, 3], "{name}");
    }
    assert_eq!(names_in(folder.path()).len(), if cfg!(feature = "codecs") { 2 } else { 1 });
}

#[test]
fn what_was_written_is_what_another_reader_of_wav_sees() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    for channels in [1, 2, 6, 8] {
        let samples: Vec<i16> = (0..100 * i32::from(channels)).map(|n| (n * 77) as i16).collect();
        write(&path, vec![RuntimeData::audio_i16(samples.clone(), 48_000, channels).unwrap()])
            .unwrap();
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert_eq!(reader.spec().channels, channels);
        assert_eq!(reader.samples::<i16>().collect::<Result<Vec<_>, _>>().unwrap(), samples);
    }
    let samples = vec![0.25_f32, -1.5, 0.0, 1.0];
    write(&path, vec![RuntimeData::audio_f32(samples.clone(), 44_100, 2).unwrap()]).unwrap();
    let mut reader = hound::WavReader::open(&path).unwrap();
    assert_eq!(reader.samples::<f32>().collect::<Result<Vec<_>, _>>().unwrap(), samples);
}

#[cfg(feature = "codecs")]
mod flac {
    use super::*;

    #[test]
    fn each_format_and_number_of_channels_is_read_back_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flac");
        for format in [AudioFormat::I16, AudioFormat::I24, AudioFormat::I32, AudioFormat::U8] {
            for channels in [1, 2, 6, 8] {
                let frame_len = usize::from(channels) * format.bytes_per_sample();
                let mut state = 1_u32;
                let mut noise = || {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                };
                // Noise, silence, and as many frames as fill no block.
                let mut data: Vec<u8> = (0..5_001 * frame_len).map(|_| noise()).collect();
                data[100 * frame_len..300 * frame_len].fill(0);
                let items = data.chunks(480 * frame_len).map(|chunk| {
                    RuntimeData::audio(chunk.to_vec(), 96_000, channels, format).unwrap()
                });
                write(&path, items.collect()).unwrap();
                let back = read(&path);
                let view = back[0].as_audio().unwrap();
                assert_eq!((view.format, view.channels), (format, channels));
                assert!(bytes(&back) == data, "{format} of {channels} channels");
                assert_eq!(facts(&path)["frames"], 5_001);
            }
        }
    }

    #[test]
    fn a_format_that_flac_does_not_hold_names_the_node_that_helps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flac");
        let refuse = |item| write(&path, vec![item]).unwrap_err().to_string();
        let error = refuse(RuntimeData::audio_f32(vec![0.0; 8], 8_000, 1).unwrap());
        assert!(error.contains("put a FormatConverterNode before it"), "{error}");
        let error = refuse(RuntimeData::audio_i16(vec![0; 9], 8_000, 9).unwrap());
        assert!(error.contains("8 channels"), "{error}");
        let error = refuse(RuntimeData::audio_i16(vec![0; 9], 100_001, 1).unwrap());
        assert!(error.contains("Hz"), "{error}");
        assert!(names_in(folder.path()).is_empty());
    }

    #[test]
    fn a_stream_without_audio_leaves_a_file_without_samples() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flac");
        write(&path, vec![]).unwrap();
        assert!(read(&path).is_empty());
        assert_eq!(facts(&path)["format"], "flac");
    }
}

#[test]
fn a_place_that_cannot_be_written_fails_before_the_first_item() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file/a.wav");
    let mut node = make("AudioFileSinkNode", json!({"path": path})).unwrap();
    let error = node.initialize().unwrap_err();
    assert!(matches!(error, NodeError::File { action: "create", .. }), "{error}");
    let problem = |params| match make("AudioFileSinkNode", params).err().unwrap() {
        NodeError::Parameter(problem) => problem,
        other => panic!("{other}"),
    };
    assert!(matches!(
        problem(json!({"path": folder.path()})),
        ParameterProblem::Value { name, .. } if name == "path"
    ));
    assert!(
        matches!(problem(json!(null)), ParameterProblem::Missing { name, .. } if name == "path")
    );
}
