//! What a session tells while it lives.
//!
//! Main type: [`SessionEvent`], and [`SessionEvents`], by which they are read.

use std::time::Duration;

use rm_bridge::{FailureReport, ItemFailure};
use rm_core::{NodeId, RuntimeData};
use tokio::sync::broadcast;

use crate::progress::InitProgress;
use crate::status::SessionStatus;

/// Something that happened in a session. Items are not told here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionEvent {
    /// Its status has changed.
    Status(SessionStatus),
    /// A node has come a step further in loading.
    Progress(InitProgress),
    /// A node has failed on an item, which was left out.
    ItemSkipped(ItemFailure),
    /// A node's process has ended and is started again after a delay.
    NodeRestarts {
        /// The node.
        node: NodeId,
        /// Which restart of its row this is, from 1.
        attempt: u32,
        /// How long it waits before.
        delay: Duration,
        /// What is known of the process that ended.
        report: Box<FailureReport>,
    },
    /// A node that was started again is at work.
    NodeRestarted {
        /// The node.
        node: NodeId,
        /// Its process.
        process_id: u32,
    },
    /// An item has ended the process of a node twice and was set aside.
    DeadLetter(DeadLetter),
    /// This many events were not read in time, and are not told any more.
    Missed(u64),
}

/// An item that was set aside, because it has ended the process of its node twice.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The node.
    pub node: NodeId,
    /// The item's position in the channel by which it came.
    pub sequence: u64,
    /// The node that it came from; `None` for an item from outside.
    pub from: Option<NodeId>,
    /// The item.
    pub data: RuntimeData,
}

/// Reads a session's events: those since it was made.
#[derive(Debug)]
pub struct SessionEvents {
    pub(crate) events: broadcast::Receiver<SessionEvent>,
}

impl SessionEvents {
    /// The next event; `None` when the session has ended. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<SessionEvent> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(SessionEvent::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// The next event that is there.
    pub fn try_next(&mut self) -> Option<SessionEvent> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                Some(SessionEvent::Missed(missed))
            }
            Err(_) => None,
        }
    }
}
