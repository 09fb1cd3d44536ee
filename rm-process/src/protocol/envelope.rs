//! What one frame holds: a word about a call, or about the process, with the number of the call.
//!
//! Main types: [`MultiplexEnvelope`] around [`Control`] around a [`Payload`]. Which word may follow
//! which is decided in `link`; the bytes of a frame are made in `frame`.

use bytes::Bytes;
use rm_core::TraceContext;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::failure::{PythonExecutionError, cut_to};
use crate::handshake::Handshake;
use crate::protocol::frame::{FrameError, decode_body};

/// How deep the envelope itself nests: far less. Payloads are bytes to it.
const MAX_ENVELOPE_DEPTH: usize = 16;

/// One word of the protocol, together with the call that it belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiplexEnvelope<T> {
    /// The number of the call, chosen by who calls and unique on its connection; 0 where the word
    /// belongs to no call.
    #[serde(rename = "id")]
    pub correlation_id: u64,
    /// In what context the call is made; on a request only.
    #[serde(rename = "ctx", default, skip_serializing_if = "WireContext::is_empty")]
    pub context: WireContext,
    /// The word.
    #[serde(rename = "msg")]
    pub inner: Control<T>,
}

/// What a connection says, with payloads of type `T`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Control<T> {
    /// The first word of both sides.
    #[serde(rename = "hi")]
    Handshake(Box<Handshake>),
    /// From the caller: a request. From the called: the only item of a reply, which ends with it.
    #[serde(rename = "one")]
    Sync(T),
    /// From the caller: a request that is followed by a stream of items, and these items. From the
    /// called: an item of a reply.
    #[serde(rename = "item")]
    Stream(T),
    /// No further item comes in this direction: the stream is complete, or has failed.
    #[serde(rename = "end")]
    StreamEnd(Option<Box<PythonExecutionError>>),
    /// From the caller: the reply is of no use any more.
    #[serde(rename = "cancel")]
    Cancel,
    /// So many more bytes of this call's items have been consumed.
    #[serde(rename = "credit")]
    Credit(u64),
    /// Items wait for credit: whatever has been consumed is to be told at once.
    #[serde(rename = "blocked")]
    Blocked,
    /// Is anybody there?
    #[serde(rename = "ping")]
    Ping,
    /// Somebody is there, and works on so many calls.
    #[serde(rename = "pong")]
    Pong(u64),
    /// From the parent: finish what was begun, then end.
    #[serde(rename = "stop")]
    Stop,
    /// From the child: it is loading what it needs.
    #[serde(rename = "progress")]
    Progress(Progress),
    /// From the child: it has what it needs.
    #[serde(rename = "ready")]
    Ready,
    /// From the child: it cannot go on, and why.
    #[serde(rename = "failed")]
    Failed(Failed),
}

/// How far a process is in loading what it needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// How far it is, from 0 to 1.
    pub fraction: f32,
    /// What it does, in its own words; may be empty.
    pub message: String,
}

/// Why a process cannot go on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Failed {
    /// Why, in its own words.
    pub message: String,
    /// The same as a type, where there is one for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<PythonExecutionError>>,
}

impl<T: Into<String>> From<T> for Failed {
    fn from(message: T) -> Self {
        Self { message: message.into(), error: None }
    }
}

impl Failed {
    /// The same within the bounds of what is sent and kept.
    pub(crate) fn cut(self, max_text: usize) -> Self {
        let Self { mut message, error } = self;
        cut_to(&mut message, max_text);
        Self { message, error: error.map(|error| Box::new(error.cut())) }
    }
}

/// The context in which a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WireContext {
    /// The trace that the call belongs to: 16 bytes of trace id, 8 of span id, 1 of flags.
    #[serde(
        rename = "trace",
        default,
        skip_serializing_if = "Option::is_none",
        with = "trace_as_bytes"
    )]
    pub trace: Option<TraceContext>,
    /// How long the call may still take, in microseconds, when it is sent.
    #[serde(rename = "us", default, skip_serializing_if = "Option::is_none")]
    pub timeout_us: Option<u64>,
}

impl WireContext {
    fn is_empty(&self) -> bool {
        self.trace.is_none() && self.timeout_us.is_none()
    }
}

