//! How calls and connections end.
//!
//! Main types: [`CallEnd`] and [`LinkEnd`]. Each call has exactly one end; that of its connection is
//! that of all calls in flight.

use std::sync::Arc;

use crate::connection::ConnectionError;
use crate::report::FailureReport;

use crate::failure::PythonExecutionError;

/// How a stream of replies or of inputs ended.
#[derive(Debug, Clone)]
pub(crate) enum CallEnd {
    /// It is complete.
    Done,
    /// The other end gave it up, and why.
    Failed(PythonExecutionError),
    /// The connection ended first.
    Broken(Arc<LinkEnd>),
}

/// Why a connection carries nothing any more.
#[derive(Debug)]
pub(crate) enum LinkEnd {
    /// The process at its other end has ended.
    Ended(Box<FailureReport>),
    /// The other end was closed.
    Closed,
    /// This end was closed.
    LetGo,
    /// The other end broke the protocol, or the operating system failed.
    Failed(Arc<ConnectionError>),
}
