//! What the numbers in a frame mean as colours.
//!
//! Main types: [`Coding`], which matrix and which range the luma and chroma of a frame have, and
//! [`Layout`], where the samples of a format lie. From both comes an [`Affine`] map from the code values
//! of one frame to those of another. It does not touch pixels.
//!
//! The formulas are those of ITU-T H.273 (07/2021), section 8.3: `y = Kr r + Kg g + Kb b`,
//! `cb = (b - y) / (2 - 2 Kb)`, `cr = (r - y) / (2 - 2 Kr)` with gamma-corrected components from 0 to 1.
//! In the limited range of `n` bits luma is `(219 y + 16) * 2^(n-8)` and chroma `(224 c + 128) *
//! 2^(n-8)`; in the full range they are `y (2^n - 1)` and `c (2^n - 1) + 2^(n-1)`. RGB and gray have the
//! full range always, as FFmpeg and OpenCV have it.

use rm_core::VideoFormat;
use serde::{Deserialize, Serialize};

/// From this height on video is taken to be coded by BT.709, where nothing else is said: the rule of
/// most players.
const HD_HEIGHT: u32 = 720;

/// The matrix between RGB and luma with chroma.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Matrix {
    /// BT.709 for frames of 720 rows and more, BT.601 for lower ones.
    Auto,
    /// ITU-R BT.601: standard definition, and JPEG.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// Which code values stand for black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Range {
    /// Luma from 16 to 235 (in 8 bits).
    Limited,
    /// All code values.
    Full,
}

/// How luma and chroma are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coding {
    pub(crate) bt709: bool,
    pub(crate) range: Range,
}

impl Coding {
    /// The coding of frames of `height` rows.
    pub(crate) fn of(matrix: Matrix, range: Range, height: u32) -> Self {
        let bt709 = match matrix {
            Matrix::Auto => height >= HD_HEIGHT,
            Matrix::Bt601 => false,
            Matrix::Bt709 => true,
        };
        Self { bt709, range }
    }

    /// `Kr`, `Kg` and `Kb`: tables 4 and 5 of H.273.
    fn weights(self) -> [f64; 3] {
        let (red, blue) = if self.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        [red, 1.0 - red - blue, blue]
    }
}

/// What the three components of a format are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Red, green, blue.
    Rgb,
    /// Luma and two of chroma.
    Yuv,
    /// Luma alone.
    Gray,
}

/// Where the samples of one component lie in a row of a plane, counted in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) plane: usize,
    pub(crate) offset: usize,
    /// Distance from one to the next.
    pub(crate) step: usize,
}

/// Where the samples of a format lie, and how large they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) kind: Kind,
    /// Red, green, blue; or luma and two of chroma. Gray has the first only.
    pub(crate) places: [Place; 3],
    pub(crate) alpha: Option<Place>,
    /// Pixels across and rows of them that share one sample of chroma.
    pub(crate) across: usize,
    pub(crate) down: usize,
    /// Bits of a sample that count; they are the upper ones of a word of 16 where more than 8.
    pub(crate) bits: u32,
}

impl Layout {
    /// `None` for a format that is not known here.
    pub(crate) fn of(format: VideoFormat) -> Option<Self> {
        let place = |plane, offset, step| Place { plane, offset, step };
        let packed = |[r, g, b]: [usize; 3], alpha: Option<usize>| {
            let step = if alpha.is_some() { 4 } else { 3 };
            Self {
                kind: Kind::Rgb,
                places: [place(0, r, step), place(0, g, step), place(0, b, step)],
                alpha: alpha.map(|offset| place(0, offset, step)),
                across: 1,
                down: 1,
                bits: 8,
            }
        };
        let yuv = |places: [Place; 3], across, down| Self {
            kind: Kind::Yuv,
            places,
            alpha: None,
            across,
            down,
            bits: 8,
        };
        let planar = [place(0, 0, 1), place(1, 0, 1), place(2, 0, 1)];
        let gray = Self { kind: Kind::Gray, ..yuv([place(0, 0, 1); 3], 1, 1) };
        let nv12 = yuv([place(0, 0, 1), place(1, 0, 2), place(1, 1, 2)], 2, 2);
        Some(match format {
            VideoFormat::Rgb24 => packed([0, 1, 2], None),
            VideoFormat::Bgr24 => packed([2, 1, 0], None),
            VideoFormat::Rgba32 => packed([0, 1, 2], Some(3)),
            VideoFormat::Bgra32 => packed([2, 1, 0], Some(3)),
            VideoFormat::Argb32 => packed([1, 2, 3], Some(0)),
            VideoFormat::Gray8 => gray,
            VideoFormat::Gray16 => Self { bits: 16, ..gray },
            VideoFormat::Yuv420p => yuv(planar, 2, 2),
            VideoFormat::Yuv422p => yuv(planar, 2, 1),
            VideoFormat::Yuv444p => yuv(planar, 1, 1),
            VideoFormat::Nv12 => nv12,
            VideoFormat::Nv21 => yuv([place(0, 0, 1), place(1, 1, 2), place(1, 0, 2)], 2, 2),
            VideoFormat::Yuyv422 => yuv([place(0, 0, 2), place(0, 1, 4), place(0, 3, 4)], 2, 1),
            VideoFormat::Uyvy422 => yuv([place(0, 1, 2), place(0, 0, 4), place(0, 2, 4)], 2, 1),
            VideoFormat::P010 => Self { bits: 10, ..nv12 },
            _ => return None,
        })
    }

