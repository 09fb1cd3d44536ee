//! The frame codec: a 4-byte little-endian header, then a body of serde-brief. Bits 0 to 30 of the
//! header are the body's length in bytes, bit 31 says that a descriptor travels with the frame.
//!
//! Main type: [`FrameDecoder`]. It does no I/O: bytes are put in as they arrive, bodies or values
//! come out; what carries descriptors is `transport`. Frames come from another process, so everything
//! in them is hostile: an announced length is checked before anything is kept for it, memory grows
//! only with bytes that really arrived, and nesting is bounded before the (recursive) decoder sees it.
//!
//! serde-brief carries every shape that serde knows except one difference: "nothing" has one
//! form. `Some(None)` and `Some(())` therefore arrive as `None`.

use std::num::NonZeroUsize;

use crate::value::EncodeError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest frame body that both sides accept unless told otherwise: 16 MiB.
pub const DEFAULT_MAX_FRAME: usize = 16 * 1024 * 1024;

/// How deep maps and sequences may be nested in a frame that is received.
pub const MAX_DEPTH: usize = 128;

/// Longest frame body that the header can tell.
pub(crate) const LONGEST_FRAME: usize = (DESCRIPTOR_FLAG - 1) as usize;

/// Bytes before each body.
pub(crate) const HEADER_LEN: usize = 4;

/// Room that an emptied buffer keeps for the next frames.
pub(crate) const KEPT_CAPACITY: usize = 256 * 1024;

/// The bit of the header that announces a descriptor.
const DESCRIPTOR_FLAG: u32 = 1 << 31;

/// Room that a reader is offered at first, in bytes.
const FIRST_ROOM: usize = 16 * 1024;

/// Least room that a reader is offered, in bytes: less would make its calls too many.
const LEAST_ROOM: usize = 4 * 1024;

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
    /// A value to send has no serialised form.
    #[error(transparent)]
    Value(#[from] EncodeError),
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
        /// Bytes of the unfinished frame, its header included.
        have: usize,
    },
    /// The peer announced a descriptor and sent none. The stream cannot be read any further.
    #[error("frame announces a descriptor that did not come with it")]
    MissingDescriptor,
    /// The peer sent a descriptor that no frame announces, or several with one, or one to a reader
    /// that takes none.
    #[error("descriptor came that no frame announces, or that is not expected here")]
    UnexpectedDescriptor,
    /// A descriptor that came could not be taken over. The stream cannot be read any further.
    #[error(
        "descriptor was lost on arrival: too many came at once, or this process may open no more \
         (RLIMIT_NOFILE)"
    )]
    DescriptorLost,
    /// A value that is too large for a frame cannot be stored beside it.
    #[error("value cannot be put into a file in memory: {0}")]
    Spill(#[source] std::io::Error),
}

/// One value as a frame, ready to be written.
///
/// # Errors
/// [`FrameError::ValueTooLarge`] as soon as the body passes `max` bytes, [`FrameError::Encode`]
/// if the value refuses to be serialised.
pub fn encode_frame<T: Serialize + ?Sized>(value: &T, max: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_LEN];
    encode_body(value, &mut frame, max)?;
    write_header(&mut frame, false, max)?;
    Ok(frame)
}

/// Appends a value as a body of at most `max` bytes. After an error there may be a part of it.
pub(crate) fn encode_body<T: Serialize + ?Sized>(
    value: &T,
    body: &mut Vec<u8>,
    max: usize,
) -> Result<(), FrameError> {
    encode_to(value, body, max.min(LONGEST_FRAME))
}

/// Writes a value as at most `max` bytes.
pub(crate) fn encode_to<T: Serialize + ?Sized>(
    value: &T,
    writer: impl std::io::Write,
    max: usize,
) -> Result<(), FrameError> {
    let limit = NonZeroUsize::new(max).ok_or(FrameError::ValueTooLarge { max })?;
    let config = serde_brief::Config { max_size: Some(limit), ..serde_brief::Config::default() };
    match serde_brief::to_writer_with_config(&value, writer, config) {
        Err(serde_brief::Error::LimitReached) => Err(FrameError::ValueTooLarge { max }),
        result => result.map_err(FrameError::Encode),
    }
}

