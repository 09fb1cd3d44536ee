//! The description of a payload, whatever its type.
//!
//! Main type: [`DataMetadata`], which knows how many bytes a payload of its kind must have.
//! It does not hold the payload, and the formats themselves stand in `audio`, `video` and
//! `tensor`.

use serde::{Deserialize, Serialize};

use crate::audio::{AudioFormat, AudioLayout};
use crate::tensor::TensorType;
use crate::video::VideoFormat;

/// An enum whose values have a name, for manifests and messages, and a code, for the wire.
macro_rules! wire_enum {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal;)* }
    ) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize,
            serde::Deserialize,
        )]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every value, in wire order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name used in manifests and messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }

            pub(crate) const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }

            pub(crate) const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use wire_enum;

/// Why metadata cannot describe a payload.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// A sample rate, channel count, width or height of zero.
    #[error("{field} is zero")]
    Zero {
        /// Which field.
        field: &'static str,
    },
    /// A frame rate that is negative or not a number.
    #[error("fps is {fps}; it must be zero (unknown) or positive and finite")]
    BadFps {
        /// The value found.
        fps: f32,
    },
    /// A text that is longer than its place in the wire header.
    #[error("{field} {value:?} is longer than {max} bytes")]
    TextTooLong {
        /// Which field.
        field: &'static str,
        /// The value found.
        value: String,
        /// Longest length allowed, in bytes.
        max: usize,
    },
    /// A text that may not stand in its place in the wire header.
    #[error("{field} {value:?} must be {expected}")]
    BadTag {
        /// Which field.
        field: &'static str,
        /// The value found.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A tensor with too many dimensions.
    #[error("tensor rank {rank} is above {max}")]
    RankTooHigh {
        /// Rank found.
        rank: usize,
        /// Highest rank allowed.
        max: usize,
    },
    /// A shape or frame size whose bytes cannot be counted.
    #[error("payload size of {what} overflows")]
    SizeOverflow {
        /// What was being sized.
        what: String,
    },
    /// A payload whose length is not what the metadata says.
    #[error("payload has {actual} bytes, but {what} takes {expected}")]
    SizeMismatch {
        /// The payload's description.
        what: String,
        /// What would be right.
        expected: String,
        /// Bytes found.
        actual: usize,
    },
}

/// The description of a payload, by type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataMetadata {
    /// Sampled sound.
    Audio {
        /// Samples per second and channel, in Hz.
        sample_rate: u32,
        /// Number of channels, at least 1.
        channels: u16,
        /// How one sample is stored.
        format: AudioFormat,
        /// How the channels lie in memory.
        layout: AudioLayout,
    },
    /// One video frame.
    Video {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// How the pixels lie in memory.
        format: VideoFormat,
        /// Frames per second; 0 where unknown.
        fps: f32,
    },
    /// Text.
    Text {
        /// Character encoding under its IANA name, up to 15 bytes; `"utf-8"` is the one that
        /// text views understand.
        encoding: String,
        /// ISO 639-1 code such as `"en"` (or a longer BCP 47 tag such as `"zh-Hant"`, up to 15
        /// bytes) where known.
        language: Option<String>,
    },
    /// A C-contiguous array.
    Tensor {
        /// Size of each dimension; at most 8 of them. Empty for a scalar.
        shape: Vec<usize>,
        /// Type of the elements.
        dtype: TensorType,
    },
    /// A JSON document in UTF-8.
    Json,
    /// Bytes that the runtime does not look into.
    Binary,
}

impl DataMetadata {
    /// Highest tensor rank that the wire header carries.
    pub const MAX_RANK: usize = 8;
    /// Longest encoding name and language tag, in bytes.
    pub const MAX_TAG_LEN: usize = 15;

    /// Interleaved audio.
    pub const fn audio(sample_rate: u32, channels: u16, format: AudioFormat) -> Self {
        Self::Audio { sample_rate, channels, format, layout: AudioLayout::Interleaved }
    }

    /// UTF-8 text of unknown language.
    pub fn utf8() -> Self {
        Self::Text { encoding: "utf-8".to_owned(), language: None }
    }

    /// Whether the payload has to be UTF-8: JSON, and text that says so.
    pub(crate) fn is_utf8(&self) -> bool {
        match self {
            Self::Text { encoding, .. } => encoding.eq_ignore_ascii_case("utf-8"),
            Self::Json => true,
            _ => false,
        }
    }

    /// Checks every rule that does not need the payload.
    ///
    /// # Errors
    /// [`MetadataError`] naming the field that breaks a rule.
    pub fn validate(&self) -> Result<(), MetadataError> {
        let nonzero = |field, value: u32| {
            if value == 0 { Err(MetadataError::Zero { field }) } else { Ok(()) }
        };
        let tag = |field, value: &str, expected, allowed: fn(u8) -> bool| {
            if value.len() > Self::MAX_TAG_LEN {
                let max = Self::MAX_TAG_LEN;
                return Err(MetadataError::TextTooLong { field, value: value.to_owned(), max });
            }
            if value.is_empty() || !value.bytes().all(allowed) {
                return Err(MetadataError::BadTag { field, value: value.to_owned(), expected });
            }
            Ok(())
        };
        match self {
            Self::Audio { sample_rate, channels, .. } => {
                nonzero("sample_rate", *sample_rate)?;
                nonzero("channels", u32::from(*channels))
            }
            Self::Video { width, height, fps, .. } => {
                nonzero("width", *width)?;
                nonzero("height", *height)?;
                if fps.is_finite() && *fps >= 0.0 {
                    Ok(())
                } else {
                    Err(MetadataError::BadFps { fps: *fps })
                }
            }
            Self::Text { encoding, language } => {
                let name = "visible ASCII characters";
                tag("encoding", encoding, name, |byte| byte.is_ascii_graphic())?;
                let Some(language) = language else { return Ok(()) };
                let words = "ASCII letters, digits and hyphens";
                tag("language", language, words, |byte| {
                    byte.is_ascii_alphanumeric() || byte == b'-'
                })
            }
            Self::Tensor { shape, .. } if shape.len() > Self::MAX_RANK => {
                Err(MetadataError::RankTooHigh { rank: shape.len(), max: Self::MAX_RANK })
            }
            Self::Tensor { .. } | Self::Json | Self::Binary => Ok(()),
        }
    }