    /// Pixels across and rows of them that share what lies together in a plane.
    pub(crate) fn block(&self, plane: usize) -> [u32; 2] {
        let packed = self.kind == Kind::Yuv && self.places[1].plane == 0;
        if plane > 0 || packed { [self.across as u32, self.down as u32] } else { [1, 1] }
    }

    /// Bytes of one sample.
    pub(crate) fn sample_bytes(&self) -> usize {
        if self.bits > 8 { 2 } else { 1 }
    }

    /// The largest code value.
    pub(crate) fn max(&self) -> u16 {
        u16::MAX >> (16 - self.bits)
    }

    /// How far a code value is shifted up within its word.
    pub(crate) fn shift(&self) -> u32 {
        if self.bits > 8 { 16 - self.bits } else { 0 }
    }

    /// The code value of luma as `scale * y + offset`, and of chroma as `scale * c + offset`.
    fn scales(&self, range: Range) -> [(f64, f64); 2] {
        let step = f64::from(1_u32 << (self.bits - 8));
        let max = f64::from(self.max());
        match range {
            Range::Limited => [(219.0 * step, 16.0 * step), (224.0 * step, 128.0 * step)],
            Range::Full => [(max, 0.0), (max, 128.0 * step)],
        }
    }

    /// The range of the format, of which only luma with chroma has a choice.
    fn range(&self, coding: Coding) -> Range {
        if self.kind == Kind::Yuv { coding.range } else { Range::Full }
    }

    /// From code values of this format to red, green and blue from 0 to 1.
    fn rgb_of_codes(self, coding: Coding) -> Affine {
        let [(luma, black), (chroma, neutral)] = self.scales(self.range(coding));
        let [kr, kg, kb] = coding.weights();
        let (red, blue) = (2.0 - 2.0 * kr, 2.0 - 2.0 * kb);
        match self.kind {
            Kind::Rgb => Affine::diagonal([1.0 / luma; 3], [0.0; 3]),
            Kind::Gray => Affine { factors: [[1.0 / luma, 0.0, 0.0]; 3], offsets: [0.0; 3] },
            Kind::Yuv => {
                let scaled = Affine::diagonal(
                    [1.0 / luma, 1.0 / chroma, 1.0 / chroma],
                    [-black / luma, -neutral / chroma, -neutral / chroma],
                );
                let matrix =
                    [[1.0, 0.0, red], [1.0, -blue * kb / kg, -red * kr / kg], [1.0, blue, 0.0]];
                scaled.then(&Affine { factors: matrix, offsets: [0.0; 3] })
            }
        }
    }

    /// From red, green and blue from 0 to 1 to code values of this format.
    fn codes_of_rgb(self, coding: Coding) -> Affine {
        let [(luma, black), (chroma, neutral)] = self.scales(self.range(coding));
        let [kr, kg, kb] = coding.weights();
        let (red, blue) = (2.0 - 2.0 * kr, 2.0 - 2.0 * kb);
        if self.kind == Kind::Rgb {
            return Affine::diagonal([luma; 3], [0.0; 3]);
        }
        let matrix = [
            [kr, kg, kb],
            [-kr / blue, -kg / blue, (1.0 - kb) / blue],
            [(1.0 - kr) / red, -kg / red, -kb / red],
        ];
        let scaled = Affine::diagonal([luma, chroma, chroma], [black, neutral, neutral]);
        Affine { factors: matrix, offsets: [0.0; 3] }.then(&scaled)
    }

    /// From code values of this format to those of another.
    pub(crate) fn map_to(self, target: Self, [from, to]: [Coding; 2]) -> Affine {
        self.rgb_of_codes(from).then(&target.codes_of_rgb(to))
    }

    /// The code value of luma or chroma of this format, as another format has the same level. It is not
    /// rounded.
    pub(crate) fn level_in(
        self,
        target: Self,
        ranges: [Coding; 2],
        chroma: bool,
        code: f64,
    ) -> f64 {
        let index = usize::from(chroma);
        let (scale, offset) = self.scales(self.range(ranges[0]))[index];
        let (scale_out, offset_out) = target.scales(target.range(ranges[1]))[index];
        (code - offset) / scale * scale_out + offset_out
    }
}

/// A linear map of three components, and what is added.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine {
    pub(crate) factors: [[f64; 3]; 3],
    pub(crate) offsets: [f64; 3],
}

impl Affine {
    fn diagonal(scales: [f64; 3], offsets: [f64; 3]) -> Self {
        let [a, b, c] = scales;
        Self { factors: [[a, 0.0, 0.0], [0.0, b, 0.0], [0.0, 0.0, c]], offsets }
    }

    /// First this, then `next`.
    fn then(&self, next: &Self) -> Self {
        let dot = |row: [f64; 3], column: [f64; 3]| {
            row.iter().zip(column).map(|(factor, value)| factor * value).sum::<f64>()
        };
        let column = |index: usize| self.factors.map(|row| row[index]);
        let row = |row: [f64; 3]| [dot(row, column(0)), dot(row, column(1)), dot(row, column(2))];
        let mut offsets = next.factors.map(|row| dot(row, self.offsets));
        for (offset, more) in offsets.iter_mut().zip(next.offsets) {
            *offset += more;
        }
        Self { factors: next.factors.map(row), offsets }
    }
}
