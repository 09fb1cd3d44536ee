//! What is known about a process that failed.
//!
//! Main type: [`FailureReport`]. It is a plain record, made by
//! [`NodeProcess::failure_report`](crate::NodeProcess::failure_report).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Tail;
use crate::exit::ExitStatus;
use crate::status::ProcessStatus;

/// What is known about a process that failed. Its `Display` is for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailureReport {
    /// What the process is called.
    pub label: String,
    /// Its command line.
    pub command: String,
    /// The operating system's number of it.
    pub pid: u32,
    /// Where it was in its life.
    pub status: ProcessStatus,
    /// How it ended, if it has ended.
    pub exit: Option<ExitStatus>,
    /// How long it ran.
    pub uptime: Duration,
    /// The last 64 KiB of what it wrote to stderr.
    pub stderr_tail: String,
}

impl fmt::Display for FailureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}) ", self.label, self.pid)?;
        match &self.exit {
            Some(exit) => write!(f, "{exit} after {:.1?}", self.uptime)?,
            None => write!(f, "runs for {:.1?} and is {}", self.uptime, self.status)?,
        }
        write!(f, "; command: {}{}", self.command, Tail(&self.stderr_tail))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_report_reads_well_for_a_dead_and_for_a_living_process() {
        let mut report = FailureReport {
            label: "asr".to_owned(),
            command: "python3 -m worker".to_owned(),
            pid: 12,
            status: ProcessStatus::Ready,
            exit: Some(ExitStatus::new(None, Some(11), false, SystemTime::UNIX_EPOCH)),
            uptime: Duration::from_millis(1234),
            stderr_tail: "first\nlast\n".to_owned(),
        };
        assert_eq!(
            report.to_string(),
            "asr (pid 12) killed by signal SIGSEGV after 1.2s; command: python3 -m worker; \
             last output:\n  first\n  last"
        );
        report.exit = None;
        report.stderr_tail.clear();
        assert_eq!(
            report.to_string(),
            "asr (pid 12) runs for 1.2s and is ready; command: python3 -m worker"
        );
    }
}
