//! Video: how pixels lie in memory, and a borrowed look at a frame.
//!
//! Main types: [`VideoFormat`], which knows its [`Planes`] and its exact size, and [`VideoView`].
//! It does not convert between formats.

use std::ops::Deref;

use crate::metadata::wire_enum;

wire_enum! {
    /// How the pixels of a video frame lie in memory.
    ///
    /// Rows are tightly packed: without padding behind a row, and without space between planes.
    /// Where chroma is subsampled, an odd width or height is rounded up. Each layout is the one
    /// that FFmpeg's [`pixfmt.h`] describes under the name that is given here; the four-letter
    /// codes are those of Video4Linux and Microsoft. 16-bit samples are little-endian.
    ///
    /// ```
    /// use rm_core::VideoFormat;
    ///
    /// assert_eq!(VideoFormat::Nv12.frame_bytes(1920, 1080), Some(3_110_400));
    /// let planes = VideoFormat::Nv12.planes(1920, 1080).expect("its size fits usize");
    /// let chroma = planes[1];
    /// assert_eq!((chroma.offset, chroma.row_bytes, chroma.rows), (1920 * 1080, 1920, 540));
    /// ```
    ///
    /// [`pixfmt.h`]: https://ffmpeg.org/doxygen/trunk/pixfmt_8h.html
    VideoFormat {
        /// 8-bit red, green, blue. FFmpeg `rgb24`.
        Rgb24 = 1, "rgb24";
        /// 8-bit blue, green, red. FFmpeg `bgr24`; what OpenCV uses.
        Bgr24 = 2, "bgr24";
        /// 8-bit red, green, blue, alpha. FFmpeg `rgba`.
        Rgba32 = 3, "rgba32";
        /// 8-bit luma only. FFmpeg `gray`, FourCC `GREY` or `Y800`.
        Gray8 = 4, "gray8";
        /// Planes Y, U, V of 8 bits; chroma at half width and half height. FFmpeg `yuv420p`,
        /// FourCC `I420`.
        Yuv420p = 5, "yuv420p";
        /// Planes Y and UV (in this order, interleaved) of 8 bits; chroma at half width and half
        /// height. FFmpeg `nv12`, FourCC `NV12`.
        Nv12 = 6, "nv12";
        /// 8-bit blue, green, red, alpha. FFmpeg `bgra`.
        Bgra32 = 7, "bgra32";
        /// 8-bit alpha, red, green, blue. FFmpeg `argb`.
        Argb32 = 8, "argb32";
        /// 16-bit luma only. FFmpeg `gray16le`, FourCC `Y16 `.
        Gray16 = 9, "gray16";
        /// Planes Y and VU (in this order, interleaved) of 8 bits; chroma at half width and half
        /// height. FFmpeg `nv21`, FourCC `NV21`.
        Nv21 = 10, "nv21";
        /// Planes Y, U, V of 8 bits; chroma at half width. FFmpeg `yuv422p`.
        Yuv422p = 11, "yuv422p";
        /// Planes Y, U, V of 8 bits, all at full size. FFmpeg `yuv444p`.
        Yuv444p = 12, "yuv444p";
        /// Pairs of pixels as 8-bit Y, U, Y, V. FFmpeg `yuyv422`, FourCC `YUYV` or `YUY2`.
        Yuyv422 = 13, "yuyv422";
        /// Pairs of pixels as 8-bit U, Y, V, Y. FFmpeg `uyvy422`, FourCC `UYVY`.
        Uyvy422 = 14, "uyvy422";
        /// As [`Nv12`](Self::Nv12) with 16-bit samples, of which the upper 10 bits are used.
        /// FFmpeg `p010le`, FourCC `P010`.
        P010 = 15, "p010";
    }
}

/// Where one plane of a frame lies, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Plane {
    /// Bytes before it in the frame.
    pub offset: usize,
    /// Bytes of one row, which is also the distance between rows (the stride).
    pub row_bytes: usize,
    /// Number of rows.
    pub rows: usize,
    /// Bytes of the whole plane.
    pub bytes: usize,
}

/// The planes of a frame, in the order in which they lie: a slice of one to three [`Plane`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    planes: [Plane; 3],
    count: usize,
}

impl Deref for Planes {
    type Target = [Plane];

    fn deref(&self) -> &[Plane] {
        &self.planes[..self.count]
    }
}

