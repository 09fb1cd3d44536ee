//! Tests of cropping.

use super::*;
use crate::testing::{check_no_allocation, make, run};
use proptest::prelude::*;
use rm_core::VideoFormat;
use serde_json::json;

/// A frame whose bytes all differ from their neighbours.
fn frame(format: VideoFormat, width: u32, height: u32) -> RuntimeData {
    let bytes = format.frame_bytes(width, height).unwrap();
    let payload: Vec<u8> = (0..bytes).map(|place| (place * 31 % 251) as u8).collect();
    RuntimeData::video(payload, width, height, format, 25.0).unwrap()
}

fn crop(input: RuntimeData, params: Value) -> Result<RuntimeData, NodeError> {
    let mut node = make("VideoCropNode", params).unwrap();
    Ok(run(node.as_mut(), [input])?.remove(0))
}

#[test]
fn a_rectangle_is_cut_out() {
    let gray =
        RuntimeData::video((0..20).collect::<Vec<u8>>(), 5, 4, VideoFormat::Gray8, 0.0).unwrap();
    let output = crop(gray, json!({"x": 1, "y": 2, "width": 3, "height": 2})).unwrap();
    assert_eq!(output.payload(), &[11, 12, 13, 16, 17, 18][..]);
    let nv12 =
        RuntimeData::video((0..24).collect::<Vec<u8>>(), 4, 4, VideoFormat::Nv12, 0.0).unwrap();
    let output = crop(nv12, json!({"x": 2, "y": 2, "width": 1})).unwrap();
    assert_eq!(output.payload(), &[10, 14, 22, 23][..]);
    let yuyv =
        RuntimeData::video((0..16).collect::<Vec<u8>>(), 4, 2, VideoFormat::Yuyv422, 0.0).unwrap();
    let output = crop(yuyv, json!({"x": 2, "y": 1})).unwrap();
    assert_eq!(output.payload(), &[12, 13, 14, 15][..]);
}

#[test]
fn the_whole_frame_is_not_copied() {
    let input = frame(VideoFormat::Rgb24, 6, 4);
    let output = crop(input.clone(), json!({})).unwrap();
    assert_eq!(output.payload().as_ptr(), input.payload().as_ptr());
}

#[test]
fn a_rectangle_beyond_the_frame_is_refused() {
    let check = |params: Value, expected: &str| {
        let error = crop(frame(VideoFormat::Rgb24, 6, 4), params).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        json!({"x": 4, "width": 3, "height": 1}),
        "input is a frame of 6 x 4 pixels, but the node takes one that holds the 3 x 1 pixels from x 4, y 0",
    );
    check(
        json!({"y": 4}),
        "input is a frame of 6 x 4 pixels, but the node takes one that holds the 6 x 1 pixels from x 0, y 4",
    );
}

#[test]
fn a_corner_between_pixels_that_share_chroma_is_refused() {
    let check = |format, params: Value, expected: &str| {
        let error = crop(frame(format, 16, 16), params).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(
        VideoFormat::Nv12,
        json!({"y": 3}),
        "input is video in nv12, of which 2 pixels share chroma, but the node takes for y 3 a format \
         in which they do not; y 2 or 4 would do, and so would a VideoConverterNode before it",
    );
    assert!(crop(frame(VideoFormat::Yuv422p, 16, 16), json!({"y": 3})).is_ok());
    assert!(crop(frame(VideoFormat::Yuyv422, 16, 16), json!({"x": 3})).is_err());
}

#[test]
fn the_rectangle_can_be_moved_while_it_runs() {
    let mut node = make("VideoCropNode", json!({"width": 1, "height": 1})).unwrap();
    let mut output = Output::default();
    let input = frame(VideoFormat::Gray8, 4, 1);
    node.process(input.clone(), &mut output).unwrap();
    node.set_params(&json!({"x": 2})).unwrap();
    node.process(input.clone(), &mut output).unwrap();
    let items: Vec<_> = output.drain().map(|item| item.payload()[0]).collect();
    assert_eq!(items, [input.payload()[0], input.payload()[2]]);
}

#[test]
fn steady_cropping_allocates_nothing() {
    for format in VideoFormat::ALL {
        let params = json!({"x": 2, "y": 2, "width": 5, "height": 3});
        check_no_allocation("VideoCropNode", &params, &frame(*format, 18, 6));
    }
}

#[test]
fn the_formats_say_what_is_taken_and_given() {
    let given = |params: Value, width: Values<u32>| {
        let params: Params = serde_json::from_value(params).unwrap();
        let video = VideoFormats { width, ..VideoFormats::ANY };
        formats(&params).given(&[video.into()])
    };
    let params = json!({"x": 10, "y": 0, "width": 20, "height": 0});
    assert_eq!(given(params.clone(), Values::only(29)), []);
    let Formats::Video(video) = &given(params, Values::only(30))[0] else { panic!("not video") };
    assert_eq!((&video.width, &video.height), (&Values::only(20), &Values::Any));
    let params = json!({"x": 10, "y": 0, "width": 0, "height": 0});
    let Formats::Video(video) = &given(params, Values::only(30))[0] else { panic!("not video") };
    assert_eq!(video.width, Values::only(20));
}

proptest! {
    #[test]
    fn each_plane_holds_the_pixels_of_the_rectangle(
        format in prop::sample::select(VideoFormat::ALL),
        beyond in [0_u32..20, 0_u32..20],
        corner in [0_u32..20, 0_u32..20],
        size in [1_u32..20, 1_u32..20],
    ) {
        let layout = Layout::of(format).unwrap();
        let block = [layout.across as u32, layout.down as u32];
        let corner = [corner[0] / block[0] * block[0], corner[1] / block[1] * block[1]];
        let [width, height] = [0, 1].map(|axis| corner[axis] + size[axis] + beyond[axis]);
        let input = frame(format, width, height);
        let params = json!({"x": corner[0], "y": corner[1], "width": size[0], "height": size[1]});
        let output = crop(input.clone(), params).unwrap();
        let (from, to) = (input.as_video().unwrap(), output.as_video().unwrap());
        prop_assert_eq!([to.width, to.height], size);
        for plane in 0..format.planes(1, 1).unwrap().len() {
            let [across, down] = layout.block(plane);
            let group = format.planes(across, down).unwrap()[plane].row_bytes;
            let rows = from.rows(plane).skip((corner[1] / down) as usize);
            for (found, expected) in to.rows(plane).zip(rows) {
                let begin = (corner[0] / across) as usize * group;
                prop_assert_eq!(found, &expected[begin..begin + found.len()]);
            }
        }
    }
}
