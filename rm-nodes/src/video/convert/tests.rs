//! Every pair of formats against a reference in double precision.
//!
//! The reference knows nothing of the code under test: it reads a pixel's components by format, goes by
//! way of red, green and blue from 0 to 1, and takes the mean of chroma over the pixels that share it.

use super::super::colour::Range;
use super::*;
use VideoFormat as V;

/// A frame as the reference sees it: red, green, blue and alpha of each pixel, or luma and chroma.
type Pixels = Vec<[f64; 4]>;

fn bits(format: V) -> u32 {
    match format {
        V::Gray16 => 16,
        V::P010 => 10,
        _ => 8,
    }
}

fn is_rgb(format: V) -> bool {
    matches!(format, V::Rgb24 | V::Bgr24 | V::Rgba32 | V::Bgra32 | V::Argb32)
}

fn is_gray(format: V) -> bool {
    matches!(format, V::Gray8 | V::Gray16)
}

/// Pixels across and down that share chroma.
fn block(format: V) -> [usize; 2] {
    match format {
        V::Yuv420p | V::Nv12 | V::Nv21 | V::P010 => [2, 2],
        V::Yuv422p | V::Yuyv422 | V::Uyvy422 => [2, 1],
        _ => [1, 1],
    }
}

/// Index of the sample of a component of a pixel in the whole frame.
fn index(format: V, [width, height]: [usize; 2], component: usize, x: usize, y: usize) -> usize {
    let [across, down] = block(format);
    let (w, h) = (width.div_ceil(across), height.div_ceil(down));
    let (cx, cy) = (x / across, y / down);
    let packed = |offsets: [usize; 4], step: usize| (y * width + x) * step + offsets[component];
    match format {
        V::Rgb24 => packed([0, 1, 2, 9], 3),
        V::Bgr24 => packed([2, 1, 0, 9], 3),
        V::Rgba32 => packed([0, 1, 2, 3], 4),
        V::Bgra32 => packed([2, 1, 0, 3], 4),
        V::Argb32 => packed([1, 2, 3, 0], 4),
        V::Yuyv422 => {
            [y * w * 4 + x * 2, y * w * 4 + cx * 4 + 1, y * w * 4 + cx * 4 + 3][component]
        }
        V::Uyvy422 => {
            [y * w * 4 + x * 2 + 1, y * w * 4 + cx * 4, y * w * 4 + cx * 4 + 2][component]
        }
        V::Nv12 | V::P010 | V::Nv21 if component > 0 => {
            let swapped = usize::from((format == V::Nv21) != (component == 2));
            width * height + (cy * w + cx) * 2 + swapped
        }
        _ if component > 0 => width * height + (component - 1) * w * h + cy * w + cx,
        _ => y * width + x,
    }
}

fn get(format: V, frame: &[u8], at: usize) -> f64 {
    match bits(format) {
        8 => f64::from(frame[at]),
        bits => {
            let word = u16::from_le_bytes([frame[2 * at], frame[2 * at + 1]]);
            f64::from(word >> (16 - bits))
        }
    }
}

/// Scale and offset of luma and of chroma.
fn scales(format: V, range: Range) -> [f64; 4] {
    let max = 2_f64.powi(bits(format) as i32) - 1.0;
    let step = 2_f64.powi(bits(format) as i32 - 8);
    if range == Range::Limited && !is_gray(format) {
        [219.0 * step, 16.0 * step, 224.0 * step, 128.0 * step]
    } else {
        [max, 0.0, max, 128.0 * step]
    }
}

fn weights(coding: Coding) -> [f64; 3] {
    if coding.bt709 { [0.2126, 0.7152, 0.0722] } else { [0.299, 0.587, 0.114] }
}

/// The frame in red, green and blue, without clamping; but luma below black is black on the way
/// to RGB.
fn read(format: V, size: [usize; 2], frame: &[u8], coding: Coding, to: V) -> Pixels {
    let [kr, kg, kb] = weights(coding);
    let [luma, black, chroma, neutral] = scales(format, coding.range);
    let mut pixels = Vec::new();
    for y in 0..size[1] {
        for x in 0..size[0] {
            let at = |component| get(format, frame, index(format, size, component, x, y));
            pixels.push(if is_rgb(format) {
                let alpha = if matches!(format, V::Rgb24 | V::Bgr24) { 255.0 } else { at(3) };
                [at(0) / 255.0, at(1) / 255.0, at(2) / 255.0, alpha]
            } else {
                let mut l = (at(0) - black) / luma;
                if is_rgb(to) {
                    l = l.max(0.0);
                }
                let c = |index| {
                    if is_gray(format) { 0.0 } else { (at(index) - neutral) / chroma }
                };
                let (r, b) = (l + (2.0 - 2.0 * kr) * c(2), l + (2.0 - 2.0 * kb) * c(1));
                [r, (l - kr * r - kb * b) / kg, b, 255.0]
            });
        }
    }
    pixels
}

