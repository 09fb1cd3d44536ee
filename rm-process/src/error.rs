//! Why a process could not be brought to life.
//!
//! Main type: [`ProcessError`]. What went wrong on an established control channel is a
//! [`ConnectionError`](crate::ConnectionError); how a process ended is an
//! [`ExitStatus`].

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::exit::ExitStatus;
use crate::handshake::HandshakeError;

/// Why a process could not be started or did not introduce itself.
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
    /// The machine or this user has no more of something that a process needs.
    #[error("cannot start {program:?}: the limit on {limit} is reached")]
    ResourceLimit {
        /// The program that was to be started.
        program: String,
        /// What there is no more of.
        limit: &'static str,
    },
    /// The process gave no sign of life.
    #[error(
        "{label} sent nothing over its control channel within {timeout:?}{}",
        Tail(stderr_tail)
    )]
    InitTimeout {
        /// Which process.
        label: String,
        /// How long it had.
        timeout: Duration,
        /// The last of what it wrote to stderr.
        stderr_tail: String,
    },
    /// The process ended before it was ready.
    #[error("{label} {exit} before it was ready{}", Tail(stderr_tail))]
    EarlyExit {
        /// Which process.
        label: String,
        /// How it ended.
        exit: ExitStatus,
        /// The last of what it wrote to stderr.
        stderr_tail: String,
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
}

impl ProcessError {
    /// What a failed attempt to start `program` means.
    pub(crate) fn from_spawn(program: &str, error: &io::Error) -> Self {
        let limit = match Errno::from_io_error(error) {
            Some(Errno::AGAIN) => "the number of processes",
            Some(Errno::NOMEM) => "memory",
            Some(Errno::MFILE | Errno::NFILE) => "the number of open files",
            _ => return Self::SpawnFailed(format!("cannot start {program:?}: {error}")),
        };
        Self::ResourceLimit { program: program.to_owned(), limit }
    }
}

/// Lines of output that an error message or a report shows; the fields hold all that was kept.
const SHOWN_LINES: usize = 20;

/// The last lines of some output, below a message.
pub(crate) struct Tail<'a>(pub(crate) &'a str);

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.0.trim_end().lines().collect();
        if lines.is_empty() {
            return Ok(());
        }
        f.write_str("; last output:")?;
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
        assert_eq!(shown.lines().count(), 1 + SHOWN_LINES);
        assert!(shown.starts_with("; last output:\n  line 80\n"));
        assert!(shown.ends_with("\n  line 99"));
        assert_eq!(Tail("\n").to_string(), "");
    }

    #[test]
    fn running_out_of_processes_files_or_memory_is_a_resource_limit() {
        let check = |errno: Errno, expected: Option<&str>| {
            let error = ProcessError::from_spawn("tool", &errno.into());
            let limit = match error {
                ProcessError::ResourceLimit { limit, .. } => Some(limit),
                _ => None,
            };
            assert_eq!(limit, expected);
        };
        check(Errno::AGAIN, Some("the number of processes"));
        check(Errno::MFILE, Some("the number of open files"));
        check(Errno::NOMEM, Some("memory"));
        check(Errno::NOENT, None);
    }
}
