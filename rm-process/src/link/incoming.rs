//! What each word that comes does to the calls of a connection.
//!
//! Main functions: [`Link::read`], the loop, and `Link::handle`, one word. What comes is hostile: what
//! cannot be at that place ends the connection, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::context::CallContext;
use super::end::{CallEnd, LinkEnd};
use super::link::{Link, Peer, Role, Word};
use super::served::IncomingCall;
use super::slot::ReplySlot;
use super::table::Entry;
use crate::connection::ConnectionError;
use crate::failure::PythonExecutionError;
use crate::protocol::{Control, FrameError, Payload, WireContext, decode_envelope};
use crate::transport::{Frame, Inbox, Mapping};

/// How long nothing has to come from one who is gone until nothing is left of what it has said.
const LAST_WORDS: Duration = Duration::from_millis(50);

impl Link {
    /// Reads what comes until the connection ends, and ends all calls then.
    pub(crate) fn read(self, inbox: Inbox, peer: Arc<dyn Peer>) -> impl Future<Output = ()> + Send {
        // Also where the task is aborted, be it before it has run, or its runtime ends: nobody else
        // would end the calls.
        let end = EndOnDrop(self);
        async move { end.0.read_until_end(inbox, peer).await }
    }

    async fn read_until_end(&self, mut inbox: Inbox, peer: Arc<dyn Peer>) {
        let mut gone = peer.gone();
        let mut is_gone = false;
        let end = loop {
            let next = tokio::select! {
                biased;
                next = self.next(&mut inbox) => next,
                // What it has said last may have come since the look before this.
                () = &mut gone, if !is_gone => {
                    is_gone = true;
                    continue;
                }
                // Descendants may hold the connection open for longer. That it can be read is told apart
                // from the end, and may be told later.
                () = tokio::time::sleep(LAST_WORDS), if is_gone => break LinkEnd::Closed,
            };
            match next {
                Ok(Some(frame)) => {
                    if let Err(error) = self.handle(frame, &*peer) {
                        break LinkEnd::Failed(Arc::new(error));
                    }
                }
                Ok(None)
                | Err(
                    ConnectionError::Closed | ConnectionError::Frame(FrameError::Truncated { .. }),
                ) => break LinkEnd::Closed,
                Err(error) => break LinkEnd::Failed(Arc::new(error)),
            }
        };
        // Nothing can be said to who broke the protocol.
        self.shared.outbox.close();
        let end = peer.explain(end).await;
        self.end(end);
    }

