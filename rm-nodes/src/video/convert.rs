//! Colour conversion of one frame between any two formats.
//!
//! Main type: [`Converter`]. It is within one code value of the formulas in `colour.rs` for every pair,
//! and takes one of three ways: the `yuv` crate between RGB and 8-bit luma with chroma; tables among
//! formats of luma with the same matrix; and else a general one in floats. Chroma of a format that
//! shares it among pixels is their mean on the way down and is repeated on the way up, that is, it is
//! sited in the middle of its pixels, as OpenCV and libyuv have it; so what was repeated comes back
//! unchanged. Alpha is kept where both formats have it, dropped where the target has none, and opaque
//! where the source has none. Luma below black, which the limited range has room for, counts as black
//! where luma with chroma becomes RGB, as with OpenCV; everywhere else it is kept.

mod crate_pairs;
mod exact;
mod picture;
mod tables;

use rm_core::VideoFormat;

use self::crate_pairs::CratePair;
use self::exact::Exact;
pub(crate) use self::picture::Picture;
use self::tables::Tables;
use super::colour::{Coding, Kind, Layout};

/// From which format to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) from: VideoFormat,
    pub(crate) to: VideoFormat,
    /// How luma and chroma are coded, of the formats that have both; that of gray is the coding of the
    /// other side.
    pub(crate) codings: [Coding; 2],
}

impl Pair {
    /// Whether nothing is to be done.
    pub(crate) fn is_same(&self) -> bool {
        let [source, target] = self.codings;
        let coded = Layout::of(self.from).is_some_and(|layout| layout.kind == Kind::Yuv);
        self.from == self.to && (source == target || !coded)
    }
}

/// How a conversion is done.
enum Way {
    /// By a function of the crate.
    Crate(CratePair),
    /// The same, of a source whose channels are put into the order of RGBA before.
    FromArgb(CratePair),
    /// The same, with the channels of its RGBA put into the order of ARGB behind.
    ToArgb(CratePair),
    /// To planar 4:2:2, and from there on.
    Planar(CratePair, CratePair),
    /// The order of four channels alone.
    Reorder(Order),
    Tables(Box<Tables>),
    General,
}

/// Converts frames of one pair of formats, of any sizes.
pub(crate) struct Converter {
    pair: Pair,
    way: Way,
    general: Exact,
    /// A frame in between.
    scratch: Vec<u8>,
    words: Vec<u16>,
}

impl Converter {
    /// `None` for formats that are not known here.
    pub(crate) fn new(pair: Pair) -> Option<Self> {
        let layouts = [Layout::of(pair.from)?, Layout::of(pair.to)?];
        let codings = codings(pair, layouts.map(|layout| layout.kind));
        let [from, to] = layouts;
        let general = Exact::new(from, to, codings);
        Some(Self {
            pair,
            way: way(pair, layouts, codings),
            general,
            scratch: Vec::new(),
            words: Vec::new(),
        })
    }

    /// The converter in `place`, which is made anew where it is for another pair; `None` as with
    /// [`new`](Self::new).
    pub(crate) fn of(place: &mut Option<Self>, pair: Pair) -> Option<&mut Self> {
        if place.as_ref().is_none_or(|converter| converter.pair != pair) {
            *place = Some(Self::new(pair)?);
        }
        place.as_mut()
    }

    /// Converts a frame of this size.
    ///
    /// # Panics
    /// If `source` or `target` have not the bytes of such a frame.
    pub(crate) fn convert(&mut self, size: [u32; 2], source: &[u8], target: &mut [u8]) {
        let Pair { from, to, .. } = self.pair;
        let picture =
            |format, bytes| Picture::new(format, size, bytes).expect("its bytes are there");
        let source = picture(from, source);
        let mut target = Picture::new(to, size, target).expect("its bytes are there");
        let words = &mut self.words;
        let done = match &mut self.way {
            Way::Crate(pair) => pair.convert(&source, &mut target, words),
            Way::FromArgb(pair) => {
                self.scratch.resize(source.bytes.len(), 0);
                reorder(source.bytes, &mut self.scratch, Order::FirstBehind);
                pair.convert(&picture(VideoFormat::Rgba32, &self.scratch), &mut target, words)
            }
            Way::ToArgb(pair) => {
                let done = pair.convert(&source, &mut target, words);
                for pixel in target.bytes.chunks_exact_mut(4) {
                    pixel.rotate_right(1);
                }
                done
            }
            Way::Planar(first, second) => {
                let middle = VideoFormat::Yuv422p;
                let bytes = middle.frame_bytes(size[0], size[1]).expect("no more than packed");
                self.scratch.resize(bytes, 0);
                let mut planar =
                    Picture::new(middle, size, &mut self.scratch[..]).expect("its bytes are there");
                first.convert(&source, &mut planar, words)
                    && second.convert(&picture(middle, &self.scratch), &mut target, words)
            }
            Way::Reorder(order) => {
                reorder(source.bytes, target.bytes, *order);
                true
            }
            Way::Tables(tables) => {
                tables.convert(&source, &mut target);
                true
            }
            Way::General => false,
        };
        if !done {
            self.general.convert(&source, &mut target);
        }
        fill_odd_column(to, &mut target);
    }
}

