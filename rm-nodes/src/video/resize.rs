//! Scales one frame.
//!
//! Main type: [`Resizer`]. Filters are those of Pillow: where a picture becomes smaller they are widened
//! by the same factor, so that it does not alias. Each plane is scaled as a picture of its own, so
//! chroma stays sited in the middle of its pixels; the colours of pixels with alpha count by it. Code
//! values are scaled as they are, without regard to gamma, as Pillow, OpenCV and FFmpeg do it.
//!
//! The weights of the filters are computed anew for each plane of each frame, in small vectors, one for
//! each column and row, that are the only memory that is allocated in steady state.

use fast_image_resize as fir;
use fir::images::{CroppedImage, CroppedImageMut, Image, ImageRef};
use fir::{PixelType, ResizeAlg, ResizeOptions};
use rm_core::{NodeError, VideoFormat};
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use super::colour::{Coding, Layout};
use super::convert::{Converter, Pair, Picture};
use super::frames::{frame_bytes, unknown_format};
use super::geometry::Placement;

/// How pixels between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the pixels that lie within.
    Box,
    /// A triangle over two pixels.
    Bilinear,
    /// A cubic over four pixels (Catmull-Rom, a = -0.5).
    Bicubic,
    /// A windowed sinc over six pixels.
    Lanczos3,
}

impl Filter {
    fn algorithm(self) -> ResizeAlg {
        match self {
            Self::Nearest => ResizeAlg::Nearest,
            Self::Box => ResizeAlg::Convolution(fir::FilterType::Box),
            Self::Bilinear => ResizeAlg::Convolution(fir::FilterType::Bilinear),
            Self::Bicubic => ResizeAlg::Convolution(fir::FilterType::CatmullRom),
            Self::Lanczos3 => ResizeAlg::Convolution(fir::FilterType::Lanczos3),
        }
    }
}

/// A frame's format, size and bytes.
pub(crate) struct Frame<B> {
    pub(crate) format: VideoFormat,
    pub(crate) size: [u32; 2],
    pub(crate) bytes: B,
}

/// Scales frames of any formats and sizes.
pub(crate) struct Resizer {
    filter: Filter,
    /// What lies beside a picture that does not fill its target: red, green, blue.
    fill: [u8; 3],
    resizer: fir::Resizer,
    /// To and from the format in which planes can be scaled.
    before: Option<Converter>,
    behind: Option<Converter>,
    scratch: [Vec<u8>; 2],
    /// 16-bit samples that were not aligned.
    words: Vec<u16>,
}

/// The format in which the planes of a format can be scaled: one without four channels of which the
/// last is not alpha, and without luma and chroma in one plane.
fn scalable(format: VideoFormat) -> VideoFormat {
    match format {
        VideoFormat::Argb32 => VideoFormat::Rgba32,
        VideoFormat::Yuyv422 | VideoFormat::Uyvy422 => VideoFormat::Yuv422p,
        other => other,
    }
}

/// The type of the pixels of a plane of a scalable format, and whether their last channel is alpha.
fn pixel_type(format: VideoFormat, plane: usize) -> Option<(PixelType, bool)> {
    use VideoFormat as V;
    Some(match (format, plane) {
        (V::Rgb24 | V::Bgr24, _) => (PixelType::U8x3, false),
        (V::Rgba32 | V::Bgra32, _) => (PixelType::U8x4, true),
        (V::Nv12 | V::Nv21, 1) => (PixelType::U8x2, false),
        (V::P010, 1) => (PixelType::U16x2, false),
        (V::P010 | V::Gray16, _) => (PixelType::U16, false),
        (V::Gray8 | V::Yuv420p | V::Yuv422p | V::Yuv444p | V::Nv12 | V::Nv21, _) => {
            (PixelType::U8, false)
        }
        _ => return None,
    })
}

impl Resizer {
    pub(crate) fn new(filter: Filter, fill: [u8; 3]) -> Self {
        Self {
            filter,
            fill,
            resizer: fir::Resizer::new(),
            before: None,
            behind: None,
            scratch: Default::default(),
            words: Vec::new(),
        }
    }

    /// Changes the filter, and what lies beside a picture.
    pub(crate) fn set(&mut self, filter: Filter, fill: [u8; 3]) {
        (self.filter, self.fill) = (filter, fill);
    }

    /// Scales `source` into `target`, which has the format of the source and the size of the placement.
    /// `coding` is that of the colour beside the picture.
    pub(crate) fn resize(
        &mut self,
        source: &Frame<&[u8]>,
        target: &mut [u8],
        placement: &Placement,
        coding: Coding,
    ) -> Result<(), NodeError> {
        let (format, inner) = (source.format, scalable(source.format));
        if format == inner {
            return self.resize_planes(source, target, placement, coding);
        }
        let [mut from, mut to] = std::mem::take(&mut self.scratch);
        from.resize(frame_bytes(inner, source.size)?, 0);
        to.resize(frame_bytes(inner, placement.size)?, 0);
        let codings = [coding; 2];
        let there = Pair { from: format, to: inner, codings };
        let back = Pair { from: inner, to: format, codings };
        let before =
            Converter::of(&mut self.before, there).ok_or_else(|| unknown_format(format))?;
        before.convert(source.size, source.bytes, &mut from);
        let frame = Frame { format: inner, size: source.size, bytes: &from[..] };
        let scaled = self.resize_planes(&frame, &mut to, placement, coding);
        let behind = Converter::of(&mut self.behind, back).ok_or_else(|| unknown_format(format))?;
        behind.convert(placement.size, &to, target);
        self.scratch = [from, to];
        scaled
    }

