//! What is told while nodes load.
//!
//! Main type: [`InitProgress`].

use rm_core::NodeId;
use serde::Serialize;

use crate::plan::Plan;

/// Where a node is in its initialisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InitStatus {
    /// Its process or thread is being started.
    Starting,
    /// Its process runs and joins its channels.
    Connecting,
    /// It loads what it needs.
    LoadingModel,
    /// It is ready for items.
    Ready,
    /// It has failed, with this message.
    Failed(String),
}

/// One step of one node's initialisation.
///
/// Every worker that is still loading has at least one every two seconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InitProgress {
    /// The node.
    pub node: NodeId,
    /// Its type.
    pub node_type: String,
    /// Where it is.
    pub status: InitStatus,
    /// How far it is, from 0 to 1.
    pub progress: f32,
    /// What it does, in its own words; may be empty.
    pub message: String,
}

impl InitProgress {
    /// A step of a node that this process runs.
    pub(crate) fn native(plan: &Plan, place: usize, status: InitStatus, progress: f32) -> Self {
        let planned = &plan.nodes[place];
        let (node, node_type) = (planned.id.clone(), planned.node_type.clone());
        Self { node, node_type, status, progress, message: String::new() }
    }
}
