//! What ran, how often, how long.
//!
//! Main types: [`NodeReport`] and [`ConnectionReport`], one for each node and each connection of a
//! pipeline.

use rm_ipc::LatencySummary;
use serde::{Deserialize, Serialize};

use crate::executor::ExecutorType;

/// What one node did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// What ran it.
    pub executor: ExecutorType,
    /// Items that it was given (a source: times that it was asked).
    pub items_in: u64,
    /// Items that it made.
    pub items_out: u64,
    /// Time of its own work per item, without waiting.
    pub time: LatencySummary,
}

/// What came in by one channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InputReport {
    /// Items received.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes that were copied on reception, because too many items were kept.
    pub copied_bytes: u64,
    /// Items that were sent and did not come; zero unless something is wrong.
    pub missed: u64,
    /// Time from sending to reception.
    pub latency: LatencySummary,
}

/// What went over one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// The node that items came from.
    pub from: String,
    /// The node that they went to.
    pub to: String,
    /// Items.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes that were copied: once into shared memory where the sender had them on its heap (for
    /// all connections from one node together), and again where the receiver kept too much.
    pub copied_bytes: u64,
    /// Items that were sent and did not come; zero unless something is wrong.
    pub missed: u64,
    /// Time from sending to reception; within one stage, from emission to the call.
    pub latency: LatencySummary,
}

impl InputReport {
    /// What has come in by `subscriber` so far.
    pub fn of(subscriber: &rm_ipc::Subscriber) -> Self {
        Self {
            messages: subscriber.latency().count,
            bytes: subscriber.bytes(),
            copied_bytes: subscriber.copied_bytes(),
            missed: subscriber.missed(),
            latency: subscriber.latency(),
        }
    }
}
