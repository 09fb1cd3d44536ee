//! One end of a connection, and what it sends.
//!
//! Main type: [`Link`]. Making calls is in `call`, answering them in `served`, what comes in
//! `incoming`.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::context::CallContext;
use super::end::{CallEnd, LinkEnd};
use super::flow::{Connection, Outflow, cost};
use super::served::IncomingCall;
use super::slot::ReplySlot;
use super::table::{Entry, Outgoing, Table, Wakers};
use crate::connection::ConnectionError;
use crate::failure::PythonExecutionError;
use crate::handshake::IpcLimits;
use crate::protocol::{
    Control, Failed, FrameError, Payload, Progress, WireContext, encode_envelope,
};
use crate::transport::{Body, Outbox};

/// Which side of a connection this is. Calls go one way; there is a connection for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It makes the calls.
    Caller,
    /// It serves them.
    Server,
}

/// A word about the process at the other end, not about a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Word {
    Stop,
    Progress(Progress),
    Ready,
    Failed(Failed),
}

/// What a link needs to know of who is at its other end.
pub(crate) trait Peer: Send + Sync + 'static {
    /// Takes a word about the process.
    fn heard(&self, word: Word);

    /// Waits until the process at the other end is gone, where that can be known.
    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Why the connection has ended, which showed as `end`.
    fn explain(&self, end: LinkEnd) -> Pin<Box<dyn Future<Output = LinkEnd> + Send + '_>>;
}

/// One end of a connection. Clones are the same end.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) role: Role,
    pub(super) outbox: Outbox,
    pub(super) ours: IpcLimits,
    pub(super) theirs: IpcLimits,
    /// One for each call that the other side takes at once.
    pub(super) places: Arc<Semaphore>,
    /// Bytes that were taken since all streams' senders were told last.
    taken: AtomicU64,
    pub(super) table: Mutex<Table>,
}

/// Why a call could not be made.
#[derive(Debug)]
pub(crate) enum NotCalled {
    /// The connection has ended.
    Ended(Arc<LinkEnd>),
    /// It takes no new calls.
    ShuttingDown,
    /// The request cannot be sent.
    Frame(FrameError),
}

impl Link {
    /// A link over a connection whose introduction is done. Calls that come are given to the receiver.
    pub(crate) fn open(
        role: Role,
        outbox: Outbox,
        (ours, theirs): (IpcLimits, IpcLimits),
    ) -> (Self, mpsc::UnboundedReceiver<IncomingCall>) {
        let (accept, accepted) = mpsc::unbounded_channel();
        let table = Table {
            newest: 0,
            newest_ping: 0,
            calls: HashMap::new(),
            sending: Connection::new(theirs.connection_window),
            waiting: HashSet::new(),
            pings: HashMap::new(),
            accepted: (role == Role::Server).then_some(accept),
            is_draining: false,
            end: None,
        };
        let places = Arc::new(Semaphore::new(theirs.max_in_flight.min(Semaphore::MAX_PERMITS)));
        let table = Mutex::new(table);
        let shared = Shared { role, outbox, ours, theirs, places, taken: AtomicU64::new(0), table };
        (Self { shared: Arc::new(shared) }, accepted)
    }

    /// Ends all calls. The first end counts.
    pub(crate) fn end(&self, end: LinkEnd) {
        self.shared.outbox.close();
        // What lies in there may be dropped with it, and needs the table.
        let (_accepted, pings);
        let (calls, end) = {
            let mut table = self.table();
            if table.end.is_some() {
                return;
            }
            let end = Arc::new(end);
            table.end = Some(Arc::clone(&end));
            _accepted = table.accepted.take();
            table.waiting.clear();
            pings = std::mem::take(&mut table.pings);
            (std::mem::take(&mut table.calls), end)
        };
        drop(pings);
        self.shared.places.close();
        for mut entry in calls.into_values() {
            if let Some(slot) = &entry.incoming {
                slot.end(CallEnd::Broken(Arc::clone(&end)));
            }
            entry.take_wakers().wake();
        }
    }

