//! One item of data: a header and the bytes it describes.
//!
//! Main type: [`RuntimeData`]. Its payload is a [`Bytes`], which may own a heap vector, a numpy
//! array or a sample in shared memory; typed views borrow it and never copy.

use bytes::Bytes;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::header::{DataHeader, DataType, MessageKind};
use crate::id::SessionId;
use crate::metadata::{AudioFormat, AudioLayout, DataMetadata, MetadataError, TensorType};

/// Why bytes cannot become an item, or an item cannot be seen as something.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The payload is larger than one message can be.
    #[error("payload of {len} bytes is larger than one message can be ({max} bytes)")]
    TooLarge {
        /// Bytes found.
        len: usize,
        /// Most bytes possible.
        max: usize,
    },
    /// The payload is not what the metadata says.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The header claims another length than the payload has.
    #[error("header says {claimed} bytes, but the payload has {actual}")]
    LengthMismatch {
        /// Length in the header.
        claimed: usize,
        /// Length of the payload.
        actual: usize,
    },
    /// The header's data type is not that of its metadata.
    #[error("header says {data_type}, but its metadata is of type {metadata}")]
    TypeMismatch {
        /// Type in the header.
        data_type: DataType,
        /// Type of the metadata.
        metadata: DataType,
    },
    /// Text that is not UTF-8.
    #[error("payload is not UTF-8: invalid byte at {at}")]
    NotUtf8 {
        /// Offset of the first invalid byte.
        at: usize,
    },
    /// A JSON payload that is not JSON.
    #[error("payload is not JSON: {message}")]
    NotJson {
        /// What the parser said.
        message: String,
    },
}

/// One item of data.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeData {
    header: DataHeader,
    payload: Bytes,
}

/// Lets [`Bytes`] own a vector of numbers and show its bytes.
struct Samples<T>(Vec<T>);

impl<T: IntoBytes + Immutable> AsRef<[u8]> for Samples<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn own<T: IntoBytes + Immutable + Send + 'static>(values: Vec<T>) -> Bytes {
    Bytes::from_owner(Samples(values))
}

impl RuntimeData {
    /// Most bytes of one payload: 4 GiB - 1.
    pub const MAX_PAYLOAD: usize = u32::MAX as usize;

    /// An item of `metadata` over `payload`, stamped now.
    ///
    /// # Errors
    /// [`DataError`] if the payload is too large, has the wrong length for its metadata, or is
    /// declared to be UTF-8 text and is not.
    pub fn new(metadata: DataMetadata, payload: impl Into<Bytes>) -> Result<Self, DataError> {
        let payload = payload.into();
        let len = u32::try_from(payload.len())
            .map_err(|_| DataError::TooLarge { len: payload.len(), max: Self::MAX_PAYLOAD })?;
        Self::from_parts(DataHeader::new(metadata, len), payload)
    }

    /// An item of a header and a payload that came from elsewhere, such as shared memory.
    ///
    /// # Errors
    /// [`DataError`] if the two do not belong together. Messages that are not data (end of
    /// stream, flush, error) may have any payload.
    pub fn from_parts(header: DataHeader, payload: Bytes) -> Result<Self, DataError> {
        let claimed = header.payload_size as usize;
        if claimed != payload.len() {
            return Err(DataError::LengthMismatch { claimed, actual: payload.len() });
        }
        if header.data_type != header.metadata.data_type() {
            let metadata = header.metadata.data_type();
            return Err(DataError::TypeMismatch { data_type: header.data_type, metadata });
        }
        if header.kind == MessageKind::Data {
            header.metadata.check_payload_len(payload.len())?;
            let is_text = match &header.metadata {
                DataMetadata::Text { encoding, .. } => encoding == "utf-8",
                metadata => *metadata == DataMetadata::Json,
            };
            if is_text && let Err(error) = std::str::from_utf8(&payload) {
                return Err(DataError::NotUtf8 { at: error.valid_up_to() });
            }
        }
        Ok(Self { header, payload })
    }

    /// Interleaved 32-bit float audio, without copying the samples.
    ///
    /// # Errors
    /// [`DataError`] if the rate or the channel count is zero, or the number of samples is not a
    /// multiple of the channel count.
    pub fn audio_f32(
        samples: Vec<f32>,
        sample_rate: u32,
        channels: u16,
    ) -> Result<Self, DataError> {
        Self::audio(own(samples), sample_rate, channels, AudioFormat::F32)
    }

    /// Interleaved 16-bit audio, without copying the samples.
    ///
    /// # Errors
    /// As [`audio_f32`](Self::audio_f32).
    pub fn audio_i16(
        samples: Vec<i16>,
        sample_rate: u32,
        channels: u16,
    ) -> Result<Self, DataError> {
        Self::audio(own(samples), sample_rate, channels, AudioFormat::I16)
    }

    /// Interleaved audio of any format over bytes.
    ///
    /// # Errors
    /// As [`audio_f32`](Self::audio_f32).
    pub fn audio(
        payload: impl Into<Bytes>,
        sample_rate: u32,
        channels: u16,
        format: AudioFormat,
    ) -> Result<Self, DataError> {
        let layout = AudioLayout::Interleaved;
        Self::new(DataMetadata::Audio { sample_rate, channels, format, layout }, payload)
    }

    /// UTF-8 text.
    ///
    /// # Errors
    /// [`DataError::TooLarge`] above 4 GiB - 1.
    pub fn text(text: impl Into<String>) -> Result<Self, DataError> {
        Self::new(DataMetadata::utf8(), text.into().into_bytes())
    }

