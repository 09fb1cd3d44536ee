//! Tests of the node that scales; those of the filters are at `resize.rs`.

use super::*;
use crate::testing::{allocations_per_item, make, run};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

fn frame(format: VideoFormat, width: u32, height: u32) -> RuntimeData {
    let bytes = format.frame_bytes(width, height).unwrap();
    let payload: Vec<u8> = (0..bytes).map(|place| (place * 31 % 251) as u8).collect();
    RuntimeData::video(payload, width, height, format, 25.0).unwrap()
}

fn scale(input: RuntimeData, params: Value) -> RuntimeData {
    let mut node = make("VideoScaleNode", params).unwrap();
    let mut items = run(node.as_mut(), [input]).unwrap();
    assert_eq!(items.len(), 1);
    items.remove(0)
}

#[test]
fn what_has_the_right_size_is_not_copied() {
    let input = frame(VideoFormat::Nv12, 640, 360);
    let output = scale(input.clone(), json!({"width": 640}));
    assert_eq!(output.payload().as_ptr(), input.payload().as_ptr());
    let output = scale(input.clone(), json!({}));
    assert_eq!(output.payload().as_ptr(), input.payload().as_ptr());
}

#[test]
fn bars_have_the_colour_that_is_asked_for() {
    let gray = RuntimeData::video(vec![200; 8], 4, 2, VideoFormat::Gray8, 0.0).unwrap();
    let params = json!({"width": 2, "height": 3, "fit": "contain", "fill": "#404040"});
    let output = scale(gray, params);
    assert_eq!(output.payload(), &[0x40, 0x40, 200, 200, 0x40, 0x40][..]);

    let red = json!({"width": 4, "height": 8, "fit": "contain", "fill": "#ff0000"});
    for (format, luma, chroma) in [
        (VideoFormat::Yuv420p, 81, [90, 240]),
        (VideoFormat::Nv21, 81, [240, 90]),
        (VideoFormat::Yuyv422, 81, [90, 240]),
        (VideoFormat::Argb32, 255, [255, 0]),
        (VideoFormat::Bgr24, 0, [0, 255]),
    ] {
        let output = scale(frame(format, 8, 8), red.clone());
        let view = output.as_video().unwrap();
        let first = view.rows(0).next().unwrap();
        assert!(first[0].abs_diff(luma) <= 1, "{format}: {first:?}");
        let found = match format {
            VideoFormat::Yuv420p => {
                [view.rows(1).next().unwrap()[0], view.rows(2).next().unwrap()[0]]
            }
            VideoFormat::Nv21 => [view.rows(1).next().unwrap()[0], view.rows(1).next().unwrap()[1]],
            VideoFormat::Yuyv422 => [first[1], first[3]],
            _ => [first[1], first[2]],
        };
        assert!(
            found[0].abs_diff(chroma[0]) <= 1 && found[1].abs_diff(chroma[1]) <= 1,
            "{format}: {found:?}"
        );
    }
}

#[test]
fn what_is_beyond_a_covered_target_is_cut_off() {
    let row = [0, 0, 100, 100, 100, 100, 9, 9];
    let gray = RuntimeData::video(row.repeat(4), 8, 4, VideoFormat::Gray8, 0.0).unwrap();
    let output = scale(gray, json!({"width": 2, "height": 2, "fit": "cover", "filter": "box"}));
    assert_eq!(output.payload(), &[100; 4][..]);
}

#[test]
fn time_and_rate_of_the_input_are_kept() {
    let stamp = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
    let input = frame(VideoFormat::Rgb24, 8, 8).with_timestamp(stamp);
    let output = scale(input, json!({"width": 4}));
    assert_eq!(output.header().timestamp, stamp);
    let view = output.as_video().unwrap();
    assert_eq!((view.width, view.height, view.fps), (4, 4, 25.0));
}

#[test]
fn size_and_format_may_change_within_the_stream() {
    let mut node = make("VideoScaleNode", json!({"width": 32, "height": 18})).unwrap();
    let inputs = [
        frame(VideoFormat::Nv12, 5, 3),
        frame(VideoFormat::Yuyv422, 65, 48),
        frame(VideoFormat::P010, 1, 1),
        frame(VideoFormat::Gray16, 100, 1),
    ];
    for output in run(node.as_mut(), inputs).unwrap() {
        let view = output.as_video().unwrap();
        assert_eq!((view.width, view.height), (32, 18));
    }
}

#[test]
fn samples_of_16_bits_need_not_be_aligned() {
    let aligned = frame(VideoFormat::P010, 6, 4);
    let mut shifted = vec![0];
    shifted.extend_from_slice(aligned.payload());
    let payload = bytes::Bytes::from(shifted).slice(1..);
    let unaligned = RuntimeData::video(payload, 6, 4, VideoFormat::P010, 25.0).unwrap();
    let params = json!({"width": 3, "height": 3});
    assert_eq!(scale(aligned, params.clone()).payload(), scale(unaligned, params).payload());
}