/// A value's serialised form: in the frame itself, or in a sealed file that travels with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<B = Bytes> {
    /// The bytes.
    Inline(B),
    /// The length of the file.
    Sealed(u64),
}

impl<B: AsRef<[u8]>> Serialize for Payload<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inline(bytes) => serializer.serialize_bytes(bytes.as_ref()),
            Self::Sealed(len) => serializer.serialize_u64(*len),
        }
    }
}

impl<'de> Deserialize<'de> for Payload<&'de [u8]> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Payload<&'de [u8]>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes, or the length of a sealed file")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Payload::Inline(bytes))
            }

            fn visit_u64<E>(self, len: u64) -> Result<Self::Value, E> {
                Ok(Payload::Sealed(len))
            }

            fn visit_u128<E: serde::de::Error>(self, len: u128) -> Result<Self::Value, E> {
                u64::try_from(len).map(Payload::Sealed).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

mod trace_as_bytes {
    use super::*;

    const LEN: usize = 25;

    pub(super) fn serialize<S: Serializer>(
        trace: &Option<TraceContext>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = [0; LEN];
        let trace = trace.unwrap_or_default();
        bytes[..16].copy_from_slice(&trace.trace_id);
        bytes[16..24].copy_from_slice(&trace.span_id);
        bytes[24] = trace.flags;
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<TraceContext>, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = TraceContext;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{LEN} bytes of trace context")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<TraceContext, E> {
                let bytes: &[u8; LEN] =
                    bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                let mut trace = TraceContext { flags: bytes[24], ..TraceContext::default() };
                trace.trace_id.copy_from_slice(&bytes[..16]);
                trace.span_id.copy_from_slice(&bytes[16..24]);
                Ok(trace)
            }
        }

        let trace = deserializer.deserialize_bytes(Form)?;
        // A caller without a trace sends none.
        if trace == TraceContext::default() {
            return Err(D::Error::custom("a trace context of nothing but zeros"));
        }
        Ok(Some(trace))
    }
}

impl<T> Control<T> {
    /// The same word with its payload changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Control<U> {
        match self {
            Self::Handshake(handshake) => Control::Handshake(handshake),
            Self::Sync(payload) => Control::Sync(change(payload)),
            Self::Stream(payload) => Control::Stream(change(payload)),
            Self::StreamEnd(end) => Control::StreamEnd(end),
            Self::Cancel => Control::Cancel,
            Self::Credit(bytes) => Control::Credit(bytes),
            Self::Blocked => Control::Blocked,
            Self::Ping => Control::Ping,
            Self::Pong(in_flight) => Control::Pong(in_flight),
            Self::Stop => Control::Stop,
            Self::Progress(progress) => Control::Progress(progress),
            Self::Ready => Control::Ready,
            Self::Failed(message) => Control::Failed(message),
        }
    }
}

/// Reads the body of a frame, which may be anything.
///
/// # Errors
/// [`FrameError::TooDeep`] or [`FrameError::Decode`] if it is no envelope.
pub fn decode_envelope(body: &[u8]) -> Result<MultiplexEnvelope<Payload>, FrameError> {
    let envelope: MultiplexEnvelope<Payload<&[u8]>> = decode_body(body, MAX_ENVELOPE_DEPTH)?;
    let inner = envelope.inner.map(|payload| match payload {
        Payload::Inline(bytes) => Payload::Inline(Bytes::copy_from_slice(bytes)),
        Payload::Sealed(len) => Payload::Sealed(len),
    });
    let MultiplexEnvelope { correlation_id, context, .. } = envelope;
    Ok(MultiplexEnvelope { correlation_id, context, inner })
}

/// Appends the body of a frame.
pub(crate) fn encode_envelope(
    correlation_id: u64,
    context: WireContext,
    inner: Control<Payload<&[u8]>>,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let envelope = MultiplexEnvelope { correlation_id, context, inner };
    serde_brief::to_writer(&envelope, out).map_err(FrameError::Encode)
}

/// Reads the first frame of a peer, of this version or another one.
pub(crate) fn read_handshake(body: &[u8]) -> Result<Handshake, FrameError> {
    match decode_envelope(body) {
        Ok(MultiplexEnvelope { inner: Control::Handshake(handshake), .. }) => Ok(*handshake),
        // Before version 3 it stood alone.
        _ => decode_body(body, MAX_ENVELOPE_DEPTH),
    }
}
