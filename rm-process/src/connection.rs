//! Why a connection carries nothing, or not this.
//!
//! Main type: [`ConnectionError`]. What it means for calls is decided in `link`.

use std::io;

use crate::protocol::FrameError;
use crate::transport::PayloadError;

/// Why a control channel could not carry a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer has closed the channel or is dead.
    #[error("control channel is closed by the peer")]
    Closed,
    /// The bytes are not a frame, or the value does not fit into one.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What was to come beside a frame is not usable.
    #[error("sealed payload is not usable: {0}")]
    Payload(#[from] PayloadError),
    /// The peer said what cannot be said there.
    #[error("{what} for call {call} breaks the protocol")]
    Protocol {
        /// What it said.
        what: &'static str,
        /// The number of the call that it was said about.
        call: u64,
    },
    /// The operating system failed.
    #[error("control channel failed: {0}")]
    Io(#[source] io::Error),
}

impl ConnectionError {
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
