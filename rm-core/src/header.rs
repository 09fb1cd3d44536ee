//! The friendly header of one item: what it is, from where, when, and how it is traced.
//!
//! Main type: [`DataHeader`]. Its 256-byte form is [`WireHeader`](crate::WireHeader).

use std::time::SystemTime;

use crate::id::SessionId;
use crate::metadata::{DataMetadata, wire_enum};
use crate::trace::TraceContext;

wire_enum! {
    /// What a payload is.
    DataType {
        /// Sampled sound.
        Audio = 1, "audio";
        /// One video frame.
        Video = 2, "video";
        /// Text.
        Text = 3, "text";
        /// A C-contiguous array.
        Tensor = 4, "tensor";
        /// A JSON document.
        Json = 5, "json";
        /// Opaque bytes.
        Binary = 6, "binary";
    }
}

wire_enum! {
    /// What a message means to its receiver.
    MessageKind {
        /// An item.
        Data = 0, "data";
        /// The last message of a stream: nothing follows.
        EndOfStream = 1, "end_of_stream";
        /// Everything queued before this is to be dropped.
        Flush = 2, "flush";
        /// The sender failed on an item; the payload says how.
        Error = 3, "error";
        /// Everything that the sender made of one item, which the correlation id names, has been sent.
        ItemEnd = 4, "item_end";
    }
}

/// What an item was made from: where it stands among everything that its maker made.
///
/// A node that is started again is given items a second time, and makes things a second time. Origins
/// of what it makes of one input grow, so whoever has seen one drops those that are not greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The input of the maker by which the item came that this was made from.
    pub input: u16,
    /// That item's position in its channel; `u64::MAX` for what was made after the last.
    pub sequence: u64,
    /// Place among the items that were made from it, from 0.
    pub index: u32,
}

/// The header of one item.
#[derive(Debug, Clone, PartialEq)]
pub struct DataHeader {
    /// Type of the payload; always the type of `metadata`.
    pub data_type: DataType,
    /// Length of the payload in bytes.
    pub payload_size: u32,
    /// Session from which the item comes; `None` before it has entered one.
    pub session_id: Option<SessionId>,
    /// When the data came into being.
    pub timestamp: SystemTime,
    /// Description of the payload.
    pub metadata: DataMetadata,
    /// What the message means.
    pub kind: MessageKind,
    /// Position in its channel, from 0. Set by the publisher.
    pub sequence: u64,
    /// Counts flushes: items of an older epoch are stale.
    pub epoch: u32,
    /// After this the item is of no use any more.
    pub deadline: Option<SystemTime>,
    /// Ties an answer to its question; 0 where there is none.
    pub correlation_id: u64,
    /// Trace context.
    pub trace: TraceContext,
    /// What it was made from, if its maker can be started again.
    pub origin: Option<Origin>,
}

impl DataHeader {
    /// A data header for `metadata` and a payload of `payload_size` bytes, stamped now.
    pub fn new(metadata: DataMetadata, payload_size: u32) -> Self {
        Self {
            data_type: metadata.data_type(),
            payload_size,
            session_id: None,
            timestamp: SystemTime::now(),
            metadata,
            kind: MessageKind::Data,
            sequence: 0,
            epoch: 0,
            deadline: None,
            correlation_id: 0,
            trace: TraceContext::default(),
            origin: None,
        }
    }
}

impl DataMetadata {
    /// The type of data that this describes.
    pub const fn data_type(&self) -> DataType {
        match self {
            Self::Audio { .. } => DataType::Audio,
            Self::Video { .. } => DataType::Video,
            Self::Text { .. } => DataType::Text,
            Self::Tensor { .. } => DataType::Tensor,
            Self::Json => DataType::Json,
            Self::Binary => DataType::Binary,
        }
    }
}
