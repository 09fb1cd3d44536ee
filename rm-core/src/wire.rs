//! The 256-byte wire form of a header, as it lies in shared memory.
//!
//! Main type: [`WireHeader`]. Everything read from it is hostile: [`WireHeader::decode`] checks
//! magic, version, codes, lengths and text before it builds a [`DataHeader`]. All integers are
//! little-endian; the casts are derived, none is written by hand. It does not look at the payload.

use std::time::SystemTime;

use zerocopy::little_endian::{F32, U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::audio::{AudioFormat, AudioLayout};
use crate::clock::{MonotonicStamp, from_nanos};
use crate::header::{DataHeader, DataType, MessageKind, Origin};
use crate::id::{IdError, SessionId};
use crate::metadata::{DataMetadata, MetadataError};
use crate::tensor::TensorType;
use crate::trace::TraceContext;
use crate::video::VideoFormat;

/// Bytes of a wire header.
pub const WIRE_HEADER_LEN: usize = 256;

const MAGIC: [u8; 4] = *b"RMDH";
const VERSION_MAJOR: u8 = 1;
const VERSION_MINOR: u8 = 1;
const METADATA_LEN: usize = 80;
/// Bits of the flags.
const HAS_ORIGIN: u16 = 1;

/// Why 256 bytes are not a header, or a header does not fit into 256 bytes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The first four bytes are not `RMDH`.
    #[error("header starts with {found:02x?}, not with the magic \"RMDH\"")]
    BadMagic {
        /// Bytes found.
        found: [u8; 4],
    },
    /// The header was written by an incompatible version.
    #[error("header version {found} is not supported; this side speaks {supported}")]
    UnsupportedVersion {
        /// Major version found.
        found: u8,
        /// Major version understood.
        supported: u8,
    },
    /// The header claims another length than this major version has.
    #[error("header claims to be {found} bytes long; it has {WIRE_HEADER_LEN}")]
    BadHeaderLen {
        /// Length claimed.
        found: u16,
    },
    /// A code that names nothing.
    #[error("header field {field} holds the unknown code {code}")]
    UnknownCode {
        /// Which field.
        field: &'static str,
        /// The value found.
        code: u8,
    },
    /// A length that does not fit its field.
    #[error("header field {field} claims {len} bytes of at most {max}")]
    BadLength {
        /// Which field.
        field: &'static str,
        /// Length claimed.
        len: usize,
        /// Longest length possible.
        max: usize,
    },
    /// Bytes that should be text and are not.
    #[error("header field {field} is not UTF-8")]
    NotText {
        /// Which field.
        field: &'static str,
    },
    /// A time before 1970 or beyond 64 bits of nanoseconds, or a deadline at the start of 1970,
    /// which would read as none.
    #[error("header field {field} is a time that does not fit 64 bits of nanoseconds since 1970")]
    BadTime {
        /// Which field.
        field: &'static str,
    },
    /// The session id breaks its rules.
    #[error("header session id is invalid")]
    SessionId(#[source] IdError),
    /// The metadata breaks its rules.
    #[error("header metadata is invalid")]
    Metadata(#[source] MetadataError),
    /// The header names another data type than its metadata.
    #[error("header says {data_type}, but its metadata is of type {metadata}")]
    TypeMismatch {
        /// Type in the header.
        data_type: DataType,
        /// Type of the metadata.
        metadata: DataType,
    },
}

/// A header in its wire form.
///
/// | bytes | field |
/// |---|---|
/// | 0..4 | magic `RMDH` |
/// | 4, 5 | major and minor version: 1, 1 |
/// | 6..8 | length of the header: 256 |
/// | 8 | message kind: 0 data, 1 end of stream, 2 flush, 3 error, 4 end of an item |
/// | 9 | data type: 1 audio, 2 video, 3 text, 4 tensor, 5 JSON, 6 binary |
/// | 10..12 | flags: bit 0 says that there is an origin; unknown ones are ignored |
/// | 12..16 | length of the payload in bytes |
/// | 16..24 | sequence: position in the channel, from 0 |
/// | 24..28 | epoch |
/// | 28..32 | reserved, zero |
/// | 32..40 | timestamp, in nanoseconds since 1970 |
/// | 40..48 | sending time, in nanoseconds of the machine's monotonic clock |
/// | 48..56 | deadline, in nanoseconds since 1970; 0 for none |
/// | 56..64 | correlation id; 0 for none |
/// | 64..80, 80..88, 88 | W3C trace id, span id, trace flags |
/// | 89 | bytes of the session id; 0 for none |
/// | 90..96 | reserved, zero |
/// | 96..160 | session id in UTF-8 |
/// | 160..240 | metadata of the data type, zero behind its end |
/// | 240..248, 248..252 | origin: sequence of the item that this was made from, and its place there |
/// | 252..254 | origin: number of the input |
/// | 254..256 | reserved, zero |
///
/// Metadata of audio: sample rate (4 bytes), channels (2), format (1), layout (1). Video: width
/// (4), height (4), frames per second (a 4-byte float), format (1). Text: encoding and language, 16
/// bytes each: a length (1) and up to 15 bytes. Tensor: element type (1), rank (1), eight
/// dimensions (8 each). JSON and binary have none.
///
/// A newer minor version may define flags and use what is reserved; a reader of this one then still
/// understands the rest. Anything else is a new major version, which is refused.
///
/// ```
/// use rm_core::{DataHeader, DataMetadata, WireHeader};
/// use zerocopy::{FromBytes, IntoBytes};
///
/// let header = DataHeader::new(DataMetadata::utf8(), 5);
/// let wire = WireHeader::encode(&header)?;
/// assert_eq!(wire.as_bytes().len(), 256);
///
/// let received = WireHeader::read_from_bytes(wire.as_bytes()).expect("it has 256 bytes");
/// assert_eq!(received.decode()?, header);
/// # Ok::<(), rm_core::WireError>(())
/// ```
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct WireHeader {
    magic: [u8; 4],
    version_major: u8,
    version_minor: u8,
    header_len: U16,
    kind: u8,
    data_type: u8,
    flags: U16,
    payload_size: U32,
    sequence: U64,
    epoch: U32,
    reserved: U32,
    timestamp_ns: U64,
    sent_ns: U64,
    deadline_ns: U64,
    correlation_id: U64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
    trace_flags: u8,
    session_len: u8,
    reserved_tail: [u8; 6],
    session_id: [u8; 64],
    metadata: [u8; METADATA_LEN],
    origin_sequence: U64,
    origin_index: U32,
    origin_input: U16,
    reserved_end: [u8; 2],
}

const _: () = assert!(size_of::<WireHeader>() == WIRE_HEADER_LEN);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AudioWire {
    sample_rate: U32,
    channels: U16,
    format: u8,
    layout: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VideoWire {
    width: U32,
    height: U32,
    fps: F32,
    format: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TextWire {
    encoding_len: u8,
    encoding: [u8; 15],
    language_len: u8,
    language: [u8; 15],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TensorWire {
    dtype: u8,
    rank: u8,
    shape: [U64; DataMetadata::MAX_RANK],
}

fn nanos(field: &'static str, time: SystemTime) -> Result<u64, WireError> {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .ok_or(WireError::BadTime { field })
}

/// As [`nanos`], but never 0, which stands for no deadline.
fn deadline_nanos(deadline: SystemTime) -> Result<u64, WireError> {
    match nanos("deadline", deadline)? {
        0 => Err(WireError::BadTime { field: "deadline" }),
        nanos => Ok(nanos),
    }
}

/// Puts `text` into the front of `place`; its length has been checked by then.
fn store(place: &mut [u8], text: &str) -> u8 {
    place[..text.len()].copy_from_slice(text.as_bytes());
    u8::try_from(text.len()).expect("texts in the header are at most 64 bytes")
}

fn load<'a>(field: &'static str, place: &'a [u8], len: u8) -> Result<&'a str, WireError> {
    let len = usize::from(len);
    let bytes = place.get(..len).ok_or(WireError::BadLength { field, len, max: place.len() })?;
    std::str::from_utf8(bytes).map_err(|_| WireError::NotText { field })
}

fn encode_metadata(metadata: &DataMetadata) -> Result<[u8; METADATA_LEN], WireError> {
    metadata.validate().map_err(WireError::Metadata)?;
    let mut bytes = [0; METADATA_LEN];
    let mut put = |wire: &[u8]| bytes[..wire.len()].copy_from_slice(wire);
    match metadata {
        DataMetadata::Audio { sample_rate, channels, format, layout } => put(AudioWire {
            sample_rate: (*sample_rate).into(),
            channels: (*channels).into(),
            format: format.code(),
            layout: layout.code(),
        }
        .as_bytes()),
        DataMetadata::Video { width, height, format, fps } => put(VideoWire {
            width: (*width).into(),
            height: (*height).into(),
            fps: (*fps).into(),
            format: format.code(),
        }
        .as_bytes()),
        DataMetadata::Text { encoding, language } => {
            let mut wire =
                TextWire { encoding_len: 0, encoding: [0; 15], language_len: 0, language: [0; 15] };
            wire.encoding_len = store(&mut wire.encoding, encoding);
            wire.language_len = store(&mut wire.language, language.as_deref().unwrap_or_default());
            put(wire.as_bytes());
        }
        DataMetadata::Tensor { shape, dtype } => {
            let rank = u8::try_from(shape.len()).expect("the rank was checked to be at most 8");
            let mut wire = TensorWire { dtype: dtype.code(), rank, shape: [U64::ZERO; 8] };
            for (place, dim) in wire.shape.iter_mut().zip(shape) {
                *place = U64::new(*dim as u64);
            }
            put(wire.as_bytes());
        }
        DataMetadata::Json | DataMetadata::Binary => {}
    }
    Ok(bytes)
}

fn decode_metadata(data_type: DataType, bytes: &[u8]) -> Result<DataMetadata, WireError> {
    const FITS: &str = "80 bytes of metadata hold the wire form of every type";
    let unknown = |field, code| WireError::UnknownCode { field, code };
    let metadata = match data_type {
        DataType::Audio => {
            let (wire, _) = AudioWire::ref_from_prefix(bytes).expect(FITS);
            DataMetadata::Audio {
                sample_rate: wire.sample_rate.get(),
                channels: wire.channels.get(),
                format: AudioFormat::from_code(wire.format)
                    .ok_or(unknown("audio format", wire.format))?,
                layout: AudioLayout::from_code(wire.layout)
                    .ok_or(unknown("audio layout", wire.layout))?,
            }
        }
        DataType::Video => {
            let (wire, _) = VideoWire::ref_from_prefix(bytes).expect(FITS);
            DataMetadata::Video {
                width: wire.width.get(),
                height: wire.height.get(),
                format: VideoFormat::from_code(wire.format)
                    .ok_or(unknown("video format", wire.format))?,
                fps: wire.fps.get(),
            }
        }
        DataType::Text => {
            let (wire, _) = TextWire::ref_from_prefix(bytes).expect(FITS);
            let language = load("language", &wire.language, wire.language_len)?;
            DataMetadata::Text {
                encoding: load("encoding", &wire.encoding, wire.encoding_len)?.to_owned(),
                language: (!language.is_empty()).then(|| language.to_owned()),
            }
        }
        DataType::Tensor => {
            let (wire, _) = TensorWire::ref_from_prefix(bytes).expect(FITS);
            let rank = usize::from(wire.rank);
            let max = DataMetadata::MAX_RANK;
            let dims = wire.shape.get(..rank).ok_or(WireError::BadLength {
                field: "tensor rank",
                len: rank,
                max,
            })?;
            let shape = dims.iter().map(|dim| usize::try_from(dim.get())).collect::<Result<_, _>>();
            DataMetadata::Tensor {
                shape: shape.map_err(|_| {
                    let what = "a tensor".to_owned();
                    WireError::Metadata(MetadataError::SizeOverflow { what })
                })?,
                dtype: TensorType::from_code(wire.dtype)
                    .ok_or(unknown("tensor dtype", wire.dtype))?,
            }
        }
        DataType::Json => DataMetadata::Json,
        DataType::Binary => DataMetadata::Binary,
    };
    metadata.validate().map_err(WireError::Metadata)?;
    Ok(metadata)
}

impl WireHeader {
    /// Writes `header` into its wire form.
    ///
    /// # Errors
    /// [`WireError`] if a time or a text does not fit; nothing is ever truncated.
    pub fn encode(header: &DataHeader) -> Result<Self, WireError> {
        let mut wire = Self::new_zeroed();
        wire.encode_from(header)?;
        Ok(wire)
    }

    /// Writes the wire form of `header` over this one.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); what stands here is of no meaning then.
    pub fn encode_from(&mut self, header: &DataHeader) -> Result<(), WireError> {
        if header.data_type != header.metadata.data_type() {
            let metadata = header.metadata.data_type();
            return Err(WireError::TypeMismatch { data_type: header.data_type, metadata });
        }
        *self = Self {
            magic: MAGIC,
            version_major: VERSION_MAJOR,
            version_minor: VERSION_MINOR,
            header_len: U16::new(WIRE_HEADER_LEN as u16),
            kind: header.kind.code(),
            data_type: header.data_type.code(),
            flags: U16::new(if header.origin.is_some() { HAS_ORIGIN } else { 0 }),
            payload_size: header.payload_size.into(),
            sequence: header.sequence.into(),
            epoch: header.epoch.into(),
            reserved: U32::ZERO,
            timestamp_ns: nanos("timestamp", header.timestamp)?.into(),
            sent_ns: U64::ZERO,
            deadline_ns: header.deadline.map_or(Ok(0), deadline_nanos)?.into(),
            correlation_id: header.correlation_id.into(),
            trace_id: header.trace.trace_id,
            span_id: header.trace.span_id,
            trace_flags: header.trace.flags,
            session_len: 0,
            reserved_tail: [0; 6],
            session_id: [0; 64],
            metadata: encode_metadata(&header.metadata)?,
            origin_sequence: header.origin.map_or(0, |origin| origin.sequence).into(),
            origin_index: header.origin.map_or(0, |origin| origin.index).into(),
            origin_input: header.origin.map_or(0, |origin| origin.input).into(),
            reserved_end: [0; 2],
        };
        if let Some(session) = &header.session_id {
            self.session_len = store(&mut self.session_id, session.as_str());
        }
        Ok(())
    }

    /// Reads and checks the header. Unknown flags and a newer minor version are accepted.
    ///
    /// # Errors
    /// [`WireError`] naming the first field that is not as it must be.
    pub fn decode(&self) -> Result<DataHeader, WireError> {
        if self.magic != MAGIC {
            return Err(WireError::BadMagic { found: self.magic });
        }
        if self.version_major != VERSION_MAJOR {
            return Err(WireError::UnsupportedVersion {
                found: self.version_major,
                supported: VERSION_MAJOR,
            });
        }
        if usize::from(self.header_len.get()) != WIRE_HEADER_LEN {
            return Err(WireError::BadHeaderLen { found: self.header_len.get() });
        }
        let kind = MessageKind::from_code(self.kind)
            .ok_or(WireError::UnknownCode { field: "kind", code: self.kind })?;
        let data_type = DataType::from_code(self.data_type)
            .ok_or(WireError::UnknownCode { field: "data type", code: self.data_type })?;
        let session = load("session id", &self.session_id, self.session_len)?;
        let session_id = if session.is_empty() {
            None
        } else {
            Some(SessionId::new(session).map_err(WireError::SessionId)?)
        };
        let origin = Origin {
            input: self.origin_input.get(),
            sequence: self.origin_sequence.get(),
            index: self.origin_index.get(),
        };
        Ok(DataHeader {
            data_type,
            payload_size: self.payload_size.get(),
            session_id,
            timestamp: from_nanos(self.timestamp_ns.get()),
            metadata: decode_metadata(data_type, &self.metadata)?,
            kind,
            sequence: self.sequence.get(),
            epoch: self.epoch.get(),
            deadline: Some(self.deadline_ns.get()).filter(|ns| *ns != 0).map(from_nanos),
            correlation_id: self.correlation_id.get(),
            trace: TraceContext {
                trace_id: self.trace_id,
                span_id: self.span_id,
                flags: self.trace_flags,
            },
            origin: (self.flags.get() & HAS_ORIGIN != 0).then_some(origin),
        })
    }

    /// Sets the length of the payload, in bytes.
    pub fn set_payload_size(&mut self, len: u32) {
        self.payload_size = len.into();
    }

    /// Stamps position and sending time (nanoseconds of the machine's monotonic clock).
    pub fn stamp(&mut self, sequence: u64, sent_ns: u64) {
        self.sequence = sequence.into();
        self.sent_ns = sent_ns.into();
    }

    /// Moves the timestamp up to the latest that `stamp` has admitted, if it is earlier.
    pub fn clamp_timestamp(&mut self, stamp: &MonotonicStamp) {
        self.timestamp_ns = stamp.admit_ns(self.timestamp_ns.get()).into();
    }

    /// When the message was sent, in nanoseconds of the machine's monotonic clock.
    pub fn sent_ns(&self) -> u64 {
        self.sent_ns.get()
    }
}

impl std::fmt::Debug for WireHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WireHeader").field(&self.decode()).finish()
    }
}

#[cfg(test)]
mod tests;
