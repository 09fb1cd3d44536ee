//! One item of data: a header and the bytes it describes.
//!
//! Main type: [`RuntimeData`]. Its payload is a [`Bytes`], which may own a heap vector, a numpy
//! array or a sample in shared memory; typed views borrow it and never copy.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;

use crate::audio::{AudioFormat, AudioLayout, AudioSample, AudioView};
use crate::cast::own;
use crate::header::{DataHeader, DataType, MessageKind, Origin};
use crate::id::SessionId;
use crate::metadata::{DataMetadata, MetadataError};
use crate::tensor::{TensorElement, TensorType, TensorView};
use crate::trace::TraceContext;
use crate::video::{VideoFormat, VideoView};

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

/// One item of data, or a message about the stream of items.
///
/// A value that exists is valid: the payload has the length that its metadata asks for, and what
/// is declared to be UTF-8 is UTF-8. Cloning shares the payload.
///
/// ```
/// use rm_core::{DataType, MessageKind, RuntimeData};
///
/// let item = RuntimeData::text_in("grüß dich", "de")?;
/// assert_eq!(item.data_type(), DataType::Text);
/// assert_eq!(item.kind(), MessageKind::Data);
/// assert_eq!(item.as_text(), Some("grüß dich"));
/// assert!(item.as_audio().is_none());
///
/// let error = RuntimeData::audio_f32(vec![0.0; 3], 48_000, 2).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "payload has 12 bytes, but audio of 2 channels in f32 takes a multiple of 8",
/// );
/// # Ok::<(), rm_core::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeData {
    header: DataHeader,
    payload: Bytes,
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
    #[inline]
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
            if header.metadata.is_utf8()
                && let Err(error) = std::str::from_utf8(&payload)
            {
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
        Self::audio_of(samples, sample_rate, channels, AudioLayout::Interleaved)
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
        Self::audio_of(samples, sample_rate, channels, AudioLayout::Interleaved)
    }

    /// Audio in the format of the samples' type, without copying them.
    ///
    /// # Errors
    /// As [`audio_f32`](Self::audio_f32).
    pub fn audio_of<S: AudioSample>(
        samples: Vec<S>,
        sample_rate: u32,
        channels: u16,
        layout: AudioLayout,
    ) -> Result<Self, DataError> {
        let format = S::FORMAT;
        Self::new(DataMetadata::Audio { sample_rate, channels, format, layout }, own(samples))
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
        Self::new(DataMetadata::audio(sample_rate, channels, format), payload)
    }

    /// Planar audio of any format over bytes: all samples of channel 0, then all of channel 1, and
    /// so on.
    ///
    /// # Errors
    /// As [`audio_f32`](Self::audio_f32).
    pub fn audio_planar(
        payload: impl Into<Bytes>,
        sample_rate: u32,
        channels: u16,
        format: AudioFormat,
    ) -> Result<Self, DataError> {
        let layout = AudioLayout::Planar;
        Self::new(DataMetadata::Audio { sample_rate, channels, format, layout }, payload)
    }

    /// One video frame with all of its planes over bytes. `width` and `height` are in pixels;
    /// `fps` is 0 where unknown.
    ///
    /// # Errors
    /// [`DataError`] if a side is zero, `fps` is negative or not finite, or the payload has not
    /// exactly [`VideoFormat::frame_bytes`].
    pub fn video(
        payload: impl Into<Bytes>,
        width: u32,
        height: u32,
        format: VideoFormat,
        fps: f32,
    ) -> Result<Self, DataError> {
        Self::new(DataMetadata::Video { width, height, format, fps }, payload)
    }

    /// UTF-8 text.
    ///
    /// # Errors
    /// [`DataError::TooLarge`] above 4 GiB - 1.
    pub fn text(text: impl Into<String>) -> Result<Self, DataError> {
        Self::new(DataMetadata::utf8(), text.into().into_bytes())
    }

    /// UTF-8 text in a language: an ISO 639-1 code such as `"de"`, or a longer BCP 47 tag.
    ///
    /// # Errors
    /// [`DataError`] if the tag is empty, longer than 15 bytes, or holds anything but ASCII
    /// letters, digits and hyphens; [`DataError::TooLarge`] above 4 GiB - 1.
    pub fn text_in(text: impl Into<String>, language: &str) -> Result<Self, DataError> {
        let (encoding, language) = ("utf-8".to_owned(), Some(language.to_owned()));
        Self::new(DataMetadata::Text { encoding, language }, text.into().into_bytes())
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

    /// A C-contiguous tensor of the elements' type, without copying them.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn tensor_of<T: TensorElement>(
        elements: Vec<T>,
        shape: Vec<usize>,
    ) -> Result<Self, DataError> {
        Self::new(DataMetadata::Tensor { shape, dtype: T::DTYPE }, own(elements))
    }

    /// The message that says that nothing follows.
    pub fn end_of_stream() -> Self {
        let mut header = DataHeader::new(DataMetadata::Binary, 0);
        header.kind = MessageKind::EndOfStream;
        Self { header, payload: Bytes::new() }
    }

    /// The message that everything queued before it is to be dropped; items of epochs before
    /// `epoch` are stale.
    pub fn flush(epoch: u32) -> Self {
        let mut header = DataHeader::new(DataMetadata::Binary, 0);
        (header.kind, header.epoch) = (MessageKind::Flush, epoch);
        Self { header, payload: Bytes::new() }
    }

    /// The message that the sender failed on an item, and how; its payload is UTF-8 text.
    ///
    /// # Errors
    /// [`DataError::TooLarge`] above 4 GiB - 1.
    pub fn error(message: impl Into<String>) -> Result<Self, DataError> {
        let mut error = Self::text(message)?;
        error.header.kind = MessageKind::Error;
        Ok(error)
    }

    /// The same item under another session.
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.header.session_id = Some(session);
        self
    }

    /// The same item with the time at which its data came into being.
    pub fn with_timestamp(mut self, timestamp: SystemTime) -> Self {
        self.header.timestamp = timestamp;
        self
    }

    /// The same item in another epoch.
    pub fn with_epoch(mut self, epoch: u32) -> Self {
        self.header.epoch = epoch;
        self
    }

    /// The same item, with what it was made from.
    pub fn with_origin(mut self, origin: Option<Origin>) -> Self {
        self.header.origin = origin;
        self
    }

    /// The same item, tied to a question or its answer; 0 for none.
    pub fn with_correlation(mut self, correlation_id: u64) -> Self {
        self.header.correlation_id = correlation_id;
        self
    }

    /// The same item in a trace.
    #[inline]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.header.trace = trace;
        self
    }

    /// The same payload, as a message of another kind.
    pub fn with_kind(mut self, kind: MessageKind) -> Self {
        self.header.kind = kind;
        self
    }

    /// The same payload stamped with the time (and the epoch, the correlation and the trace context)
    /// of the item that it was made from.
    pub fn made_from(mut self, input: &DataHeader) -> Self {
        self.header.timestamp = input.timestamp;
        self.header.deadline = input.deadline;
        self.header.correlation_id = input.correlation_id;
        self.header.trace = input.trace;
        self.header.epoch = input.epoch;
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

    /// What the message means; anything but [`MessageKind::Data`] is about the stream.
    pub fn kind(&self) -> MessageKind {
        self.header.kind
    }

    /// The payload seen as audio; `None` if it is no item of audio.
    pub fn as_audio(&self) -> Option<AudioView<'_>> {
        match *self.item()? {
            DataMetadata::Audio { sample_rate, channels, format, layout } => {
                Some(AudioView { sample_rate, channels, format, layout, bytes: &self.payload })
            }
            _ => None,
        }
    }

    /// The payload seen as a video frame; `None` if it is no item of video.
    pub fn as_video(&self) -> Option<VideoView<'_>> {
        match *self.item()? {
            DataMetadata::Video { width, height, format, fps } => {
                Some(VideoView { width, height, format, fps, bytes: &self.payload })
            }
            _ => None,
        }
    }

    /// The payload seen as a tensor; `None` if it is no item of that type.
    pub fn as_tensor(&self) -> Option<TensorView<'_>> {
        match self.item()? {
            DataMetadata::Tensor { shape, dtype } => {
                Some(TensorView { shape, dtype: *dtype, bytes: &self.payload })
            }
            _ => None,
        }
    }

    /// The payload seen as text; `None` if it is no item of text in UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        match self.item()? {
            text @ DataMetadata::Text { .. } if text.is_utf8() => {
                std::str::from_utf8(&self.payload).ok()
            }
            _ => None,
        }
    }

    /// What an error message says, with what is not UTF-8 replaced; `None` if it is none.
    pub fn as_error(&self) -> Option<Cow<'_, str>> {
        (self.kind() == MessageKind::Error).then(|| String::from_utf8_lossy(&self.payload))
    }

    /// The payload parsed as JSON.
    ///
    /// # Errors
    /// [`DataError::NotJson`] if it does not parse.
    pub fn parse_json(&self) -> Result<serde_json::Value, DataError> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| DataError::NotJson { message: error.to_string() })
    }

    /// The metadata of an item, whose payload has been checked against it.
    fn item(&self) -> Option<&DataMetadata> {
        (self.kind() == MessageKind::Data).then_some(&self.header.metadata)
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

    #[test]
    fn text_of_another_encoding_is_not_shown_as_utf8() {
        let text = |encoding: &str, bytes: &[u8]| {
            let metadata = DataMetadata::Text { encoding: encoding.into(), language: None };
            RuntimeData::new(metadata, bytes.to_vec())
        };
        assert_eq!(text("iso-8859-1", b"gr\xfc\xdf").unwrap().as_text(), None);
        assert_eq!(text("utf-16le", b"a\0").unwrap().as_text(), None);
        assert_eq!(text("UTF-8", b"a").unwrap().as_text(), Some("a"));
        assert_eq!(text("UTF-8", b"\xff"), Err(DataError::NotUtf8 { at: 0 }));
    }

    #[test]
    fn messages_about_the_stream_are_no_items() {
        let error = RuntimeData::error("model not found").unwrap();
        assert_eq!(error.as_error().as_deref(), Some("model not found"));
        assert_eq!(error.as_text(), None);
        assert_eq!(RuntimeData::text("a").unwrap().as_error(), None);
        assert_eq!(RuntimeData::flush(3).header().epoch, 3);
        assert_eq!(RuntimeData::end_of_stream().kind(), MessageKind::EndOfStream);

        let metadata = DataMetadata::audio(8_000, 2, AudioFormat::F32);
        let mut header = DataHeader::new(metadata, 3);
        header.kind = MessageKind::Error;
        let odd = RuntimeData::from_parts(header, Bytes::from_static(b"no\xff")).unwrap();
        assert!(odd.as_audio().is_none());
        assert_eq!(odd.as_error().as_deref(), Some("no\u{fffd}"));
    }

    #[test]
    fn a_frame_needs_all_of_its_planes() {
        let check = |len| RuntimeData::video(vec![0; len], 4, 2, VideoFormat::Nv12, 30.0);
        assert!(check(12).is_ok());
        assert_eq!(
            check(8).unwrap_err().to_string(),
            "payload has 8 bytes, but a 4 x 2 frame in nv12 takes 12"
        );
    }
}
