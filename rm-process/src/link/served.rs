//! The serving side of a link: calls that came, and their answers.
//!
//! Main types: [`IncomingCall`] and its [`Responder`], which gives a call exactly one end, whatever
//! happens to who serves it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::context::{CallContext, scope};
use super::end::CallEnd;
use super::link::{ItemError, Link};
use super::slot::{ReplySlot, Taken};
use crate::failure::PythonExecutionError;
use crate::telemetry;
use crate::transport::Body;

/// What a call is answered with, serialised.
pub(crate) enum Answer {
    /// One item.
    One(Body),
    /// Any number of items; the first error ends them.
    Many(Pin<Box<dyn Stream<Item = Result<Body, PythonExecutionError>> + Send>>),
}

/// A call that came.
#[derive(Debug)]
pub(crate) struct IncomingCall {
    pub(crate) request: Bytes,
    pub(crate) context: CallContext,
    /// The items that follow the request, if it is one with such.
    pub(crate) input: Option<Input>,
    pub(crate) responder: Responder,
}

impl IncomingCall {
    pub(crate) fn new(
        link: Link,
        id: u64,
        request: Bytes,
        context: CallContext,
        input: Option<Arc<ReplySlot<Bytes>>>,
    ) -> Self {
        let input = input.map(|slot| Input { link: link.clone(), id, slot });
        Self { request, context, input, responder: Responder { link, id, has_ended: false } }
    }

    /// Answers with what `serve` gives: until it is done, fails, panics, is cancelled, or the call's
    /// deadline passes. It is dropped before the call ends.
    ///
    /// It is boxed because each layer here would hold room for it twice: as what it is given, and as
    /// what it waits for.
    pub(crate) async fn answer<F>(self, serve: Pin<Box<F>>) -> Result<u64, PythonExecutionError>
    where
        F: Future<Output = Result<Answer, PythonExecutionError>>,
    {
        let Self { context, mut responder, .. } = self;
        let ended = {
            let served = pin!(drive(serve, &mut responder));
            let served = pin!(scope(context.deadline, caught(served)));
            let served = pin!(telemetry::scope(context.trace, served));
            until(context, served).await
        };
        match ended {
            Ok(sent) => {
                responder.finish(None);
                Ok(sent)
            }
            Err(failure) => {
                responder.finish(Some(failure.clone()));
                Err(failure)
            }
        }
    }
}

/// Lets `served` run until the call's deadline.
async fn until(
    context: CallContext,
    served: impl Future<Output = Result<u64, PythonExecutionError>>,
) -> Result<u64, PythonExecutionError> {
    match context.deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), served)
            .await
            .unwrap_or(Err(PythonExecutionError::DeadlineExceeded)),
        None => served.await,
    }
}

/// Runs a handler and sends what it gives. Gives the number of items.
async fn drive<F>(
    mut serve: Pin<Box<F>>,
    responder: &mut Responder,
) -> Result<u64, PythonExecutionError>
where
    F: Future<Output = Result<Answer, PythonExecutionError>>,
{
    let answer = poll_fn(|context| {
        if responder.link.poll_cancelled(responder.id, context).is_ready() {
            return Poll::Ready(Err(PythonExecutionError::Cancelled));
        }
        serve.as_mut().poll(context)
    });
    match answer.await? {
        Answer::One(item) => responder.reply(item).map(|()| 1),
        Answer::Many(mut items) => {
            let mut sent = 0;
            loop {
                let next = poll_fn(|context| {
                    if responder.link.poll_cancelled(responder.id, context).is_ready() {
                        return Poll::Ready(Some(Err(PythonExecutionError::Cancelled)));
                    }
                    items.as_mut().poll_next(context)
                });
                match next.await.transpose()? {
                    None => return Ok(sent),
                    // The only one: its end need not be said by a word of its own.
                    Some(item) if sent == 0 && items.size_hint().1 == Some(0) => {
                        return responder.reply(item).map(|()| 1);
                    }
                    Some(item) => responder.send(item).await?,
                }
                sent += 1;
            }
        }
    }
}

/// Turns a panic of user code into a failure of the call.
async fn caught<T>(
    mut serve: Pin<&mut impl Future<Output = Result<T, PythonExecutionError>>>,
) -> Result<T, PythonExecutionError> {
    poll_fn(|context| {
        // The handler's state is dropped with it and seen by nobody after a panic.
        let polled = catch_unwind(AssertUnwindSafe(|| serve.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| Poll::Ready(Err(PythonExecutionError::panicked(&*panic))))
    })
    .await
}

/// Answers one call. Dropping it without an end ends the call as abandoned.
#[derive(Debug)]
pub(crate) struct Responder {
    link: Link,
    id: u64,
    has_ended: bool,
}

impl Responder {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Sends an item; waits for credit, and while the socket is full.
    pub(crate) async fn send(&mut self, item: Body) -> Result<(), PythonExecutionError> {
        let nobody = PythonExecutionError::Cancelled;
        self.link.ready().await.map_err(|_| nobody.clone())?;
        let mut item = Some(item);
        let sent = poll_fn(|context| self.link.poll_item(self.id, &mut item, context)).await;
        sent.map_err(|error| match error {
            ItemError::NobodyListens => nobody,
            ItemError::Frame(error) => {
                PythonExecutionError::Serialization { message: error.to_string() }
            }
        })
    }

    /// Sends the only item, which ends the call.
    pub(crate) fn reply(&mut self, item: Body) -> Result<(), PythonExecutionError> {
        self.link
            .reply(self.id, item)
            .map_err(|error| PythonExecutionError::Serialization { message: error.to_string() })?;
        self.has_ended = true;
        Ok(())
    }

    /// Ends the call. The first end counts.
    pub(crate) fn finish(&mut self, failure: Option<PythonExecutionError>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.link.finish(self.id, failure);
        }
    }

    /// Whether the caller has given the call up, or is gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.link.is_cancelled(self.id)
    }

    /// Waits until the caller has given the call up, or is gone.
    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        let (link, id) = (self.link.clone(), self.id);
        poll_fn(move |context| link.poll_cancelled(id, context))
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.finish(Some(PythonExecutionError::Abandoned));
    }
}

/// The items that follow a request.
#[derive(Debug)]
pub(crate) struct Input {
    link: Link,
    id: u64,
    slot: Arc<ReplySlot<Bytes>>,
}

impl Input {
    /// The next item, or how the stream ended, which stays.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, CallEnd>> {
        match std::task::ready!(self.slot.poll_take(context)) {
            Taken::Item(item, cost, credit) => {
                self.link.took(self.id, cost, credit);
                Poll::Ready(Ok(item))
            }
            Taken::End(end) => Poll::Ready(Err(end)),
        }
    }
}
