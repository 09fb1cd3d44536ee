//! The bytes of the control channel: length-prefixed frames with self-describing bodies.
//!
//! Main type: [`FrameDecoder`]. What the frames mean is decided by who sends them.

mod frame;

pub use frame::{DEFAULT_MAX_FRAME, FrameDecoder, FrameError, MAX_DEPTH, encode_frame};
