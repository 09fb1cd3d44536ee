//! What is sent and what comes back, as types.
//!
//! Main trait: [`KameoChildProcessMessage`]. The bytes are `value`'s and `transport`'s.

use std::any::type_name;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::SubprocessIpcBackendError;
use crate::handshake::IpcLimits;
use crate::protocol::FrameError;
use crate::transport::Body;
use crate::value::{self, EncodeOptions};

/// A message to a child process, and what it is answered with.
///
/// One type for each kind of child; different requests are its variants.
///
/// ```
/// use rm_process::KameoChildProcessMessage;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Ask {
///     Transcribe { recording: String },
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Heard {
///     text: String,
/// }
///
/// impl KameoChildProcessMessage for Ask {
///     type Reply = Heard;
/// }
/// ```
pub trait KameoChildProcessMessage: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What a call with this message is answered with: one of it, or a stream.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

macro_rules! answered_in_kind {
    ($($message:ty),*) => {
        $(impl KameoChildProcessMessage for $message {
            type Reply = $message;
        })*
    };
}

// Whoever only wants to move plain values needs no type of their own.
answered_in_kind!((), String, u64, serde_json::Value);

/// A value's serialised form, within what the peer takes.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    limits: &IpcLimits,
) -> Result<Body, FrameError> {
    let options = EncodeOptions { tuple_variants: limits.tuple_variants, ..Default::default() };
    Body::build(limits.max_payload, |writer| Ok(value::encode(value, writer, options)?))
}

/// A value that came back.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, SubprocessIpcBackendError> {
    value::decode(body, value::DecodeOptions::default())
        .map_err(|source| SubprocessIpcBackendError::Decode { type_name: type_name::<T>(), source })
}
