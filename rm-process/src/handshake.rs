//! The introduction: what both sides say first, and how the parent checks it.
//!
//! Main type: [`Handshake`]. Who waits for it, and how long, is decided in `backend` and `child`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::connection::ConnectionError;
use crate::protocol::DEFAULT_MAX_FRAME;
use crate::value::TupleVariants;

/// Version of the protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 3;

/// What every introduction starts with.
const MAGIC: &str = "remotemedia";

/// What this build can do beyond the first version's calls.
const CAPABILITIES: [&str; 3] = ["streams", "credits", "sealed-files"];

/// Payloads above this do not go through the socket: 64 KiB.
pub const INLINE_LIMIT: usize = 64 * 1024;

/// What one side of a connection takes from the other. Both sides tell it in their first word, and
/// each keeps to what the other told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpcLimits {
    /// Longest frame on the socket, in bytes; at least 128 KiB. Default 16 MiB.
    pub max_frame: usize,
    /// Longest value, in bytes; those above 64 KiB travel in sealed memory. Default 1 GiB.
    pub max_payload: u64,
    /// Bytes of one stream's items that may wait to be consumed. Default 256 KiB.
    pub stream_window: u64,
    /// Bytes of all streams' items that may wait to be consumed. A stream of which nothing waits may
    /// always have one item on its way. Default 16 MiB.
    pub connection_window: u64,
    /// Calls that may be in flight at once; further ones wait with their caller. Default 16,384.
    pub max_in_flight: usize,
    /// No limit, and not told: in which form the other side is sent tuple variants. Set by
    /// [`BackendOptions::tuple_variants`](crate::BackendOptions::tuple_variants); elsewhere unused.
    #[serde(skip)]
    pub tuple_variants: TupleVariants,
}

impl Default for IpcLimits {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            max_payload: 1 << 30,
            stream_window: 256 * 1024,
            connection_window: 16 * 1024 * 1024,
            max_in_flight: 16 * 1024,
            tuple_variants: TupleVariants::default(),
        }
    }
}

impl IpcLimits {
    /// Least `max_frame`: what a word of the protocol, an inline payload or a failure may need.
    pub const MIN_FRAME: usize = 128 * 1024;

    /// Checks that calls can be made within these limits.
    pub(crate) fn check(&self) -> Result<(), LimitsError> {
        let least = [
            ("max_frame", self.max_frame as u64, Self::MIN_FRAME as u64),
            ("max_payload", self.max_payload, INLINE_LIMIT as u64),
            ("stream_window", self.stream_window, 1),
            ("connection_window", self.connection_window, 1),
            ("max_in_flight", self.max_in_flight as u64, 1),
        ];
        for (limit, value, least) in least {
            if value < least {
                return Err(LimitsError::TooLow { limit, value, least });
            }
        }
        if self.max_frame > Self::MAX_FRAME {
            let (value, most) = (self.max_frame as u64, Self::MAX_FRAME as u64);
            return Err(LimitsError::TooHigh { limit: "max_frame", value, most });
        }
        Ok(())
    }

    /// Most that a frame's header can say.
    const MAX_FRAME: usize = (1 << 31) - 1;
}

/// Which limit of a connection cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// It is too low.
    #[error("{limit} is {value}, must be at least {least}")]
    TooLow {
        /// Which.
        limit: &'static str,
        /// What it is.
        value: u64,
        /// What it has to be at least.
        least: u64,
    },
    /// It is too high.
    #[error("{limit} is {value}, may be at most {most}")]
    TooHigh {
        /// Which.
        limit: &'static str,
        /// What it is.
        value: u64,
        /// What it may be at most.
        most: u64,
    },
}

