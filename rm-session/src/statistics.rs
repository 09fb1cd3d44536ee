//! What a session has done so far.
//!
//! Main type: [`SessionStatistics`], a plain value.

use std::time::Duration;

use rm_bridge::{ChannelSnapshot, ExecutorType, NodeReport, NodeStatistics};
use rm_core::NodeId;
use serde::Serialize;

use crate::status::SessionStatus;

/// What one node has done so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeSummary {
    /// The node.
    pub node: NodeId,
    /// Its type.
    pub node_type: String,
    /// What runs it.
    pub executor: ExecutorType,
    /// Its process, if it has one that lives.
    pub process_id: Option<u32>,
    /// Memory of that process in bytes; 0 without one.
    pub memory_bytes: u64,
    /// How often its process was started again.
    pub restarts: u32,
    /// What it did. Of a process that ended, what it had done is forgotten.
    #[serde(flatten)]
    pub statistics: NodeStatistics,
}

impl NodeSummary {
    /// The part of it that is left when the session has ended.
    pub(crate) fn report(&self) -> NodeReport {
        let (node, executor) = (self.node.to_string(), self.executor);
        NodeReport { node, executor, statistics: self.statistics.clone() }
    }
}

/// What a session has done so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionStatistics {
    /// Where it is in its life.
    pub status: SessionStatus,
    /// How long it has existed.
    #[serde(rename = "uptime_us", serialize_with = "as_micros")]
    pub uptime: Duration,
    /// Its nodes, in the order of the manifest.
    pub nodes: Vec<NodeSummary>,
    /// Its channels, in the order of the plan.
    pub channels: Vec<ChannelSnapshot>,
    /// Living worker processes.
    pub processes: usize,
    /// Memory of these in bytes, without what they share.
    pub memory_bytes: u64,
    /// Items that wait for the caller to take them.
    pub waiting_outputs: usize,
    /// Outputs dropped because they were of an older epoch.
    pub flushed_outputs: u64,
}

fn as_micros<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).serialize(to)
}
