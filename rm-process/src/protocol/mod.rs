//! The bytes of a connection: length-prefixed frames with self-describing bodies.
//!
//! Main types: [`FrameDecoder`], and what the frames hold, [`MultiplexEnvelope`] around [`Control`].
//! Which word follows on which is decided in `link`.

mod envelope;
mod frame;

pub use envelope::{
    Control, Failed, MultiplexEnvelope, Payload, Progress, WireContext, decode_envelope,
};
pub(crate) use envelope::{encode_envelope, read_handshake};
pub use frame::{DEFAULT_MAX_FRAME, FrameDecoder, FrameError, MAX_DEPTH, encode_frame};
pub(crate) use frame::{HEADER_LEN, Head, KEPT_CAPACITY, write_header};
