//! What comes back from a call, and what may be sent after its request.
//!
//! Main types: [`ReplyStream`], [`RawReplies`] below it, and [`InputSink`]. Dropping the replies
//! before their end cancels the call at the other side.

use std::any::{Any, type_name};
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Sleep;
use tracing::Span;

use super::error::SubprocessIpcBackendError;
use super::message::{decode, encode};
use crate::failure::PythonExecutionError;
use crate::handshake::IpcLimits;
use crate::link::{CallContext, Replies, Sink};
use crate::telemetry;
use crate::telemetry::metrics::InFlight;
use crate::transport::Body;

/// What goes with a call as long as it is in flight.
pub(crate) struct Escort {
    /// What has to live as long as the call, such as the connection.
    pub(crate) _keeps: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) meter: InFlight,
    pub(crate) span: Span,
}

/// The replies to a call in their serialised form: any number of items, then the end of the call.
///
/// Dropping it before the end cancels the call at the other side.
#[must_use = "dropping the replies cancels the call"]
pub struct RawReplies {
    replies: Replies,
    deadline: Option<Pin<Box<Sleep>>>,
    /// How long the call had when it was made.
    timeout: Duration,
    /// Gone at the end of the call.
    escort: Option<Escort>,
}

impl std::fmt::Debug for RawReplies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RawReplies").field(&self.replies.id()).finish()
    }
}

impl RawReplies {
    pub(crate) fn new(
        replies: Replies,
        (context, timeout): (CallContext, Duration),
        escort: Escort,
    ) -> Self {
        let deadline = context.deadline;
        let deadline = deadline.map(|at| Box::pin(tokio::time::sleep_until(at.into())));
        Self { replies, deadline, timeout, escort: Some(escort) }
    }

    /// The number of the call on its connection.
    pub fn correlation_id(&self) -> u64 {
        self.replies.id()
    }

    /// The next item, if it is there; `None` at the end of the call and ever after.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, SubprocessIpcBackendError>>> {
        let Some(escort) = &self.escort else { return Poll::Ready(None) };
        let ended = match self.replies.poll_next(context) {
            // Who sends on without end must not outdo the deadline; what is complete still counts.
            Poll::Ready(Ok(_)) if self.is_overdue() && !self.replies.has_ended() => {
                self.replies.cancel();
                Some(SubprocessIpcBackendError::DeadlineExceeded { waited: self.timeout })
            }
            Poll::Ready(Ok(item)) => {
                escort.meter.metrics().item_in(item.len());
                return Poll::Ready(Some(Ok(item)));
            }
            Poll::Ready(Err(end)) => SubprocessIpcBackendError::of_call(end),
            Poll::Pending => {
                let Some(deadline) = &mut self.deadline else { return Poll::Pending };
                std::task::ready!(deadline.as_mut().poll(context));
                self.replies.cancel();
                Some(SubprocessIpcBackendError::DeadlineExceeded { waited: self.timeout })
            }
        };
        // The other side may have noticed the deadline first.
        let ended = ended.map(|error| match error {
            SubprocessIpcBackendError::Remote(PythonExecutionError::DeadlineExceeded)
                if self.deadline.is_some() =>
            {
                SubprocessIpcBackendError::DeadlineExceeded { waited: self.timeout }
            }
            error => error,
        });
        self.settle(ended.as_ref());
        Poll::Ready(ended.map(Err))
    }

    /// The next item; `None` at the end of the call and ever after. Nothing is lost if the returned
    /// future is dropped.
    pub async fn next(&mut self) -> Option<Result<Bytes, SubprocessIpcBackendError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Ends the call here and at the other side.
    pub fn cancel(&mut self) {
        self.replies.cancel();
        self.escort = None;
    }

    fn is_overdue(&self) -> bool {
        let deadline = self.deadline.as_ref();
        deadline.is_some_and(|deadline| deadline.deadline() <= tokio::time::Instant::now())
    }

    /// Records how the call ended.
    fn settle(&mut self, error: Option<&SubprocessIpcBackendError>) {
        let Some(Escort { meter, span, .. }) = self.escort.take() else { return };
        if let Some(error) = error {
            telemetry::record_failure(&span, error.kind(), error);
        }
        meter.finish(error.map_or(Ok(()), |error| Err(error.kind())));
    }
}

impl Stream for RawReplies {
    type Item = Result<Bytes, SubprocessIpcBackendError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_next(context)
    }
}

/// The replies to a call: any number of items, then its end, which is an error if the call failed.
///
/// Dropping it before the end cancels the call at the other side.
#[must_use = "dropping the replies cancels the call"]
#[derive(Debug)]
pub struct ReplyStream<R> {
    raw: RawReplies,
    gives: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> ReplyStream<R> {
    pub(crate) fn new(raw: RawReplies) -> Self {
        Self { raw, gives: PhantomData }
    }

    /// The next item; `None` at the end of the call and ever after. Nothing is lost if the returned
    /// future is dropped.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Decode`] for an item that is no `R`, after which the next can
    /// still be had; every other error is the end of the call.
    pub async fn next(&mut self) -> Option<Result<R, SubprocessIpcBackendError>> {
        Some(self.raw.next().await?.and_then(|item| decode(&item)))
    }

    /// Ends the call here and at the other side.
    pub fn cancel(&mut self) {
        self.raw.cancel();
    }

    /// The replies in their serialised form.
    pub fn into_raw(self) -> RawReplies {
        self.raw
    }

    /// The one item of a call that has one.
    pub(crate) async fn one(mut self) -> Result<R, SubprocessIpcBackendError> {
        let item = self.next().await.ok_or(SubprocessIpcBackendError::NoReply)??;
        match self.raw.next().await {
            None => Ok(item),
            Some(Ok(_)) => Err(SubprocessIpcBackendError::ManyReplies),
            Some(Err(error)) => Err(error),
        }
    }
}

impl<R: DeserializeOwned> Stream for ReplyStream<R> {
    type Item = Result<R, SubprocessIpcBackendError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = self.get_mut().raw.poll_next(context);
        item.map(|item| item.map(|item| item.and_then(|item| decode(&item))))
    }
}

/// The items that follow a request, from the caller to who serves the call. Dropping it without
/// [`end`](Self::end) tells the other side that the stream was given up.
#[derive(Debug)]
pub struct InputSink<I> {
    sink: Sink,
    limits: IpcLimits,
    takes: PhantomData<fn(&I)>,
}

impl<I: Serialize> InputSink<I> {
    pub(crate) fn new(sink: Sink, limits: IpcLimits) -> Self {
        Self { sink, limits, takes: PhantomData }
    }

    /// Sends an item. Waits while the other side does not consume.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Encode`] if it cannot be sent, and
    /// [`Closed`](SubprocessIpcBackendError::Closed) if the call is over.
    pub async fn send(&mut self, item: &I) -> Result<(), SubprocessIpcBackendError> {
        let failed = |source| {
            let type_name = type_name::<I>();
            SubprocessIpcBackendError::Encode { type_name, source }
        };
        let body: Body = encode(item, &self.limits).map_err(failed)?;
        self.sink.send(body).await.map_err(|error| match error {
            crate::link::ItemError::NobodyListens => SubprocessIpcBackendError::Closed,
            crate::link::ItemError::Frame(source) => failed(source),
        })
    }

    /// Ends the stream as complete.
    pub fn end(self) {
        self.sink.end(None);
    }

    /// Waits until nobody takes items any more: the call is over.
    pub async fn closed(&self) {
        self.sink.closed().await;
    }
}

/// The sooner of two deadlines.
pub(crate) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
