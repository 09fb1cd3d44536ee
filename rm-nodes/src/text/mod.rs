//! Nodes for text and JSON.

mod abbreviations;
mod json_select;
mod sentence_collector;
mod splitter;
mod template;

use rm_core::{NodeRegistry, RegistryError};

/// Adds the nodes of this folder.
pub(crate) fn register_all(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    sentence_collector::register(registry)?;
    template::register(registry)?;
    json_select::register(registry)
}
