//! What a session and a worker say to each other over the control channel.
//!
//! Main types: [`WorkerConfig`], the one call that a session makes, and [`WorkerEvent`], the items of
//! its reply. Progress, readiness and the word to end belong to every supervised process and are
//! [`rm_process`]'s. Media items do not go this way; they go over channels.

use std::path::PathBuf;

use rm_core::{ChannelId, NodeId, SessionId};
use rm_ipc::LatencySummary;
use rm_process::KameoChildProcessMessage;
use serde::{Deserialize, Serialize};

use crate::metrics::InputReport;

/// A channel that a worker reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInput {
    /// The channel.
    pub channel: ChannelId,
    /// The node whose items come by it; `None` for the session's input.
    pub from: Option<NodeId>,
}

/// Everything that a worker has to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// The session.
    pub session_id: SessionId,
    /// The node that the worker runs.
    pub node_id: NodeId,
    /// Its type: the import path of its class, `package.module:Class`.
    pub node_type: String,
    /// Its parameters, as a JSON object.
    pub params: String,
    /// The folder that relative paths start from, which is on the module path too.
    pub base_dir: Option<PathBuf>,
    /// The folder of the session's shared memory.
    pub namespace: PathBuf,
    /// The channels to read.
    pub inputs: Vec<WorkerInput>,
    /// The channel to write, if anybody takes what the node makes.
    pub output: Option<ChannelId>,
}

impl KameoChildProcessMessage for WorkerConfig {
    type Reply = WorkerEvent;
}

/// During what a node failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FailedIn {
    /// Its module or class could not be loaded.
    Load,
    /// `initialize`.
    Initialize,
    /// `process`.
    Process,
    /// `finish`.
    Finish,
}

impl FailedIn {
    /// The word for it in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Initialize => "initialize",
            Self::Process => "process",
            Self::Finish => "finish",
        }
    }
}

/// How a Python node failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFailure {
    /// During what.
    pub during: FailedIn,
    /// The position of the item in work, counted from 0 over all inputs.
    pub item: Option<u64>,
    /// The exception's type.
    pub error_type: String,
    /// Its message.
    pub message: String,
    /// Its traceback; empty where there is none.
    pub traceback: String,
}

impl std::fmt::Display for WorkerFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to {}", self.during.name())?;
        if let Some(item) = self.item {
            write!(f, " item {item}")?;
        }
        write!(f, ": {}: {}", self.error_type, self.message)?;
        if !self.traceback.is_empty() {
            write!(f, "\n{}", self.traceback.trim_end())?;
        }
        Ok(())
    }
}

/// What a worker tells its session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WorkerEvent {
    /// The node has failed; the worker ends.
    Failed(WorkerFailure),
    /// All inputs have ended, and everything has been sent.
    Finished {
        /// Items that it was given.
        items_in: u64,
        /// Items that it made.
        items_out: u64,
        /// Time of `process` per item.
        time: LatencySummary,
        /// What came in, in the order of the configured inputs.
        inputs: Vec<InputReport>,
    },
}