    /// Checks that a payload of `len` bytes can be what this metadata says.
    ///
    /// # Errors
    /// [`MetadataError::SizeMismatch`] with the size that would be right, or what
    /// [`validate`](Self::validate) gives.
    pub fn check_payload_len(&self, len: usize) -> Result<(), MetadataError> {
        self.validate()?;
        let mismatch = |what: String, expected: String| {
            Err(MetadataError::SizeMismatch { what, expected, actual: len })
        };
        match self {
            Self::Audio { channels, format, .. } => {
                let frame = usize::from(*channels) * format.bytes_per_sample();
                if len.is_multiple_of(frame) {
                    return Ok(());
                }
                mismatch(
                    format!("audio of {channels} channels in {format}"),
                    format!("a multiple of {frame}"),
                )
            }
            Self::Video { width, height, format, .. } => {
                let what = || format!("a {width} x {height} frame in {format}");
                match format.frame_bytes(*width, *height) {
                    None => Err(MetadataError::SizeOverflow { what: what() }),
                    Some(expected) if expected == len => Ok(()),
                    Some(expected) => mismatch(what(), expected.to_string()),
                }
            }
            Self::Tensor { shape, dtype } => {
                let what = || format!("a tensor of shape {shape:?} in {dtype}");
                match dtype.array_bytes(shape) {
                    None => Err(MetadataError::SizeOverflow { what: what() }),
                    Some(expected) if expected == len => Ok(()),
                    Some(expected) => mismatch(what(), expected.to_string()),
                }
            }
            Self::Text { .. } | Self::Json | Self::Binary => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_payload_length_names_the_right_one() {
        let tensor = DataMetadata::Tensor { shape: vec![2, 3], dtype: TensorType::F32 };
        assert!(tensor.check_payload_len(24).is_ok());
        let error = tensor.check_payload_len(20).unwrap_err().to_string();
        assert_eq!(error, "payload has 20 bytes, but a tensor of shape [2, 3] in float32 takes 24");
    }

    #[test]
    fn names_and_codes_are_unambiguous() {
        for format in AudioFormat::ALL {
            assert_eq!(AudioFormat::from_name(format.name()), Some(*format));
            assert_eq!(AudioFormat::from_code(format.code()), Some(*format));
        }
        for dtype in TensorType::ALL {
            assert_eq!(TensorType::from_name(dtype.name()), Some(*dtype));
            assert_eq!(TensorType::from_code(dtype.code()), Some(*dtype));
        }
        for format in VideoFormat::ALL {
            assert_eq!(VideoFormat::from_name(format.name()), Some(*format));
            assert_eq!(VideoFormat::from_code(format.code()), Some(*format));
        }
    }

    #[test]
    fn tags_that_the_header_cannot_carry_are_refused() {
        let check = |encoding: &str, language: Option<&str>| {
            let (encoding, language) = (encoding.to_owned(), language.map(str::to_owned));
            DataMetadata::Text { encoding, language }.validate()
        };
        assert_eq!(check("utf-8", Some("zh-Hant")), Ok(()));
        assert_eq!(check("iso-8859-1", None), Ok(()));
        assert!(matches!(check("", None), Err(MetadataError::BadTag { field: "encoding", .. })));
        assert!(matches!(
            check("utf-8", Some("")),
            Err(MetadataError::BadTag { field: "language", .. })
        ));
        assert_eq!(
            check("utf-8", Some("en us")).unwrap_err().to_string(),
            "language \"en us\" must be ASCII letters, digits and hyphens"
        );
        assert!(matches!(
            check("utf-8", Some(&"x".repeat(16))),
            Err(MetadataError::TextTooLong { .. })
        ));
    }

    #[test]
    fn sound_and_pictures_of_nothing_are_refused() {
        let zero = |field| Err(MetadataError::Zero { field });
        let audio =
            |rate, channels| DataMetadata::audio(rate, channels, AudioFormat::F32).validate();
        assert_eq!(audio(0, 1), zero("sample_rate"));
        assert_eq!(audio(1, 0), zero("channels"));
        let video = |width, height, fps| {
            DataMetadata::Video { width, height, format: VideoFormat::Gray8, fps }.validate()
        };
        assert_eq!(video(0, 1, 1.0), zero("width"));
        assert_eq!(video(1, 0, 1.0), zero("height"));
        assert_eq!(video(1, 1, 0.0), Ok(()));
        for fps in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(matches!(video(1, 1, fps), Err(MetadataError::BadFps { .. })));
        }
    }
}
