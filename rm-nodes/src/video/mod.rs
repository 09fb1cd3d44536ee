//! Nodes for pictures, still and moving, and what they share.

mod colour;
mod convert;
mod converter;
mod crop;
mod file_sink;
mod file_source;
mod frame_rate;
mod frames;
mod geometry;
mod image_file;
mod image_sink;
mod image_source;
mod numbered;
mod rate;
mod resize;
mod scale;
mod thumbnail;
mod y4m;

use rm_core::{NodeRegistry, RegistryError};

/// Adds the nodes of this folder.
pub(crate) fn register_all(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    file_source::register(registry)?;
    file_sink::register(registry)?;
    image_source::register(registry)?;
    image_sink::register(registry)?;
    converter::register(registry)?;
    scale::register(registry)?;
    crop::register(registry)?;
    frame_rate::register(registry)?;
    thumbnail::register(registry)
}
