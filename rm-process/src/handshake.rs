//! The introduction: what a child sends first, and how the parent checks it.
//!
//! Main type: [`Hello`]. Who waits for it, and how long, is decided in `spawn`.

use serde::{Deserialize, Serialize};

use crate::connection::ConnectionError;

/// Version of the protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 2;

/// What every introduction starts with.
const MAGIC: &str = "remotemedia";

/// The first frame on every control channel, sent by the child.
///
/// It must stay readable for all later versions: fields may be added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    magic: String,
    version: u32,
    pid: u32,
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
    /// It closed its control channel and lives on.
    #[error("it closed its control channel without a word")]
    Closed,
}

impl Hello {
    /// The introduction of this process.
    pub(crate) fn of_this_process() -> Self {
        Self { magic: MAGIC.to_owned(), version: PROTOCOL_VERSION, pid: std::process::id() }
    }

    /// Checks that this is a peer of the right kind, and the process that was started.
    pub(crate) fn verify(self, expected: u32) -> Result<(), HandshakeError> {
        if self.magic != MAGIC {
            return Err(HandshakeError::Magic { found: self.magic });
        }
        if self.version != PROTOCOL_VERSION {
            let found = self.version;
            return Err(HandshakeError::Version { found });
        }
        if self.pid != expected {
            let found = self.pid;
            return Err(HandshakeError::Pid { found, expected });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_introduction_is_refused_if_any_part_of_it_is_wrong() {
        let good = Hello::of_this_process();
        let pid = std::process::id();
        assert!(good.clone().verify(pid).is_ok());

        let magic = Hello { magic: "telnet".to_owned(), ..good.clone() };
        assert!(matches!(magic.verify(pid), Err(HandshakeError::Magic { .. })));
        let version = Hello { version: 0, ..good.clone() };
        assert!(matches!(version.verify(pid), Err(HandshakeError::Version { found: 0 })));
        assert!(matches!(good.verify(pid + 1), Err(HandshakeError::Pid { .. })));
    }
}
