//! Why a process ended, from what it left behind. Pure.
//!
//! Main type: [`Verdict`]. It weighs evidence; it collects none.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use crate::diagnosis::{Diagnosis, PythonException};
use crate::exit::ExitReason;
use crate::limits::{Limit, Limits};
use crate::report::PeakMemory;

/// Share of its memory limit, in percent, from which on a process that dies abnormally is taken to
/// have died of it.
const FULL: u64 = 95;

/// What is known of an end.
pub(crate) struct Evidence<'a> {
    /// What the operating system gave back; `None` if it had forgotten the process.
    pub(crate) status: Option<ExitStatus>,
    /// Whether this runtime sent a signal because a deadline had passed.
    pub(crate) deadline_passed: bool,
    /// Whether this runtime had told the process to end, or killed it.
    pub(crate) was_told_to_end: bool,
    /// The limits that it was held to.
    pub(crate) limits: &'a Limits,
    /// How many of its tree the kernel has killed for their memory.
    pub(crate) oom_kills: u64,
    /// Most memory that it had in RAM.
    pub(crate) peak_memory: PeakMemory,
    /// Most memory that it and its descendants had together, in bytes, where that was counted.
    pub(crate) peak_tree_memory: Option<u64>,
    /// What it said at the end.
    pub(crate) said: &'a Diagnosis,
    /// The exception that ended it, of those that it told of.
    pub(crate) exception: Option<&'a PythonException>,
}

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reason: ExitReason,
    /// Whether a lack of memory may lie behind it, without proof.
    pub(crate) possibly_memory: bool,
}

impl Verdict {
    pub(crate) fn of(evidence: &Evidence<'_>) -> Self {
        let code = evidence.status.and_then(|status| status.code());
        let signal = evidence.status.and_then(|status| status.signal());
        let signal = signal.and_then(|signal| Signal::try_from(signal).ok());
        let known = |reason| Self { reason, possibly_memory: false };

        use Signal::{SIGABRT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGXCPU, SIGXFSZ};
        if code == Some(0) {
            return known(ExitReason::Normal);
        }
        if evidence.deadline_passed && matches!(signal, Some(SIGKILL | SIGABRT | SIGTERM)) {
            return known(ExitReason::Timeout);
        }
        if let Some(limit) = evidence.exceeded() {
            return known(ExitReason::ResourceLimit { limit });
        }
        let reason = match signal {
            Some(SIGXCPU) => ExitReason::ResourceLimit { limit: Limit::CpuTime },
            Some(SIGXFSZ) => ExitReason::ResourceLimit { limit: Limit::FileSize },
            Some(SIGKILL | SIGTERM | SIGINT | SIGHUP | SIGQUIT) => ExitReason::Killed,
            _ => ExitReason::Crash,
        };
        // An exception that names another cause leaves no doubt.
        let is_explained = evidence.was_told_to_end
            || evidence.exception.is_some()
            || matches!(reason, ExitReason::ResourceLimit { .. });
        let is_limited = evidence.limits.max_memory.is_some()
            || evidence.oom_kills > 0
            || evidence.said.names_memory();
        Self { reason, possibly_memory: is_limited && !is_explained }
    }
}

impl Evidence<'_> {
    /// The limit that the process has gone beyond, where there is proof.
    fn exceeded(&self) -> Option<Limit> {
        if self.was_told_to_end && self.oom_kills == 0 {
            return None;
        }
        if let Some(max) = self.limits.max_memory {
            let peak = self.peak_memory;
            // Files that are mapped count in the process's own peak only.
            let tree_agrees = self.peak_tree_memory.is_none_or(|bytes| bytes >= max / 100 * FULL);
            let is_full = !peak.is_bound && peak.bytes >= max / 100 * FULL && tree_agrees;
            let names_memory = self.ended_by_its_words()
                && self.said.names_memory()
                && !self.said.names_device_memory();
            let other_exception = self.exception.is_some() && !names_memory;
            if self.oom_kills > 0 || names_memory || (is_full && !other_exception) {
                return Some(Limit::Memory);
            }
        }
        let names_files = self.exception.is_some() && self.said.names_open_files();
        (self.limits.open_files.is_some() && names_files).then_some(Limit::OpenFiles)
    }

    /// Whether what was printed tells of the end, and not of something before that was handled.
    fn ended_by_its_words(&self) -> bool {
        self.exception.is_some() || self.said.abort.is_some()
    }
}

#[cfg(test)]
mod tests;
