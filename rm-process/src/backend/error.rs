//! Why a call gave no answer, or a backend no calls.
//!
//! Main type: [`SubprocessIpcBackendError`]. What failed at the other end is inside it as a
//! [`PythonExecutionError`].

use std::sync::Arc;
use std::time::Duration;

use crate::connection::ConnectionError;
use crate::error::ProcessError;
use crate::failure::PythonExecutionError;
use crate::handshake::{HandshakeError, LimitsError};
use crate::link::{CallEnd, LinkEnd, NotCalled};
use crate::protocol::FrameError;
use crate::report::FailureReport;
use crate::restart::{BackoffError, NotRestarted};
use crate::telemetry::metrics::FailureKind;
use crate::value::ValueError;

/// Why a child could not be reached, or a call to it, or to its parent, gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubprocessIpcBackendError {
    /// The child could not be started, or did not get ready.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The peer that was attached does not speak this protocol.
    #[error("the peer is not usable: {0}")]
    Handshake(#[from] HandshakeError),
    /// The sockets by which a peer is to attach cannot be made or used.
    #[error("cannot {step}: {source}")]
    Socket {
        /// What was to be done.
        step: &'static str,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Another user's process connected.
    #[error("a process of user {found} connected; only user {expected} may")]
    ForeignUser {
        /// Its user.
        found: u32,
        /// This process's user.
        expected: u32,
    },
    /// A pool's restart policy has a backoff that cannot be.
    #[error(transparent)]
    Backoff(#[from] BackoffError),
    /// No child of a pool is left.
    #[error(
        "no child of the pool is left, and none is started again: {why}; the last failure: {last}"
    )]
    PoolEmpty {
        /// Why the place that was given up last is not filled.
        why: NotRestarted,
        /// What had failed there.
        #[source]
        last: Arc<Self>,
    },
    /// The limits that were asked for cannot be.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The other end answered with a failure.
    #[error(transparent)]
    Remote(PythonExecutionError),
    /// The request, or an item after it, cannot be sent.
    #[error("{type_name} cannot be sent: {source}")]
    Encode {
        /// Its type.
        type_name: &'static str,
        /// Why.
        #[source]
        source: FrameError,
    },
    /// What came back is not what was expected.
    #[error("reply is no {type_name}: {source}")]
    Decode {
        /// The type that was expected.
        type_name: &'static str,
        /// Where in it, and what was wrong.
        #[source]
        source: ValueError,
    },
    /// A call for one item got none.
    #[error("the call was answered without an item")]
    NoReply,
    /// A call for one item got more.
    #[error("the call was answered with more than one item")]
    ManyReplies,
    /// The call's deadline passed.
    #[error("no answer within {}", Waited(*waited))]
    DeadlineExceeded {
        /// How long was waited, where the call was made with a deadline in the future.
        waited: Duration,
    },
    /// The process ended.
    #[error("{report}")]
    ProcessEnded {
        /// How, and all that is known of it.
        report: Box<FailureReport>,
    },
    /// The other end closed the connection.
    #[error("the connection is closed by the peer")]
    Closed,
    /// This end was closed, or takes no new calls.
    #[error("shutting down: no new calls are made")]
    ShuttingDown,
    /// The other end broke the protocol; nothing can be called over this connection any more.
    #[error("connection given up: {0}")]
    Protocol(#[source] Arc<ConnectionError>),
}

impl SubprocessIpcBackendError {
    /// What went wrong in the other process, if something did: while it served a call, or while it was
    /// to get ready.
    pub fn remote(&self) -> Option<&PythonExecutionError> {
        match self {
            Self::Remote(failure) => Some(failure),
            Self::Process(ProcessError::InitFailed { error, .. }) => error.as_deref(),
            _ => None,
        }
    }

    /// Under which kind it is counted.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Remote(failure) => failure.kind(),
            Self::Encode { .. } | Self::Decode { .. } => FailureKind::Encoding,
            Self::DeadlineExceeded { .. } => FailureKind::Deadline,
            Self::Protocol(_) | Self::Handshake(_) => FailureKind::Protocol,
            Self::NoReply | Self::ManyReplies => FailureKind::Remote,
            _ => FailureKind::Closed,
        }
    }

    /// What the end of a connection means for a call over it.
    pub(crate) fn of_link(end: &LinkEnd) -> Self {
        match end {
            LinkEnd::Ended(report) => Self::ProcessEnded { report: report.clone() },
            LinkEnd::Closed => Self::Closed,
            LinkEnd::LetGo => Self::ShuttingDown,
            LinkEnd::Failed(error) => Self::Protocol(Arc::clone(error)),
        }
    }

    /// What the end of a call means, unless it is complete.
    pub(crate) fn of_call(end: CallEnd) -> Option<Self> {
        match end {
            CallEnd::Done => None,
            CallEnd::Failed(PythonExecutionError::ShuttingDown) => Some(Self::ShuttingDown),
            CallEnd::Failed(failure) => Some(Self::Remote(failure)),
            CallEnd::Broken(end) => Some(Self::of_link(&end)),
        }
    }

    /// Why a call could not be made.
    pub(crate) fn not_called(not_called: NotCalled, type_name: &'static str) -> Self {
        match not_called {
            NotCalled::Ended(end) => Self::of_link(&end),
            NotCalled::ShuttingDown => Self::ShuttingDown,
            NotCalled::Frame(source) => Self::Encode { type_name, source },
        }
    }
}

struct Waited(Duration);

impl std::fmt::Display for Waited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", Duration::from_micros(self.0.as_micros() as u64))
    }
}
