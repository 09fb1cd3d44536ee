//! Callbacks: what a child may call in its parent, by a path such as `trading.DataFetch`.
//!
//! Main types: [`DynamicCallbackModule`], in which [`TypedCallbackHandler`]s are registered,
//! [`TypedCallbackReceiver`], which serves them, and [`CallbackClient`], by which a child calls. How a
//! call gets from one process to the other is `link`'s.

mod client;
mod envelope;
mod handler;
mod module;
mod receiver;
pub mod shape;
pub mod stubs;

pub use client::CallbackClient;
pub use envelope::{TypedCallbackEnvelope, TypedCallbackResponse};
pub use handler::{CallbackStream, TypedCallbackHandler};
pub(crate) use handler::{Encoded, encode_item};
pub use module::{CallbackError, DynamicCallbackModule};
pub(crate) use receiver::Served;
pub use receiver::TypedCallbackReceiver;

pub use crate::failure::PythonExecutionError;
