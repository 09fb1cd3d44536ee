//! What a payload is made of: sample formats, pixel formats, tensor types.
//!
//! Main type: [`DataMetadata`], which knows how many bytes a payload of its kind must have.
//! It does not hold the payload.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! wire_enum {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $text:literal;)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum! {
    /// How one audio sample is stored. All are little-endian.
    AudioFormat {
        /// 32-bit float, nominal range -1 to 1.
        F32 = 1, "f32";
        /// 64-bit float, nominal range -1 to 1.
        F64 = 2, "f64";
        /// 16-bit signed integer.
        I16 = 3, "i16";
        /// 24-bit signed integer in three bytes.
        I24 = 4, "i24";
        /// 32-bit signed integer.
        I32 = 5, "i32";
        /// 8-bit unsigned integer, silence at 128.
        U8 = 6, "u8";
    }
}

impl AudioFormat {
    /// Bytes of one sample of one channel.
    pub const fn bytes_per_sample(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::F32 | Self::I32 => 4,
            Self::F64 => 8,
        }
    }
}

wire_enum! {
    /// How the channels of an audio payload lie in memory.
    AudioLayout {
        /// Sample 0 of every channel, then sample 1 of every channel, and so on.
        Interleaved = 0, "interleaved";
        /// All samples of channel 0, then all of channel 1, and so on.
        Planar = 1, "planar";
    }
}

wire_enum! {
    /// How the pixels of a video frame lie in memory. Rows are tightly packed.
    VideoFormat {
        /// 8-bit red, green, blue.
        Rgb24 = 1, "rgb24";
        /// 8-bit blue, green, red.
        Bgr24 = 2, "bgr24";
        /// 8-bit red, green, blue, alpha.
        Rgba32 = 3, "rgba32";
        /// 8-bit luma only.
        Gray8 = 4, "gray8";
        /// Planar luma, then both chroma planes at half width and half height (rounded up).
        Yuv420p = 5, "yuv420p";
        /// Planar luma, then one plane of chroma pairs at half width and half height (rounded up).
        Nv12 = 6, "nv12";
    }
}

impl VideoFormat {
    /// Bytes of one whole frame with all of its planes; `None` where that exceeds `usize`.
    pub fn frame_bytes(self, width: u32, height: u32) -> Option<usize> {
        let (w, h) = (usize::try_from(width).ok()?, usize::try_from(height).ok()?);
        let luma = w.checked_mul(h)?;
        match self {
            Self::Rgb24 | Self::Bgr24 => luma.checked_mul(3),
            Self::Rgba32 => luma.checked_mul(4),
            Self::Gray8 => Some(luma),
            Self::Yuv420p | Self::Nv12 => {
                luma.checked_add(w.div_ceil(2).checked_mul(h.div_ceil(2))?.checked_mul(2)?)
            }
        }
    }
}

wire_enum! {
    /// The element type of a tensor, under NumPy's names. Little-endian.
    TensorType {
        /// Boolean, one byte.
        Bool = 1, "bool";
        /// 8-bit signed integer.
        I8 = 2, "int8";
        /// 16-bit signed integer.
        I16 = 3, "int16";
        /// 32-bit signed integer.
        I32 = 4, "int32";
        /// 64-bit signed integer.
        I64 = 5, "int64";
        /// 8-bit unsigned integer.
        U8 = 6, "uint8";
        /// 16-bit unsigned integer.
        U16 = 7, "uint16";
        /// 32-bit unsigned integer.
        U32 = 8, "uint32";
        /// 64-bit unsigned integer.
        U64 = 9, "uint64";
        /// IEEE 754 half precision.
        F16 = 10, "float16";
        /// The upper half of an IEEE 754 single.
        Bf16 = 11, "bfloat16";
        /// IEEE 754 single precision.
        F32 = 12, "float32";
        /// IEEE 754 double precision.
        F64 = 13, "float64";
        /// Two singles: real, imaginary.
        Complex64 = 14, "complex64";
        /// Two doubles: real, imaginary.
        Complex128 = 15, "complex128";
    }
}

impl TensorType {
    /// Bytes of one element.
    pub const fn bytes_per_element(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 | Self::Complex64 => 8,
            Self::Complex128 => 16,
        }
    }
}

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
        /// Character encoding; `"utf-8"` is the one that text views understand.
        encoding: String,
        /// ISO 639-1 code (or a longer BCP 47 tag, up to 15 bytes) where known.
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

    /// UTF-8 text of unknown language.
    pub fn utf8() -> Self {
        Self::Text { encoding: "utf-8".to_owned(), language: None }
    }

    /// Checks every rule that does not need the payload.
    ///
    /// # Errors
    /// [`MetadataError`] naming the field that breaks a rule.
    pub fn validate(&self) -> Result<(), MetadataError> {
        let nonzero = |field, value: u32| {
            if value == 0 { Err(MetadataError::Zero { field }) } else { Ok(()) }
        };
        let short = |field, value: &str| {
            if value.len() > Self::MAX_TAG_LEN {
                let max = Self::MAX_TAG_LEN;
                return Err(MetadataError::TextTooLong { field, value: value.to_owned(), max });
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
                short("encoding", encoding)?;
                short("language", language.as_deref().unwrap_or_default())
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
                let what = format!("a {width} x {height} frame in {format}");
                match format.frame_bytes(*width, *height) {
                    None => Err(MetadataError::SizeOverflow { what }),
                    Some(expected) if expected == len => Ok(()),
                    Some(expected) => mismatch(what, expected.to_string()),
                }
            }
            Self::Tensor { shape, dtype } => {
                let what = format!("a tensor of shape {shape:?} in {dtype}");
                let bytes = shape
                    .iter()
                    .try_fold(dtype.bytes_per_element(), |bytes, dim| bytes.checked_mul(*dim));
                match bytes {
                    None => Err(MetadataError::SizeOverflow { what }),
                    Some(expected) if expected == len => Ok(()),
                    Some(expected) => mismatch(what, expected.to_string()),
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
    fn odd_video_sizes_round_chroma_up() {
        assert_eq!(VideoFormat::Yuv420p.frame_bytes(3, 3), Some(9 + 2 * 4));
        assert_eq!(VideoFormat::Nv12.frame_bytes(4, 2), Some(12));
        assert_eq!(VideoFormat::Rgba32.frame_bytes(u32::MAX, u32::MAX), None);
    }

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
            assert_eq!(VideoFormat::from_code(format.code()), Some(*format));
        }
    }
}
