//! How a process ended.
//!
//! Main type: [`ExitStatus`]. It is a plain record; who waits for the exit is elsewhere.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::time::SystemTime;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

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
    /// The operating system ended it at one of its limits (CPU time, file size).
    ResourceLimit,
}

impl ExitStatus {
    /// The record of one end. `deadline_passed` says that this runtime sent SIGKILL because of a
    /// deadline.
    pub(crate) fn new(
        code: Option<i32>,
        signal: Option<i32>,
        deadline_passed: bool,
        timestamp: SystemTime,
    ) -> Self {
        Self { code, signal, timestamp, reason: reason(code, signal, deadline_passed) }
    }

    /// The record of what the operating system gave back, now.
    pub(crate) fn from_wait(
        status: Option<std::process::ExitStatus>,
        deadline_passed: bool,
    ) -> Self {
        let code = status.and_then(|status| status.code());
        let signal = status.and_then(|status| status.signal());
        Self::new(code, signal, deadline_passed, SystemTime::now())
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

fn reason(code: Option<i32>, signal: Option<i32>, deadline_passed: bool) -> ExitReason {
    if code == Some(0) {
        return ExitReason::Normal;
    }
    match signal.and_then(|signal| Signal::try_from(signal).ok()) {
        Some(Signal::SIGKILL) if deadline_passed => ExitReason::Timeout,
        Some(
            Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP | Signal::SIGQUIT,
        ) => ExitReason::Killed,
        Some(Signal::SIGXCPU | Signal::SIGXFSZ) => ExitReason::ResourceLimit,
        _ => ExitReason::Crash,
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
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Crash => "crash",
            Self::Killed => "killed",
            Self::Timeout => "timeout",
            Self::ResourceLimit => "resource limit",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        code: Option<i32>,
        signal: Option<i32>,
        deadline: bool,
        reason: ExitReason,
        text: &str,
    ) {
        let exit = ExitStatus::new(code, signal, deadline, SystemTime::UNIX_EPOCH);
        assert_eq!(exit.reason, reason);
        assert_eq!(exit.to_string(), text);
    }

    #[test]
    fn ends_are_told_apart_and_signals_are_named() {
        use ExitReason::{Crash, Killed, Normal, ResourceLimit, Timeout};
        check(Some(0), None, false, Normal, "exited with code 0");
        check(Some(3), None, false, Crash, "exited with code 3");
        check(None, Some(11), false, Crash, "killed by signal SIGSEGV");
        check(None, Some(6), true, Crash, "killed by signal SIGABRT");
        check(None, Some(9), false, Killed, "killed by signal SIGKILL");
        check(None, Some(9), true, Timeout, "killed by signal SIGKILL");
        check(None, Some(15), true, Killed, "killed by signal SIGTERM");
        check(None, Some(24), false, ResourceLimit, "killed by signal SIGXCPU");
        check(None, Some(35), false, Crash, "killed by signal 35");
        check(None, None, false, Crash, "exited with an unknown code");
    }
}
