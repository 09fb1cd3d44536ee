//! What a session says to a stage while that works, and sees of it.
//!
//! Main type: [`Controls`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use rm_core::NodeError;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::metrics::NodeMeter;
use crate::worker::lock;

/// New values of parameters for a node, and who waits for them to be taken.
pub(super) struct Change {
    pub(super) node: usize,
    pub(super) params: Value,
    pub(super) answer: oneshot::Sender<Result<(), NodeError>>,
}

pub(super) struct Controls {
    started: AtomicBool,
    stopped: AtomicBool,
    changed: AtomicBool,
    changes: Mutex<VecDeque<Change>>,
    meters: Vec<Mutex<NodeMeter>>,
}

impl Controls {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            started: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            changes: Mutex::default(),
            meters: (0..nodes).map(|_| Mutex::new(NodeMeter::new())).collect(),
        }
    }

    pub(super) fn start(&self) {
        self.started.store(true, Ordering::Release);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn change(&self, change: Change) {
        let mut changes = lock(&self.changes);
        changes.push_back(change);
        self.changed.store(true, Ordering::Release);
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    pub(super) fn next_change(&self) -> Option<Change> {
        if !self.has_changes() {
            return None;
        }
        let mut changes = lock(&self.changes);
        let next = changes.pop_front();
        self.changed.store(!changes.is_empty(), Ordering::Release);
        next
    }

    /// Drops what is still asked for, so that who asks learns that nobody answers.
    pub(super) fn refuse_changes(&self) {
        lock(&self.changes).clear();
    }

    pub(super) fn meter(&self, node: usize) -> MutexGuard<'_, NodeMeter> {
        lock(&self.meters[node])
    }
}
