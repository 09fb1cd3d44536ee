//! The bytes of the control channel: length-prefixed frames with self-describing bodies.
//!
//! Main type: [`FrameDecoder`]. What supervision puts around the callers' values is in `envelope`;
//! what the values mean is decided by who sends them.

mod envelope;
mod frame;

pub(crate) use envelope::{Down, Up};

pub use envelope::Progress;
pub use frame::{DEFAULT_MAX_FRAME, FrameDecoder, FrameError, MAX_DEPTH, encode_frame};