/// Fills in the header of a frame whose body of at most `max` bytes is complete; `frame` begins with
/// the [`HEADER_LEN`] bytes that are kept for it.
pub(crate) fn write_header(
    frame: &mut [u8],
    has_descriptor: bool,
    max: usize,
) -> Result<(), FrameError> {
    let max = max.min(LONGEST_FRAME);
    let (header, body) =
        frame.split_first_chunk_mut::<HEADER_LEN>().expect("a frame begins with its header");
    if body.len() > max {
        return Err(FrameError::ValueTooLarge { max });
    }
    let len = u32::try_from(body.len()).expect("the limit is below 2^31");
    *header = (len | if has_descriptor { DESCRIPTOR_FLAG } else { 0 }).to_le_bytes();
    Ok(())
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
    /// What arrived and is not given out lies in `start..end`; behind it is room.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
}

/// What the header of the next frame says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    len: usize,
    /// Whether a descriptor travels with the frame.
    pub(crate) has_descriptor: bool,
    /// Whether all of the body is here.
    pub(crate) is_complete: bool,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_FRAME)
    }
}

impl FrameDecoder {
    /// A decoder that refuses bodies of more than `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, max }
    }

    /// Takes in bytes as they arrived. Take out all frames before pushing more, else they pile up
    /// here.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.make_room(bytes.len()) {
            self.buffer.resize(self.end + bytes.len(), 0);
        }
        self.buffer[self.end..][..bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Room for bytes that arrive, to be read into; then tell how many by [`filled`](Self::filled).
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.make_room(LEAST_ROOM) {
            // Doubling keeps copies few, and only bytes that came make it more.
            self.buffer.resize((2 * self.buffer.len()).max(FIRST_ROOM), 0);
        }
        &mut self.buffer[self.end..]
    }

    /// The first `len` bytes of the [`room`](Self::room) have been filled.
    pub(crate) fn filled(&mut self, len: usize) {
        assert!(len <= self.buffer.len() - self.end, "more bytes arrived than there is room");
        self.end += len;
    }

    /// Moves what is pending to the front if there are no `len` bytes of room behind it; whether
    /// there still are not.
    fn make_room(&mut self, len: usize) -> bool {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > KEPT_CAPACITY {
                self.buffer.truncate(KEPT_CAPACITY);
                self.buffer.shrink_to_fit();
            }
        }
        if self.buffer.len() - self.end < len {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.len() - self.end < len
    }

    /// Changes the longest body that is accepted from now on.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// The next value, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] for good once the stream is beyond repair;
    /// [`FrameError::Decode`], [`FrameError::TooDeep`] and [`FrameError::UnexpectedDescriptor`] for
    /// one frame, which is skipped.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        match self.next_body()? {
            Some((_, true)) => Err(FrameError::UnexpectedDescriptor),
            Some((body, false)) => decode_body(body, MAX_DEPTH).map(Some),
            None => Ok(None),
        }
    }

    /// The next body, and whether a descriptor travels with it, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] for good once the stream is beyond repair.
    pub fn next_body(&mut self) -> Result<Option<(&[u8], bool)>, FrameError> {
        match self.head()? {
            Some(head) if head.is_complete => Ok(Some((self.take(head), head.has_descriptor))),
            _ => Ok(None),
        }
    }

    /// The header of the next frame, once it has come and is acceptable.
    pub(crate) fn head(&self) -> Result<Option<Head>, FrameError> {
        let pending = &self.buffer[self.start..self.end];
        let Some((header, rest)) = pending.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let header = u32::from_le_bytes(*header);
        let len = (header & !DESCRIPTOR_FLAG) as usize;
        if len > self.max {
            return Err(FrameError::TooLarge { len, max: self.max });
        }
        let has_descriptor = header & DESCRIPTOR_FLAG != 0;
        Ok(Some(Head { len, has_descriptor, is_complete: len <= rest.len() }))
    }

    /// Takes out the frame of which `head` has told, which must be complete.
    pub(crate) fn take(&mut self, head: Head) -> &[u8] {
        let body = self.start + HEADER_LEN;
        self.start = body + head.len;
        &self.buffer[body..self.start]
    }

    /// Checks that the stream may end here.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] if a frame has begun and is not complete.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.end - self.start {
            0 => Ok(()),
            have => Err(FrameError::Truncated { have }),
        }
    }
}

/// A value from a body in which maps and sequences are nested at most `depth` deep.
///
/// # Errors
/// [`FrameError::TooDeep`], or [`FrameError::Decode`] if it is another value.
pub(crate) fn decode_body<'de, T: Deserialize<'de>>(
    body: &'de [u8],
    depth: usize,
) -> Result<T, FrameError> {
    if !depth_is_within(body, depth) {
        return Err(FrameError::TooDeep { max: depth });
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
