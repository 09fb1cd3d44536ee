//! Tests of the source and the sink of Y4M files.

use super::*;
use crate::testing::{make, run, run_source};
use serde_json::json;
use std::fs;
use std::time::Duration;

fn frames(format: VideoFormat, size: [u32; 2], count: usize, fps: f32) -> Vec<RuntimeData> {
    let bytes = format.frame_bytes(size[0], size[1]).unwrap();
    let frame = |index: usize| {
        let payload: Vec<u8> = (0..bytes).map(|place| (place * 7 + index) as u8).collect();
        RuntimeData::video(payload, size[0], size[1], format, fps).unwrap()
    };
    (0..count).map(frame).collect()
}

fn write(path: &Path, items: Vec<RuntimeData>) -> Result<(), NodeError> {
    let mut node = make("VideoFileSinkNode", json!({"path": path}))?;
    assert!(run(node.as_mut(), items)?.is_empty());
    Ok(())
}

fn read(params: Value) -> Result<Vec<RuntimeData>, NodeError> {
    run_source(make("VideoFileSourceNode", params)?.as_mut())
}

#[test]
fn what_is_written_reads_back_with_exact_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/a.y4m");
    for format in
        [VideoFormat::Yuv420p, VideoFormat::Yuv422p, VideoFormat::Yuv444p, VideoFormat::Gray8]
    {
        let items = frames(format, [5, 3], 4, 29.97);
        write(&path, items.clone()).unwrap();
        let back = read(json!({"path": path})).unwrap();
        assert_eq!(back.len(), 4);
        for (index, (found, expected)) in back.iter().zip(&items).enumerate() {
            assert_eq!(found.payload(), expected.payload());
            let view = found.as_video().unwrap();
            assert_eq!((view.width, view.height, view.format), (5, 3, format));
            assert_eq!(view.fps, 30_000.0 / 1_001.0);
            let begin = back[0].header().timestamp;
            let after = found.header().timestamp.duration_since(begin).unwrap();
            let nanos = index as u64 * 1_001 * 1_000_000_000 / 30_000;
            assert_eq!(after, Duration::from_nanos(nanos));
        }
    }
    let names: Vec<_> = fs::read_dir(folder.path().join("new")).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn a_file_is_read_as_often_as_asked_with_growing_times() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    write(&path, frames(VideoFormat::Gray8, [2, 2], 2, 10.0)).unwrap();
    let back = read(json!({"path": path, "repeat": 3, "fps": "10"})).unwrap();
    let begin = back[0].header().timestamp;
    let times: Vec<_> = back
        .iter()
        .map(|item| item.header().timestamp.duration_since(begin).unwrap().as_millis())
        .collect();
    assert_eq!(times, [0, 100, 200, 300, 400, 500]);
    let mut node = make("VideoFileSourceNode", json!({"path": path, "repeat": 0})).unwrap();
    node.initialize().unwrap();
    let mut output = Output::default();
    for _ in 0..20 {
        assert_eq!(node.produce(&mut output).unwrap(), Produced::More);
    }
    assert!(output.drain().count() >= 13);
}

#[test]
fn in_real_time_each_frame_has_its_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    write(&path, frames(VideoFormat::Gray8, [2, 2], 3, 10.0)).unwrap();
    let mut node = make("VideoFileSourceNode", json!({"path": path, "realtime": true})).unwrap();
    node.initialize().unwrap();
    let mut output = Output::default();
    let mut moments = Vec::new();
    while let Produced::At(moment) = node.produce(&mut output).unwrap() {
        moments.push(moment);
    }
    assert_eq!((moments.len(), output.drain().count()), (3, 3));
    assert_eq!(moments[1] - moments[0], Duration::from_millis(100));
}

#[test]
fn broken_files_are_refused_saying_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    let check = |content: &[u8], expected: &str| {
        fs::write(&path, content).unwrap();
        let error = read(json!({"path": path})).unwrap_err();
        let NodeError::File { action: "decode", source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(expected), "{source}");
    };
    check(b"", "it is empty");
    check(b"RIFF....\n", "no Y4M file");
    check(b"YUV4MPEG2 W16384 H16384 C444\nFRAME\nabc", "ends within frame 0");
    check(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRAME\nc", "ends within frame 1");
    check(b"YUV4MPEG2 W2 H1 Cmono\nFRAME Ip\nabFROME\nc", "frame 1 begins with \"FROME\"");
    check(&[b'x'; 10_000], "no end within 4096 bytes");
    let error = read(json!({"path": folder.path().join("none.y4m")})).unwrap_err();
    assert!(matches!(error, NodeError::File { action: "open", .. }));
}

#[test]
fn the_plan_knows_the_format_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    write(&path, frames(VideoFormat::Yuv422p, [6, 4], 1, 25.0)).unwrap();
    let given = |path: PathBuf| {
        let path = path.to_string_lossy().into_owned();
        let params = Params { path, fps: Value::Null, realtime: false, repeat: 1 };
        formats(&params, &NodeContext::default()).given(&[]).remove(0).to_string()
    };
    assert_eq!(given(path), "video (yuv422p, 6 pixels wide, 4 pixels high)");
    assert_eq!(given(folder.path().join("b")), "video (yuv420p or yuv422p or yuv444p or gray8)");
}

#[test]
fn reading_allocates_nothing_for_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    write(&path, frames(VideoFormat::Yuv420p, [64, 48], 200, 25.0)).unwrap();
    let mut node = make("VideoFileSourceNode", json!({"path": path})).unwrap();
    node.initialize().unwrap();
    let mut output = Output::default();
    let mut turn = || {
        node.produce(&mut output).unwrap();
        output.clear();
    };
    (0..50).for_each(|_| turn());
    assert_eq!(allocation_counter::measure(|| (0..100).for_each(|_| turn())).count_total, 0);
}

#[test]
fn the_sink_refuses_what_its_file_cannot_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    let error = write(&path, frames(VideoFormat::Nv12, [2, 2], 1, 25.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input is video in nv12 of 2 x 2 pixels, but the node takes video in one of yuv420p, \
         yuv422p, yuv444p, gray8; put a VideoConverterNode before it"
    );
    let mut items = frames(VideoFormat::Gray8, [2, 2], 1, 25.0);
    items.extend(frames(VideoFormat::Gray8, [4, 2], 1, 25.0));
    let error = write(&path, items).unwrap_err();
    assert!(error.to_string().contains("gray8 of 2 x 2 pixels as before"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_stream_without_frames_replaces_an_old_file_by_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    write(&path, frames(VideoFormat::Gray8, [2, 2], 1, 25.0)).unwrap();
    write(&path, Vec::new()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}
