//! The pairs for which the `yuv` crate has a function: between RGB and 8-bit luma with chroma or gray,
//! and among the orders of red, green and blue.
//!
//! Main type: [`CratePair`]. The crate chooses its SIMD at run time, and its functions that are used here
//! allocate nothing. It does not know ARGB, nor the way from RGB to packed 4:2:2, and from packed 4:2:2
//! to RGB it treats luma below black otherwise than from planar; [`super::Converter`] goes there by way
//! of RGBA or planar 4:2:2.

use rm_core::VideoFormat;
use yuv::{
    BufferStoreMut, YuvBiPlanarImage, YuvBiPlanarImageMut, YuvConversionMode, YuvError,
    YuvGrayImage, YuvGrayImageMut, YuvPackedImage, YuvPackedImageMut, YuvPlanarImage,
    YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
};

use super::Picture;
use crate::video::colour::{Coding, Range};

type Result = std::result::Result<(), YuvError>;
// Numbers are strides, width and height.
type Shuffle = fn(&[u8], u32, &mut [u8], u32, u32, u32) -> Result;
type FromGray = fn(&YuvGrayImage<'_, u8>, &mut [u8], u32, YuvRange, YuvStandardMatrix) -> Result;
type FromPlanar =
    fn(&YuvPlanarImage<'_, u8>, &mut [u8], u32, YuvRange, YuvStandardMatrix) -> Result;
type FromI010 = fn(&YuvPlanarImage<'_, u16>, &mut [u8], u32, YuvRange, YuvStandardMatrix) -> Result;
type FromBiPlanar = fn(
    &YuvBiPlanarImage<'_, u8>,
    &mut [u8],
    u32,
    YuvRange,
    YuvStandardMatrix,
    YuvConversionMode,
) -> Result;
type ToGray = fn(&mut YuvGrayImageMut<'_, u8>, &[u8], u32, YuvRange, YuvStandardMatrix) -> Result;
type ToPlanar = fn(
    &mut YuvPlanarImageMut<'_, u8>,
    &[u8],
    u32,
    YuvRange,
    YuvStandardMatrix,
    YuvConversionMode,
) -> Result;
type ToBiPlanar = fn(
    &mut YuvBiPlanarImageMut<'_, u8>,
    &[u8],
    u32,
    YuvRange,
    YuvStandardMatrix,
    YuvConversionMode,
) -> Result;

/// A function of the crate, by what it takes and gives.
#[derive(Clone, Copy)]
enum Function {
    Shuffle(Shuffle),
    FromGray(FromGray),
    FromPlanar(FromPlanar),
    FromNv(FromBiPlanar),
    FromP010(FromI010),
    ToGray(ToGray),
    ToPlanar(ToPlanar),
    ToNv(ToBiPlanar),
    Unpack(fn(&mut YuvPlanarImageMut<'_, u8>, &YuvPackedImage<'_, u8>) -> Result),
    Pack(fn(&mut YuvPackedImageMut<'_, u8>, &YuvPlanarImage<'_, u8>) -> Result),
}

/// Chooses a function by the order of the channels; `None` for one that the crate does not know.
macro_rules! by_order {
    ($kind:ident, $format:expr, $rgb:ident, $bgr:ident, $rgba:ident, $bgra:ident) => {
        match $format {
            VideoFormat::Rgb24 => Some(Function::$kind(yuv::$rgb)),
            VideoFormat::Bgr24 => Some(Function::$kind(yuv::$bgr)),
            VideoFormat::Rgba32 => Some(Function::$kind(yuv::$rgba)),
            VideoFormat::Bgra32 => Some(Function::$kind(yuv::$bgra)),
            _ => None,
        }
    };
}

fn function(from: VideoFormat, to: VideoFormat) -> Option<Function> {
    use VideoFormat as V;
    let shuffle = |function| Some(Function::Shuffle(function));
    match (from, to) {
        (V::Rgb24, V::Bgr24) => return shuffle(yuv::rgb_to_bgr),
        (V::Rgb24, V::Rgba32) => return shuffle(yuv::rgb_to_rgba),
        (V::Rgb24, V::Bgra32) => return shuffle(yuv::rgb_to_bgra),
        (V::Bgr24, V::Rgb24) => return shuffle(yuv::bgr_to_rgb),
        (V::Bgr24, V::Rgba32) => return shuffle(yuv::bgr_to_rgba),
        (V::Bgr24, V::Bgra32) => return shuffle(yuv::bgr_to_bgra),
        (V::Rgba32, V::Rgb24) => return shuffle(yuv::rgba_to_rgb),
        (V::Rgba32, V::Bgr24) => return shuffle(yuv::rgba_to_bgr),
        (V::Bgra32, V::Rgb24) => return shuffle(yuv::bgra_to_rgb),
        (V::Bgra32, V::Bgr24) => return shuffle(yuv::bgra_to_bgr),
        (V::Yuyv422, V::Yuv422p) => return Some(Function::Unpack(yuv::yuyv422_to_yuv422)),
        (V::Uyvy422, V::Yuv422p) => return Some(Function::Unpack(yuv::uyvy422_to_yuv422)),
        (V::Yuv422p, V::Yuyv422) => return Some(Function::Pack(yuv::yuv422_to_yuyv422)),
        (V::Yuv422p, V::Uyvy422) => return Some(Function::Pack(yuv::yuv422_to_uyvy422)),
        _ => {}
    }
    let to_rgb = match from {
        V::Gray8 => {
            by_order!(FromGray, to, yuv400_to_rgb, yuv400_to_bgr, yuv400_to_rgba, yuv400_to_bgra)
        }
        V::Yuv420p => {
            by_order!(FromPlanar, to, yuv420_to_rgb, yuv420_to_bgr, yuv420_to_rgba, yuv420_to_bgra)
        }
        V::Yuv422p => {
            by_order!(FromPlanar, to, yuv422_to_rgb, yuv422_to_bgr, yuv422_to_rgba, yuv422_to_bgra)
        }
        V::Yuv444p => {
            by_order!(FromPlanar, to, yuv444_to_rgb, yuv444_to_bgr, yuv444_to_rgba, yuv444_to_bgra)
        }
        V::Nv12 => by_order!(
            FromNv,
            to,
            yuv_nv12_to_rgb,
            yuv_nv12_to_bgr,
            yuv_nv12_to_rgba,
            yuv_nv12_to_bgra
        ),
        V::Nv21 => by_order!(
            FromNv,
            to,
            yuv_nv21_to_rgb,
            yuv_nv21_to_bgr,
            yuv_nv21_to_rgba,
            yuv_nv21_to_bgra
        ),
        V::P010 => by_order!(FromP010, to, i010_to_rgb, i010_to_bgr, i010_to_rgba, i010_to_bgra),
        _ => None,
    };
    to_rgb.or(match to {
        V::Gray8 => {
            by_order!(ToGray, from, rgb_to_yuv400, bgr_to_yuv400, rgba_to_yuv400, bgra_to_yuv400)
        }
        V::Yuv420p => {
            by_order!(ToPlanar, from, rgb_to_yuv420, bgr_to_yuv420, rgba_to_yuv420, bgra_to_yuv420)
        }
        V::Yuv422p => {
            by_order!(ToPlanar, from, rgb_to_yuv422, bgr_to_yuv422, rgba_to_yuv422, bgra_to_yuv422)
        }
        V::Yuv444p => {
            by_order!(ToPlanar, from, rgb_to_yuv444, bgr_to_yuv444, rgba_to_yuv444, bgra_to_yuv444)
        }
        V::Nv12 => by_order!(
            ToNv,
            from,
            rgb_to_yuv_nv12,
            bgr_to_yuv_nv12,
            rgba_to_yuv_nv12,
            bgra_to_yuv_nv12
        ),
        V::Nv21 => by_order!(
            ToNv,
            from,
            rgb_to_yuv_nv21,
            bgr_to_yuv_nv21,
            rgba_to_yuv_nv21,
            bgra_to_yuv_nv21
        ),
        _ => None,
    })
}

/// A conversion by one function of the crate.
#[derive(Clone, Copy)]
pub(super) struct CratePair {
    function: Function,
    range: YuvRange,
    matrix: YuvStandardMatrix,
}

impl CratePair {
    /// The conversion of RGB to or from luma with chroma of this coding; `None` if the crate has none.
    pub(super) fn new(from: VideoFormat, to: VideoFormat, coding: Coding) -> Option<Self> {
        let function = function(from, to)?;
        let gray = matches!(function, Function::FromGray(_) | Function::ToGray(_));
        let range = match coding.range {
            Range::Limited if !gray => YuvRange::Limited,
            _ => YuvRange::Full,
        };
        let matrix = if coding.bt709 { YuvStandardMatrix::Bt709 } else { YuvStandardMatrix::Bt601 };
        Some(Self { function, range, matrix })
    }

    /// Whether it was done; it is not where the crate refuses the frame. `words` is memory for a frame of
    /// 10-bit samples.
    pub(super) fn convert(
        &self,
        source: &Picture<&[u8]>,
        target: &mut Picture<&mut [u8]>,
        words: &mut Vec<u16>,
    ) -> bool {
        let (range, matrix, mode) = (self.range, self.matrix, YuvConversionMode::Balanced);
        let (width, height) = (source.width as u32, source.height as u32);
        let [in0, in1, _] = source.strides();
        let [out0, out1, _] = target.strides();
        let done = match self.function {
            Function::Shuffle(shuffle) => {
                shuffle(source.bytes, in0, target.bytes, out0, width, height)
            }
            Function::FromGray(convert) => {
                let (y_plane, y_stride) = (source.bytes, in0);
                let image = YuvGrayImage { y_plane, y_stride, width, height };
                convert(&image, target.bytes, out0, range, matrix)
            }
            Function::FromPlanar(convert) => {
                convert(&planar(source), target.bytes, out0, range, matrix)
            }
            Function::FromNv(convert) => {
                let (y_plane, uv_plane) = (source.plane(0), source.plane(1));
                let (y_stride, uv_stride) = (in0, in1);
                let image =
                    YuvBiPlanarImage { y_plane, y_stride, uv_plane, uv_stride, width, height };
                convert(&image, target.bytes, out0, range, matrix, mode)
            }
            // The crate panics (in its version 0.8.20) where the last vector of a row lacks one sample
            // of luma and none of chroma, as only one of an odd width can.
            Function::FromP010(_) if source.width % 2 == 1 => return false,
            Function::FromP010(convert) => {
                // The crate has SIMD on x86 for planes of 10-bit words only.
                let samples = source.width * source.height;
                let chroma = source.width.div_ceil(2) * source.height.div_ceil(2);
                words.resize(samples + 2 * chroma, 0);
                let (y_plane, chroma_planes) = words.split_at_mut(samples);
                let (u_plane, v_plane) = chroma_planes.split_at_mut(chroma);
                let code = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]) >> 6;
                for (y, word) in y_plane.iter_mut().zip(source.plane(0).chunks_exact(2)) {
                    *y = code(word);
                }
                let pairs = source.plane(1).chunks_exact(4);
                for ((u, v), pair) in u_plane.iter_mut().zip(&mut *v_plane).zip(pairs) {
                    (*u, *v) = (code(&pair[..2]), code(&pair[2..]));
                }
                let (y_stride, u_stride) = (in0 / 2, in1 / 4);
                let image = YuvPlanarImage {
                    y_plane,
                    y_stride,
                    u_plane,
                    u_stride,
                    v_plane,
                    v_stride: u_stride,
                    width,
                    height,
                };
                convert(&image, target.bytes, out0, range, matrix)
            }
            Function::ToGray(convert) => {
                let y_plane = BufferStoreMut::Borrowed(target.bytes);
                let mut image = YuvGrayImageMut { y_plane, y_stride: out0, width, height };
                convert(&mut image, source.bytes, in0, range, matrix)
            }
            Function::ToPlanar(convert) => {
                convert(&mut planar_mut(target), source.bytes, in0, range, matrix, mode)
            }
            Function::ToNv(convert) => {
                let [y, uv, _] = target.split().map(BufferStoreMut::Borrowed);
                let mut image = YuvBiPlanarImageMut {
                    y_plane: y,
                    y_stride: out0,
                    uv_plane: uv,
                    uv_stride: out1,
                    width,
                    height,
                };
                convert(&mut image, source.bytes, in0, range, matrix, mode)
            }
            Function::Unpack(unpack) => {
                let image = YuvPackedImage { yuy: source.bytes, yuy_stride: in0, width, height };
                unpack(&mut planar_mut(target), &image)
            }
            Function::Pack(pack) => {
                let yuy = BufferStoreMut::Borrowed(target.bytes);
                let mut image = YuvPackedImageMut { yuy, yuy_stride: out0, width, height };
                pack(&mut image, &planar(source))
            }
        };
        done.is_ok()
    }
}

fn planar<'a>(source: &Picture<&'a [u8]>) -> YuvPlanarImage<'a, u8> {
    let [y_stride, u_stride, v_stride] = source.strides();
    YuvPlanarImage {
        y_plane: source.plane(0),
        y_stride,
        u_plane: source.plane(1),
        u_stride,
        v_plane: source.plane(2),
        v_stride,
        width: source.width as u32,
        height: source.height as u32,
    }
}

fn planar_mut<'a>(target: &'a mut Picture<&mut [u8]>) -> YuvPlanarImageMut<'a, u8> {
    let [y_stride, u_stride, v_stride] = target.strides();
    let (width, height) = (target.width as u32, target.height as u32);
    let [y_plane, u_plane, v_plane] = target.split().map(BufferStoreMut::Borrowed);
    YuvPlanarImageMut { y_plane, y_stride, u_plane, u_stride, v_plane, v_stride, width, height }
}
