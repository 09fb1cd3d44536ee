//! A request that came, and its answer.
//!
//! Main types: [`IncomingRequest`] and [`Responder`]; [`RequestHandler`] is what serves requests one
//! by one. However it is served, its caller gets exactly one end.

use std::any::type_name;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use rm_core::TraceContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use crate::backend::{KameoChildProcessMessage, SubprocessIpcBackendError, decode};
use crate::callback::{Encoded, encode_item};
use crate::failure::PythonExecutionError;
use crate::link::{self, Answer, CallContext, IncomingCall, Input};
use crate::telemetry::metrics::{DirectionMetrics, InFlight};
use crate::telemetry::{self, CallInfo, CallKind};
use crate::transport::Body;
use crate::value;

/// What a request is answered with: one item, or a stream.
pub struct Reply<R>(Kind<R>);

enum Kind<R> {
    One(R),
    Many(Pin<Box<dyn Stream<Item = Result<R, PythonExecutionError>> + Send>>),
}

impl<R> std::fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::One(_) => "Reply::one(..)",
            Kind::Many(_) => "Reply::stream(..)",
        })
    }
}

impl<R> Reply<R> {
    /// One item.
    pub fn one(item: R) -> Self {
        Self(Kind::One(item))
    }

    /// Any number of items; the first error ends them.
    pub fn stream(
        items: impl Stream<Item = Result<R, PythonExecutionError>> + Send + 'static,
    ) -> Self {
        Self(Kind::Many(Box::pin(items)))
    }
}

/// Serves the requests of a [`SubprocessIpcChild`](super::SubprocessIpcChild). Closures
/// `|message, context| async { Ok(Reply::one(..)) }` are handlers.
pub trait RequestHandler<M: KameoChildProcessMessage>: Send + Sync + 'static {
    /// Answers one request. A panic is an answer, too.
    ///
    /// # Errors
    /// What the caller is to get as
    /// [`SubprocessIpcBackendError::Remote`](crate::SubprocessIpcBackendError::Remote).
    fn handle(
        &self,
        message: M,
        context: RequestContext,
    ) -> impl Future<Output = Result<Reply<M::Reply>, PythonExecutionError>> + Send;
}

impl<M, F, A> RequestHandler<M> for F
where
    M: KameoChildProcessMessage,
    F: Fn(M, RequestContext) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Reply<M::Reply>, PythonExecutionError>> + Send,
{
    fn handle(
        &self,
        message: M,
        context: RequestContext,
    ) -> impl Future<Output = Result<Reply<M::Reply>, PythonExecutionError>> + Send {
        self(message, context)
    }
}

/// What comes with a request.
#[derive(Debug)]
pub struct RequestContext {
    /// Until when, and in which trace. Calls made by the task that serves inherit both.
    pub call: CallContext,
    /// The items that follow the request, for those that are made with
    /// [`exchange`](crate::Request::exchange).
    pub input: Option<InputStream>,
}

/// The items that follow a request.
#[derive(Debug)]
pub struct InputStream {
    input: Input,
    has_ended: bool,
}

impl InputStream {
    /// The next item; `None` at the end of the stream and ever after. Nothing is lost if the returned
    /// future is dropped.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Decode`] for an item that is no `I`, after which the next can
    /// still be had; every other error is the end of the stream.
    pub async fn next<I: DeserializeOwned>(
        &mut self,
    ) -> Option<Result<I, SubprocessIpcBackendError>> {
        Some(self.next_raw().await?.and_then(|item| decode(&item)))
    }

    /// The next item in its serialised form.
    ///
    /// # Errors
    /// As [`next`](Self::next), without `Decode`.
    pub async fn next_raw(&mut self) -> Option<Result<Bytes, SubprocessIpcBackendError>> {
        poll_fn(|context| self.poll_raw(context)).await
    }

    fn poll_raw(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, SubprocessIpcBackendError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(self.input.poll_next(context));
        Poll::Ready(match item {
            Ok(item) => Some(Ok(item)),
            Err(end) => {
                self.has_ended = true;
                SubprocessIpcBackendError::of_call(end).map(Err)
            }
        })
    }
}

/// A request that came.
#[derive(Debug)]
pub struct IncomingRequest<M> {
    call: IncomingCall,
    meter: InFlight,
    parent: u32,
    takes: PhantomData<fn() -> M>,
}

impl<M: KameoChildProcessMessage> IncomingRequest<M> {
    pub(super) fn new(call: IncomingCall, metrics: &Arc<DirectionMetrics>, parent: u32) -> Self {
        let meter = metrics.begin();
        metrics.item_in(call.request.len());
        Self { call, meter, parent, takes: PhantomData }
    }

    /// The message.
    ///
    /// # Errors
    /// [`PythonExecutionError::Deserialization`] if what came is none.
    pub fn message(&self) -> Result<M, PythonExecutionError> {
        read(&self.call.request)
    }

    /// The message in its serialised form.
    pub fn raw(&self) -> &Bytes {
        &self.call.request
    }

    /// Until when the answer is of use, and in which trace.
    pub fn context(&self) -> CallContext {
        self.call.context
    }

