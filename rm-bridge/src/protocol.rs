//! What a session and a worker say to each other over the control channel.
//!
//! Main types: [`WorkerRequest`] and [`WorkerEvent`]. The first request is [`WorkerRequest::Serve`],
//! whose answer goes on as long as the worker works: each event tells what its node did. The others
//! are answered once. Progress, readiness and the word to end belong to every supervised process and
//! are [`rm_process`]'s. Media items do not go this way; they go over channels.

use std::path::PathBuf;
use std::time::Duration;

use rm_core::{ChannelId, NodeClass, NodeId, SessionId};
use rm_process::KameoChildProcessMessage;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::metrics::{InputReport, NodeStatistics};
use crate::policy::ItemPolicy;
use crate::timeline::TimedItems;

/// A channel that a worker reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInput {
    /// The channel.
    pub channel: ChannelId,
    /// The node whose items come by it; `None` for the session's input.
    pub from: Option<NodeId>,
    /// The ports of the node that the items are for, each of which gets each item; `None` is no port in
    /// particular. Empty is the same as one `None`.
    pub ports: Vec<Option<String>>,
    /// The seat that the worker takes, on a channel that keeps what a worker that died has not done.
    pub seat: Option<u32>,
}

/// A channel that a worker writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerOutput {
    /// The port of the node whose items go into it; `None` for those that it gives to no port.
    pub port: Option<String>,
    /// The channel.
    pub channel: ChannelId,
}

/// An item by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ItemPlace {
    /// The input, by its place in [`WorkerConfig::inputs`].
    pub input: u16,
    /// The item's position in that channel, from 0.
    pub sequence: u64,
}

/// What a worker's status page tells of the item in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkCode {
    /// The item.
    pub place: ItemPlace,
    /// Whether its node only waits: for room for what it has made, or for the next try.
    pub is_waiting: bool,
}

impl WorkCode {
    /// Bits of a position: nine years at a million messages a second.
    const SEQUENCE_BITS: u32 = 48;
    const WAITING: u64 = 1 << 63;

    /// As one number.
    pub fn encode(self) -> u64 {
        let sequence = self.place.sequence & (u64::MAX >> (64 - Self::SEQUENCE_BITS));
        let input = u64::from(self.place.input & 0x7fff) << Self::SEQUENCE_BITS;
        let waiting = if self.is_waiting { Self::WAITING } else { 0 };
        waiting | input | sequence
    }

    /// From such a number.
    pub fn decode(code: u64) -> Self {
        let input = (code >> Self::SEQUENCE_BITS) as u16 & 0x7fff;
        let sequence = code & (u64::MAX >> (64 - Self::SEQUENCE_BITS));
        let place = ItemPlace { input, sequence };
        Self { place, is_waiting: code & Self::WAITING != 0 }
    }
}

/// Everything that a worker has to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// The session.
    pub session_id: SessionId,
    /// The node that the worker runs.
    pub node_id: NodeId,
    /// Its type: a registered name, or the import path of its class, `package.module:Class`.
    pub node_type: String,
    /// Its class, where the type does not say it.
    pub class: Option<NodeClass>,
    /// The port of this machine on which it waits for a debugger before it loads the node; 0 for any
    /// that is free.
    pub debug: Option<u16>,
    /// Its parameters, as a JSON object.
    pub params: String,
    /// The folder that relative paths start from, which is on the module path too.
    pub base_dir: Option<PathBuf>,
    /// The folder of the session's shared memory.
    pub namespace: PathBuf,
    /// The channels to read.
    pub inputs: Vec<WorkerInput>,
    /// The channels to write: those that somebody reads.
    pub outputs: Vec<WorkerOutput>,
    /// What happens when the node fails on an item.
    pub policy: ItemPolicy,
    /// Items of an older epoch are dropped.
    pub epoch: u32,
    /// Whether what the node makes carries its [`Origin`](rm_core::Origin), because the worker may be
    /// started again.
    pub origins: bool,
    /// Whether the end of each item is told in the outputs, with the item's correlation id:
    /// [`ItemEnd`](rm_core::MessageKind::ItemEnd), or [`Error`](rm_core::MessageKind::Error) with a
    /// [`WorkerFailure`] as JSON. A failure is then the item's only, and the worker goes on.
    pub replies: bool,
    /// Whether it is told on what the time of each item goes, by [`WorkerEvent::Timed`].
    pub timeline: bool,
    /// The item in work when the worker before this one ended, if it was not done with it: nothing else is
    /// begun before that. So what is made a second time comes right after what was made the first time.
    pub resume: Option<ItemPlace>,
    /// Items that are set aside when they come: each has ended the worker before.
    pub set_aside: Vec<ItemPlace>,
}