    fn resize_planes(
        &mut self,
        source: &Frame<&[u8]>,
        target: &mut [u8],
        placement: &Placement,
        coding: Coding,
    ) -> Result<(), NodeError> {
        let unknown = || unknown_format(source.format);
        let layout = Layout::of(source.format).ok_or_else(unknown)?;
        let picture = Picture::new(source.format, source.size, source.bytes).ok_or_else(unknown)?;
        let mut target = Picture::new(source.format, placement.size, target).ok_or_else(unknown)?;
        if placement.inner != placement.size {
            fill(source.format, &mut target, self.fill, coding).ok_or_else(unknown)?;
        }
        let Placement { corner, inner, from, span, .. } = *placement;
        let options = ResizeOptions::new().resize_alg(self.filter.algorithm());
        for index in 0..picture.planes.len() {
            let (pixel, alpha) = pixel_type(source.format, index).ok_or_else(unknown)?;
            let [across, down] = layout.block(index);
            let size = [source.size[0].div_ceil(across), source.size[1].div_ceil(down)];
            let bytes = picture.plane(index);
            let input = match ImageRef::new(size[0], size[1], bytes, pixel) {
                Ok(input) => input,
                Err(_) => {
                    // It is not aligned.
                    self.words.resize(bytes.len() / 2, 0);
                    self.words.as_mut_bytes().copy_from_slice(bytes);
                    ImageRef::new(size[0], size[1], self.words.as_bytes(), pixel)
                        .expect("it is aligned and has all of its bytes")
                }
            };
            let plane = target.planes[index];
            let bytes = &mut target.bytes[plane.offset..][..plane.bytes];
            let whole = placement.size;
            let (width, height) = (whole[0].div_ceil(across), whole[1].div_ceil(down));
            let mut output = Image::from_slice_u8(width, height, bytes, pixel)
                .map_err(|error| failed(source, placement, error))?;
            // The option of the crate to take a part reads beyond a row in its version 6.1.0, where
            // the weights at the ends of a filter are 0. A view of the part has nothing beyond it.
            let resized = CroppedImage::new(
                &input,
                from[0] / across,
                from[1] / down,
                span[0].div_ceil(across),
                span[1].div_ceil(down),
            )
            .and_then(|input| {
                let output = CroppedImageMut::new(
                    &mut output,
                    corner[0] / across,
                    corner[1] / down,
                    inner[0].div_ceil(across),
                    inner[1].div_ceil(down),
                )?;
                Ok((input, output))
            })
            .map_err(fir::ResizeError::from)
            .and_then(|(input, mut output)| {
                self.resizer.resize(&input, &mut output, &options.use_alpha(alpha))
            });
            resized.map_err(|error| failed(source, placement, error))?;
        }
        if source.format == VideoFormat::P010 {
            round_to_ten_bits(target.bytes);
        }
        Ok(())
    }
}

fn failed(
    source: &Frame<&[u8]>,
    placement: &Placement,
    error: impl std::error::Error + Send + Sync + 'static,
) -> NodeError {
    let ([width, height], [to_width, to_height]) = (source.size, placement.size);
    NodeError::Failed {
        message: format!(
            "cannot scale video in {} from {width} x {height} to {to_width} x {to_height} pixels",
            source.format
        ),
        source: Some(Box::new(error)),
    }
}

/// Fills a frame with a colour.
fn fill(
    format: VideoFormat,
    target: &mut Picture<&mut [u8]>,
    colour: [u8; 3],
    coding: Coding,
) -> Option<()> {
    // Two pixels across and two down are whole blocks of any format.
    let size = [2, 2];
    let pair = Pair { from: VideoFormat::Rgb24, to: format, codings: [coding; 2] };
    let mut tile = [0; 16];
    let tile = &mut tile[..format.frame_bytes(2, 2)?];
    let [r, g, b] = colour;
    Converter::new(pair)?.convert(size, &[r, g, b, r, g, b, r, g, b, r, g, b], tile);
    let tile = Picture::new(format, size, &*tile)?;
    for (index, plane) in target.planes.iter().enumerate() {
        let pattern = tile.row(index, 0);
        for row in target.bytes[plane.offset..][..plane.bytes].chunks_exact_mut(plane.row_bytes) {
            for part in row.chunks_mut(pattern.len()) {
                part.copy_from_slice(&pattern[..part.len()]);
            }
        }
    }
    Some(())
}

/// Rounds 16-bit samples to those whose upper 10 bits are used.
fn round_to_ten_bits(bytes: &mut [u8]) {
    for sample in bytes.chunks_exact_mut(2) {
        let word = u16::from_le_bytes([sample[0], sample[1]]).saturating_add(1 << 5) & !0x3f;
        sample.copy_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
