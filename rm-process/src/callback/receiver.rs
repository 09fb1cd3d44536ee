//! Serves the callbacks that come over a connection.
//!
//! Main type: [`TypedCallbackReceiver`]. Each call is a task of its own, so that none waits for
//! another; which handler serves it is the module's matter.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::envelope::{TypedCallbackEnvelope, TypedCallbackResponse};
use super::handler::Answers;
use super::module::DynamicCallbackModule;
use crate::failure::PythonExecutionError;
use crate::handshake::IpcLimits;
use crate::link::{Answer, IncomingCall};
use crate::telemetry::metrics::DirectionMetrics;
use crate::telemetry::{self, CallInfo, CallKind};
use crate::value;

/// Receives callback requests and has them served by the handlers of a module.
#[derive(Debug, Clone)]
pub struct TypedCallbackReceiver {
    module: Arc<DynamicCallbackModule>,
}

/// For whom callbacks are served.
pub(crate) struct Served {
    pub(crate) peer_pid: u32,
    pub(crate) metrics: Arc<DirectionMetrics>,
}

impl TypedCallbackReceiver {
    /// A receiver for what `module` holds.
    pub fn new(module: impl Into<Arc<DynamicCallbackModule>>) -> Self {
        Self { module: module.into() }
    }

    /// Has one request served: any number of responses with items, then one that is final.
    pub fn dispatch(
        &self,
        envelope: TypedCallbackEnvelope,
    ) -> impl Stream<Item = TypedCallbackResponse> + Send + use<> {
        let correlation_id = envelope.correlation_id;
        let module = Arc::clone(&self.module);
        let begin = async move { answers(&module, &envelope, IpcLimits::default()).await };
        Responses { correlation_id, state: State::Beginning(Box::pin(begin)) }
    }

    /// Serves what comes until no more comes.
    pub(crate) async fn serve(
        self,
        mut calls: mpsc::UnboundedReceiver<IncomingCall>,
        served: Served,
    ) {
        while let Some(call) = calls.recv().await {
            let module = Arc::clone(&self.module);
            let meter = served.metrics.begin();
            meter.metrics().item_in(call.request.len());
            let options = value::DecodeOptions { root: "callback", ..Default::default() };
            let envelope = value::decode::<TypedCallbackEnvelope>(&call.request, options);
            let envelope = envelope.map_err(|error| PythonExecutionError::Deserialization {
                message: error.to_string(),
            });
            let path = envelope.as_ref().map_or("", |envelope| &envelope.callback_path);
            let kind = CallKind::Callback;
            let info = CallInfo { kind, path, peer_pid: served.peer_pid };
            let span = telemetry::server_span(info, call.responder.id(), call.context.trace);
            let limits = *call.responder.link().peer_limits();
            let serve = async move {
                let answers = answers(&module, &envelope?, limits).await?;
                Ok(Answer::Many(answers))
            };
            let answer = async move {
                meter.finish(match call.answer(Box::pin(serve)).await {
                    Ok(_) => Ok(()),
                    Err(failure) => Err(failure.kind()),
                });
            };
            tokio::spawn(answer.instrument(span));
        }
    }
}

async fn answers(
    module: &DynamicCallbackModule,
    envelope: &TypedCallbackEnvelope,
    limits: IpcLimits,
) -> Result<Answers, PythonExecutionError> {
    let handler = Arc::clone(module.find(&envelope.callback_path)?);
    handler.answer(&envelope.callback_data, limits).await
}

type Beginning = Pin<Box<dyn Future<Output = Result<Answers, PythonExecutionError>> + Send>>;

enum State {
    Beginning(Beginning),
    Answering(Answers),
    Ended,
}

struct Responses {
    correlation_id: u64,
    state: State,
}

impl Stream for Responses {
    type Item = TypedCallbackResponse;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let response = loop {
            match &mut self.state {
                State::Beginning(begin) => match std::task::ready!(begin.as_mut().poll(context)) {
                    Ok(answers) => self.state = State::Answering(answers),
                    Err(failure) => break Some(Err(failure)),
                },
                State::Answering(answers) => {
                    let item = std::task::ready!(answers.as_mut().poll_next(context));
                    break item.map(|item| {
                        item.and_then(|body| {
                            body.into_bytes().map_err(|error| PythonExecutionError::Serialization {
                                message: error.to_string(),
                            })
                        })
                    });
                }
                State::Ended => return Poll::Ready(None),
            }
        };
        let is_final = !matches!(response, Some(Ok(_)));
        if is_final {
            self.state = State::Ended;
        }
        let correlation_id = self.correlation_id;
        Poll::Ready(Some(TypedCallbackResponse { correlation_id, response, is_final }))
    }
}