    /// Why it has ended, if it has.
    pub(crate) fn ended(&self) -> Option<Arc<LinkEnd>> {
        self.table().end.clone()
    }

    /// Calls in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.table().calls.len()
    }

    /// From here on no call is taken up or made; those in flight go on.
    pub(crate) fn drain(&self) {
        let accepted = {
            let mut table = self.table();
            table.is_draining = true;
            table.accepted.take()
        };
        // What lies in there may be dropped with it, and needs the table.
        drop(accepted);
        // Who waits for a place need not wait any longer.
        self.shared.places.close();
    }

    /// What this side keeps to when it sends.
    pub(crate) fn peer_limits(&self) -> &IpcLimits {
        &self.shared.theirs
    }

    /// Says a word about the process.
    pub(crate) fn say(&self, word: Control<Payload<&[u8]>>) -> Result<(), ConnectionError> {
        self.send(0, WireContext::default(), word, None)
    }

    /// Waits until the socket has taken most of what was said.
    pub(crate) async fn ready(&self) -> Result<(), ConnectionError> {
        self.shared.outbox.ready().await
    }

    /// Waits until the socket has taken all that was said.
    pub(crate) async fn flushed(&self) -> Result<(), ConnectionError> {
        self.shared.outbox.flushed().await
    }

    /// Closes this end. What was said still goes out.
    pub(crate) fn close(&self) {
        self.shared.outbox.close();
    }

    /// Asks whether somebody is there. The answer says how many calls are worked on; there is none if
    /// the connection ends first.
    pub(crate) fn ping(&self) -> oneshot::Receiver<u64> {
        let (reply, answer) = oneshot::channel();
        let id = {
            let mut table = self.table();
            table.pings.retain(|_, waiting| !waiting.is_closed());
            table.newest_ping += 1;
            let id = table.newest_ping;
            if table.end.is_none() {
                table.pings.insert(id, reply);
            }
            id
        };
        if self.send(id, WireContext::default(), Control::Ping, None).is_err() {
            self.table().pings.remove(&id);
        }
        answer
    }

    /// Takes a place among the calls in flight; waits while there is none, or while the socket is full.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, NotCalled> {
        let place = Arc::clone(&self.shared.places).acquire_owned().await;
        match (place, self.ready().await) {
            (Ok(place), Ok(())) => Ok(place),
            _ => Err(self.not_called().await),
        }
    }

    /// Why nothing can be called; waits for that to be known.
    async fn not_called(&self) -> NotCalled {
        // The reading task tells the end a moment after the socket shows it, by closing the places.
        while let Ok(place) = self.shared.places.acquire().await {
            place.forget();
        }
        self.ended().map_or(NotCalled::ShuttingDown, NotCalled::Ended)
    }

    /// Sends a request. Numbers go up in the order in which requests are sent.
    pub(crate) fn request(
        &self,
        place: OwnedSemaphorePermit,
        body: Body,
        context: CallContext,
        has_input: bool,
    ) -> Result<(u64, Arc<ReplySlot<Bytes>>), NotCalled> {
        let shared = &*self.shared;
        let mut table = self.table();
        if let Some(end) = &table.end {
            return Err(NotCalled::Ended(Arc::clone(end)));
        }
        if table.is_draining {
            return Err(NotCalled::ShuttingDown);
        }
        let id = table.newest + 1;
        let sent = self.send_item(id, context.to_wire(), body, !has_input);
        // After another error the reading task is about to tell the end to all calls, this one among
        // them.
        if let Err(ConnectionError::Frame(error)) = sent {
            return Err(NotCalled::Frame(error));
        }
        table.newest = id;
        let slot = Arc::new(ReplySlot::new(shared.ours.stream_window));
        let entry = Entry {
            incoming: Some(Arc::clone(&slot)),
            outgoing: has_input.then(|| self.outgoing()),
            is_cancelled: false,
            _place: Some(place),
        };
        table.calls.insert(id, entry);
        Ok((id, slot))
    }

    pub(super) fn outgoing(&self) -> Outgoing {
        let flow = Outflow::new(self.shared.theirs.stream_window);
        Outgoing { flow, wakers: Wakers::default(), is_awaited: false }
    }

    /// Gives up a call: its replies are of no use any more. Its place is taken until the other side has
    /// let go of it, too.
    pub(crate) fn cancel(&self, id: u64) {
        let mut table = self.table();
        let Some(entry) = table.calls.get_mut(&id) else { return };
        if std::mem::replace(&mut entry.is_cancelled, true) {
            return;
        }
        entry.incoming = None;
        let wakers = entry.take_wakers();
        // Over a connection that has ended everything is cancelled.
        let _ = self.send(id, WireContext::default(), Control::Cancel, None);
        drop(table);
        wakers.wake();
    }

    /// An item was taken: tells the sender of its stream how much was consumed, where that is due, and
    /// at times all senders, lest what is held back of idle streams fills the connection's window.
    pub(super) fn took(&self, id: u64, cost: u64, credit: Option<u64>) {
        if let Some(bytes) = credit {
            self.consumed(id, bytes);
        }
        let half = self.shared.ours.connection_window.div_ceil(2);
        let taken = &self.shared.taken;
        if taken.fetch_add(cost, Ordering::Relaxed).saturating_add(cost) < half {
            return;
        }
        taken.store(0, Ordering::Relaxed);
        let slots: Vec<_> = {
            let table = self.table();
            let slot = |(id, entry): (&u64, &Entry)| Some((*id, entry.incoming.clone()?));
            table.calls.iter().filter_map(slot).collect()
        };
        for (id, slot) in slots {
            if let Some(bytes) = slot.tell() {
                self.consumed(id, bytes);
            }
        }
    }

    /// Tells the sender of a stream how much of it was consumed.
    pub(crate) fn consumed(&self, id: u64, bytes: u64) {
        if self.table().calls.contains_key(&id) {
            // A sender that is gone needs no credit.
            let _ = self.send(id, WireContext::default(), Control::Credit(bytes), None);
        }
    }

    /// Sends an item as soon as there is credit for it.
    pub(crate) fn poll_item(
        &self,
        id: u64,
        item: &mut Option<Body>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ItemError>> {
        let mut table = self.table();
        let table = &mut *table;
        let Some(entry) = table.calls.get_mut(&id).filter(|entry| !entry.is_cancelled) else {
            return Poll::Ready(Err(ItemError::NobodyListens));
        };
        let Some(outgoing) = &mut entry.outgoing else {
            return Poll::Ready(Err(ItemError::NobodyListens));
        };
        if !outgoing.flow.may_send(&table.sending) {
            outgoing.wakers.sender = Some(context.waker().clone());
            if outgoing.flow.has_room() {
                table.waiting.insert(id);
            }
            if !std::mem::replace(&mut outgoing.is_awaited, true) {
                // Over a connection that has ended nobody waits.
                let _ = self.send(id, WireContext::default(), Control::Blocked, None);
            }
            return Poll::Pending;
        }
        let item = item.take().expect("it is sent once");
        let cost = cost(item.len());
        match self.send_item(id, WireContext::default(), item, false) {
            Ok(()) => {
                outgoing.is_awaited = false;
                outgoing.flow.sent(cost, &mut table.sending);
                Poll::Ready(Ok(()))
            }
            Err(ConnectionError::Frame(error)) => Poll::Ready(Err(ItemError::Frame(error))),
            Err(_) => Poll::Ready(Err(ItemError::NobodyListens)),
        }
    }

    /// Completes once nobody takes the items of a call any more.
    pub(crate) fn poll_cancelled(&self, id: u64, context: &mut Context<'_>) -> Poll<()> {
        let mut table = self.table();
        match table.calls.get_mut(&id) {
            Some(Entry { is_cancelled: false, outgoing: Some(outgoing), .. }) => {
                outgoing.wakers.watch(context.waker());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Whether nobody takes the items of a call any more.
    pub(crate) fn is_cancelled(&self, id: u64) -> bool {
        self.table().calls.get(&id).is_none_or(|entry| entry.is_cancelled)
    }

    /// Ends the stream of a call's inputs.
    pub(crate) fn end_input(&self, id: u64, failure: Option<PythonExecutionError>) {
        let mut table = self.table();
        let Some(entry) = table.calls.get_mut(&id) else { return };
        let mut wakers = entry.take_wakers();
        let Some(outgoing) = entry.outgoing.take() else { return };
        let is_wanted = !entry.is_cancelled;
        table.close(id, &outgoing, &mut wakers);
        if is_wanted {
            // Over a connection that has ended every stream has ended.
            let _ = self.send_end(id, failure);
        }
        drop(table);
        wakers.wake();
    }

    /// Answers a call that is served with one item, which ends it.
    pub(crate) fn reply(&self, id: u64, item: Body) -> Result<(), FrameError> {
        let mut table = self.table();
        if table.calls.get(&id).is_none_or(|entry| entry.is_cancelled) {
            drop(table);
            self.finish(id, Some(PythonExecutionError::Cancelled));
            return Ok(());
        }
        // Under the lock: who has the reply may send the next request at once, for which this one's
        // place has to be free.
        let sent = self.send_item(id, WireContext::default(), item, true);
        // Over a connection that has ended every call has ended.
        if let Err(ConnectionError::Frame(error)) = sent {
            return Err(error);
        }
        let removed = table.remove(id);
        drop(table);
        over(removed);
        Ok(())
    }

    /// Ends a call that is served.
    pub(crate) fn finish(&self, id: u64, failure: Option<PythonExecutionError>) {
        let mut table = self.table();
        let removed = table.remove(id);
        if removed.is_some() {
            // Over a connection that has ended every call has ended.
            let _ = self.send_end(id, failure);
        }
        drop(table);
        over(removed);
    }

    pub(super) fn send_end(
        &self,
        id: u64,
        failure: Option<PythonExecutionError>,
    ) -> Result<(), ConnectionError> {
        let failure = failure.map(|failure| Box::new(failure.cut()));
        self.send(id, WireContext::default(), Control::StreamEnd(failure), None)
    }

    /// Sends an item; `is_single` for a request or a reply of which it is all.
    fn send_item(
        &self,
        id: u64,
        context: WireContext,
        body: Body,
        is_single: bool,
    ) -> Result<(), ConnectionError> {
        let control = if is_single { Control::Sync } else { Control::Stream };
        match body {
            Body::Inline(bytes) => {
                self.send(id, context, control(Payload::Inline(&bytes[..])), None)
            }
            Body::Sealed { fd, len } => {
                self.send(id, context, control(Payload::Sealed(len)), Some(fd))
            }
        }
    }

    pub(super) fn send(
        &self,
        id: u64,
        context: WireContext,
        inner: Control<Payload<&[u8]>>,
        attached: Option<std::os::fd::OwnedFd>,
    ) -> Result<(), ConnectionError> {
        let encode = |out: &mut Vec<u8>| encode_envelope(id, context, inner, out);
        self.shared.outbox.send(attached, encode)
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells those who wait for a call that is served that it is over.
fn over(removed: Option<(Entry, Wakers)>) {
    if let Some((entry, wakers)) = removed {
        entry.end_input();
        wakers.wake();
    }
}

/// Why an item of a stream could not be sent.
#[derive(Debug)]
pub(crate) enum ItemError {
    NobodyListens,
    Frame(FrameError),
}
