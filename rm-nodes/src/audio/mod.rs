//! Nodes for sound, and what they share.

mod buffer;
mod file_sink;
mod file_source;
mod format_converter;
mod resample;
mod sample;
mod vad;
mod wav;

use rm_core::{NodeRegistry, RegistryError};

/// Adds the nodes of this folder.
pub(crate) fn register_all(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    file_source::register(registry)?;
    file_sink::register(registry)?;
    format_converter::register(registry)?;
    resample::register(registry)?;
    vad::register(registry)
}
