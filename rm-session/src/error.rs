//! Why a session did not run, or did not run to its end.
//!
//! Main type: [`SessionError`]. Whichever it is, nothing of the session is left when it is
//! returned: no process, no file, no shared memory.

use std::time::Duration;

use rm_bridge::{
    DataPlaneError, FailureReport, ProcessError, StageError, WorkerError, WorkerFailure,
};
use rm_core::{IdError, MessageKind, NodeError, NodeId, ParameterProblem, SessionId};

use crate::config::ConfigError;
use crate::plan::PlanError;
use crate::status::SessionStatus;

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
    /// The whole runtime would have more worker processes than it allows.
    #[error(
        "the pipeline needs {needed} worker processes, but {running} of the {limit} that the runtime \
         allows are taken"
    )]
    RuntimeFull {
        /// How many it needs.
        needed: usize,
        /// How many there are, in all sessions.
        running: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The runtime would have more sessions than it allows.
    #[error("there are {running} sessions, {limit} are allowed")]
    TooManySessions {
        /// How many there are.
        running: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A session of that name has not ended yet.
    #[error("there is a session {id} already")]
    Exists {
        /// The name.
        id: SessionId,
    },
    /// The settings of the default runtime cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name is none.
    #[error(transparent)]
    Id(IdError),
    /// The pipeline cannot be run.
    #[error(transparent)]
    Plan(PlanError),
    /// Its nodes were started before.
    #[error("session {id} was initialised before; it is {status}")]
    AlreadyInitialized {
        /// Its name.
        id: SessionId,
        /// Where it is.
        status: SessionStatus,
    },
    /// The delays between restarts of a node make no sense.
    #[error("node {node} cannot be restarted as its manifest says")]
    Backoff {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: rm_bridge::BackoffError,
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
    /// A Python node was at one item for longer than it may, and its process was ended.
    #[error(
        "node {node} ({node_type}) has been at item {item} for more than {timeout:?}: {report:#}"
    )]
    ItemTimeout {
        /// The node.
        node: NodeId,
        /// Its type.
        node_type: String,
        /// The item's position, counted from 0 over all inputs of the node.
        item: u64,
        /// How long it may take.
        timeout: Duration,
        /// What is known of the process.
        report: Box<FailureReport>,
    },
    /// Items that were sent to a node cannot be given to it any more: it died together with the node
    /// that they came from.
    #[error(
        "{count} items {}for node {node} ({node_type}) were lost: both died at once",
        from.as_ref().map(|from| format!("of node {from} ")).unwrap_or_default()
    )]
    ItemsLost {
        /// The node that does not get them.
        node: NodeId,
        /// Its type.
        node_type: String,
        /// The node that sent them; `None` for items from outside.
        from: Option<NodeId>,
        /// How many.
        count: u64,
    },
    /// A native node did not get ready.
    #[error("node {node} is not ready after {timeout:?}")]
    NativeInitTimeout {
        /// The node.
        node: NodeId,
        /// How long it had.
        timeout: Duration,
    },
    /// The session has ended before, and what ended it was told.
    #[error("the session has ended ({status})")]
    Ended {
        /// Where it is.
        status: SessionStatus,
    },
    /// An item could not be given to it.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The session was cancelled.
    #[error("the session was cancelled")]
    Cancelled,
}

impl SessionError {
    /// What is known of the process that ended, where one did.
    pub fn report(&self) -> Option<&FailureReport> {
        match self {
            Self::Crashed { report, .. }
            | Self::InitTimeout { report, .. }
            | Self::ItemTimeout { report, .. } => Some(report),
            _ => None,
        }
    }

    /// The node that failed, where it is one.
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Node { node, .. }
            | Self::Crashed { node, .. }
            | Self::InitTimeout { node, .. }
            | Self::ItemTimeout { node, .. }
            | Self::ItemsLost { node, .. }
            | Self::NativeInitTimeout { node, .. }
            | Self::Stage(
                StageError::TimedOut { node, .. } | StageError::Panicked { node: Some(node), .. },
            )
            | Self::Stage(StageError::Node { node, .. }) => Some(node),
            _ => None,
        }
    }
}

/// Why an item was not given to a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No node takes items from outside.
    #[error("the pipeline takes no input: each of its first nodes is a source")]
    NoInput,
    /// No node of that name takes items from outside.
    #[error("no input {name:?}{hint}; the pipeline takes items for: {known}")]
    NoSuchInput {
        /// The name asked for.
        name: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
        /// The names that there are.
        known: String,
    },
    /// It is no item, but a message of another kind; [`Session::finish`](crate::Session::finish) and
    /// [`Session::flush`](crate::Session::flush) are said by calls.
    #[error("a message of kind {kind} is no item")]
    NoItem {
        /// Its kind.
        kind: MessageKind,
    },
    /// It is larger than any item that the queue before a node takes.
    #[error(
        "an item of {len} bytes is too large for the queue before {nodes}, which takes {limit} bytes at \
         most; the settings shm_segment_size and channel_capacity of the runtime raise that"
    )]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// How many there may be.
        limit: usize,
        /// The nodes that read the queue.
        nodes: String,
    },
    /// The nodes are not ready yet.
    #[error("the session is {status}; items can be sent once it is ready")]
    NotReady {
        /// Where it is.
        status: SessionStatus,
    },
    /// The input was ended, or the session has ended.
    #[error("the session takes no items any more")]
    Ended,
}

/// Why a node does not have new values of its parameters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// There is no such node.
    #[error("no node {node:?} in the session{hint}")]
    NoSuchNode {
        /// The id asked for.
        node: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
    },
    /// The parameters are no object.
    #[error("parameters of node {node} are an object of names and values, not {found}")]
    NotAnObject {
        /// The node.
        node: NodeId,
        /// What was given.
        found: String,
    },
    /// The node has no such parameter, or not of that type.
    #[error("node {node}: {problem}")]
    Invalid {
        /// The node.
        node: NodeId,
        /// What is wrong.
        problem: ParameterProblem,
    },
    /// A native node does not take them.
    #[error("node {node} does not take its new parameters")]
    Node {
        /// The node.
        node: NodeId,
        /// Why.
        #[source]
        source: NodeError,
    },
    /// A Python node does not take them.
    #[error("node {node} does not take its new parameters: {message}")]
    Refused {
        /// The node.
        node: NodeId,
        /// Why, in its words.
        message: String,
    },
    /// The node does not run at this moment.
    #[error("node {node} does not run")]
    NotRunning {
        /// The node.
        node: NodeId,
    },
}

/// Why the nodes of a session did not get ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The session was initialised before.
    #[error("session {id} was initialised before; it is {status}")]
    AlreadyInitialized {
        /// Its name.
        id: SessionId,
        /// Where it is.
        status: SessionStatus,
    },
    /// A node did not get ready, and the session has ended.
    #[error(transparent)]
    Failed(#[from] SessionError),
}

/// Why a session is not cleaned up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// There is no session of that name, or it has ended and was cleaned up.
    #[error("no session {id:?}{hint}")]
    NoSuchSession {
        /// The name asked for.
        id: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
    },
    /// Processes of it do not end although they were killed.
    #[error("processes of the session are still running")]
    ProcessesStillRunning,
    /// A channel could not be removed.
    #[error("the session's channels could not be removed")]
    ChannelCleanupFailed,
    /// Something else is left.
    #[error("the session has left something behind: {0}")]
    ResourceLeak(String),
}
