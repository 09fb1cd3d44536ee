//! The life of a process as a pure state machine.
//!
//! Main type: [`ProcessStatus`]. It knows which status may follow which; it does not watch
//! processes.
//!
//! ```text
//! Idle → Initializing → Ready ↔ Processing → Stopping → Stopped
//! ```
//!
//! Any status before `Stopping` may also become `Error` (the process failed) or `Stopping` (it
//! was asked to stop); `Error` may only become `Stopping`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::{ExitReason, ExitStatus};

/// Where a process is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcessStatus {
    /// Started, not yet initialised.
    Idle,
    /// Loading what it needs.
    Initializing,
    /// Initialised, waiting for data.
    Ready,
    /// At work on data.
    Processing,
    /// Asked to stop.
    Stopping,
    /// Gone.
    Stopped,
    /// Failed, and why.
    Error(String),
}

/// A status change that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a process that is {from} cannot become {to}")]
pub struct IllegalTransition {
    /// The status it has.
    pub from: ProcessStatus,
    /// The status it was to get.
    pub to: ProcessStatus,
}

impl ProcessStatus {
    /// Whether `next` may follow this status. No status follows itself.
    pub const fn can_become(&self, next: &Self) -> bool {
        use ProcessStatus::{Error, Idle, Initializing, Processing, Ready, Stopped, Stopping};
        matches!(
            (self, next),
            (Idle, Initializing)
                | (Initializing, Ready)
                | (Ready, Processing)
                | (Processing, Ready)
                | (Stopping, Stopped)
                | (Idle | Initializing | Ready | Processing, Error(_) | Stopping)
                | (Error(_), Stopping)
        )
    }

    /// Changes to `next`.
    ///
    /// # Errors
    /// [`IllegalTransition`] if it may not follow; the status then stays as it is.
    pub fn become_next(&mut self, next: Self) -> Result<(), IllegalTransition> {
        if !self.can_become(&next) {
            return Err(IllegalTransition { from: self.clone(), to: next });
        }
        *self = next;
        Ok(())
    }

    /// The status after the process has exited: `Stopped` if it was stopping or ended well by
    /// itself, else an error; an error that was there before stays.
    pub fn after_exit(&self, exit: &ExitStatus) -> Self {
        match self {
            Self::Stopping | Self::Stopped => Self::Stopped,
            Self::Error(_) => self.clone(),
            _ if exit.reason == ExitReason::Normal => Self::Stopped,
            _ => Self::Error(exit.to_string()),
        }
    }
}

impl fmt::Display for ProcessStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Initializing => f.write_str("initializing"),
            Self::Ready => f.write_str("ready"),
            Self::Processing => f.write_str("processing"),
            Self::Stopping => f.write_str("stopping"),
            Self::Stopped => f.write_str("stopped"),
            Self::Error(message) => write!(f, "in error ({message})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::ProcessStatus::{Error, Idle, Initializing, Processing, Ready, Stopped, Stopping};
    use super::*;

    fn all() -> [ProcessStatus; 7] {
        let error = Error("broken".to_owned());
        [Idle, Initializing, Ready, Processing, Stopping, Stopped, error]
    }

    #[test]
    fn only_the_transitions_of_the_data_model_are_legal() {
        let error = || Error("broken".to_owned());
        let legal = [
            (Idle, Initializing),
            (Initializing, Ready),
            (Ready, Processing),
            (Processing, Ready),
            (Stopping, Stopped),
            (Idle, error()),
            (Initializing, error()),
            (Ready, error()),
            (Processing, error()),
            (Idle, Stopping),
            (Initializing, Stopping),
            (Ready, Stopping),
            (Processing, Stopping),
            (error(), Stopping),
        ];
        for from in all() {
            for to in all() {
                let expected = legal.contains(&(from.clone(), to.clone()));
                let mut status = from.clone();
                let result = status.become_next(to.clone());
                assert_eq!(result.is_ok(), expected, "{from} to {to}");
                assert_eq!(status, if expected { to } else { from.clone() });
            }
        }
    }

    #[test]
    fn an_exit_is_an_error_unless_it_was_wanted_or_clean() {
        let check = |from: ProcessStatus, code, expected: ProcessStatus| {
            let exit = ExitStatus {
                code: Some(code),
                signal: None,
                timestamp: SystemTime::UNIX_EPOCH,
                reason: if code == 0 { ExitReason::Normal } else { ExitReason::Crash },
            };
            assert_eq!(from.after_exit(&exit), expected);
        };
        check(Ready, 0, Stopped);
        check(Ready, 3, Error("exited with code 3".to_owned()));
        check(Stopping, 3, Stopped);
        check(Error("first".to_owned()), 3, Error("first".to_owned()));
    }

    #[test]
    fn an_illegal_transition_names_both_ends() {
        let error = Stopped.clone().become_next(Ready).unwrap_err();
        assert_eq!(error.to_string(), "a process that is stopped cannot become ready");
    }
}
