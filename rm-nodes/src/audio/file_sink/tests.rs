//! Tests of the file sink.

use super::*;
use crate::testing::{bytes, make, run, run_source};
use serde_json::json;

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
    run_source(make("AudioFileSourceNode", json!({"path": path})).unwrap().as_mut()).unwrap()
}

#[test]
fn each_format_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let data: Vec<u8> = (0..=239).collect();
    for format in
        [AudioFormat::F32, AudioFormat::I16, AudioFormat::I24, AudioFormat::I32, AudioFormat::U8]
    {
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
fn a_format_that_wav_files_do_not_hold_names_the_node_that_helps() {
    let folder = tempfile::tempdir().unwrap();
    let item = RuntimeData::audio(vec![0; 8], 8_000, 1, AudioFormat::F64).unwrap();
    let error = write(&folder.path().join("a.wav"), vec![item]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input is audio in f64, but the node takes f32, i16, i24, i32 or u8; put a \
         FormatConverterNode before it"
    );
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn a_place_that_cannot_be_written_fails_before_the_first_item() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file/a.wav");
    let mut node = make("AudioFileSinkNode", json!({"path": path})).unwrap();
    let error = node.initialize().unwrap_err();
    assert!(matches!(error, NodeError::File { action: "create", .. }), "{error}");
    let error = make("AudioFileSinkNode", json!({"path": folder.path()})).err().unwrap();
    assert!(matches!(error, NodeError::Param { name: "path", .. }), "{error}");
    let error = make("AudioFileSinkNode", json!(null)).err().unwrap();
    assert!(matches!(error, NodeError::Param { name: "path", .. }), "{error}");
}
