//! Tests of the video converter; those of the colours are at `convert.rs`.

use super::*;
use crate::testing::{check_no_allocation, make, run};
use proptest::prelude::*;
use serde_json::json;
use std::time::{Duration, SystemTime};

fn frame(format: VideoFormat, width: u32, height: u32) -> RuntimeData {
    let bytes = format.frame_bytes(width, height).unwrap();
    let payload: Vec<u8> = (0..bytes).map(|place| (place * 31 % 251) as u8).collect();
    RuntimeData::video(payload, width, height, format, 25.0).unwrap()
}

fn convert(input: RuntimeData, params: serde_json::Value) -> RuntimeData {
    let mut node = make("VideoConverterNode", params).unwrap();
    let mut items = run(node.as_mut(), [input]).unwrap();
    assert_eq!(items.len(), 1);
    items.remove(0)
}

/// Asserts that code values are within 1 of those expected.
fn check_near(found: &[u8], expected: &[u8], what: &serde_json::Value) {
    let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1);
    assert!(near && found.len() == expected.len(), "{found:?}, not {expected:?}, for {what}");
}

#[test]
fn what_is_right_already_is_not_copied() {
    let input = frame(VideoFormat::Nv12, 6, 4);
    let output = convert(input.clone(), json!({"format": "nv12"}));
    assert_eq!(output.payload().as_ptr(), input.payload().as_ptr());
    // RGB has no range.
    let input = frame(VideoFormat::Rgb24, 6, 4);
    let params = json!({"format": "rgb24", "range": "full", "source_range": "limited"});
    let output = convert(input.clone(), params);
    assert_eq!(output.payload().as_ptr(), input.payload().as_ptr());
}

#[test]
fn the_primaries_have_the_code_values_of_the_standards() {
    let check = |rgb: [u8; 3], params: serde_json::Value, expected: [u8; 3]| {
        let input = RuntimeData::video(rgb.to_vec(), 1, 1, VideoFormat::Rgb24, 0.0).unwrap();
        let output = convert(input, params.clone());
        check_near(output.payload(), &expected, &params);
    };
    // BT.601 and BT.709 colour bars of 100 %, as in EBU Tech 3280 and SMPTE RP 219.
    let with =
        |matrix: &str, range: &str| json!({"format": "yuv444p", "matrix": matrix, "range": range});
    check([255; 3], with("bt601", "limited"), [235, 128, 128]);
    check([0; 3], with("bt601", "limited"), [16, 128, 128]);
    check([255, 0, 0], with("bt601", "limited"), [81, 90, 240]);
    check([0, 255, 0], with("bt601", "limited"), [145, 54, 34]);
    check([0, 0, 255], with("bt601", "limited"), [41, 240, 110]);
    check([255, 0, 0], with("bt709", "limited"), [63, 102, 240]);
    check([0, 255, 0], with("bt709", "limited"), [173, 42, 26]);
    check([0, 0, 255], with("bt709", "limited"), [32, 240, 118]);
    check([255, 0, 0], with("bt601", "full"), [76, 85, 255]);
}

#[test]
fn auto_is_bt709_from_720_rows_on() {
    let input = |height| {
        RuntimeData::video([255, 0, 0].repeat(height as usize), 1, height, VideoFormat::Rgb24, 0.0)
    };
    let first = |height| convert(input(height).unwrap(), json!({"format": "yuv444p"})).payload()[0];
    check_near(&[first(719), first(720)], &[81, 63], &json!("auto"));
}

#[test]
fn range_and_matrix_change_where_those_of_the_source_are_others() {
    let white = RuntimeData::video(vec![255, 128, 128], 1, 1, VideoFormat::Yuv444p, 0.0).unwrap();
    let output = convert(white, json!({"format": "yuv444p", "source_range": "full"}));
    assert_eq!(output.payload(), &[235, 128, 128][..]);
    let red = RuntimeData::video(vec![81, 90, 240], 1, 1, VideoFormat::Yuv444p, 0.0).unwrap();
    let params = json!({"format": "yuv444p", "source_matrix": "bt601", "matrix": "bt709"});
    let output = convert(red, params.clone());
    check_near(output.payload(), &[63, 102, 240], &params);
}

#[test]
fn alpha_is_kept_dropped_or_opaque() {
    let input = RuntimeData::video(vec![10, 20, 30, 40], 1, 1, VideoFormat::Rgba32, 0.0).unwrap();
    let to = |input: RuntimeData, format: &str| convert(input, json!({"format": format}));
    let argb = to(input.clone(), "argb32");
    assert_eq!(argb.payload(), &[40, 10, 20, 30][..]);
    assert_eq!(to(argb.clone(), "bgra32").payload(), &[30, 20, 10, 40][..]);
    let bgr = to(argb, "bgr24");
    assert_eq!(bgr.payload(), &[30, 20, 10][..]);
    assert_eq!(to(bgr, "argb32").payload(), &[255, 10, 20, 30][..]);
    let gray = RuntimeData::video(vec![7], 1, 1, VideoFormat::Gray8, 0.0).unwrap();
    assert_eq!(to(gray, "rgba32").payload(), &[7, 7, 7, 255][..]);
}

