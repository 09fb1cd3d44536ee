//! Why a session did not run, or did not run to its end.
//!
//! Main type: [`SessionError`]. Whichever it is, nothing of the session is left when it is
//! returned: no process, no file, no shared memory.

use std::time::Duration;

use rm_bridge::{
    DataPlaneError, FailureReport, ProcessError, StageError, WorkerError, WorkerFailure,
};
use rm_core::NodeId;

/// Why a session did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// More worker processes than the runtime allows.
    #[error("the pipeline needs {needed} worker processes, {limit} are allowed")]
    TooManyProcesses {
        /// How many it needs.
        needed: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The session has input, and no node that takes any.
    #[error("the pipeline takes no input: each of its first nodes is a source")]
    NoInput,
    /// Shared memory could not be set up.
    #[error("shared memory cannot be set up")]
    DataPlane(#[from] DataPlaneError),
    /// A native node failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A thread could not be started.
    #[error("cannot start a thread for {stage}")]
    Thread {
        /// The stage that it was for.
        stage: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Worker processes cannot be started at all.
    #[error("worker processes cannot be started")]
    Processes(#[source] ProcessError),
    /// A worker could not be started or spoken to.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A Python node failed, and said how.
    #[error("node {node} ({node_type}) {failure}")]
    Node {
        /// The node.
        node: NodeId,
        /// Its type.
        node_type: String,
        /// What it said.
        failure: Box<WorkerFailure>,
    },
    /// A worker died without a word.
    #[error("node {node} ({node_type}) died {when}: {report:#}")]
    Crashed {
        /// The node.
        node: NodeId,
        /// Its type.
        node_type: String,
        /// `"before it was ready"` or `"while running"`.
        when: &'static str,
        /// What is known of the process.
        report: Box<FailureReport>,
    },
    /// A worker did not get ready.
    #[error("node {node} ({node_type}) is not ready: {report:#}")]
    InitTimeout {
        /// The node.
        node: NodeId,
        /// Its type.
        node_type: String,
        /// How long it had.
        timeout: Duration,
        /// The last progress that it reported.
        last: String,
        /// What is known of the process.
        report: Box<FailureReport>,
    },
    /// The session was cancelled.
    #[error("the session was cancelled")]
    Cancelled,
}

impl SessionError {
    /// The node that failed, where it is one.
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Node { node, .. }
            | Self::Crashed { node, .. }
            | Self::InitTimeout { node, .. }
            | Self::Stage(StageError::Node { node, .. }) => Some(node),
            _ => None,
        }
    }
}
