//! What serves a callback.
//!
//! Main trait: [`TypedCallbackHandler`]. [`Erased`] hides its types from the module that routes.

use std::any::type_name;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shape::Shape;
use super::stubs::CallbackShape;
use crate::backend::encode;
use crate::failure::PythonExecutionError;
use crate::handshake::IpcLimits;
use crate::transport::Body;
use crate::value;

/// The answers of a handler: one, many or none, or an error, which ends them.
pub type CallbackStream<R> =
    Pin<Box<dyn Stream<Item = Result<R, PythonExecutionError>> + Send + 'static>>;

/// Serves one callback: requests of type `C` are answered with a stream.
///
/// It may be called many times at once. A call that is given up by the child, whose deadline passes, or
/// whose child ends, is dropped: its future, or its stream.
#[async_trait]
pub trait TypedCallbackHandler<C>: Send + Sync + 'static {
    /// What the answers are. Both directions of serde are needed to know its shape for Python.
    type Response: Serialize + DeserializeOwned + Send + 'static;

    /// Answers one request.
    ///
    /// # Errors
    /// Whatever is to arrive in the child as an exception; see
    /// [`PythonExecutionError::handler`].
    async fn handle_callback(
        &self,
        request: C,
    ) -> Result<CallbackStream<Self::Response>, PythonExecutionError>;

    /// The last part of the path, and its name in Python: an identifier.
    fn type_name(&self) -> &'static str;
}

/// The answers of any handler, serialised.
pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<Body, PythonExecutionError>> + Send>>;

/// A handler without its types.
#[async_trait]
pub(super) trait Erased: Send + Sync {
    /// What it takes and gives, for Python.
    fn shape(&self, module: &str) -> CallbackShape;

    async fn answer(
        &self,
        request: &[u8],
        limits: IpcLimits,
    ) -> Result<Answers, PythonExecutionError>;
}

/// A handler with its types.
pub(super) struct Typed<C, H> {
    handler: H,
    takes: PhantomData<fn(C)>,
}

impl<C, H> Typed<C, H> {
    pub(super) fn new(handler: H) -> Self {
        Self { handler, takes: PhantomData }
    }
}

#[async_trait]
impl<C, H> Erased for Typed<C, H>
where
    C: Serialize + DeserializeOwned + Send + 'static,
    H: TypedCallbackHandler<C>,
{
    fn shape(&self, module: &str) -> CallbackShape {
        CallbackShape {
            module: module.to_owned(),
            name: self.handler.type_name().to_owned(),
            request: Shape::of::<C>(),
            response: Shape::of::<H::Response>(),
        }
    }

    async fn answer(
        &self,
        request: &[u8],
        limits: IpcLimits,
    ) -> Result<Answers, PythonExecutionError> {
        let options = value::DecodeOptions { root: "request", ..Default::default() };
        let request: C = value::decode(request, options).map_err(|error| {
            PythonExecutionError::Deserialization { message: error.to_string() }
        })?;
        let answers = self.handler.handle_callback(request).await?;
        Ok(Box::pin(Encoded { answers, limits }))
    }
}

/// The items of a reply, serialised as they are asked for.
pub(crate) struct Encoded<R> {
    pub(crate) answers: CallbackStream<R>,
    pub(crate) limits: IpcLimits,
}

impl<R: Serialize> Stream for Encoded<R> {
    type Item = Result<Body, PythonExecutionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = std::task::ready!(self.answers.as_mut().poll_next(context));
        Poll::Ready(item.map(|item| encode_item(&item?, &self.limits)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.answers.size_hint()
    }
}

/// An item of a reply, serialised.
pub(crate) fn encode_item<R: Serialize>(
    item: &R,
    limits: &IpcLimits,
) -> Result<Body, PythonExecutionError> {
    encode(item, limits).map_err(|error| PythonExecutionError::Serialization {
        message: format!("{} cannot be sent: {error}", type_name::<R>()),
    })
}
