//! How a process ended.
//!
//! Main type: [`ExitStatus`]. It is a plain record; who waits for the exit is elsewhere, and what
//! the reason was is decided in `verdict`.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::limits::Limit;

/// The end of a process.
///
/// Neither code nor signal is known if the operating system had already forgotten the process,
/// which happens where this program ignores SIGCHLD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The code with which it exited, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When the end was seen.
    pub timestamp: SystemTime,
    /// What kind of end it was.
    pub reason: ExitReason,
}

/// What kind of end it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// It exited with code 0.
    Normal,
    /// It exited with another code, or by a signal that a fault raises.
    Crash,
    /// Somebody ended it: SIGKILL, SIGTERM, SIGINT, SIGHUP or SIGQUIT.
    Killed,
    /// This runtime killed it because a deadline had passed.
    Timeout,
    /// It went beyond one of the limits that it was held to.
    ResourceLimit {
        /// Which one.
        limit: Limit,
    },
}

impl ExitStatus {
    /// The record of what the operating system gave back, now.
    pub(crate) fn from_wait(status: Option<std::process::ExitStatus>, reason: ExitReason) -> Self {
        let code = status.and_then(|status| status.code());
        let signal = status.and_then(|status| status.signal());
        Self { code, signal, timestamp: SystemTime::now(), reason }
    }

    /// Whether it exited with code 0.
    pub const fn success(&self) -> bool {
        matches!(self.code, Some(0))
    }

    /// The name of the signal that ended it, such as `"SIGSEGV"`.
    pub fn signal_name(&self) -> Option<&'static str> {
        let signal = Signal::try_from(self.signal?).ok()?;
        Some(signal.as_str())
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal, self.signal_name()) {
            (Some(code), _, _) => write!(f, "exited with code {code}"),
            (None, Some(_), Some(name)) => write!(f, "killed by signal {name}"),
            (None, Some(signal), None) => write!(f, "killed by signal {signal}"),
            (None, None, _) => f.write_str("exited with an unknown code"),
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Crash => f.write_str("crash"),
            Self::Killed => f.write_str("killed"),
            Self::Timeout => f.write_str("timeout"),
            Self::ResourceLimit { limit } => write!(f, "resource limit ({limit})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_named_as_a_person_would() {
        let check = |code, signal, text: &str| {
            let (timestamp, reason) = (SystemTime::UNIX_EPOCH, ExitReason::Crash);
            assert_eq!(ExitStatus { code, signal, timestamp, reason }.to_string(), text);
        };
        check(Some(0), None, "exited with code 0");
        check(Some(3), None, "exited with code 3");
        check(None, Some(11), "killed by signal SIGSEGV");
        check(None, Some(35), "killed by signal 35");
        check(None, None, "exited with an unknown code");
    }
}
