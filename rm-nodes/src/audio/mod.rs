//! Nodes for sound, and what they share.

mod buffer;
pub(crate) mod file_sink;
pub(crate) mod file_source;
pub(crate) mod format_converter;
mod input;
pub(crate) mod resample;
mod sample;
pub(crate) mod vad;
mod wav;