/// The largest difference between a frame and what it should be, in code values.
fn largest_error(
    format: V,
    size: [usize; 2],
    pixels: &Pixels,
    coding: Coding,
    frame: &[u8],
) -> f64 {
    let [kr, kg, kb] = weights(coding);
    let [luma, black, chroma, neutral] = scales(format, coding.range);
    let max = 2_f64.powi(bits(format) as i32) - 1.0;
    let mut largest = 0_f64;
    let mut check = |component: usize, x: usize, y: usize, exact: f64| {
        let found = get(format, frame, index(format, size, component, x, y));
        largest = largest.max((found - exact.clamp(0.0, max).round()).abs());
    };
    let [across, down] = block(format);
    for y in 0..size[1] {
        for x in 0..size[0] {
            let [r, g, b, alpha] = pixels[y * size[0] + x];
            if is_rgb(format) {
                for (component, value) in [r, g, b].into_iter().enumerate() {
                    check(component, x, y, value * 255.0);
                }
                if !matches!(format, V::Rgb24 | V::Bgr24) {
                    check(3, x, y, alpha);
                }
                continue;
            }
            check(0, x, y, (kr * r + kg * g + kb * b) * luma + black);
            if is_gray(format) || x % across != 0 || y % down != 0 {
                continue;
            }
            let mut sums = [0.0; 2];
            let mut count = 0.0;
            for y in y..(y + down).min(size[1]) {
                for x in x..(x + across).min(size[0]) {
                    let [r, g, b, _] = pixels[y * size[0] + x];
                    let l = kr * r + kg * g + kb * b;
                    sums[0] += (b - l) / (2.0 - 2.0 * kb);
                    sums[1] += (r - l) / (2.0 - 2.0 * kr);
                    count += 1.0;
                }
            }
            check(1, x, y, sums[0] / count * chroma + neutral);
            check(2, x, y, sums[1] / count * chroma + neutral);
        }
    }
    largest
}

/// Bytes of a fixed sequence, the same in every run: Knuth's MMIX generator.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn convert(pair: Pair, size: [u32; 2], source: &[u8]) -> Vec<u8> {
    let mut target = vec![0xa5; pair.to.frame_bytes(size[0], size[1]).unwrap()];
    Converter::new(pair).unwrap().convert(size, source, &mut target);
    target
}

const CODINGS: [Coding; 4] = [
    Coding { bt709: false, range: Range::Limited },
    Coding { bt709: false, range: Range::Full },
    Coding { bt709: true, range: Range::Limited },
    Coding { bt709: true, range: Range::Full },
];

#[test]
fn every_pair_is_within_one_level_of_the_formulas() {
    let mut failures = Vec::new();
    for (from, to) in V::ALL.iter().flat_map(|from| V::ALL.iter().map(move |to| (*from, *to))) {
        let mut worst = 0_f64;
        for codings in CODINGS.iter().flat_map(|a| CODINGS.iter().map(move |b| [*a, *b])) {
            for size in [[64, 8], [101, 7], [1, 1], [2, 3], [35, 2]] {
                let [width, height] = size;
                let source = noise(from.frame_bytes(width, height).unwrap(), 7);
                let target = convert(Pair { from, to, codings }, size, &source);
                let size = [width as usize, height as usize];
                // Gray is luma of the other side's matrix.
                let codings = match (is_gray(from), is_gray(to)) {
                    (true, false) => [codings[1]; 2],
                    (false, true) if !is_rgb(from) => [codings[0]; 2],
                    _ => codings,
                };
                let pixels = read(from, size, &source, codings[0], to);
                worst = worst.max(largest_error(to, size, &pixels, codings[1], &target));
            }
        }
        if worst > 1.0 {
            failures.push(format!("{from} -> {to}: {worst}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Widths with every remainder of the vectors of any machine, for each function of the crate.
#[test]
fn the_crate_is_exact_for_every_width() {
    let mut failures = Vec::new();
    for (from, to) in V::ALL.iter().flat_map(|from| V::ALL.iter().map(move |to| (*from, *to))) {
        let coding = CODINGS[0];
        let Some(pair) = CratePair::new(from, to, coding) else { continue };
        for (width, height) in (1..=130).map(|width| (width, 1 + width % 3)) {
            let source = noise(from.frame_bytes(width, height).unwrap(), u64::from(width));
            let mut target = vec![0xa5; to.frame_bytes(width, height).unwrap()];
            let input = Picture::new(from, [width, height], &source[..]).unwrap();
            let mut output = Picture::new(to, [width, height], &mut target[..]).unwrap();
            if !pair.convert(&input, &mut output, &mut Vec::new()) {
                let refused = from == V::P010 && width % 2 == 1;
                assert!(refused, "{from} -> {to} {width} x {height}");
                continue;
            }
            let size = [width as usize, height as usize];
            let pixels = read(from, size, &source, coding, to);
            let error = largest_error(to, size, &pixels, coding, &target);
            if error > 1.0 {
                failures.push(format!("{from} -> {to} {width} x {height}: {error}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