/// The first word on every connection, from both sides.
///
/// It must stay readable for all later versions: fields may be added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Handshake {
    /// `"remotemedia"`.
    pub magic: String,
    /// The version of the protocol that the sender speaks.
    pub version: u32,
    /// The sender's number as it sees it itself.
    pub pid: u32,
    /// What the sender can do, by names.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What the sender takes.
    #[serde(default)]
    pub limits: IpcLimits,
    /// From the parent: what the child is configured with, serialised; empty for nothing.
    #[serde(default, with = "serde_bytes")]
    pub config: Vec<u8>,
    /// From the parent: the paths of the callbacks that the child may call.
    #[serde(default)]
    pub callbacks: Vec<String>,
    /// From the parent: the folder with what Python has to know of these callbacks' types, if there is
    /// one.
    #[serde(default)]
    pub stubs: Option<PathBuf>,
}

/// What was wrong with a child's introduction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// What it sent is no introduction at all.
    #[error("it does not speak this protocol: {0}")]
    NotAHello(#[source] ConnectionError),
    /// It introduced itself as something else.
    #[error("it introduced itself as {found:?}, not as {MAGIC:?}")]
    Magic {
        /// What it said.
        found: String,
    },
    /// It was built for another version of the protocol.
    #[error("it speaks protocol version {found}, this side speaks {PROTOCOL_VERSION}")]
    Version {
        /// The version it speaks.
        found: u32,
    },
    /// Another process than the one that was started sits at the other end.
    #[error(
        "process {found} answered instead of {expected}; a wrapper script must exec its program"
    )]
    Pid {
        /// The process that answered.
        found: u32,
        /// The process that was started.
        expected: u32,
    },
    /// It tells limits within which nothing can be called.
    #[error("it tells limits that cannot be: {0}")]
    Limits(#[source] LimitsError),
    /// It closed its control channel and lives on.
    #[error("it closed its control channel without a word")]
    Closed,
    /// It said nothing in its time.
    #[error("it did not introduce itself within {waited:?}")]
    Silent {
        /// How long it had.
        waited: std::time::Duration,
    },
}

impl Handshake {
    /// The introduction of this process.
    pub(crate) fn of_this_process(limits: IpcLimits) -> Self {
        Self {
            magic: MAGIC.to_owned(),
            version: PROTOCOL_VERSION,
            pid: std::process::id(),
            capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            limits,
            config: Vec::new(),
            callbacks: Vec::new(),
            stubs: None,
        }
    }

    /// Checks that this is a peer of the right kind, and the process that was started where that is
    /// known.
    pub(crate) fn verify(&self, expected: Option<u32>) -> Result<(), HandshakeError> {
        if self.magic != MAGIC {
            return Err(HandshakeError::Magic { found: self.magic.clone() });
        }
        if self.version != PROTOCOL_VERSION {
            return Err(HandshakeError::Version { found: self.version });
        }
        if let Some(expected) = expected.filter(|expected| *expected != self.pid) {
            return Err(HandshakeError::Pid { found: self.pid, expected });
        }
        self.limits.check().map_err(HandshakeError::Limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_introduction_is_refused_if_any_part_of_it_is_wrong() {
        let good = Handshake::of_this_process(IpcLimits::default());
        let pid = std::process::id();
        assert!(good.verify(Some(pid)).is_ok());

        let magic = Handshake { magic: "telnet".to_owned(), ..good.clone() };
        assert!(matches!(magic.verify(None), Err(HandshakeError::Magic { .. })));
        let version = Handshake { version: 0, ..good.clone() };
        assert!(matches!(version.verify(None), Err(HandshakeError::Version { found: 0 })));
        assert!(matches!(good.verify(Some(pid + 1)), Err(HandshakeError::Pid { .. })));
        let limits = IpcLimits { max_frame: 100, ..IpcLimits::default() };
        let cramped = Handshake { limits, ..good };
        let text = cramped.verify(None).expect_err("frames of 100 bytes").to_string();
        assert_eq!(
            text,
            "it tells limits that cannot be: max_frame is 100, must be at least 131072"
        );
    }
}
