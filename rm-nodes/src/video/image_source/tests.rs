//! Tests of the source and the sink of picture files.

use super::*;
use crate::testing::{make, run, run_source};
use image::{ImageFormat, RgbImage};
use rm_core::VideoView;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A smooth picture, in each channel another.
fn frame(format: VideoFormat, width: u32, height: u32) -> RuntimeData {
    let bytes = format.frame_bytes(width, height).unwrap();
    let payload: Vec<u8> = (0..bytes).map(|place| (place * 3 / 2 % 200 + 20) as u8).collect();
    RuntimeData::video(payload, width, height, format, 25.0).unwrap()
}

fn write(params: Value, items: Vec<RuntimeData>) -> Result<(), NodeError> {
    let mut node = make("ImageFileSinkNode", params)?;
    assert!(run(node.as_mut(), items)?.is_empty());
    Ok(())
}

fn read(params: Value) -> Result<Vec<RuntimeData>, NodeError> {
    run_source(make("ImageFileSourceNode", params)?.as_mut())
}

#[test]
fn png_keeps_rgb_alpha_and_gray_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b.png");
    for format in [VideoFormat::Rgb24, VideoFormat::Rgba32, VideoFormat::Gray8, VideoFormat::Gray16]
    {
        let input = frame(format, 7, 5);
        write(json!({"path": path}), vec![input.clone()]).unwrap();
        let back = read(json!({"path": path, "format": null})).unwrap();
        assert_eq!(back[0].as_video().unwrap().format, format);
        assert_eq!(back[0].payload(), input.payload());
    }
    let input = frame(VideoFormat::Argb32, 7, 5);
    write(json!({"path": path}), vec![input.clone()]).unwrap();
    let back = read(json!({"path": path, "format": "argb32"})).unwrap();
    assert_eq!(back[0].payload(), input.payload());
}

#[test]
fn jpeg_is_near_to_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    let plane: Vec<u8> = (0..48 * 32).map(|place| (place % 48 * 4 + 20) as u8).collect();
    let input = RuntimeData::video(plane, 48, 32, VideoFormat::Gray8, 0.0).unwrap();
    write(json!({"path": path, "quality": 95}), vec![input.clone()]).unwrap();
    let back = read(json!({"path": path, "format": "gray8"})).unwrap();
    let most = back[0].payload().iter().zip(input.payload()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(most.unwrap() <= 4, "{most:?}");
}

#[test]
fn a_numbered_sequence_is_written_and_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f_{index:04}.png");
    let gray = |level: u8| RuntimeData::video(vec![level], 1, 1, VideoFormat::Gray8, 0.0).unwrap();
    write(json!({"path": path, "first": 1}), (10..13).map(gray).collect()).unwrap();
    assert!(folder.path().join("f_0003.png").exists());
    let params = json!({"path": path, "format": "gray8", "fps": 10, "repeat": 2});
    let back = read(params).unwrap();
    let levels: Vec<_> = back.iter().map(|item| item.payload()[0]).collect();
    assert_eq!(levels, [10, 11, 12, 10, 11, 12]);
    let begin = back[0].header().timestamp;
    let last = back[5].header().timestamp;
    assert_eq!(last.duration_since(begin).unwrap(), Duration::from_millis(500));
    let back = read(json!({"path": path, "format": "gray8", "first": 2})).unwrap();
    assert_eq!(back.len(), 2);
}

#[test]
fn a_path_without_a_number_is_replaced_by_each_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latest.png");
    let gray = |level: u8| RuntimeData::video(vec![level], 1, 1, VideoFormat::Gray8, 0.0).unwrap();
    write(json!({"path": path}), vec![gray(1), gray(2)]).unwrap();
    let back = read(json!({"path": path, "format": "gray8"})).unwrap();
    assert_eq!(back[0].payload(), &[2][..]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn each_kind_of_file_is_told_by_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let rgb = RgbImage::from_fn(4, 3, |x, y| image::Rgb([x as u8 * 40, y as u8 * 60, 7]));
    for format in [ImageFormat::Bmp, ImageFormat::Pnm, ImageFormat::WebP, ImageFormat::Png] {
        let path = folder.path().join("picture");
        rgb.save_with_format(&path, format).unwrap();
        let back = read(json!({"path": [path]})).unwrap();
        assert_eq!(back[0].payload(), rgb.as_raw(), "{format:?}");
    }
}

#[test]
fn hostile_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, content: &[u8], action: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let error = read(json!({"path": path})).unwrap_err();
        let NodeError::File { action: found, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*found, action, "{error}");
    };
    check("empty.png", b"", "decode");
    check("text.png", b"hello", "decode");
    // They claim more pixels than are let in.
    check("wide.ppm", b"P6 16385 1 255\n", "decode");
    check("bomb.ppm", b"P6 16384 16384 255\n", "decode");
    let mut png = Vec::new();
    RgbImage::new(2, 2).write_to(&mut std::io::Cursor::new(&mut png), ImageFormat::Png).unwrap();
    check("cut.png", &png[..png.len() / 2], "decode");
    png[16..24].copy_from_slice(&[0, 0, 0x3f, 0xff, 0, 0, 0x3f, 0xff]);
    check("bomb.png", &png, "decode");
    let error = read(json!({"path": folder.path().join("none.png")})).unwrap_err();
    assert!(matches!(error, NodeError::File { action: "open", .. }));
}

#[test]
fn wrong_parameters_are_refused() {
    assert!(make("ImageFileSourceNode", json!({"path": []})).is_err());
    assert!(make("ImageFileSourceNode", json!({"path": "a_{index:4}.png"})).is_err());
    assert!(make("ImageFileSourceNode", json!({"path": "a.png", "fps": 0})).is_err());
    assert!(make("ImageFileSinkNode", json!({"path": "a.tiff"})).is_err());
    assert!(make("ImageFileSinkNode", json!({"path": "a.png", "quality": 101})).is_err());
}

#[test]
fn the_plan_knows_the_size_of_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    write(json!({"path": path}), vec![frame(VideoFormat::Rgb24, 7, 5)]).unwrap();
    let given = |path: &Path| {
        let params = json!({
            "path": path, "first": null, "fps": 25, "format": "rgb24", "realtime": false,
            "repeat": 1, "matrix": "auto", "range": "limited"
        });
        let params: Params = serde_json::from_value(params).unwrap();
        formats(&params, &NodeContext::default()).given(&[]).remove(0).to_string()
    };
    assert_eq!(given(&path), "video (rgb24, 7 pixels wide, 5 pixels high)");
    assert_eq!(given(&folder.path().join("{index}.png")), "video (rgb24)");
}

#[test]
fn luma_with_chroma_becomes_rgb_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let red = RuntimeData::video(vec![81, 90, 240], 1, 1, VideoFormat::Yuv444p, 0.0).unwrap();
    write(json!({"path": path}), vec![red]).unwrap();
    let back = read(json!({"path": path})).unwrap();
    let VideoView { bytes, .. } = back[0].as_video().unwrap();
    assert!(bytes[0] >= 253 && bytes[1] <= 2 && bytes[2] <= 2, "{bytes:?}");
}
