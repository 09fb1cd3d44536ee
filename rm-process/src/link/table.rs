//! The calls of one connection.
//!
//! Main type: [`Table`]. What happens to a call is decided in `link` and `incoming`.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::end::LinkEnd;
use super::flow::{Connection, Outflow};
use super::served::IncomingCall;
use super::slot::ReplySlot;

#[derive(Debug)]
pub(super) struct Table {
    /// The number of the newest call.
    pub(super) newest: u64,
    pub(super) calls: HashMap<u64, Entry>,
    pub(super) sending: Connection,
    /// Who waits for the connection's credit.
    pub(super) waiting: Vec<Waker>,
    pub(super) pings: HashMap<u64, oneshot::Sender<u64>>,
    /// Calls that came and were not taken up yet go here; `None` once none is taken.
    pub(super) accepted: Option<mpsc::UnboundedSender<IncomingCall>>,
    pub(super) is_draining: bool,
    pub(super) end: Option<Arc<LinkEnd>>,
}

/// A call in flight.
#[derive(Debug)]
pub(super) struct Entry {
    /// What comes: replies, or the inputs of a call that is served.
    pub(super) incoming: Option<Arc<ReplySlot<Bytes>>>,
    /// What goes: inputs, or the replies to a call that is served.
    pub(super) outgoing: Option<Outgoing>,
    /// Whether who made it, or serves it, has lost interest.
    pub(super) is_cancelled: bool,
    pub(super) _place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) flow: Outflow,
    /// Who waits for credit.
    pub(super) sender: Option<Waker>,
    /// Who waits for the call to be given up.
    pub(super) watcher: Option<Waker>,
    /// Whether the other side knows that items wait.
    pub(super) is_awaited: bool,
}

impl Entry {
    pub(super) fn wake(&mut self) {
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.sender.take().into_iter().for_each(Waker::wake);
            outgoing.watcher.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Table {
    /// Takes a call out. What it had unconsumed is free for others.
    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let mut entry = self.calls.remove(&id)?;
        if let Some(outgoing) = &entry.outgoing {
            outgoing.flow.close(&mut self.sending);
            self.waiting.drain(..).for_each(Waker::wake);
        }
        entry.wake();
        Some(entry)
    }
}
