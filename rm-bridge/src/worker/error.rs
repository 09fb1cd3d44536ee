//! Why a worker cannot work.
//!
//! Main type: [`WorkerRuntimeError`].

use rm_ipc::{ChannelError, NamespaceError, PublishError, ReceiveError, WakeError};
use rm_process::child::ChildError;
use rm_process::{ConnectionError, PythonExecutionError};

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerRuntimeError {
    /// It has no session to work for.
    #[error("no session to work for")]
    Child(#[from] ChildError),
    /// The session cannot be spoken to.
    #[error("control channel failed")]
    Control(#[from] ConnectionError),
    /// What the session said cannot be read, or what this process says cannot be sent.
    #[error("session and worker do not understand each other")]
    Call(#[from] PythonExecutionError),
    /// The session's first words were no configuration.
    #[error("the session did not configure this worker first")]
    NotServed,
    /// What a node made cannot be described in a header.
    #[error("an item cannot be described")]
    Header(#[from] rm_core::WireError),
    /// The session ended before it said what to do.
    #[error("the session ended before it configured this worker")]
    NotConfigured,
    /// The session's shared memory cannot be opened.
    #[error("cannot open the session's shared memory")]
    Namespace(#[from] NamespaceError),
    /// The worker cannot be woken.
    #[error(transparent)]
    Wake(#[from] WakeError),
    /// A channel cannot be joined.
    #[error("cannot join a channel")]
    Channel(#[from] ChannelError),
    /// An item cannot be received.
    #[error("cannot receive an item")]
    Receive(#[from] ReceiveError),
    /// An item cannot be sent.
    #[error("cannot send an item")]
    Publish(#[from] PublishError),
    /// The worker's own thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}