    /// A JSON document.
    ///
    /// # Errors
    /// [`DataError::TooLarge`] above 4 GiB - 1.
    pub fn json(value: &serde_json::Value) -> Result<Self, DataError> {
        Self::new(DataMetadata::Json, value.to_string().into_bytes())
    }

    /// Opaque bytes.
    ///
    /// # Errors
    /// [`DataError::TooLarge`] above 4 GiB - 1.
    pub fn binary(payload: impl Into<Bytes>) -> Result<Self, DataError> {
        Self::new(DataMetadata::Binary, payload)
    }

    /// A C-contiguous tensor over bytes.
    ///
    /// # Errors
    /// [`DataError`] if the rank is above 8 or the length does not fit the shape.
    pub fn tensor(
        payload: impl Into<Bytes>,
        shape: Vec<usize>,
        dtype: TensorType,
    ) -> Result<Self, DataError> {
        Self::new(DataMetadata::Tensor { shape, dtype }, payload)
    }

    /// The message that says that nothing follows.
    pub fn end_of_stream() -> Self {
        let mut header = DataHeader::new(DataMetadata::Binary, 0);
        header.kind = MessageKind::EndOfStream;
        Self { header, payload: Bytes::new() }
    }

    /// The same item under another session.
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.header.session_id = Some(session);
        self
    }

    /// The same payload stamped with the time (and the correlation and trace context) of the
    /// item that it was made from.
    pub fn made_from(mut self, input: &DataHeader) -> Self {
        self.header.timestamp = input.timestamp;
        self.header.deadline = input.deadline;
        self.header.correlation_id = input.correlation_id;
        self.header.trace = input.trace;
        self
    }

    /// The header.
    pub fn header(&self) -> &DataHeader {
        &self.header
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Header and payload.
    pub fn into_parts(self) -> (DataHeader, Bytes) {
        (self.header, self.payload)
    }

    /// The type of the payload.
    pub fn data_type(&self) -> DataType {
        self.header.data_type
    }

    /// The payload seen as audio; `None` if it is not audio.
    pub fn as_audio(&self) -> Option<AudioView<'_>> {
        match self.header.metadata {
            DataMetadata::Audio { sample_rate, channels, format, layout } => {
                Some(AudioView { sample_rate, channels, format, layout, bytes: &self.payload })
            }
            _ => None,
        }
    }

    /// The payload seen as text; `None` if it is not UTF-8 text.
    pub fn as_text(&self) -> Option<&str> {
        match self.header.data_type {
            DataType::Text => std::str::from_utf8(&self.payload).ok(),
            _ => None,
        }
    }

    /// The payload parsed as JSON.
    ///
    /// # Errors
    /// [`DataError::NotJson`] if it does not parse.
    pub fn parse_json(&self) -> Result<serde_json::Value, DataError> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| DataError::NotJson { message: error.to_string() })
    }
}

/// A borrowed look at an audio payload.
#[derive(Debug, Clone, Copy)]
pub struct AudioView<'a> {
    /// Samples per second and channel, in Hz.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u16,
    /// How one sample is stored.
    pub format: AudioFormat,
    /// How the channels lie in memory.
    pub layout: AudioLayout,
    /// The raw samples.
    pub bytes: &'a [u8],
}

impl<'a> AudioView<'a> {
    /// Number of frames (samples per channel).
    pub fn frames(&self) -> usize {
        self.bytes.len() / (usize::from(self.channels) * self.format.bytes_per_sample())
    }

    /// The samples as 32-bit floats; `None` if they are of another format or not aligned.
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        if self.format != AudioFormat::F32 {
            return None;
        }
        <[f32]>::ref_from_bytes(self.bytes).ok()
    }

    /// The samples as 16-bit integers; `None` if they are of another format or not aligned.
    pub fn as_i16(&self) -> Option<&'a [i16]> {
        if self.format != AudioFormat::I16 {
            return None;
        }
        <[i16]>::ref_from_bytes(self.bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_is_viewed_where_it_lies() {
        let samples = vec![0.25_f32, -0.5, 1.0, 0.0];
        let place = samples.as_ptr().cast::<u8>();
        let data = RuntimeData::audio_f32(samples, 16_000, 2).unwrap();
        assert_eq!(data.payload().as_ptr(), place);
        let view = data.as_audio().unwrap();
        assert_eq!(view.frames(), 2);
        assert_eq!(view.as_f32().unwrap(), &[0.25, -0.5, 1.0, 0.0]);
        assert!(view.as_i16().is_none());
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        assert!(RuntimeData::audio_f32(vec![0.0; 3], 16_000, 2).is_err());
        let header = DataHeader::new(DataMetadata::Binary, 5);
        assert_eq!(
            RuntimeData::from_parts(header, Bytes::from_static(b"abc")),
            Err(DataError::LengthMismatch { claimed: 5, actual: 3 })
        );
        assert_eq!(
            RuntimeData::new(DataMetadata::utf8(), vec![b'a', 0xff]),
            Err(DataError::NotUtf8 { at: 1 })
        );
    }

    #[test]
    fn text_and_json_read_back() {
        let text = RuntimeData::text("grüß dich").unwrap();
        assert_eq!(text.as_text(), Some("grüß dich"));
        let value = serde_json::json!({"a": [1, 2.5, null]});
        assert_eq!(RuntimeData::json(&value).unwrap().parse_json().unwrap(), value);
        assert!(RuntimeData::binary(vec![1]).unwrap().as_text().is_none());
    }
}
