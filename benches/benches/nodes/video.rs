//! Nodes for video: a frame of 1080p.

use std::time::Duration;

use anyhow::{Context, Result};
use rm_core::{RuntimeData, VideoFormat};
use serde_json::json;

use crate::audio::noise;
use crate::bed::{Bed, Found, Item, digits, memcpy, print_head};

const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;
const SIZE: (u32, u32) = (640, 360);

/// A frame of waves with some noise.
fn frame(format: VideoFormat) -> Result<Item> {
    let len = format.frame_bytes(WIDTH, HEIGHT).context("its size fits usize")?;
    let wave = |place: usize| ((place as f32 / 500.0).sin() * 80.0) + 128.0;
    let bytes: Vec<u8> = noise(len, 8.0)
        .iter()
        .enumerate()
        .map(|(place, noise)| (wave(place) + noise) as u8)
        .collect();
    let frame = RuntimeData::video(bytes, WIDTH, HEIGHT, format, 25.0)?;
    Ok(Item::new(frame, Duration::from_millis(40)))
}

/// From one pixel format to another.
pub fn colours(bed: &Bed) -> Result<()> {
    use VideoFormat as V;
    print_head("a frame of 1920 x 1080, one thread", "beside memcpy of the larger side");
    let pairs = [
        (V::Nv12, V::Rgb24),
        (V::Yuv420p, V::Rgb24),
        (V::Yuyv422, V::Rgb24),
        (V::P010, V::Rgb24),
        (V::Rgb24, V::Nv12),
        (V::Rgb24, V::Yuv420p),
        (V::Nv12, V::Yuv420p),
        (V::Nv12, V::Gray8),
        (V::Yuv420p, V::Yuv444p),
        (V::Rgb24, V::Bgr24),
        (V::Rgb24, V::Rgba32),
        (V::Bgra32, V::Rgb24),
        (V::Rgb24, V::Gray8),
    ];
    for (from, to) in pairs {
        let item = frame(from)?;
        let out = to.frame_bytes(WIDTH, HEIGHT).context("its size fits usize")?;
        println!("{from} to {to}");
        let limit = memcpy(item.len().max(out))?;
        let beside = |found: &Found| digits(found.median_us() / limit.median_us());
        bed.row("VideoConverterNode", json!({"format": to.name()}), &item, beside)?;
    }
    Ok(())
}

/// From one size to another.
pub fn scaling(bed: &Bed) -> Result<()> {
    let (width, height) = SIZE;
    let title = format!("a frame of 1920 x 1080 to {width} x {height}, one thread");
    for format in [VideoFormat::Rgb24, VideoFormat::Nv12, VideoFormat::Rgba32] {
        let item = frame(format)?;
        print_head(&format!("{title}, {format}"), "beside memcpy of the larger side");
        let limit = memcpy(item.len())?;
        let beside = |found: &Found| digits(found.median_us() / limit.median_us());
        for filter in ["nearest", "box", "bilinear", "bicubic", "lanczos3"] {
            let params = json!({"width": width, "height": height, "filter": filter});
            bed.row("VideoScaleNode", params, &item, beside)?;
        }
        let params = json!({"x": 320, "y": 180, "width": 1280, "height": 720});
        bed.row("VideoCropNode", params, &item, beside)?;
        bed.row("FrameRateNode", json!({"fps": 25}), &item, beside)?;
        bed.row("ThumbnailNode", json!({}), &item, beside)?;
    }
    Ok(())
}
