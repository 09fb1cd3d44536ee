//! The 256-byte wire form of a header, as it lies in shared memory.
//!
//! Main type: [`WireHeader`]. Everything read from it is hostile: [`WireHeader::decode`] checks
//! magic, version, codes, lengths and text before it builds a [`DataHeader`]. All integers are
//! little-endian; the casts are derived, none is written by hand.

use std::time::{Duration, SystemTime};

use zerocopy::little_endian::{F32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::header::{DataHeader, DataType, MessageKind, TraceContext};
use crate::id::{IdError, SessionId};
use crate::metadata::{
    AudioFormat, AudioLayout, DataMetadata, MetadataError, TensorType, VideoFormat,
};

/// Bytes of a wire header.
pub const WIRE_HEADER_LEN: usize = 256;

const MAGIC: [u8; 4] = *b"RMDH";
const VERSION_MAJOR: u8 = 1;
const VERSION_MINOR: u8 = 0;
const METADATA_LEN: usize = 96;

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
    /// A time before 1970 or beyond 64 bits of nanoseconds.
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

fn time(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
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
    const FITS: &str = "96 bytes of metadata hold the wire form of every type";
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
        if header.data_type != header.metadata.data_type() {
            let metadata = header.metadata.data_type();
            return Err(WireError::TypeMismatch { data_type: header.data_type, metadata });
        }
        let mut wire = Self {
            magic: MAGIC,
            version_major: VERSION_MAJOR,
            version_minor: VERSION_MINOR,
            header_len: U16::new(WIRE_HEADER_LEN as u16),
            kind: header.kind.code(),
            data_type: header.data_type.code(),
            flags: U16::ZERO,
            payload_size: header.payload_size.into(),
            sequence: header.sequence.into(),
            epoch: header.epoch.into(),
            reserved: U32::ZERO,
            timestamp_ns: nanos("timestamp", header.timestamp)?.into(),
            sent_ns: U64::ZERO,
            deadline_ns: header
                .deadline
                .map_or(Ok(0), |deadline| nanos("deadline", deadline))?
                .into(),
            correlation_id: header.correlation_id.into(),
            trace_id: header.trace.trace_id,
            span_id: header.trace.span_id,
            trace_flags: header.trace.flags,
            session_len: 0,
            reserved_tail: [0; 6],
            session_id: [0; 64],
            metadata: encode_metadata(&header.metadata)?,
        };
        if let Some(session) = &header.session_id {
            wire.session_len = store(&mut wire.session_id, session.as_str());
        }
        Ok(wire)
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
        Ok(DataHeader {
            data_type,
            payload_size: self.payload_size.get(),
            session_id,
            timestamp: time(self.timestamp_ns.get()),
            metadata: decode_metadata(data_type, &self.metadata)?,
            kind,
            sequence: self.sequence.get(),
            epoch: self.epoch.get(),
            deadline: Some(self.deadline_ns.get()).filter(|ns| *ns != 0).map(time),
            correlation_id: self.correlation_id.get(),
            trace: TraceContext {
                trace_id: self.trace_id,
                span_id: self.span_id,
                flags: self.trace_flags,
            },
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn metadata() -> impl Strategy<Value = DataMetadata> {
        let tag = "[a-z0-9-]{1,15}";
        prop_oneof![
            (1_u32.., 1_u16.., 0..AudioFormat::ALL.len(), 0..2_usize).prop_map(
                |(rate, channels, f, l)| {
                    DataMetadata::Audio {
                        sample_rate: rate,
                        channels,
                        format: AudioFormat::ALL[f],
                        layout: AudioLayout::ALL[l],
                    }
                }
            ),
            (1_u32.., 1_u32.., 0..VideoFormat::ALL.len(), 0.0_f32..1e6).prop_map(
                |(width, height, f, fps)| {
                    DataMetadata::Video { width, height, format: VideoFormat::ALL[f], fps }
                }
            ),
            (tag, proptest::option::of(tag))
                .prop_map(|(encoding, language)| DataMetadata::Text { encoding, language }),
            (proptest::collection::vec(any::<usize>(), 0..=8), 0..TensorType::ALL.len())
                .prop_map(|(shape, t)| DataMetadata::Tensor { shape, dtype: TensorType::ALL[t] }),
            Just(DataMetadata::Json),
            Just(DataMetadata::Binary),
        ]
    }

    prop_compose! {
        fn header()(
            metadata in metadata(),
            payload_size: u32,
            session in proptest::option::of("[a-z0-9_-]{1,64}"),
            timestamp_ns: u64,
            kind in 0..MessageKind::ALL.len(),
            sequence: u64,
            epoch: u32,
            deadline_ns in proptest::option::of(1..u64::MAX),
            correlation_id: u64,
            trace_id: [u8; 16],
            span_id: [u8; 8],
            flags: u8,
        ) -> DataHeader {
            DataHeader {
                session_id: session.map(|id| SessionId::new(id).unwrap()),
                timestamp: time(timestamp_ns),
                kind: MessageKind::ALL[kind],
                sequence,
                epoch,
                deadline: deadline_ns.map(time),
                correlation_id,
                trace: TraceContext { trace_id, span_id, flags },
                ..DataHeader::new(metadata, payload_size)
            }
        }
    }

    proptest! {
        #[test]
        fn any_header_round_trips(header in header()) {
            let wire = WireHeader::encode(&header).unwrap();
            let copy = WireHeader::read_from_bytes(wire.as_bytes()).unwrap();
            prop_assert_eq!(copy.decode().unwrap(), header);
        }

        #[test]
        fn any_bytes_decode_or_give_a_typed_error(
            bytes in proptest::collection::vec(any::<u8>(), 256),
            honest_start: bool,
        ) {
            let mut bytes = bytes;
            if honest_start {
                bytes[..5].copy_from_slice(b"RMDH\x01");
                bytes[8] %= 4;
                bytes[9] = bytes[9] % 6 + 1;
            }
            let wire = WireHeader::read_from_bytes(&bytes).unwrap();
            if let Ok(header) = wire.decode() {
                prop_assert!(WireHeader::encode(&header).is_ok());
            }
        }
    }

    #[test]
    fn a_newer_minor_version_and_unknown_flags_are_accepted_and_a_newer_major_is_refused() {
        let mut wire = WireHeader::encode(&DataHeader::new(DataMetadata::Json, 2)).unwrap();
        wire.version_minor = 9;
        wire.flags = U16::new(0x8000);
        assert!(wire.decode().is_ok());
        wire.version_major = 2;
        let refused = WireError::UnsupportedVersion { found: 2, supported: 1 };
        assert_eq!(wire.decode(), Err(refused));
        wire.magic = *b"XXXX";
        assert_eq!(wire.decode(), Err(WireError::BadMagic { found: *b"XXXX" }));
    }

    #[test]
    fn what_does_not_fit_is_refused_not_truncated() {
        let long = DataMetadata::Text { encoding: "utf-8".into(), language: Some("x".repeat(16)) };
        assert!(matches!(
            WireHeader::encode(&DataHeader::new(long, 0)),
            Err(WireError::Metadata(MetadataError::TextTooLong { field: "language", .. }))
        ));
        let rank9 = DataMetadata::Tensor { shape: vec![1; 9], dtype: TensorType::U8 };
        assert!(matches!(
            WireHeader::encode(&DataHeader::new(rank9, 1)),
            Err(WireError::Metadata(MetadataError::RankTooHigh { rank: 9, max: 8 }))
        ));
    }
}
