//! Nodes for any kind of data.

mod batcher;
mod delay;
mod file_sink;
mod file_source;
mod held;
mod pass_through;
mod rate_limiter;
mod recording;
mod statistics;
mod tee;

use rm_core::{NodeRegistry, RegistryError};

/// Adds the nodes of this folder.
pub(crate) fn register_all(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    pass_through::register(registry)?;
    tee::register(registry)?;
    delay::register(registry)?;
    rate_limiter::register(registry)?;
    batcher::register(registry)?;
    statistics::register(registry)?;
    file_sink::register(registry)?;
    file_source::register(registry)
}

#[cfg(test)]
mod tests;
