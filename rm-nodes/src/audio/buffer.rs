//! Bytes for samples of any format, aligned for all of them.
//!
//! Main type: [`SampleBuffer`]. A plain `Vec<u8>` promises no alignment, and typed views of a
//! payload need it.

use bytes::Bytes;
use zerocopy::IntoBytes;

/// Zeroed bytes, aligned to 8, that become a payload without being copied.
pub(super) struct SampleBuffer {
    words: Vec<u64>,
    len: usize,
}

impl SampleBuffer {
    /// `len` zero bytes.
    pub(super) fn zeroed(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(8)], len }
    }

    /// The bytes, to be written.
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }

    /// The bytes as a payload.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for SampleBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_kept_and_aligned() {
        for len in 0..20 {
            let mut buffer = SampleBuffer::zeroed(len);
            buffer.as_mut_slice().fill(7);
            let bytes = buffer.into_bytes();
            assert_eq!(bytes, vec![7; len]);
            assert!(bytes.as_ptr().cast::<u64>().is_aligned());
        }
    }
}
