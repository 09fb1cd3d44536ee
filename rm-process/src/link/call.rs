//! The caller's side of a link: requests, their replies, and the stream that may follow a request.
//!
//! Main types: [`Caller`], which makes calls, and [`Replies`], what comes back. They carry serialised
//! values; types are added in `backend` and `callback`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::context::CallContext;
use super::end::CallEnd;
use super::link::{ItemError, Link, NotCalled};
use super::slot::{ReplySlot, Taken};
use crate::failure::PythonExecutionError;
use crate::transport::Body;

/// Makes calls over a link.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    link: Link,
}

impl Caller {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Makes a call. If the returned future is dropped, none is made, or it is cancelled.
    pub(crate) async fn call(
        &self,
        request: Body,
        context: CallContext,
    ) -> Result<Replies, NotCalled> {
        let place = self.link.place().await?;
        let (id, slot) = self.link.request(place, request, context, false)?;
        Ok(Replies { link: self.link.clone(), id, slot, end: None })
    }

    /// Makes a call whose request is followed by a stream of items.
    pub(crate) async fn call_with_input(
        &self,
        request: Body,
        context: CallContext,
    ) -> Result<(Replies, Sink), NotCalled> {
        let place = self.link.place().await?;
        let (id, slot) = self.link.request(place, request, context, true)?;
        let sink = Sink { link: self.link.clone(), id, has_ended: false };
        Ok((Replies { link: self.link.clone(), id, slot, end: None }, sink))
    }
}

/// The replies to a call. Dropping them before their end cancels the call.
#[derive(Debug)]
pub(crate) struct Replies {
    link: Link,
    id: u64,
    slot: Arc<ReplySlot<Bytes>>,
    end: Option<CallEnd>,
}

impl Replies {
    /// The number of the call.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The next item, or how the call ended, which stays.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, CallEnd>> {
        if let Some(end) = &self.end {
            return Poll::Ready(Err(end.clone()));
        }
        match std::task::ready!(self.slot.poll_take(context)) {
            Taken::Item(item, cost, credit) => {
                self.link.took(self.id, cost, credit);
                Poll::Ready(Ok(item))
            }
            Taken::End(end) => {
                self.end = Some(end.clone());
                Poll::Ready(Err(end))
            }
        }
    }

    /// Whether the end has come, be it that items wait before it.
    pub(crate) fn has_ended(&self) -> bool {
        self.slot.has_ended()
    }

    /// Ends it here, and at the other side.
    pub(crate) fn cancel(&mut self) {
        if self.end.is_none() {
            self.link.cancel(self.id);
            self.end = Some(CallEnd::Failed(PythonExecutionError::Cancelled));
        }
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The stream of items that follows a request. Dropping it without an end ends it as given up.
#[derive(Debug)]
pub(crate) struct Sink {
    link: Link,
    id: u64,
    has_ended: bool,
}

impl Sink {
    /// Sends an item; waits for credit, and while the socket is full.
    pub(crate) async fn send(&mut self, item: Body) -> Result<(), ItemError> {
        self.link.ready().await.map_err(|_| ItemError::NobodyListens)?;
        let mut item = Some(item);
        poll_fn(|context| self.link.poll_item(self.id, &mut item, context)).await
    }

    /// Ends the stream.
    pub(crate) fn end(mut self, failure: Option<PythonExecutionError>) {
        self.has_ended = true;
        self.link.end_input(self.id, failure);
    }

    /// Waits until nobody takes the items any more.
    pub(crate) async fn closed(&self) {
        poll_fn(|context| self.link.poll_cancelled(self.id, context)).await;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.has_ended {
            self.link.end_input(self.id, Some(PythonExecutionError::Cancelled));
        }
    }
}
