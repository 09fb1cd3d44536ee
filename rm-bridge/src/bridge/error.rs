//! What goes wrong between a caller and a node.
//!
//! Main type: [`ServiceError`], which every bridge gives. [`ConversionError`] is about items on their
//! way into and out of shared memory, [`BridgeError`] about what carries them.

use std::time::Duration;

use rm_core::{ChannelId, DataError, DataType, IdError, WireError};
use rm_ipc::{ChannelError, NamespaceError, PublishError, ReceiveError, SubscribeError};
use rm_process::FailureReport;

use crate::executor::ExecutorType;
use crate::multiprocess::WorkerError;
use crate::protocol::WorkerFailure;

/// Why a node gave no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The call cannot be right: what is wrong with it, and what would be right.
    #[error("{0}")]
    Validation(String),
    /// The node failed on this item, or while it was made; it is named with its message, to which the
    /// traceback is added, on lines of its own, where there is one.
    #[error("node {node_id} failed: {message}")]
    NodeExecution {
        /// The node.
        node_id: String,
        /// What it said.
        message: String,
    },
    /// Something else went wrong in the runtime.
    #[error("internal error: {0}")]
    Internal(String),
    /// No node can have that id.
    #[error("invalid node id")]
    NodeId(#[from] IdError),
    /// The living node does not take the new values of its parameters; nothing has changed.
    #[error("node {node_id} refuses its new parameters")]
    ParamsRefused {
        /// The node.
        node_id: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The node made nothing of the item.
    #[error(
        "node {node_id} made nothing of the item, and execute_node gives exactly one result; use \
         execute_node_stream"
    )]
    NoAnswer {
        /// The node.
        node_id: String,
    },
    /// The node made more than one item.
    #[error(
        "node {node_id} made several items of one, and execute_node gives exactly one result; use \
         execute_node_stream"
    )]
    SeveralAnswers {
        /// The node.
        node_id: String,
    },
    /// The node panicked.
    #[error("node {node_id} panicked: {message}")]
    Panicked {
        /// The node.
        node_id: String,
        /// What it said.
        message: String,
    },
    /// The node's process ended.
    #[error("process of node {node_id} ended: {}", reason(report))]
    Died {
        /// The node.
        node_id: String,
        /// What is known of the process.
        report: Box<FailureReport>,
        /// What its node said last, if it could.
        #[source]
        source: Option<Box<WorkerFailure>>,
    },
    /// The node's process sent what is no message.
    #[error("process of node {node_id} was ended, because what it sent cannot be read")]
    Garbled {
        /// The node.
        node_id: String,
        /// What is wrong with it.
        #[source]
        source: ReceiveError,
    },
    /// The node has panicked or died, and was not initialised since.
    #[error("node {node_id} has to be initialised anew: {reason}")]
    NotInitialized {
        /// The node.
        node_id: String,
        /// How it ended.
        reason: String,
    },
    /// The node was cleaned up, or its bridge dropped, before it came to this call.
    #[error("node {node_id} was cleaned up before it answered")]
    CleanedUp {
        /// The node.
        node_id: String,
    },
    /// The session has as many processes as it may have.
    #[error("node {node_id} would be process {} of a session that may have {limit}", limit + 1)]
    TooManyProcesses {
        /// The node.
        node_id: String,
        /// How many there may be.
        limit: usize,
    },
    /// The thread of a native node cannot be started.
    #[error("cannot start the thread of node {node_id}")]
    Thread {
        /// The node.
        node_id: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The node's worker cannot be started or spoken to.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// An item cannot be carried to the node or back.
    #[error("data conversion failed")]
    Conversion(#[from] ConversionError),
    /// What carries items between executors cannot go on.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
}

fn reason(report: &FailureReport) -> String {
    report.exit.as_ref().map_or_else(|| "it cannot be reached".to_owned(), ToString::to_string)
}

impl std::error::Error for WorkerFailure {}

/// Why an item cannot go into shared memory, or come out of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The item is of another type than is asked for.
    #[error("type mismatch: expected {expected}, got {actual}")]
    TypeMismatch {
        /// What is asked for.
        expected: DataType,
        /// What the item is.
        actual: DataType,
    },
    /// There is no shared memory for the item: which, and how much it would be.
    #[error("shared memory allocation failed: {0}")]
    AllocationFailed(String),
    /// There is no channel of that name.
    #[error("channel not found: {0}")]
    ChannelNotFound(String),
    /// What is asked for does not lie in the channel.
    #[error("IPC error: {0}")]
    IPCError(String),
    /// There can be no shared memory at all.
    #[error("cannot set up shared memory")]
    Namespace(#[from] NamespaceError),
    /// A channel cannot be made.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A channel cannot be subscribed to.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// An item cannot be written into its channel.
    #[error("cannot write into channel {channel}")]
    Publish {
        /// The channel.
        channel: ChannelId,
        /// Why.
        #[source]
        source: PublishError,
    },
    /// An item cannot be read from its channel.
    #[error("cannot read from channel {channel}")]
    Receive {
        /// The channel.
        channel: ChannelId,
        /// Why.
        #[source]
        source: ReceiveError,
    },
    /// An inline message is shorter than its header.
    #[error(
        "inline message has {len} bytes, and its header alone takes {}",
        rm_core::WIRE_HEADER_LEN
    )]
    Truncated {
        /// Bytes found.
        len: usize,
    },
    /// The header of an item cannot be written or read.
    #[error("header cannot be carried")]
    Header(#[from] WireError),
    /// Header and payload do not belong together.
    #[error("payload is not what its header says")]
    Data(#[from] DataError),
}

/// Why items cannot be carried from one executor to another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// An executor was shut down, or was never there.
    #[error("executor not initialized: {0}")]
    ExecutorNotInitialized(ExecutorType),
    /// An item cannot be converted.
    #[error("data conversion failed")]
    ConversionFailed(#[from] ConversionError),
    /// Nobody took an item from the full buffer in time.
    #[error("backpressure timeout after {0:?}")]
    BackpressureTimeout(Duration),
    /// The bridge was closed.
    #[error("bridge closed")]
    BridgeClosed,
}
