//! Tests of thumbnails.

use super::*;
use crate::testing::{make, run};
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) + Duration::from_millis(ms)
}

fn frame(format: VideoFormat, width: u32, height: u32, ms: u64) -> RuntimeData {
    let bytes = format.frame_bytes(width, height).unwrap();
    let payload: Vec<u8> = (0..bytes).map(|place| (place * 3 % 200) as u8).collect();
    RuntimeData::video(payload, width, height, format, 25.0).unwrap().with_timestamp(at(ms))
}

fn thumbnails(params: Value, items: Vec<RuntimeData>) -> Vec<RuntimeData> {
    run(make("ThumbnailNode", params).unwrap().as_mut(), items).unwrap()
}

/// Milliseconds of the frames that are taken of 20 that come 40 ms apart.
fn taken(params: Value) -> Vec<u128> {
    let items = (0..20).map(|n| frame(VideoFormat::Gray8, 4, 4, n * 40)).collect();
    let items = thumbnails(params, items);
    let time = |item: &RuntimeData| item.header().timestamp.duration_since(at(0)).unwrap();
    items.iter().map(|item| time(item).as_millis()).collect()
}

#[test]
fn frames_are_taken_by_number_and_by_time() {
    assert_eq!(taken(json!({"every": 8})), [0, 320, 640]);
    assert_eq!(taken(json!({"interval_ms": 250})), [0, 280, 560]);
    assert_eq!(taken(json!({"every": 5, "interval_ms": 250})), [0, 400]);
    assert_eq!(taken(json!({})).len(), 20);
}

#[test]
fn a_picture_is_a_file_that_others_read() {
    for (output, format) in [("jpeg", image::ImageFormat::Jpeg), ("png", image::ImageFormat::Png)] {
        let input = frame(VideoFormat::Nv12, 640, 360, 0);
        let items = thumbnails(json!({"output": output, "width": 64, "height": 64}), vec![input]);
        assert_eq!(items[0].data_type(), DataType::Binary);
        let picture = image::load_from_memory_with_format(items[0].payload(), format).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 36));
    }
}

#[test]
fn the_matrix_is_that_of_the_large_frame() {
    let mut bytes = vec![63; 1280 * 720];
    bytes.extend([102, 240].repeat(640 * 360));
    let red = RuntimeData::video(bytes, 1280, 720, VideoFormat::Nv12, 0.0).unwrap();
    let items = thumbnails(json!({"output": "frame", "width": 16}), vec![red]);
    let view = items[0].as_video().unwrap();
    assert_eq!((view.width, view.height, view.format), (16, 9, VideoFormat::Rgb24));
    let pixel = &view.bytes[..3];
    assert!(pixel[0] >= 253 && pixel[1] <= 2 && pixel[2] <= 2, "{pixel:?}");
}

proptest! {
    #[test]
    fn pictures_lie_within_their_limits(
        format in prop::sample::select(VideoFormat::ALL),
        size in [1_u32..60, 1_u32..60],
        limit in [1_u32..60, 1_u32..60],
    ) {
        let params = json!({"output": "frame", "width": limit[0], "height": limit[1]});
        let given = {
            let all = json!({"every": 1, "interval_ms": 0, "output": "frame", "quality": 80,
                "matrix": "auto", "range": "limited", "width": limit[0], "height": limit[1]});
            formats(&serde_json::from_value(all).unwrap()).given(&[Formats::any(DataType::Video)])
        };
        let items = thumbnails(params, vec![frame(format, size[0], size[1], 0)]);
        let view = items[0].as_video().unwrap();
        prop_assert!(view.width <= limit[0].min(size[0]) && view.height <= limit[1].min(size[1]));
        let Formats::Video(video) = &given[0] else { panic!("not video") };
        prop_assert!(video.width.contains(view.width) && video.height.contains(view.height));
    }
}