    /// Takes the items that follow the request, if it is one with such and they were not taken.
    pub fn take_input(&mut self) -> Option<InputStream> {
        self.call.input.take().map(|input| InputStream { input, has_ended: false })
    }

    /// Has `handler` answer.
    pub(super) async fn serve(self, handler: &impl RequestHandler<M>) {
        let Self { mut call, meter, parent, .. } = self;
        let request = call.request.clone();
        let input = call.input.take().map(|input| InputStream { input, has_ended: false });
        let context = RequestContext { call: call.context, input };
        let limits = *call.responder.link().peer_limits();
        let info = CallInfo { kind: CallKind::Request, path: type_name::<M>(), peer_pid: parent };
        let span = telemetry::server_span(info, call.responder.id(), call.context.trace);
        let link = call.responder.link().clone();
        let serve = async move {
            Ok(match handler.handle(read(&request)?, context).await?.0 {
                Kind::One(item) => {
                    // A long item takes a descriptor, so not before there is room for it. Over a
                    // connection that has ended nothing is sent anyway.
                    let _ = link.ready().await;
                    Answer::One(encode_item(&item, &limits)?)
                }
                Kind::Many(items) => Answer::Many(Box::pin(Encoded { answers: items, limits })),
            })
        };
        meter.finish(match call.answer(Box::pin(serve)).instrument(span).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.kind()),
        });
    }

    /// Answers by hand.
    pub fn into_responder(self) -> Responder<M::Reply> {
        let Self { call, meter, .. } = self;
        let limits = *call.responder.link().peer_limits();
        let trace = call.context.trace;
        Responder { inner: call.responder, limits, trace, meter: Some(meter), gives: PhantomData }
    }
}

/// A message from its serialised form.
fn read<M: DeserializeOwned>(request: &[u8]) -> Result<M, PythonExecutionError> {
    let options = value::DecodeOptions { root: "request", ..Default::default() };
    value::decode(request, options)
        .map_err(|error| PythonExecutionError::Deserialization { message: error.to_string() })
}

/// Answers one request, item by item. Dropping it without an end ends the call as abandoned.
#[derive(Debug)]
pub struct Responder<R> {
    inner: link::Responder,
    limits: crate::handshake::IpcLimits,
    trace: Option<TraceContext>,
    meter: Option<InFlight>,
    gives: PhantomData<fn(&R)>,
}

impl<R: Serialize> Responder<R> {
    /// The number of the call on its connection.
    pub fn correlation_id(&self) -> u64 {
        self.inner.id()
    }

    /// The trace that the call belongs to.
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    /// Sends an item. Waits while the caller does not consume, or does not read.
    ///
    /// # Errors
    /// [`PythonExecutionError::Cancelled`] if nobody wants it any more, and
    /// [`PythonExecutionError::Serialization`] if it cannot be sent.
    pub async fn send(&mut self, item: &R) -> Result<(), PythonExecutionError> {
        let body = encode_item(item, &self.limits)?;
        self.send_body(body).await
    }

    /// Sends an item that is serialised already.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_raw(&mut self, item: Vec<u8>) -> Result<(), PythonExecutionError> {
        let body = seal(item, &self.limits)?;
        self.send_body(body).await
    }

    async fn send_body(&mut self, body: Body) -> Result<(), PythonExecutionError> {
        if let Some(meter) = &self.meter {
            meter.metrics().item_out(body.len() as usize);
        }
        self.inner.send(body).await
    }

    /// Sends the only item, which ends the call.
    ///
    /// # Errors
    /// [`PythonExecutionError::Serialization`] if it cannot be sent; the call has failed with that.
    pub fn reply(self, item: &R) -> Result<(), PythonExecutionError> {
        let body = encode_item(item, &self.limits);
        self.reply_body(body)
    }

    /// Sends the only item, which is serialised already and ends the call.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub fn reply_raw(self, item: Vec<u8>) -> Result<(), PythonExecutionError> {
        let body = seal(item, &self.limits);
        self.reply_body(body)
    }

    fn reply_body(
        mut self,
        body: Result<Body, PythonExecutionError>,
    ) -> Result<(), PythonExecutionError> {
        let sent = body.and_then(|body| self.inner.reply(body));
        self.settle(sent.as_ref().err().cloned());
        sent
    }

    /// Ends the call: as complete, or with a failure.
    pub fn finish(mut self, failure: Option<PythonExecutionError>) {
        self.settle(failure);
    }

    fn settle(&mut self, failure: Option<PythonExecutionError>) {
        if let Some(meter) = self.meter.take() {
            meter.finish(failure.as_ref().map_or(Ok(()), |failure| Err(failure.kind())));
        }
        self.inner.finish(failure);
    }

    /// Whether nobody wants the answer any more.
    pub fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }

    /// Completes once nobody wants the answer any more.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.cancelled()
    }
}

/// A serialised item, in a sealed file if it is long.
fn seal(item: Vec<u8>, limits: &crate::handshake::IpcLimits) -> Result<Body, PythonExecutionError> {
    Body::of(item, limits.max_payload)
        .map_err(|error| PythonExecutionError::Serialization { message: error.to_string() })
}