#[test]
fn time_rate_and_deadline_of_the_input_are_kept() {
    let stamp = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    let (mut header, payload) = frame(VideoFormat::Rgb24, 2, 2).with_timestamp(stamp).into_parts();
    header.deadline = Some(stamp + Duration::from_secs(1));
    let input = RuntimeData::from_parts(header.clone(), payload).unwrap();
    let output = convert(input, json!({"format": "nv12"}));
    assert_eq!(output.header().timestamp, stamp);
    assert_eq!(output.header().deadline, header.deadline);
    assert_eq!(output.as_video().unwrap().fps, 25.0);
}

#[test]
fn format_and_size_may_change_within_the_stream() {
    let mut node = make("VideoConverterNode", json!({"format": "rgb24"})).unwrap();
    let inputs = [
        frame(VideoFormat::Nv12, 5, 3),
        frame(VideoFormat::Nv12, 64, 48),
        frame(VideoFormat::Argb32, 7, 7),
        frame(VideoFormat::P010, 1, 1),
    ];
    let sizes = inputs
        .clone()
        .map(|item| (item.as_video().unwrap().width, item.as_video().unwrap().height));
    let outputs = run(node.as_mut(), inputs).unwrap();
    for (output, size) in outputs.iter().zip(sizes) {
        let view = output.as_video().unwrap();
        assert_eq!((view.width, view.height, view.format), (size.0, size.1, VideoFormat::Rgb24));
    }
}

#[test]
fn samples_of_16_bits_need_not_be_aligned() {
    let aligned = frame(VideoFormat::P010, 6, 4);
    let mut shifted = vec![0];
    shifted.extend_from_slice(aligned.payload());
    let payload = bytes::Bytes::from(shifted).slice(1..);
    let unaligned = RuntimeData::video(payload, 6, 4, VideoFormat::P010, 25.0).unwrap();
    for format in ["rgb24", "nv12", "gray16"] {
        let params = json!({"format": format});
        let expected = convert(aligned.clone(), params.clone());
        let found = convert(unaligned.clone(), params);
        let most = found.payload().iter().zip(expected.payload()).map(|(a, b)| a.abs_diff(*b));
        assert!(most.max().unwrap() <= 1, "{format}");
    }
}

#[test]
fn other_items_and_other_parameters_are_refused() {
    let mut node = make("VideoConverterNode", json!({"format": "rgb24"})).unwrap();
    let text = RuntimeData::text("hello").unwrap();
    let error = node.process(text, &mut Output::default()).unwrap_err();
    assert_eq!(error.to_string(), "input is text, but the node takes video");
    let error = make("VideoConverterNode", json!({"format": "rgb"})).err().unwrap();
    assert!(error.to_string().contains("one of rgb24, bgr24"), "{error}");
    assert!(make("VideoConverterNode", json!({"format": "rgb24", "matrix": "bt2020"})).is_err());
}

#[test]
fn steady_conversion_allocates_nothing() {
    for to in VideoFormat::ALL {
        for from in VideoFormat::ALL {
            let params = json!({"format": to.name(), "source_range": "full"});
            check_no_allocation("VideoConverterNode", &params, &frame(*from, 18, 6));
        }
    }
}

fn any_format() -> impl Strategy<Value = VideoFormat> {
    prop::sample::select(VideoFormat::ALL)
}

proptest! {
    #[test]
    fn any_frame_converts_to_any_format(
        from in any_format(), to in any_format(), width in 1_u32..70, height in 1_u32..20,
    ) {
        let output = convert(frame(from, width, height), json!({"format": to.name()}));
        let view = output.as_video().unwrap();
        prop_assert_eq!((view.width, view.height, view.format), (width, height, to));
    }

    #[test]
    fn luma_and_chroma_come_back_from_a_format_with_more_of_them(
        data in prop::collection::vec(any::<u8>(), 6 * 64), width in 1_u32..16, height in 1_u32..16,
        through in prop::sample::select(&["yuv422p", "yuv444p", "yuyv422", "nv21", "nv12"][..]),
        from in prop::sample::select(&[VideoFormat::Yuv420p, VideoFormat::Nv12, VideoFormat::Nv21][..]),
    ) {
        let bytes = from.frame_bytes(width, height).unwrap();
        let input = RuntimeData::video(data[..bytes].to_vec(), width, height, from, 0.0).unwrap();
        let there = convert(input.clone(), json!({"format": through}));
        let back = convert(there, json!({"format": from.name()}));
        prop_assert_eq!(back.payload(), input.payload());
    }
}
