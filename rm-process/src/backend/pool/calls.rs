//! Calls to a pool: made to one child, and made again to another if they may be.
//!
//! Main types: [`PoolRequest`] and [`PoolReplies`]. A call that never reached a child is made to
//! another in any case.

use std::any::type_name;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;
use rm_core::TraceContext;

use super::places::{Assigned, Shared};
use crate::backend::error::SubprocessIpcBackendError;
use crate::backend::message::{KameoChildProcessMessage, decode, encode};
use crate::backend::replies::{RawReplies, sooner};
use crate::handshake::IpcLimits;
use crate::link::{CallContext, current_deadline};
use crate::protocol::FrameError;
use crate::telemetry::metrics::InFlight;
use crate::transport::Body;

/// A call to be made by one of the children of a pool.
#[derive(Debug)]
#[must_use = "no call is made until it is sent"]
pub struct PoolRequest<'a, M> {
    pool: &'a Arc<Shared<M>>,
    message: &'a M,
    context: CallContext,
    is_idempotent: bool,
}

impl<'a, M: KameoChildProcessMessage> PoolRequest<'a, M> {
    pub(super) fn new(pool: &'a Arc<Shared<M>>, message: &'a M) -> Self {
        let context = CallContext { deadline: current_deadline(), trace: None };
        Self { pool, message, context, is_idempotent: false }
    }

    /// Gives the call up after `timeout`, whatever child has it. A deadline that is inherited and
    /// sooner stays.
    pub fn timeout(self, timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }

    /// Gives the call up at `deadline`, whatever child has it. One that is inherited and sooner stays.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.context.deadline = sooner(self.context.deadline, Some(deadline));
        self
    }

    /// Makes the call a part of this trace, rather than of the current one.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.context.trace = Some(trace);
        self
    }

    /// Says that the call may be made more than once: if its child ends, or stops to take calls,
    /// before it has given an item, another one gets it, up to
    /// [`tries`](super::PoolOptions::tries) in all.
    pub fn idempotent(mut self) -> Self {
        self.is_idempotent = true;
        self
    }

    /// Makes the call, for one reply.
    ///
    /// # Errors
    /// As [`SubprocessIpcBackend::call`](crate::SubprocessIpcBackend::call). If the child ends,
    /// [`ProcessEnded`](SubprocessIpcBackendError::ProcessEnded); if no child is left and none is
    /// started again, [`PoolEmpty`](SubprocessIpcBackendError::PoolEmpty).
    pub async fn send(self) -> Result<M::Reply, SubprocessIpcBackendError> {
        self.stream().await?.one().await
    }

    /// Makes the call, for a stream of replies.
    ///
    /// # Errors
    /// As [`send`](Self::send) if the call cannot be made; what happens to it later comes as the
    /// stream's last item.
    pub async fn stream(self) -> Result<PoolReplies<M>, SubprocessIpcBackendError> {
        let Self { pool, message, context, is_idempotent } = self;
        let mut call = Call::begin(pool, context);
        let (mut kept, mut len) = (None, 0);
        let write = |limits: &IpcLimits| {
            let body = encode(message, limits)?;
            len = body.len();
            if is_idempotent {
                kept = Some(body.try_clone()?);
            }
            Ok(body)
        };
        match open(pool, context, write, type_name::<M>()).await {
            Ok(opened) => {
                pool.metrics.item_out(len as usize);
                let left = pool.tries.saturating_sub(1);
                let again = kept.map(|body| Again { pool: Arc::clone(pool), context, body, left });
                Ok(PoolReplies { state: State::Open(opened), again, call })
            }
            Err(error) => Err(call.failed(error)),
        }
    }
}

/// A call that is counted by the pool.
#[derive(Debug)]
struct Call {
    /// How long it had when it was made.
    timeout: Duration,
    /// Gone at its end.
    meter: Option<InFlight>,
}

impl Call {
    fn begin<M>(pool: &Shared<M>, context: CallContext) -> Self {
        let meter = Some(pool.metrics.begin());
        Self { timeout: context.time_left().unwrap_or_default(), meter }
    }

    fn done(&mut self) {
        self.meter.take().into_iter().for_each(|meter| meter.finish(Ok(())));
    }

    fn failed(&mut self, mut error: SubprocessIpcBackendError) -> SubprocessIpcBackendError {
        if let SubprocessIpcBackendError::DeadlineExceeded { waited } = &mut error {
            // What the last child had of it says nothing to the caller.
            *waited = self.timeout;
        }
        self.meter.take().into_iter().for_each(|meter| meter.finish(Err(error.kind())));
        error
    }
}

/// A call that a child has.
#[derive(Debug)]
struct Opened {
    replies: RawReplies,
    assigned: Assigned,
}

