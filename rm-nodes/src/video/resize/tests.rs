//! Tests of scaling, against what Pillow gives and against the filters in double precision.

use super::super::colour::{Kind, Range};
use super::super::geometry::Fit;
use super::*;
use VideoFormat as V;
use std::f64::consts::PI;

const CODING: Coding = Coding { bt709: false, range: Range::Limited };
const FILTERS: [Filter; 5] =
    [Filter::Nearest, Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos3];

fn resize(format: V, source: (&[u8], [u32; 2]), size: [u32; 2], filter: Filter) -> Vec<u8> {
    let (bytes, from) = source;
    let mut target = vec![0xa5; format.frame_bytes(size[0], size[1]).unwrap()];
    let placement = Placement::new(Fit::Stretch, from, size, [1, 1]);
    let frame = Frame { format, size: from, bytes };
    Resizer::new(filter, [0; 3]).resize(&frame, &mut target, &placement, CODING).unwrap();
    target
}

/// The picture of `testdata/resize/make.py`.
fn picture([width, height]: [u32; 2], channels: u32) -> Vec<u8> {
    let mut values = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..channels {
                let slope = (x * 5 + y * 3 + c * 40) % 256;
                let edge = if (x / 9 + y / 7 + c) % 2 == 1 { 90 } else { 0 };
                let fine = (x * y + c * 7) % 23;
                let low = if c == 3 { 128 } else { 64 };
                values.push((low + (slope / 2 + edge + fine) / 2) as u8);
            }
        }
    }
    values
}

#[test]
fn each_filter_gives_what_pillow_gives() {
    let vectors: [(V, u32, &[u8]); 3] = [
        (V::Gray8, 1, include_bytes!("../../../testdata/resize/gray.bin")),
        (V::Rgb24, 3, include_bytes!("../../../testdata/resize/rgb.bin")),
        (V::Rgba32, 4, include_bytes!("../../../testdata/resize/rgba.bin")),
    ];
    for (format, channels, mut expected) in vectors {
        let source = picture([37, 29], channels);
        for filter in FILTERS {
            for size in [[17, 12], [37, 11], [53, 31], [13, 29]] {
                let found = resize(format, (&source, [37, 29]), size, filter);
                let (now, later) = expected.split_at(found.len());
                expected = later;
                let most = found.iter().zip(now).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                // Colours with alpha are multiplied and divided by it in 8 bits.
                let limit = match filter {
                    Filter::Nearest => 0,
                    _ if format == V::Rgba32 => 4,
                    Filter::Lanczos3 => 2,
                    _ => 1,
                };
                assert!(most <= limit, "{format} {filter:?} {size:?}: {most}");
            }
        }
        assert!(expected.is_empty());
    }
}

/// The kernel of a filter, and how far it reaches.
fn kernel(filter: Filter) -> (fn(f64) -> f64, f64) {
    fn sinc(x: f64) -> f64 {
        if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
    }
    match filter {
        Filter::Nearest => unreachable!("it has no kernel"),
        Filter::Box => (|x| f64::from(u8::from(x > -0.5 && x <= 0.5)), 0.5),
        Filter::Bilinear => (|x| (1.0 - x.abs()).max(0.0), 1.0),
        Filter::Bicubic => (
            |x| match x.abs() {
                x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
                x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
                _ => 0.0,
            },
            2.0,
        ),
        Filter::Lanczos3 => (|x| if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 }, 3.0),
    }
}

/// One row or column scaled in double precision.
fn scale_line(values: &[f64], length: usize, filter: Filter) -> Vec<f64> {
    let (kernel, reach) = kernel(filter);
    let scale = values.len() as f64 / length as f64;
    let wider = scale.max(1.0);
    let sample = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        let weight = |index: usize| kernel((index as f64 + 0.5 - centre) / wider);
        let near = |index: &usize| (*index as f64 + 0.5 - centre).abs() <= reach * wider;
        let indices = || (0..values.len()).filter(near);
        let total: f64 = indices().map(weight).sum();
        indices().map(|index| weight(index) * values[index]).sum::<f64>() / total
    };
    (0..length).map(sample).collect()
}

fn scale_plane(values: &[f64], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<f64> {
    let rows: Vec<_> = values.chunks(from[0]).map(|row| scale_line(row, to[0], filter)).collect();
    let mut out = vec![0.0; to[0] * to[1]];
    for x in 0..to[0] {
        let column: Vec<_> = rows.iter().map(|row| row[x]).collect();
        for (y, value) in scale_line(&column, to[1], filter).into_iter().enumerate() {
            out[y * to[0] + x] = value;
        }
    }
    out
}

/// Every component of every format is scaled as a picture of its own.
#[test]
fn each_plane_of_each_format_is_within_two_levels_of_double_precision() {
    let (from, to) = ([38_u32, 22], [25_u32, 31]);
    for format in V::ALL {
        let layout = Layout::of(*format).unwrap();
        let bytes = format.frame_bytes(from[0], from[1]).unwrap();
        let mut source: Vec<u8> =
            picture([bytes as u32, 1], 1).iter().map(|value| 64 + value / 2).collect();
        if let Some(alpha) = layout.alpha {
            source.iter_mut().skip(alpha.offset).step_by(4).for_each(|alpha| *alpha = 255);
        }
        let word = |bytes: &[u8], at: usize| match layout.sample_bytes() {
            1 => u16::from(bytes[at]),
            _ => u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]) >> layout.shift(),
        };
        for filter in &FILTERS[1..] {
            let found = resize(*format, (&source, from), to, *filter);
            let places = if layout.kind == Kind::Gray { 1 } else { 3 };
            for (index, place) in layout.places.iter().enumerate().take(places) {
                let chroma = index > 0 && layout.kind == Kind::Yuv;
                let block = if chroma { [layout.across, layout.down] } else { [1, 1] };
                let size =
                    |size: [u32; 2]| [0, 1].map(|axis| (size[axis] as usize).div_ceil(block[axis]));
                let read = |bytes: &[u8], frame: [u32; 2]| -> Vec<f64> {
                    let plane = format.planes(frame[0], frame[1]).unwrap()[place.plane];
                    let [width, height] = size(frame);
                    let row = |y: usize| {
                        let bytes = &bytes[plane.offset + y * plane.row_bytes..];
                        let at = |x: usize| f64::from(word(bytes, place.offset + x * place.step));
                        (0..width).map(at).collect::<Vec<_>>()
                    };
                    (0..height).flat_map(row).collect()
                };
                let exact = scale_plane(&read(&source, from), size(from), size(to), *filter);
                let pairs = read(&found, to).into_iter().zip(exact);
                let limit = if layout.bits == 16 { 3.0 } else { 2.0 };
                for (found, exact) in pairs {
                    let exact = exact.clamp(0.0, f64::from(layout.max()));
                    assert!(
                        (found - exact).abs() <= limit,
                        "{format} {filter:?} {index}: {found} {exact}"
                    );
                }
            }
        }
    }
}
