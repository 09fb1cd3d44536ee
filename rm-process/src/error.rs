//! Why a process could not be brought to life.
//!
//! Main type: [`ProcessError`]. What went wrong on an established control channel is a
//! [`ConnectionError`](crate::ConnectionError); how a process ended is an
//! [`ExitStatus`](crate::ExitStatus).

use std::fmt;
use std::io;

use rustix::io::Errno;

use crate::failure::PythonExecutionError;
use crate::handshake::HandshakeError;
use crate::limits::{Limit, LimitError};
use crate::process::NodeProcess;
use crate::python::{InterpreterError, ModulePathError};
use crate::report::FailureReport;

/// Why a process could not be started or did not introduce itself, or is not to be found.
///
/// A process that was started before the error arose has been killed and reaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The operating system refused to start the program; the text says which and why.
    #[error("{0}")]
    SpawnFailed(String),
    /// The specification cannot be right; the text says what is wrong.
    #[error("{0}")]
    InvalidConfig(String),
    /// No interpreter can be had for a Python node.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The module path of a Python node cannot be said.
    #[error(transparent)]
    ModulePath(#[from] ModulePathError),
    /// This machine cannot hold a process to a limit that was asked for.
    #[error(transparent)]
    Unenforceable(#[from] LimitError),
    /// The machine, this user or this runtime has no more of something that a process needs.
    #[error("cannot start {program:?}: the limit on {limit} is reached: {detail}")]
    ResourceLimit {
        /// The program that was to be started.
        program: String,
        /// What there is no more of.
        limit: Limit,
        /// Whose limit it is, or what the operating system said.
        detail: String,
    },
    /// The process did not introduce itself, or did not get ready, in its time.
    #[error("{report}")]
    InitTimeout {
        /// Which process, the deadline that it missed, and all that is known of it.
        report: Box<FailureReport>,
    },
    /// The process ended before it was ready.
    #[error("not ready: {report}")]
    EarlyExit {
        /// Which process, how it ended, and all that is known of it.
        report: Box<FailureReport>,
    },
    /// The process told that it cannot get ready.
    #[error("{} cannot get ready: {message}{}", report.label, Below(report.traceback()))]
    InitFailed {
        /// What it told.
        message: String,
        /// The same as a type, for what goes wrong in Python handlers.
        error: Option<Box<PythonExecutionError>>,
        /// All that is known of it.
        report: Box<FailureReport>,
    },
    /// The process does not speak this protocol, or another version of it.
    #[error("{label} is not a usable peer: {source}{}", Tail(stderr_tail))]
    ForeignPeer {
        /// Which process.
        label: String,
        /// What was wrong with its introduction.
        #[source]
        source: HandshakeError,
        /// The last of what it wrote to stderr.
        stderr_tail: String,
    },
    /// No process of this number was started here, or its number belongs to a stranger by now.
    #[error("no process {pid} was started by this runtime")]
    NoSuchProcess {
        /// The number that was asked for.
        pid: u32,
    },
}

impl ProcessError {
    /// What a failed attempt to start `program` means.
    pub(crate) fn from_spawn(program: &str, error: &io::Error) -> Self {
        let limit = match Errno::from_io_error(error) {
            Some(Errno::AGAIN) => Limit::Processes,
            Some(Errno::NOMEM) => Limit::Memory,
            Some(Errno::MFILE | Errno::NFILE) => Limit::OpenFiles,
            _ => return Self::SpawnFailed(format!("cannot start {program:?}: {error}")),
        };
        let (program, detail) = (program.to_owned(), error.to_string());
        Self::ResourceLimit { program, limit, detail }
    }

    /// What it means that a process that is dead now has introduced itself wrongly.
    pub(crate) fn foreign(process: &NodeProcess, source: HandshakeError) -> Self {
        let (label, stderr_tail) = (process.label().to_owned(), process.stderr_tail());
        Self::ForeignPeer { label, source, stderr_tail }
    }
}

/// Lines of output that an error message or a report shows; the fields hold all that was kept.
const SHOWN_LINES: usize = 20;

/// A text of several lines, if there is one, below a message.
struct Below(Option<String>);

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(text) => write!(f, "\n{text}"),
            None => Ok(()),
        }
    }
}

/// The last lines of some output, below a message.
pub(crate) struct Tail<'a>(pub(crate) &'a str);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.0.trim_end().lines().collect();
        if lines.is_empty() {
            return Ok(());
        }
        f.write_str("\nlast output:")?;
        for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_the_last_lines_of_output_and_only_those() {
        let output: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let shown = Tail(&output).to_string();
        assert_eq!(shown.lines().count(), 2 + SHOWN_LINES);
        assert!(shown.starts_with("\nlast output:\n  line 80\n"));
        assert!(shown.ends_with("\n  line 99"));
        assert_eq!(Tail("\n").to_string(), "");
    }

    #[test]
    fn running_out_of_processes_files_or_memory_is_a_resource_limit() {
        let check = |errno: Errno, expected: Option<Limit>| {
            let error = ProcessError::from_spawn("tool", &errno.into());
            let limit = match error {
                ProcessError::ResourceLimit { limit, .. } => Some(limit),
                _ => None,
            };
            assert_eq!(limit, expected);
        };
        check(Errno::AGAIN, Some(Limit::Processes));
        check(Errno::MFILE, Some(Limit::OpenFiles));
        check(Errno::NOMEM, Some(Limit::Memory));
        check(Errno::NOENT, None);
    }
}
