//! The frame codec: a 4-byte little-endian length, then that many bytes of serde-brief.
//!
//! Main type: [`FrameDecoder`]. It does no I/O: bytes are pushed in as they arrive, values come
//! out. Frames come from another process, so everything in them is hostile: an announced length
//! is checked before anything is kept for it, memory grows only with bytes that really arrived,
//! and nesting is bounded before the (recursive) decoder sees it.
//!
//! serde-brief carries every shape that serde knows except one difference: "nothing" has one
//! form. `Some(None)` and `Some(())` therefore arrive as `None`.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest frame body that both sides accept unless told otherwise: 16 MiB.
pub const DEFAULT_MAX_FRAME: usize = 16 * 1024 * 1024;

/// How deep maps and sequences may be nested in a frame that is received.
pub const MAX_DEPTH: usize = 128;

const HEADER_LEN: usize = 4;

/// Room that an emptied decoder keeps for the next frames.
const KEPT_CAPACITY: usize = 256 * 1024;

/// Why bytes are not a frame, or a value does not fit into one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer announced a frame longer than allowed. The stream cannot be read any further.
    #[error("frame of {len} bytes announced, at most {max} are allowed")]
    TooLarge {
        /// Bytes announced.
        len: usize,
        /// Longest body allowed.
        max: usize,
    },
    /// A value to send is longer than the peer would accept.
    #[error("value takes more than the {max} bytes that a frame may have")]
    ValueTooLarge {
        /// Longest body allowed.
        max: usize,
    },
    /// A value to send cannot be serialised.
    #[error("value cannot be encoded: {0}")]
    Encode(#[source] serde_brief::Error),
    /// A body is not the value that was expected. The next frame can still be read.
    #[error("frame does not hold the expected value: {0}")]
    Decode(#[source] serde_brief::Error),
    /// A body nests maps and sequences too deeply. The next frame can still be read.
    #[error("frame nests deeper than {max} levels")]
    TooDeep {
        /// Deepest nesting allowed.
        max: usize,
    },
    /// The stream ended within a frame.
    #[error("stream ended within a frame, {have} bytes after its start")]
    Truncated {
        /// Bytes of the unfinished frame, its length included.
        have: usize,
    },
}

/// One value as a frame, ready to be written.
///
/// # Errors
/// [`FrameError::ValueTooLarge`] as soon as the body passes `max` bytes, [`FrameError::Encode`]
/// if the value refuses to be serialised.
pub fn encode_frame<T: Serialize + ?Sized>(value: &T, max: usize) -> Result<Vec<u8>, FrameError> {
    let max = max.min(u32::MAX as usize);
    let limit = std::num::NonZeroUsize::new(max).ok_or(FrameError::ValueTooLarge { max })?;
    let config = serde_brief::Config { max_size: Some(limit), ..serde_brief::Config::default() };
    let mut frame = vec![0; HEADER_LEN];
    match serde_brief::to_writer_with_config(&value, &mut frame, config) {
        Ok(()) => {}
        Err(serde_brief::Error::LimitReached) => return Err(FrameError::ValueTooLarge { max }),
        Err(error) => return Err(FrameError::Encode(error)),
    }
    let len = u32::try_from(frame.len() - HEADER_LEN).expect("the limit is at most u32::MAX");
    frame[..HEADER_LEN].copy_from_slice(&len.to_le_bytes());
    Ok(frame)
}

/// Cuts a stream of bytes into frames and decodes them.
///
/// ```
/// use rm_process::protocol::{DEFAULT_MAX_FRAME, FrameDecoder, encode_frame};
///
/// let frame = encode_frame("hello", DEFAULT_MAX_FRAME)?;
/// let mut decoder = FrameDecoder::default();
/// decoder.push(&frame[..3]);
/// assert_eq!(decoder.next_frame::<String>()?, None);
/// decoder.push(&frame[3..]);
/// assert_eq!(decoder.next_frame::<String>()?.as_deref(), Some("hello"));
/// # Ok::<(), rm_process::protocol::FrameError>(())
/// ```
#[derive(Debug)]
pub struct FrameDecoder {
    /// Bytes received; those before `start` belong to frames already given out.
    buffer: Vec<u8>,
    start: usize,
    max: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_FRAME)
    }
}

impl FrameDecoder {
    /// A decoder that refuses bodies of more than `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, max }
    }

    /// Takes in bytes as they arrived. Call [`next_frame`](Self::next_frame) until it gives nothing before
    /// pushing more, else they pile up here.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next value, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] for good once the stream is beyond repair;
    /// [`FrameError::Decode`] and [`FrameError::TooDeep`] for one frame, which is skipped.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let pending = &self.buffer[self.start..];
        let Some((header, rest)) = pending.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*header) as usize;
        if len > self.max {
            let max = self.max;
            return Err(FrameError::TooLarge { len, max });
        }
        let Some(body) = rest.get(..len) else {
            return Ok(None);
        };
        let value = decode_body(body);
        self.start += HEADER_LEN + len;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_CAPACITY);
            self.start = 0;
        }
        value.map(Some)
    }

    /// Checks that the stream may end here.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] if a frame has begun and is not complete.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() - self.start {
            0 => Ok(()),
            have => Err(FrameError::Truncated { have }),
        }
    }
}

fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    if !depth_is_within(body, MAX_DEPTH) {
        return Err(FrameError::TooDeep { max: MAX_DEPTH });
    }
    serde_brief::from_slice(body).map_err(FrameError::Decode)
}

/// Whether maps and sequences in a serde-brief body nest at most `max` deep.
///
/// serde-brief calls itself once per level and has no limit of its own, so a body of nothing but
/// sequence starts would exhaust the stack. This walk does not recurse. Where a body is malformed
/// the answer is yes: the decoder stops at the same place and says what is wrong.
fn depth_is_within(body: &[u8], max: usize) -> bool {
    let mut at = 0_usize;
    let mut depth = 0_usize;
    while let Some(&tag) = body.get(at) {
        at += 1;
        match tag {
            // Null, false, true.
            0..=2 => {}
            // Unsigned and signed integers: seven bits a byte, the top bit says "more".
            3 | 4 => match read_varint(body, at) {
                Some((_, after)) => at = after,
                None => return true,
            },
            // Floats of 2, 4, 8 and 16 bytes.
            5..=8 => at += 2 << (tag - 5),
            // Bytes and strings: a length, then that many bytes.
            10 | 11 => match read_varint(body, at) {
                Some((len, after)) => at = after.saturating_add(len),
                None => return true,
            },
            // Start of a sequence, start of a map.
            15 | 17 => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            // Their ends.
            16 | 18 => depth = depth.saturating_sub(1),
            _ => return true,
        }
    }
    true
}

/// A variable-length integer (cut to the width of `usize`) and where it ends.
fn read_varint(body: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    let mut shift = 0_u32;
    loop {
        let byte = *body.get(at)?;
        at += 1;
        value |= usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift = shift.saturating_add(7);
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
}

#[cfg(test)]
mod tests;