impl WorkerConfig {
    /// A worker for one node, without channels, that fails at the first error.
    pub fn new(
        session_id: SessionId,
        node_id: NodeId,
        node_type: impl Into<String>,
        namespace: impl Into<PathBuf>,
    ) -> Self {
        Self {
            session_id,
            node_id,
            node_type: node_type.into(),
            class: None,
            debug: None,
            params: "{}".to_owned(),
            base_dir: None,
            namespace: namespace.into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            policy: ItemPolicy::default(),
            epoch: 0,
            origins: false,
            replies: false,
            timeline: false,
            resume: None,
            set_aside: Vec::new(),
        }
    }
}

/// What a session asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "the large one is made once a worker")]
pub enum WorkerRequest {
    /// To run its node: the first request, which is made once. Its answer ends with
    /// [`WorkerEvent::Failed`] or [`WorkerEvent::Finished`].
    Serve(WorkerConfig),
    /// To drop what is older than this epoch, from now on. Answered by [`WorkerEvent::Done`].
    Flush {
        /// The new epoch.
        epoch: u32,
    },
    /// To give its node new values of parameters, between two items. Answered by
    /// [`WorkerEvent::Done`] or [`WorkerEvent::Refused`].
    SetParams {
        /// The values, as a JSON object.
        params: String,
    },
    /// To tell what it has done so far. Answered by [`WorkerEvent::Statistics`].
    Statistics,
}

impl KameoChildProcessMessage for WorkerRequest {
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

/// How a node failed.
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

/// An item that was left out because its node failed on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFailure {
    /// The node.
    pub node: NodeId,
    /// The item's position, counted from 0 over all inputs of the node.
    pub item: u64,
    /// Its position in the channel that it came by, where it came by one.
    pub sequence: u64,
    /// How often the node was given it; 0 where the circuit was open.
    pub tries: u32,
    /// The last failure.
    pub failure: WorkerFailure,
}

/// What a worker tells its session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WorkerEvent {
    /// The node has failed; the worker ends.
    Failed(WorkerFailure),
    /// An item was left out, and the worker goes on.
    Skipped(ItemFailure),
    /// An item that has ended the worker before was set aside.
    SetAside {
        /// Which one.
        place: ItemPlace,
        /// Its position, counted from 0 over all inputs.
        item: u64,
        /// Its header in the wire form.
        header: ByteBuf,
        /// Its payload.
        payload: ByteBuf,
    },
    /// Items of the node `from` were sent and cannot come any more: both nodes have died at once.
    Lost {
        /// The node that they came from; `None` for items from outside.
        from: Option<NodeId>,
        /// How many.
        count: u64,
    },
    /// The node has been at one item for longer than it may; the worker aborts.
    TimedOut {
        /// The item's position, counted from 0 over all inputs.
        item: u64,
        /// How long it may take.
        timeout: Duration,
    },
    /// On what the time of items went since this was told last. A worker that dies takes what it had
    /// not told with it: at most that of a few hundred items, or of the last tenth of a second.
    Timed(TimedItems),
    /// All inputs have ended, and everything has been sent.
    Finished {
        /// What the node did.
        node: NodeStatistics,
        /// What came in, in the order of the configured inputs.
        inputs: Vec<InputReport>,
    },
    /// What was asked for is done.
    Done,
    /// What was asked for is refused, and why; nothing has changed.
    Refused {
        /// Why.
        message: String,
    },
    /// What the node has done so far.
    Statistics(NodeStatistics),
}
