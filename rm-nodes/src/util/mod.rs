//! Nodes for any kind of data.

mod pass_through;

use rm_core::{NodeRegistry, RegistryError};

/// Adds the nodes of this folder.
pub(crate) fn register_all(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    pass_through::register(registry)
}
