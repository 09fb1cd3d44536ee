//! What a [`Lifecycle`](super::Lifecycle) is told and what it answers.
//!
//! Main types: [`Event`], [`Action`] and [`Deadline`]. They are plain values; which event makes
//! sense when, and what comes of it, is for the machine to say.

use std::fmt;
use std::time::Duration;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The process runs.
    Spawned,
    /// The process could not be started, and why.
    #[cfg_attr(not(test), expect(dead_code, reason = "who asked for it gets an error instead"))]
    SpawnFailed(String),
    /// The handshake over the control channel is done.
    Introduced,
    /// The owner had the process initialise itself.
    Initialize,
    /// The process reports progress of its initialisation.
    Progress,
    /// The process is initialised.
    Ready,
    /// The process took an item.
    ItemStarted,
    /// The process is done with its item.
    ItemDone,
    /// The process failed, and why. It is expected to end by itself.
    Failed(String),
    /// The owner wants the process to be gone within the grace period.
    Stop {
        /// From now until the process is to be gone.
        grace: Duration,
    },
    /// The owner wants the process to be gone now.
    Kill,
    /// A deadline of the owner has passed, and which.
    Expire(String),
    /// The process is gone. Neither is known if the operating system had forgotten it.
    Exited {
        /// The code with which it exited, if it exited by itself.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
    },
    /// Time has passed.
    Tick,
}

/// What the owner has to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask the process over its control channel to stop.
    Ask,
    /// Send a signal.
    Signal(Signal),
}

/// A signal that the owner has to send to the process and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGABRT.
    Abort,
    /// SIGKILL.
    Kill,
}

/// A deadline that the process has not kept, with the time that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// From its start until it is introduced.
    Handshake(Duration),
    /// From one progress to the next while it initialises.
    Progress(Duration),
    /// From its start until it is ready.
    InitLimit(Duration),
    /// From the request to stop until it is gone.
    Grace(Duration),
    /// A deadline of the owner, in its words.
    Caller(String),
}

impl Deadline {
    /// Whether it is one of those until a process is ready.
    pub(crate) fn is_of_start(&self) -> bool {
        matches!(self, Self::Handshake(_) | Self::Progress(_) | Self::InitLimit(_))
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshake(time) => {
                write!(f, "no introduction over the control channel within {time:?} of the start")
            }
            Self::Progress(time) => write!(f, "no progress of the initialisation for {time:?}"),
            Self::InitLimit(time) => write!(f, "not ready within {time:?} of the start"),
            Self::Grace(time) => write!(f, "not gone within a grace period of {time:?}"),
            Self::Caller(text) => f.write_str(text),
        }
    }
}