#[test]
fn wrong_parameters_are_refused() {
    let check = |params: Value, expected: &str| {
        let error = make("VideoScaleNode", params).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(json!({"width": 20_000}), "from 0 to 16384 pixels");
    check(json!({"width": 2, "fill": "black"}), "#rrggbb");
    check(json!({"width": 2, "fill": "#+12345"}), "#rrggbb");
}

#[test]
fn size_fit_filter_and_fill_can_be_changed_while_it_runs() {
    let mut node = make("VideoScaleNode", json!({"width": 2, "filter": "nearest"})).unwrap();
    let gray = RuntimeData::video(vec![0, 200, 200, 0], 4, 1, VideoFormat::Gray8, 0.0).unwrap();
    let change = json!({
        "width": 2, "height": 2, "fit": "contain", "filter": "box", "fill": "#404040"
    });
    node.set_params(&change).unwrap();
    assert!(node.set_params(&json!({"width": 3, "fill": "black"})).is_err());
    let output = run(node.as_mut(), [gray.clone()]).unwrap();
    let expected = scale(gray, change);
    assert_eq!(output[0].payload(), expected.payload());
    let mut samples = expected.payload().to_vec();
    samples.sort_unstable();
    assert_eq!(samples, [0x40, 0x40, 100, 100]);
}

/// What the module says of matrices: chroma is scaled as it is, whatever the heights.
#[test]
fn codes_stay_those_of_the_matrix_that_came_where_the_height_crosses_720_rows() {
    let red = RuntimeData::video(vec![250, 20, 20], 1, 1, VideoFormat::Rgb24, 0.0).unwrap();
    let through = |node: &str, params: Value, input: RuntimeData| {
        run(make(node, params).unwrap().as_mut(), [input]).unwrap().remove(0)
    };
    let large = scale(red, json!({"width": 4, "height": 720}));
    let large = through("VideoConverterNode", json!({"format": "yuv420p"}), large);
    let small = scale(large, json!({"width": 4, "height": 4}));
    let near = |params: Value| {
        let rgb = through("VideoConverterNode", params, small.clone());
        rgb.payload().chunks_exact(3).all(|pixel| {
            pixel.iter().zip([250, 20, 20]).all(|(found, right)| found.abs_diff(right) <= 4)
        })
    };
    assert!(near(json!({"format": "rgb24", "source_matrix": "bt709"})));
    assert!(!near(json!({"format": "rgb24"})));
}

/// The weights of the filters are the only memory that is taken: a vector for each column and row.
#[test]
fn steady_scaling_allocates_only_the_weights_of_its_filters() {
    for format in VideoFormat::ALL {
        let mut node = make("VideoScaleNode", json!({"width": 9, "height": 5})).unwrap();
        let planes = match format {
            VideoFormat::Yuyv422 | VideoFormat::Uyvy422 => 3,
            format => format.planes(2, 2).unwrap().len(),
        };
        let allocations = allocations_per_item(node.as_mut(), &frame(*format, 18, 12));
        assert!(allocations <= (9 + 5 + 10) as f64 * planes as f64, "{format}: {allocations}");
    }
}

#[test]
fn the_formats_say_what_is_given() {
    let given = |params: Value, video: VideoFormats| {
        let mut all = json!({
            "width": 0, "height": 0, "fit": "stretch", "filter": "box", "fill": "#000000",
            "matrix": "auto", "range": "limited"
        });
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let params: Params = serde_json::from_value(all).unwrap();
        formats(&params).given(&[video.into()]).remove(0).to_string()
    };
    assert_eq!(given(json!({"width": 640}), VideoFormats::ANY), "video (640 pixels wide)");
    let known = VideoFormats {
        width: Values::only(1920),
        height: Values::only(1080),
        format: Values::only(VideoFormat::Nv12),
    };
    assert_eq!(
        given(json!({"width": 640}), known),
        "video (nv12, 640 pixels wide, 360 pixels high)"
    );
}

proptest! {
    #[test]
    fn any_frame_scales_to_any_size(
        format in prop::sample::select(VideoFormat::ALL),
        size in [1_u32..40, 1_u32..40],
        target in [1_u32..40, 1_u32..40],
        fit in prop::sample::select(&["stretch", "contain", "cover"][..]),
        filter in prop::sample::select(&["nearest", "box", "bilinear", "bicubic", "lanczos3"][..]),
    ) {
        let params = json!({"width": target[0], "height": target[1], "fit": fit, "filter": filter});
        let output = scale(frame(format, size[0], size[1]), params);
        let view = output.as_video().unwrap();
        prop_assert_eq!([view.width, view.height], target);
        prop_assert_eq!(view.format, format);
    }

    #[test]
    fn one_colour_stays_that_colour(
        format in prop::sample::select(VideoFormat::ALL),
        size in [1_u32..40, 1_u32..40],
        target in [1_u32..40, 1_u32..40],
        fit in prop::sample::select(&["stretch", "cover"][..]),
        filter in prop::sample::select(&["nearest", "box", "bilinear", "bicubic", "lanczos3"][..]),
        level in any::<u8>(),
    ) {
        let level = if format == VideoFormat::P010 { level & 0xc0 } else { level };
        let bytes = format.frame_bytes(size[0], size[1]).unwrap();
        // 16-bit samples have the same upper and lower byte.
        let mut payload = vec![level; bytes];
        if format == VideoFormat::P010 {
            payload.iter_mut().step_by(2).for_each(|low| *low = 0);
        }
        let input = RuntimeData::video(payload.clone(), size[0], size[1], format, 0.0).unwrap();
        let params = json!({"width": target[0], "height": target[1], "fit": fit, "filter": filter});
        let output = scale(input, params);
        // Colours are multiplied and divided by alpha, which here is as small as they are.
        let alpha = Layout::of(format).unwrap().alpha.is_some();
        let limit = if alpha { 255 } else { 1 };
        let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= limit;
        prop_assert!(output.payload().iter().zip(payload.iter().cycle()).all(near));
    }
}
