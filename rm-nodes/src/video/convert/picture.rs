//! The planes of a frame, to be read or written.
//!
//! Main type: [`Picture`].

use rm_core::{Planes, VideoFormat};

/// A frame's size, planes and bytes.
pub(crate) struct Picture<B> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) planes: Planes,
    pub(crate) bytes: B,
}

impl<B> Picture<B> {
    /// `None` if the frame cannot be counted.
    pub(crate) fn new(format: VideoFormat, [width, height]: [u32; 2], bytes: B) -> Option<Self> {
        let planes = format.planes(width, height)?;
        Some(Self { width: width as usize, height: height as usize, planes, bytes })
    }

    /// The bytes from one row to the next, of each plane; 0 for a plane that there is not.
    pub(crate) fn strides(&self) -> [u32; 3] {
        [0, 1, 2].map(|index| {
            let stride = self.planes.get(index).map_or(0, |plane| plane.row_bytes);
            u32::try_from(stride).unwrap_or(u32::MAX)
        })
    }
}

impl<'a> Picture<&'a [u8]> {
    pub(crate) fn plane(&self, index: usize) -> &'a [u8] {
        let plane = self.planes[index];
        &self.bytes[plane.offset..plane.offset + plane.bytes]
    }

    pub(crate) fn row(&self, index: usize, y: usize) -> &'a [u8] {
        let row_bytes = self.planes[index].row_bytes;
        &self.plane(index)[y * row_bytes..][..row_bytes]
    }
}

impl Picture<&mut [u8]> {
    pub(crate) fn row(&mut self, index: usize, y: usize) -> &mut [u8] {
        let plane = self.planes[index];
        &mut self.bytes[plane.offset + y * plane.row_bytes..][..plane.row_bytes]
    }

    /// The planes, which follow each other; those that there are not are empty.
    pub(crate) fn split(&mut self) -> [&mut [u8]; 3] {
        let bytes = [0, 1].map(|index| self.planes.get(index).map_or(0, |plane| plane.bytes));
        let (first, rest) = self.bytes.split_at_mut(bytes[0]);
        let (second, third) = rest.split_at_mut(bytes[1]);
        [first, second, third]
    }
}