    /// The next frame. Who serves reads no further while answers pile up: a caller that does not read
    /// could have it answer without end. It always reads, if it keeps to the protocol, so neither side
    /// waits for the other.
    async fn next<'a>(&self, inbox: &'a mut Inbox) -> Result<Option<Frame<'a>>, ConnectionError> {
        if self.shared.role == Role::Server {
            // Over a connection that is closed in one direction there may still come something.
            let _ = self.shared.outbox.ready().await;
        }
        inbox.next().await
    }

    /// Does what a frame says.
    fn handle(&self, frame: Frame<'_>, peer: &dyn Peer) -> Result<(), ConnectionError> {
        let envelope = decode_envelope(frame.body)?;
        let id = envelope.correlation_id;
        let mut attached = frame.attached;
        let mut open = |payload| match (payload, attached.take()) {
            (Payload::Inline(bytes), None) => Ok(bytes),
            (Payload::Sealed(len), Some(fd)) => {
                let mapping = Mapping::of(fd, len, self.shared.ours.max_payload)?;
                Ok(Bytes::from_owner(mapping))
            }
            (Payload::Inline(_), Some(_)) | (Payload::Sealed(_), None) => {
                Err(broken("a payload that is not where it should be", id))
            }
        };
        match (self.shared.role, envelope.inner) {
            (Role::Server, Control::Ping) => self.pong(id),
            (Role::Caller, Control::Pong(in_flight)) => {
                let waiting = self.table().pings.remove(&id);
                if let Some(waiting) = waiting {
                    // Who asked may have lost patience.
                    let _ = waiting.send(in_flight);
                }
            }
            (_, Control::Credit(bytes)) => self.take_credit(id, bytes)?,
            (_, Control::Blocked) => self.tell_consumed(id),
            (Role::Caller, Control::Sync(payload)) => {
                let item = open(payload)?;
                let removed = self.table().remove(id);
                if let Some((entry, wakers)) = removed {
                    wakers.wake();
                    if let Some(slot) = entry.incoming {
                        let len = item.len() as u64;
                        slot.put_last(item, len);
                    }
                }
            }
            (Role::Caller, Control::Stream(payload)) => self.put(id, open(payload)?)?,
            (Role::Caller, Control::StreamEnd(failure)) => {
                let removed = self.table().remove(id);
                if let Some((entry, wakers)) = removed {
                    wakers.wake();
                    if let Some(slot) = entry.incoming {
                        slot.end(
                            failure.map_or(CallEnd::Done, |failure| CallEnd::Failed(*failure)),
                        );
                    }
                }
            }
            (Role::Server, Control::Sync(payload)) => {
                let item = open(payload)?;
                self.accept(id, item, envelope.context, false)?;
            }
            (Role::Server, Control::Stream(payload)) => {
                let item = open(payload)?;
                if id > self.table().newest {
                    self.accept(id, item, envelope.context, true)?;
                } else {
                    self.put(id, item)?;
                }
            }
            (Role::Server, Control::StreamEnd(failure)) => {
                if let Some(slot) = self.slot(id) {
                    slot.end(failure.map_or(CallEnd::Done, |failure| CallEnd::Failed(*failure)));
                }
            }
            (Role::Server, Control::Cancel) => {
                let mut table = self.table();
                if let Some(entry) = table.calls.get_mut(&id) {
                    entry.is_cancelled = true;
                    let (wakers, slot) = (entry.take_wakers(), entry.incoming.clone());
                    drop(table);
                    wakers.wake();
                    if let Some(slot) = slot {
                        slot.end(CallEnd::Failed(PythonExecutionError::Cancelled));
                    }
                }
            }
            (Role::Server, Control::Stop) => {
                self.drain();
                peer.heard(Word::Stop);
            }
            (Role::Caller, Control::Progress(progress)) => peer.heard(Word::Progress(progress)),
            (Role::Caller, Control::Ready) => peer.heard(Word::Ready),
            (Role::Caller, Control::Failed(message)) => peer.heard(Word::Failed(message)),
            (_, word) => return Err(broken(name(&word), id)),
        }
        Ok(())
    }

    /// Takes up a call that came.
    fn accept(
        &self,
        id: u64,
        request: Bytes,
        context: WireContext,
        has_input: bool,
    ) -> Result<(), ConnectionError> {
        let mut table = self.table();
        if id <= table.newest {
            return Err(broken("a second request", id));
        }
        if table.calls.len() >= self.shared.ours.max_in_flight {
            return Err(broken("more calls than were allowed", id));
        }
        table.newest = id;
        let accepted = table.accepted.clone();
        if let Some(accepted) = accepted {
            let input = has_input.then(|| Arc::new(ReplySlot::new(self.shared.ours.stream_window)));
            let outgoing = Some(self.outgoing());
            let entry =
                Entry { incoming: input.clone(), outgoing, is_cancelled: false, _place: None };
            table.calls.insert(id, entry);
            // A call that nobody takes up is ended when it is dropped, which needs the table.
            drop(table);
            let context = CallContext::received(context);
            let mut call = IncomingCall::new(self.clone(), id, request, context, input);
            if accepted.is_closed() {
                call.responder.finish(Some(PythonExecutionError::ShuttingDown));
            }
            // Not taken where the receiver went meanwhile; its drop ends it.
            let _ = accepted.send(call);
        } else {
            // Over a connection that has ended every call has ended.
            let _ = self.send_end(id, Some(PythonExecutionError::ShuttingDown));
        }
        Ok(())
    }

    fn slot(&self, id: u64) -> Option<Arc<ReplySlot<Bytes>>> {
        self.table().calls.get(&id)?.incoming.clone()
    }

    fn put(&self, id: u64, item: Bytes) -> Result<(), ConnectionError> {
        match self.slot(id) {
            Some(slot) => put(&slot, item, id),
            // It was on its way when the call ended or was given up.
            None => Ok(()),
        }
    }

    fn take_credit(&self, id: u64, bytes: u64) -> Result<(), ConnectionError> {
        let wakers = self.table().credit(id, bytes);
        wakers.ok_or_else(|| broken("more credit than was taken", id))?.wake();
        Ok(())
    }

    fn tell_consumed(&self, id: u64) {
        if let Some(bytes) = self.slot(id).and_then(|slot| slot.blocked()) {
            self.consumed(id, bytes);
        }
    }

    fn pong(&self, id: u64) {
        let in_flight = self.in_flight() as u64;
        // Who asks over a connection that has ended hears of that.
        let _ = self.send(id, WireContext::default(), Control::Pong(in_flight), None);
    }
}

/// Ends all calls when the reading task is gone.
struct EndOnDrop(Link);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(LinkEnd::LetGo);
    }
}

fn put(slot: &ReplySlot<Bytes>, item: Bytes, id: u64) -> Result<(), ConnectionError> {
    let len = item.len() as u64;
    if slot.put(item, len) { Ok(()) } else { Err(broken("an item without credit", id)) }
}

fn broken(what: &'static str, id: u64) -> ConnectionError {
    ConnectionError::Protocol { what, call: id }
}

fn name<T>(word: &Control<T>) -> &'static str {
    match word {
        Control::Handshake(_) => "a second introduction",
        Control::Cancel => "a cancellation from who serves",
        Control::Stop => "the word to stop from who is to be stopped",
        _ => "a word from the wrong side",
    }
}
