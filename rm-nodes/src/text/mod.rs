//! Nodes for text and JSON.

use rm_core::{NodeRegistry, RegistryError};

/// Adds the nodes of this folder.
pub(crate) fn register_all(_: &mut NodeRegistry) -> Result<(), RegistryError> {
    Ok(())
}
