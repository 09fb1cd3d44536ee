//! What video nodes share: sizes of frames, and how parameters and metadata are put.
//!
//! Main functions: [`frame_bytes`], [`unknown_format`], [`metadata`]. It does not touch pixels.

use rm_core::{NodeError, NodeMetadata, ParameterKind, ParameterSpec, RuntimeData, VideoFormat};

/// Longest side of a picture that is made here, in pixels: that of the largest frames of H.265 and AV1,
/// twice over.
pub(crate) const MAX_SIDE: u32 = 16_384;

/// Bytes of a frame, of which one message can hold 4 GiB at most.
pub(crate) fn frame_bytes(
    format: VideoFormat,
    [width, height]: [u32; 2],
) -> Result<usize, NodeError> {
    let bytes = format.frame_bytes(width, height);
    bytes.filter(|bytes| *bytes <= RuntimeData::MAX_PAYLOAD).ok_or_else(|| NodeError::Failed {
        message: format!(
            "a frame in {format} of {width} x {height} pixels is larger than one message can be ({} \
             bytes)",
            RuntimeData::MAX_PAYLOAD
        ),
        source: None,
    })
}

/// Says that a format is not known here.
pub(crate) fn unknown_format(format: VideoFormat) -> NodeError {
    NodeError::Input {
        found: format!("video in {format}"),
        expected: "video in a format that it knows".to_owned(),
    }
}

/// What is known of a node type that nothing special is said of.
pub(crate) fn metadata(
    name: &str,
    description: &str,
    parameters: Vec<ParameterSpec>,
) -> NodeMetadata {
    NodeMetadata {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: description.to_owned(),
        parameters,
        ..NodeMetadata::default()
    }
}

/// The parameters `matrix` and `range`.
pub(crate) fn coding_specs() -> [ParameterSpec; 2] {
    [
        ParameterSpec::optional(
            "matrix",
            ParameterKind::String,
            "auto",
            "matrix of luma and chroma: auto is bt709 for frames of 720 rows and more, bt601 for \
             lower ones",
        )
        .choices(["auto", "bt601", "bt709"]),
        ParameterSpec::optional(
            "range",
            ParameterKind::String,
            "limited",
            "range of luma and chroma: limited has black at 16 and white at 235 (of 8 bits), full at \
             0 and 255; RGB and gray are full always",
        )
        .choices(["limited", "full"]),
    ]
}
