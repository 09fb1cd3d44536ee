//! The calls of one connection.
//!
//! Main type: [`Table`]. What happens to a call is decided in `link` and `incoming`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::end::{CallEnd, LinkEnd};
use super::flow::{Connection, Outflow};
use super::served::IncomingCall;
use super::slot::ReplySlot;
use crate::failure::PythonExecutionError;

#[derive(Debug)]
pub(super) struct Table {
    /// The number of the newest call.
    pub(super) newest: u64,
    /// The number of the newest ping.
    pub(super) newest_ping: u64,
    pub(super) calls: HashMap<u64, Entry>,
    pub(super) sending: Connection,
    /// Calls whose senders wait for the connection's credit, of which there is none then.
    pub(super) waiting: HashSet<u64>,
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
    pub(super) wakers: Wakers,
    /// Whether the other side knows that items wait.
    pub(super) is_awaited: bool,
}

/// Who is to be woken. They may use the link at once, so the table has to be let go of before.
#[derive(Debug, Default)]
#[must_use = "who waits is to be woken"]
pub(super) struct Wakers {
    /// Who waits for credit.
    pub(super) sender: Option<Waker>,
    /// Who waits for the call to be given up.
    watcher: Option<Waker>,
    others: Vec<Waker>,
}

impl Wakers {
    /// Takes note of one more who waits for the call to be given up.
    pub(super) fn watch(&mut self, waker: &Waker) {
        let mut known = self.watcher.iter().chain(&self.others);
        if known.any(|known| known.will_wake(waker)) {
            return;
        }
        match &mut self.watcher {
            Some(_) => self.others.push(waker.clone()),
            none => *none = Some(waker.clone()),
        }
    }

    #[cfg(test)]
    pub(super) fn watchers(&self) -> usize {
        self.watcher.iter().chain(&self.others).count()
    }

    pub(super) fn wake(self) {
        let Self { sender, watcher, others } = self;
        sender.into_iter().chain(watcher).chain(others).for_each(Waker::wake);
    }
}

impl Entry {
    pub(super) fn take_wakers(&mut self) -> Wakers {
        self.outgoing
            .as_mut()
            .map(|outgoing| std::mem::take(&mut outgoing.wakers))
            .unwrap_or_default()
    }

    /// A call that is served is over: nothing comes after its request any more.
    pub(super) fn end_input(&self) {
        if let Some(slot) = &self.incoming {
            slot.end(CallEnd::Failed(PythonExecutionError::Cancelled));
        }
    }
}

impl Table {
    /// Takes a call out. What it had unconsumed is free for others.
    pub(super) fn remove(&mut self, id: u64) -> Option<(Entry, Wakers)> {
        let mut entry = self.calls.remove(&id)?;
        let mut wakers = entry.take_wakers();
        if let Some(outgoing) = &entry.outgoing {
            self.close(id, outgoing, &mut wakers);
        }
        Some((entry, wakers))
    }

    /// The stream that a call sends is over. What it had unconsumed is free for others.
    pub(super) fn close(&mut self, id: u64, outgoing: &Outgoing, wakers: &mut Wakers) {
        self.waiting.remove(&id);
        let was_full = self.sending.is_full();
        outgoing.flow.close(&mut self.sending);
        self.freed(was_full, wakers);
    }

    /// Takes credit for a call's stream. `None` if it is more than was sent.
    pub(super) fn credit(&mut self, id: u64, bytes: u64) -> Option<Wakers> {
        let mut wakers = Wakers::default();
        let outgoing = self.calls.get_mut(&id).and_then(|entry| entry.outgoing.as_mut());
        // Credit may come for a stream that has just ended.
        let Some(outgoing) = outgoing else { return Some(wakers) };
        let was_full = self.sending.is_full();
        outgoing.flow.consumed(bytes, &mut self.sending)?;
        // If this does not suffice, the other side has to be told again.
        outgoing.is_awaited = false;
        wakers.sender = outgoing.wakers.sender.take();
        self.freed(was_full, &mut wakers);
        Some(wakers)
    }

    /// Lets those try again who wait for the connection, if it was full and is not any more.
    fn freed(&mut self, was_full: bool, wakers: &mut Wakers) {
        if !was_full || self.sending.is_full() {
            return;
        }
        for id in self.waiting.drain() {
            let outgoing = self.calls.get_mut(&id).and_then(|entry| entry.outgoing.as_mut());
            wakers.others.extend(outgoing.and_then(|outgoing| outgoing.wakers.sender.take()));
        }
    }
}