impl VideoFormat {
    /// Each plane as (bytes of one group of samples, pixels across that it covers, rows of pixels
    /// that it covers).
    const fn sampling(self) -> &'static [(usize, u32, u32)] {
        match self {
            Self::Gray8 => &[(1, 1, 1)],
            Self::Gray16 => &[(2, 1, 1)],
            Self::Rgb24 | Self::Bgr24 => &[(3, 1, 1)],
            Self::Rgba32 | Self::Bgra32 | Self::Argb32 => &[(4, 1, 1)],
            Self::Yuyv422 | Self::Uyvy422 => &[(4, 2, 1)],
            Self::Yuv420p => &[(1, 1, 1), (1, 2, 2), (1, 2, 2)],
            Self::Yuv422p => &[(1, 1, 1), (1, 2, 1), (1, 2, 1)],
            Self::Yuv444p => &[(1, 1, 1), (1, 1, 1), (1, 1, 1)],
            Self::Nv12 | Self::Nv21 => &[(1, 1, 1), (2, 2, 2)],
            Self::P010 => &[(2, 1, 1), (4, 2, 2)],
        }
    }

    /// The planes of a frame of `width` by `height` pixels; `None` where its bytes exceed `usize`.
    pub fn planes(self, width: u32, height: u32) -> Option<Planes> {
        let mut planes = [Plane::default(); 3];
        let sampling = self.sampling();
        let mut offset = 0_usize;
        for (plane, &(group, across, down)) in planes.iter_mut().zip(sampling) {
            let groups = usize::try_from(width.div_ceil(across)).ok()?;
            let rows = usize::try_from(height.div_ceil(down)).ok()?;
            let row_bytes = groups.checked_mul(group)?;
            let bytes = row_bytes.checked_mul(rows)?;
            *plane = Plane { offset, row_bytes, rows, bytes };
            offset = offset.checked_add(bytes)?;
        }
        Some(Planes { planes, count: sampling.len() })
    }

    /// Bytes of one whole frame with all of its planes; `None` where that exceeds `usize`.
    pub fn frame_bytes(self, width: u32, height: u32) -> Option<usize> {
        // `planes` has checked that the sum does not overflow.
        Some(self.planes(width, height)?.iter().map(|plane| plane.bytes).sum())
    }
}

/// A borrowed look at a video frame; given by [`RuntimeData::as_video`](crate::RuntimeData::as_video).
///
/// ```
/// use rm_core::{RuntimeData, VideoFormat};
///
/// let frame = RuntimeData::video(vec![0; 6], 2, 2, VideoFormat::Yuv420p, 25.0)?;
/// let view = frame.as_video().expect("is video");
/// assert_eq!(view.plane(0).map(<[u8]>::len), Some(4));
/// assert_eq!(view.rows(0).count(), 2);
/// assert_eq!(view.plane(2), Some(&[0][..]));
/// assert_eq!(view.plane(3), None);
/// # Ok::<(), rm_core::DataError>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct VideoView<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How the pixels lie in memory.
    pub format: VideoFormat,
    /// Frames per second; 0 where unknown.
    pub fps: f32,
    /// The planes, one after the other.
    pub bytes: &'a [u8],
}

impl<'a> VideoView<'a> {
    /// The bytes of one plane, counted from 0; `None` beyond the last.
    pub fn plane(&self, index: usize) -> Option<&'a [u8]> {
        let plane = self.layout(index)?;
        self.bytes.get(plane.offset..plane.offset + plane.bytes)
    }

    /// The rows of one plane from top to bottom; none beyond the last plane.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let row_bytes = self.layout(index).map_or(1, |plane| plane.row_bytes.max(1));
        self.plane(index).unwrap_or_default().chunks_exact(row_bytes)
    }

    fn layout(&self, index: usize) -> Option<Plane> {
        self.format.planes(self.width, self.height)?.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What FFmpeg's `av_image_get_buffer_size(format, width, height, 1)` gives.
    #[test]
    fn frame_sizes_are_those_of_ffmpeg_also_for_odd_sizes() {
        use VideoFormat as V;
        let check = |format: V, even: usize, odd: usize| {
            assert_eq!(format.frame_bytes(4, 2), Some(even), "{format} 4 x 2");
            assert_eq!(format.frame_bytes(5, 3), Some(odd), "{format} 5 x 3");
        };
        check(V::Rgb24, 24, 45);
        check(V::Bgr24, 24, 45);
        check(V::Rgba32, 32, 60);
        check(V::Bgra32, 32, 60);
        check(V::Argb32, 32, 60);
        check(V::Gray8, 8, 15);
        check(V::Gray16, 16, 30);
        check(V::Yuv420p, 12, 15 + 2 * 6);
        check(V::Nv12, 12, 15 + 12);
        check(V::Nv21, 12, 15 + 12);
        check(V::Yuv422p, 16, 15 + 2 * 9);
        check(V::Yuv444p, 24, 45);
        check(V::Yuyv422, 16, 36);
        check(V::Uyvy422, 16, 36);
        check(V::P010, 24, 30 + 24);
    }

    #[test]
    fn a_size_that_cannot_be_counted_is_none() {
        assert_eq!(VideoFormat::Rgba32.frame_bytes(u32::MAX, u32::MAX), None);
        assert_eq!(VideoFormat::Yuv444p.planes(u32::MAX, u32::MAX), None);
    }

    proptest! {
        #[test]
        fn planes_follow_each_other_and_fill_the_frame(
            width in 1_u32..5000, height in 1_u32..5000, format in 0..VideoFormat::ALL.len(),
        ) {
            let format = VideoFormat::ALL[format];
            let planes = format.planes(width, height).unwrap();
            let mut end = 0;
            for plane in planes.iter() {
                prop_assert_eq!(plane.offset, end);
                prop_assert_eq!(plane.bytes, plane.row_bytes * plane.rows);
                prop_assert!(plane.bytes > 0);
                end += plane.bytes;
            }
            prop_assert_eq!(format.frame_bytes(width, height), Some(end));
        }
    }
}