/// The codings with which the pair is converted: gray has that of the other side.
fn codings(pair: Pair, kinds: [Kind; 2]) -> [Coding; 2] {
    let [source, target] = pair.codings;
    match kinds {
        [Kind::Yuv, Kind::Gray] => [source; 2],
        [Kind::Gray, Kind::Yuv] => [target; 2],
        _ => [source, target],
    }
}

fn way(pair: Pair, [source, target]: [Layout; 2], codings: [Coding; 2]) -> Way {
    use VideoFormat as V;
    let Pair { from, to, .. } = pair;
    let coding = if target.kind == Kind::Rgb { codings[0] } else { codings[1] };
    let by_crate = |from, to| CratePair::new(from, to, coding);
    if source.kind != Kind::Rgb && target.kind != Kind::Rgb {
        return match codings[0].bt709 == codings[1].bt709 {
            true => Way::Tables(Box::new(Tables::new(source, target, codings))),
            false => Way::General,
        };
    }
    let found = match (from, to) {
        (V::Argb32, V::Rgba32) => Some(Way::Reorder(Order::FirstBehind)),
        (V::Rgba32, V::Argb32) => Some(Way::Reorder(Order::LastAhead)),
        (V::Argb32, V::Bgra32) | (V::Bgra32, V::Argb32) => Some(Way::Reorder(Order::Reversed)),
        (V::Rgba32, V::Bgra32) | (V::Bgra32, V::Rgba32) => Some(Way::Reorder(Order::FirstAndThird)),
        (V::Argb32, _) => by_crate(V::Rgba32, to).map(Way::FromArgb),
        (_, V::Argb32) => by_crate(from, V::Rgba32).map(Way::ToArgb),
        (V::Yuyv422 | V::Uyvy422, _) | (_, V::Yuyv422 | V::Uyvy422) => {
            let (first, second) = (by_crate(from, V::Yuv422p), by_crate(V::Yuv422p, to));
            first.zip(second).map(|(first, second)| Way::Planar(first, second))
        }
        _ => by_crate(from, to).map(Way::Crate),
    };
    found.unwrap_or(Way::General)
}

/// How the four bytes of a pixel change their places.
#[derive(Clone, Copy)]
enum Order {
    FirstBehind,
    LastAhead,
    Reversed,
    FirstAndThird,
}

fn reorder(source: &[u8], target: &mut [u8], order: Order) {
    fn each(source: &[u8], target: &mut [u8], change: impl Fn(u32) -> u32) {
        for (to, from) in target.chunks_exact_mut(4).zip(source.chunks_exact(4)) {
            let pixel = u32::from_le_bytes([from[0], from[1], from[2], from[3]]);
            to.copy_from_slice(&change(pixel).to_le_bytes());
        }
    }
    match order {
        Order::FirstBehind => each(source, target, |pixel| pixel.rotate_right(8)),
        Order::LastAhead => each(source, target, |pixel| pixel.rotate_left(8)),
        Order::Reversed => each(source, target, u32::swap_bytes),
        Order::FirstAndThird => each(source, target, |pixel| {
            (pixel & 0xff00_ff00) | (pixel & 0xff) << 16 | (pixel >> 16) & 0xff
        }),
    }
}

/// Packed 4:2:2 of an odd width has room for one more sample of luma in each row: the last one is
/// repeated there, so that a frame does not hold what its memory held before.
fn fill_odd_column(format: VideoFormat, target: &mut Picture<&mut [u8]>) {
    let luma = match format {
        VideoFormat::Yuyv422 => 0,
        VideoFormat::Uyvy422 => 1,
        _ => return,
    };
    if target.width % 2 == 1 {
        for row in target.bytes.chunks_exact_mut(target.planes[0].row_bytes) {
            let last = row.len() - 4 + luma;
            row[last + 2] = row[last];
        }
    }
}

#[cfg(test)]
mod tests;
