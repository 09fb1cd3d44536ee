//! What each word that comes does to the calls of a connection.
//!
//! Main functions: [`Link::read`], the loop, and `Link::handle`, one word. What comes is hostile: what
//! cannot be at that place ends the connection, and nothing else.

use std::sync::Arc;
use std::task::Waker;

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

impl Link {
    /// Reads what comes until the connection ends, and ends all calls then.
    pub(crate) async fn read(self, mut inbox: Inbox, peer: Arc<dyn Peer>) {
        // Also where the task is aborted, or its runtime ends: nobody else would end the calls.
        let _end = EndOnDrop(&self);
        let mut gone = peer.gone();
        let end = loop {
            let next = tokio::select! {
                biased;
                next = inbox.next() => next,
                // Descendants may hold the connection open for longer.
                () = &mut gone => break LinkEnd::Closed,
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
            (_, Control::Ping) => self.pong(id),
            (_, Control::Pong(in_flight)) => {
                if let Some(waiting) = self.table().pings.remove(&id) {
                    // Who asked may have lost patience.
                    let _ = waiting.send(in_flight);
                }
            }
            (_, Control::Credit(bytes)) => self.take_credit(id, bytes)?,
            (_, Control::Blocked) => self.tell_consumed(id),
            (Role::Caller, Control::Sync(payload)) => {
                let item = open(payload)?;
                let entry = self.table().remove(id);
                if let Some(slot) = entry.and_then(|entry| entry.incoming) {
                    put(&slot, item, id)?;
                    slot.end(CallEnd::Done);
                }
            }
            (Role::Caller, Control::Stream(payload)) => self.put(id, open(payload)?)?,
            (Role::Caller, Control::StreamEnd(failure)) => {
                let entry = self.table().remove(id);
                if let Some(slot) = entry.and_then(|entry| entry.incoming) {
                    slot.end(failure.map_or(CallEnd::Done, |failure| CallEnd::Failed(*failure)));
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
                if let Some(entry) = self.table().calls.get_mut(&id) {
                    entry.is_cancelled = true;
                    entry.wake();
                    if let Some(slot) = &entry.incoming {
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
        let mut table = self.table();
        let table = &mut *table;
        let outgoing = table.calls.get_mut(&id).and_then(|entry| entry.outgoing.as_mut());
        // Credit may come for a stream that has just ended.
        let Some(outgoing) = outgoing else { return Ok(()) };
        if outgoing.flow.consumed(bytes, &mut table.sending).is_none() {
            return Err(broken("more credit than was taken", id));
        }
        outgoing.sender.take().into_iter().for_each(Waker::wake);
        table.waiting.drain(..).for_each(Waker::wake);
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
struct EndOnDrop<'a>(&'a Link);

impl Drop for EndOnDrop<'_> {
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
