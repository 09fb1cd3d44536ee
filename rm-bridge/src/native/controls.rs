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
    /// `None` once nobody answers any more.
    changes: Mutex<Option<VecDeque<Change>>>,
    meters: Vec<Mutex<NodeMeter>>,
}

impl Controls {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            started: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            changes: Mutex::new(Some(VecDeque::new())),
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
        // Otherwise it is dropped, and who asks learns that nobody answers.
        if let Some(changes) = &mut *lock(&self.changes) {
            changes.push_back(change);
            self.changed.store(true, Ordering::Release);
        }
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    pub(super) fn next_change(&self) -> Option<Change> {
        if !self.has_changes() {
            return None;
        }
        let mut changes = lock(&self.changes);
        let next = changes.as_mut().and_then(VecDeque::pop_front);
        let is_empty = changes.as_ref().is_none_or(VecDeque::is_empty);
        self.changed.store(!is_empty, Ordering::Release);
        next
    }

    /// Drops what is still asked for and what will be, so that who asks learns that nobody answers.
    pub(super) fn refuse_changes(&self) {
        lock(&self.changes).take();
    }

    pub(super) fn meter(&self, node: usize) -> MutexGuard<'_, NodeMeter> {
        lock(&self.meters[node])
    }
}
