//! What comes back from a node, to whom it belongs.
//!
//! Main types: [`Answers`], what one caller reads, and [`Ending`], why a node gives no more. Who
//! produces answers is not decided here.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use rm_core::{MessageKind, RuntimeData, SessionId};
use rm_ipc::ReceiveError;
use rm_process::FailureReport;
use tokio::sync::mpsc;

use super::error::ServiceError;
use super::metrics::BridgeMetrics;
use crate::protocol::WorkerFailure;

/// Why a node has ended.
#[derive(Debug)]
pub(crate) enum Why {
    CleanedUp,
    Panicked(String),
    Died(Box<FailureReport>, Option<Box<WorkerFailure>>),
    Garbled(ReceiveError),
}

/// Whether a node has ended, and why: what is said first holds.
#[derive(Debug)]
pub(crate) struct Ending {
    node_id: String,
    why: OnceLock<Why>,
}

impl Ending {
    pub(crate) fn new(node_id: &str) -> Arc<Self> {
        Arc::new(Self { node_id: node_id.to_owned(), why: OnceLock::new() })
    }

    pub(crate) fn set(&self, why: Why) {
        // One that was cleaned up does not die of it.
        let _ = self.why.set(why);
    }

    pub(crate) fn has_come(&self) -> bool {
        self.why.get().is_some()
    }

    /// What is said of a node that does not take new parameters.
    pub(crate) fn refused(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ServiceError {
        ServiceError::ParamsRefused { node_id: self.node_id.clone(), source: source.into() }
    }

    /// What a call is told that gets no answer any more.
    pub(crate) fn error(&self) -> ServiceError {
        let node_id = self.node_id.clone();
        match self.why.get() {
            None | Some(Why::CleanedUp) => ServiceError::CleanedUp { node_id },
            Some(Why::Panicked(message)) => {
                ServiceError::Panicked { node_id, message: message.clone() }
            }
            Some(Why::Died(report, source)) => {
                ServiceError::Died { node_id, report: report.clone(), source: source.clone() }
            }
            Some(Why::Garbled(source)) => ServiceError::Garbled { node_id, source: source.clone() },
        }
    }
}

/// One piece of an answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Item(RuntimeData),
    /// Everything at once, and how it ended.
    All(Vec<RuntimeData>, Result<(), ServiceError>),
    End,
    Failed(ServiceError),
}

enum Rest {
    Open,
    Failed(ServiceError),
    Over,
}

/// An item as it is put to a node.
///
/// What it was made from elsewhere would make a worker take it for a repeat.
pub(crate) fn question(node_id: &str, data: RuntimeData) -> Result<RuntimeData, ServiceError> {
    if data.kind() != MessageKind::Data {
        let message =
            format!("node {node_id} is given a message of kind {}, expected data", data.kind());
        return Err(ServiceError::Validation(message));
    }
    Ok(data.with_origin(None))
}

/// What one call gets.
pub(crate) struct Answers {
    incoming: mpsc::Receiver<Answer>,
    batch: std::vec::IntoIter<RuntimeData>,
    rest: Rest,
    ending: Arc<Ending>,
    /// The question's own, which its answers are given back.
    correlation_id: u64,
    session_id: Option<SessionId>,
    metrics: Arc<BridgeMetrics>,
    asked: Instant,
}

impl Answers {
    pub(crate) fn new(
        question: &RuntimeData,
        incoming: mpsc::Receiver<Answer>,
        ending: &Arc<Ending>,
        metrics: &Arc<BridgeMetrics>,
        asked: Instant,
    ) -> Self {
        Self {
            incoming,
            batch: Vec::new().into_iter(),
            rest: Rest::Open,
            ending: ending.clone(),
            correlation_id: question.header().correlation_id,
            session_id: question.header().session_id.clone(),
            metrics: metrics.clone(),
            asked,
        }
    }

    /// The one answer that there is.
    pub(crate) async fn only(mut self) -> Result<RuntimeData, ServiceError> {
        let node_id = self.ending.node_id.clone();
        let Some(first) = self.next().await else {
            return Err(ServiceError::NoAnswer { node_id });
        };
        let first = first?;
        match self.next().await {
            None => Ok(first),
            Some(Ok(_)) => Err(ServiceError::SeveralAnswers { node_id }),
            Some(Err(error)) => Err(error),
        }
    }

    async fn next(&mut self) -> Option<Result<RuntimeData, ServiceError>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    fn stamp(&self, answer: RuntimeData) -> RuntimeData {
        let answer = answer.with_correlation(self.correlation_id);
        match &self.session_id {
            Some(session) if answer.header().session_id.is_none() => {
                answer.with_session(session.clone())
            }
            _ => answer,
        }
    }

    /// The node has done what it was asked to.
    fn complete(&mut self) {
        self.rest = Rest::Over;
        self.metrics.record_execution(&self.ending.node_id, self.asked.elapsed());
    }
}

impl Stream for Answers {
    type Item = Result<RuntimeData, ServiceError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.batch.next() {
                return Poll::Ready(Some(Ok(self.stamp(item))));
            }
            match std::mem::replace(&mut self.rest, Rest::Over) {
                Rest::Over => return Poll::Ready(None),
                Rest::Failed(error) => return Poll::Ready(Some(Err(error))),
                Rest::Open => self.rest = Rest::Open,
            }
            match ready!(self.incoming.poll_recv(context)) {
                Some(Answer::Item(item)) => return Poll::Ready(Some(Ok(self.stamp(item)))),
                Some(Answer::All(items, result)) => {
                    self.batch = items.into_iter();
                    match result {
                        Ok(()) => self.complete(),
                        Err(error) => self.rest = Rest::Failed(error),
                    }
                }
                Some(Answer::End) => self.complete(),
                Some(Answer::Failed(error)) => self.rest = Rest::Failed(error),
                None => self.rest = Rest::Failed(self.ending.error()),
            }
        }
    }
}

/// The stream of one item.
pub(crate) struct Only(pub(crate) Option<RuntimeData>);

impl Stream for Only {
    type Item = Result<RuntimeData, ServiceError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}