/// Makes a call to one child. If it ends, or stops to take calls, before it got the request, the next
/// one gets it.
async fn open<M: KameoChildProcessMessage>(
    pool: &Shared<M>,
    context: CallContext,
    mut write: impl FnMut(&IpcLimits) -> Result<Body, FrameError>,
    type_name: &'static str,
) -> Result<Opened, SubprocessIpcBackendError> {
    loop {
        let claimed = match context.deadline {
            Some(deadline) => {
                let claimed = tokio::time::timeout_at(deadline.into(), pool.claim()).await;
                let waited = Duration::ZERO;
                claimed.map_err(|_| SubprocessIpcBackendError::DeadlineExceeded { waited })?
            }
            None => pool.claim().await,
        };
        let (child, assigned) = claimed?;
        let body = write(child.peer_limits())
            .map_err(|source| SubprocessIpcBackendError::Encode { type_name, source })?;
        match child.send(body, context).await {
            Ok(replies) => return Ok(Opened { replies, assigned }),
            // The pool is told of the end by then or soon, and does not choose that child again.
            Err(error) if is_of_child(&error) => note(&error, &assigned),
            Err(error) => return Err(error),
        }
    }
}

/// Whether the child is the cause, so that another one may do better.
fn is_of_child(error: &SubprocessIpcBackendError) -> bool {
    matches!(
        error,
        SubprocessIpcBackendError::ProcessEnded { .. }
            | SubprocessIpcBackendError::Closed
            | SubprocessIpcBackendError::ShuttingDown
            | SubprocessIpcBackendError::Protocol(_)
    )
}

/// Notes what an error says of the child.
fn note(error: &SubprocessIpcBackendError, assigned: &Assigned) {
    if matches!(error, SubprocessIpcBackendError::ShuttingDown) {
        assigned.leave();
    }
}

/// What is needed to make a call again.
struct Again<M> {
    pool: Arc<Shared<M>>,
    context: CallContext,
    body: Body,
    /// How many more children it may be sent to.
    left: u32,
}

type Opening<M> = Pin<
    Box<dyn Future<Output = Result<(Opened, Again<M>), SubprocessIpcBackendError>> + Send + Sync>,
>;

impl<M: KameoChildProcessMessage> Again<M> {
    async fn open(mut self) -> Result<(Opened, Self), SubprocessIpcBackendError> {
        self.left -= 1;
        self.pool.retries.fetch_add(1, Relaxed);
        let write = |_: &IpcLimits| self.body.try_clone();
        let opened = open(&self.pool, self.context, write, type_name::<M>()).await?;
        Ok((opened, self))
    }
}

#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum State<M> {
    Open(Opened),
    Opening(Opening<M>),
    Over,
}

/// The replies to a call to a pool: any number of items, then its end, which is an error if the call
/// failed.
///
/// Dropping it before the end cancels the call at the child.
#[must_use = "dropping the replies cancels the call"]
pub struct PoolReplies<M> {
    state: State<M>,
    /// `None` where the call may not be made again, or not any more.
    again: Option<Again<M>>,
    call: Call,
}

impl<M> std::fmt::Debug for PoolReplies<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = match &self.state {
            State::Open(opened) => Some(opened),
            State::Opening(_) | State::Over => None,
        };
        f.debug_tuple("PoolReplies").field(&open).finish()
    }
}

impl<M: KameoChildProcessMessage> PoolReplies<M> {
    /// The next item; `None` at the end of the call and ever after. Nothing is lost if the returned
    /// future is dropped.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Decode`] for an item that is no reply to `M`, after which the next
    /// can still be had; every other error is the end of the call.
    pub async fn next(&mut self) -> Option<Result<M::Reply, SubprocessIpcBackendError>> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Ends the call here and at the child.
    pub fn cancel(&mut self) {
        (self.state, self.again, self.call.meter) = (State::Over, None, None);
    }

    /// The one item of a call that has one.
    pub(super) async fn one(mut self) -> Result<M::Reply, SubprocessIpcBackendError> {
        let item = self.next().await.ok_or(SubprocessIpcBackendError::NoReply)??;
        match self.next().await {
            None => Ok(item),
            Some(Ok(_)) => Err(SubprocessIpcBackendError::ManyReplies),
            Some(Err(error)) => Err(error),
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<M::Reply, SubprocessIpcBackendError>>> {
        loop {
            let opened = match &mut self.state {
                State::Open(opened) => opened,
                State::Opening(opening) => match ready!(opening.as_mut().poll(context)) {
                    Ok((opened, again)) => {
                        (self.state, self.again) = (State::Open(opened), Some(again));
                        continue;
                    }
                    Err(error) => {
                        self.state = State::Over;
                        return Poll::Ready(Some(Err(self.call.failed(error))));
                    }
                },
                State::Over => return Poll::Ready(None),
            };
            let error = match ready!(opened.replies.poll_next(context)) {
                Some(Ok(item)) => {
                    self.call.meter.iter().for_each(|meter| meter.metrics().item_in(item.len()));
                    // The caller has seen what this child does; another would begin anew.
                    self.again = None;
                    return Poll::Ready(Some(decode(&item)));
                }
                Some(Err(error)) => error,
                None => {
                    self.state = State::Over;
                    self.call.done();
                    return Poll::Ready(None);
                }
            };
            note(&error, &opened.assigned);
            let again = self.again.take().filter(|again| again.left > 0 && is_of_child(&error));
            let Some(again) = again else {
                self.state = State::Over;
                return Poll::Ready(Some(Err(self.call.failed(error))));
            };
            self.state = State::Opening(Box::pin(again.open()));
        }
    }
}

impl<M: KameoChildProcessMessage> Stream for PoolReplies<M> {
    type Item = Result<M::Reply, SubprocessIpcBackendError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context)
    }
}
