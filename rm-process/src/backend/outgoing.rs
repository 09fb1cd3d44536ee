//! A call on its way out, of a parent to its child or of a child to its parent.
//!
//! Main type: [`OutgoingCall`]. It counts the call from its beginning, makes it a part of the current
//! trace, and keeps to its deadline while there is no place for it yet.

use std::any::{Any, type_name};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::error::SubprocessIpcBackendError;
use super::message::encode;
use super::replies::{Escort, RawReplies};
use crate::link::{CallContext, Caller, NotCalled, Sink};
use crate::telemetry::metrics::DirectionMetrics;
use crate::telemetry::{self, CallInfo};
use crate::transport::Body;

/// A call that was begun and not sent.
pub(crate) struct OutgoingCall {
    caller: Caller,
    context: CallContext,
    timeout: Duration,
    escort: Escort,
}

impl OutgoingCall {
    /// Begins a call. `keeps` lives as long as the call.
    pub(crate) fn begin(
        caller: Caller,
        mut context: CallContext,
        info: CallInfo<'_>,
        metrics: &Arc<DirectionMetrics>,
        keeps: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        let meter = metrics.begin();
        let (span, trace) = telemetry::client_span(info);
        context.trace = context.trace.or(trace);
        let timeout = context.time_left().unwrap_or_default();
        Self { caller, context, timeout, escort: Escort { _keeps: keeps, meter, span } }
    }

    /// A request in its serialised form, as soon as there is room for it: a long one takes a
    /// descriptor, and thousands of calls that wait would take all that this process may have.
    pub(crate) async fn encode<T: Serialize>(
        self,
        request: &T,
    ) -> Result<(Self, Body), SubprocessIpcBackendError> {
        let link = self.caller.link().clone();
        let room = async {
            // What is wrong with the connection is told when the call is made.
            let _ = link.ready().await;
            Ok(())
        };
        if let Err(error) = self.within_deadline(room).await {
            return Err(self.failed(error));
        }
        match encode(request, self.caller.link().peer_limits()) {
            Ok(body) => Ok((self, body)),
            Err(source) => {
                let type_name = type_name::<T>();
                Err(self.failed(SubprocessIpcBackendError::Encode { type_name, source }))
            }
        }
    }

    /// Sends the request.
    pub(crate) async fn call(self, request: Body) -> Result<RawReplies, SubprocessIpcBackendError> {
        let (caller, context, len) = (self.caller.clone(), self.context, request.len());
        let called = self.within_deadline(caller.call(request, context)).await;
        match called {
            Ok(replies) => Ok(self.sent(replies, len)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Sends the request, which a stream of items follows.
    pub(crate) async fn exchange(
        self,
        request: Body,
    ) -> Result<(Sink, RawReplies), SubprocessIpcBackendError> {
        let (caller, context, len) = (self.caller.clone(), self.context, request.len());
        let called = self.within_deadline(caller.call_with_input(request, context)).await;
        match called {
            Ok((replies, sink)) => Ok((sink, self.sent(replies, len))),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<T, NotCalled>>,
    ) -> Result<T, SubprocessIpcBackendError> {
        let called = match self.context.deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline.into(), call).await.map_err(|_| {
                    SubprocessIpcBackendError::DeadlineExceeded { waited: self.timeout }
                })?
            }
            None => call.await,
        };
        called.map_err(|error| SubprocessIpcBackendError::not_called(error, "request"))
    }

    fn sent(self, replies: crate::link::Replies, len: u64) -> RawReplies {
        self.escort.meter.metrics().item_out(len as usize);
        self.escort.span.record("correlation_id", replies.id());
        RawReplies::new(replies, (self.context, self.timeout), self.escort)
    }

    pub(crate) fn failed(self, error: SubprocessIpcBackendError) -> SubprocessIpcBackendError {
        telemetry::record_failure(&self.escort.span, error.kind(), &error);
        self.escort.meter.finish(Err(error.kind()));
        error
    }
}
