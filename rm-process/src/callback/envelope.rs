//! What goes over a connection for a callback.
//!
//! Main types: [`TypedCallbackEnvelope`], the request, and [`TypedCallbackResponse`], each of its
//! answers. Their data are serialised values of the handler's types.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::PythonExecutionError;

/// A callback that was called: by which path, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypedCallbackEnvelope {
    /// The path, such as `trading.DataFetch`.
    #[serde(rename = "path")]
    pub callback_path: String,
    /// By which the answers find who asked. On the wire it is a part of the frame around this.
    #[serde(skip)]
    pub correlation_id: u64,
    /// The request, serialised.
    #[serde(rename = "data", serialize_with = "as_bytes", deserialize_with = "from_bytes")]
    pub callback_data: Bytes,
}

/// An answer to a callback. A call has any number of them that hold data, then one that is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedCallbackResponse {
    /// By which it finds who asked.
    pub correlation_id: u64,
    /// An item, serialised, or why there are no further ones; `None` at the end of a stream that is
    /// complete.
    pub response: Option<Result<Bytes, PythonExecutionError>>,
    /// Whether nothing follows it.
    pub is_final: bool,
}

fn as_bytes<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    serde_bytes::deserialize::<Vec<u8>, D>(deserializer).map(Bytes::from)
}
