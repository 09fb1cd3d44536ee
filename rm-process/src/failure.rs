//! Why a call failed at the other end, in a form that travels.
//!
//! Main type: [`PythonExecutionError`]. What fails at the caller's own end is a
//! [`SubprocessIpcBackendError`](crate::SubprocessIpcBackendError).

use std::error::Error;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::telemetry::metrics::FailureKind;

/// Longest text of a failure that is sent, in bytes; of a traceback the end is kept, which says most.
const MAX_TEXT: usize = 16 * 1024;

/// What went wrong in the process that served a call: in Python code, in a Rust handler, or on the way
/// into and out of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum PythonExecutionError {
    /// Python code raised an exception.
    #[error("{exception}: {message}")]
    Raised {
        /// The exception's type, with its module unless that is `builtins`.
        exception: String,
        /// Its message.
        message: String,
        /// Its traceback as Python prints it; empty where there is none.
        traceback: String,
    },
    /// A module cannot be imported.
    #[error("cannot import {module:?}: {message}")]
    ModuleNotFound {
        /// The module.
        module: String,
        /// Why, in Python's words.
        message: String,
    },
    /// A module has no such function.
    #[error("module {module:?} has no function {function:?}{message}")]
    FunctionNotFound {
        /// The module.
        module: String,
        /// The function.
        function: String,
        /// What it has instead, where something is near.
        message: String,
    },
    /// A Rust handler returned an error.
    #[error("{error_type}: {message}")]
    Handler {
        /// The error's type.
        error_type: String,
        /// Its message, with those of its causes.
        message: String,
    },
    /// A handler panicked.
    #[error("handler panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// What came cannot be read as the type that is expected.
    #[error("{message}")]
    Deserialization {
        /// Where in it, what was expected, and what came.
        message: String,
    },
    /// What is to be sent has no serialised form, or too long a one.
    #[error("{message}")]
    Serialization {
        /// Where in it, and what was wrong.
        message: String,
    },
    /// Nothing is registered by this path.
    #[error("no callback {path:?}{}", Known(known))]
    NoSuchCallback {
        /// The path that was asked for.
        path: String,
        /// The paths that there are.
        known: Vec<String>,
    },
    /// The caller gave the call up.
    #[error("the call was cancelled")]
    Cancelled,
    /// The call's deadline passed.
    #[error("the call's deadline passed")]
    DeadlineExceeded,
    /// The process finishes what it has begun and takes nothing new.
    #[error("the process is shutting down")]
    ShuttingDown,
    /// The handler let go of the call without an answer.
    #[error("the call was let go without an answer")]
    Abandoned,
    /// The connection does not carry calls any more.
    #[error("{message}")]
    Ipc {
        /// Why.
        message: String,
    },
}

struct Known<'a>(&'a [String]);

impl std::fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => f.write_str("; none is registered"),
            known => write!(f, "; there are: {}", known.join(", ")),
        }
    }
}

impl PythonExecutionError {
    /// The failure of a Rust handler by its error.
    pub fn handler<E: Error>(error: &E) -> Self {
        let error_type = std::any::type_name::<E>().to_owned();
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            write!(message, ": {error}").expect("strings take all that is written");
            cause = error.source();
        }
        Self::Handler { error_type, message }
    }

    /// The name of its variant.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Raised { .. } => "Raised",
            Self::ModuleNotFound { .. } => "ModuleNotFound",
            Self::FunctionNotFound { .. } => "FunctionNotFound",
            Self::Handler { .. } => "Handler",
            Self::Panicked { .. } => "Panicked",
            Self::Deserialization { .. } => "Deserialization",
            Self::Serialization { .. } => "Serialization",
            Self::NoSuchCallback { .. } => "NoSuchCallback",
            Self::Cancelled => "Cancelled",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::ShuttingDown => "ShuttingDown",
            Self::Abandoned => "Abandoned",
            Self::Ipc { .. } => "Ipc",
        }
    }

    /// Under which kind it is counted.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Panicked { .. } => FailureKind::Panicked,
            Self::NoSuchCallback { .. } => FailureKind::Unroutable,
            Self::Deserialization { .. } | Self::Serialization { .. } => FailureKind::Encoding,
            Self::Cancelled => FailureKind::Cancelled,
            Self::DeadlineExceeded => FailureKind::Deadline,
            Self::ShuttingDown | Self::Ipc { .. } => FailureKind::Closed,
            _ => FailureKind::Remote,
        }
    }

    /// The failure of a handler that panicked with `panic`.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::Panicked { message: text.unwrap_or("it did not say why").to_owned() }
    }

    /// The same within the bounds of what is sent.
    pub(crate) fn cut(mut self) -> Self {
        match &mut self {
            Self::Raised { exception, message, traceback } => {
                cut(exception);
                cut(message);
                cut_start(traceback);
            }
            Self::ModuleNotFound { module, message } => {
                cut(module);
                cut(message);
            }
            Self::FunctionNotFound { module, function, message } => {
                cut(module);
                cut(function);
                cut(message);
            }
            Self::Handler { error_type, message } => {
                cut(error_type);
                cut(message);
            }
            Self::NoSuchCallback { path, known } => {
                cut(path);
                known.truncate(64);
                known.iter_mut().for_each(|path| cut_to(path, 256));
            }
            Self::Panicked { message }
            | Self::Deserialization { message }
            | Self::Serialization { message }
            | Self::Ipc { message } => cut(message),
            Self::Cancelled | Self::DeadlineExceeded | Self::ShuttingDown | Self::Abandoned => {}
        }
        self
    }
}

/// The start of a text.
pub(crate) fn cut_to(text: &mut String, max: usize) {
    let end = (0..=max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
}

fn cut(text: &mut String) {
    cut_to(text, MAX_TEXT);
}

fn cut_start(text: &mut String) {
    let from = text.len().saturating_sub(MAX_TEXT);
    let from = (from..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.drain(..from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_cut_between_characters() {
        let known = vec![format!("{}ä", "x".repeat(255))];
        let failure = PythonExecutionError::NoSuchCallback { path: String::new(), known };
        let PythonExecutionError::NoSuchCallback { known, .. } = failure.cut() else {
            panic!("another failure")
        };
        assert_eq!(known, ["x".repeat(255)]);
    }
}
