//! What sessions share.
//!
//! Main type: [`Runtime`]. It is an explicit value; there is no global one.

use std::sync::Arc;

use rm_bridge::MultiprocessExecutor;
use rm_core::NodeRegistry;
use tokio::sync::watch;

use crate::config::RuntimeConfig;

/// Why there can be no runtime.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Processes cannot be started.
    #[error("worker processes cannot be started: {0}")]
    Processes(String),
}

/// What sessions share: settings, node types, the starter of processes. Clones are the same.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) config: Arc<RuntimeConfig>,
    pub(crate) registry: Arc<NodeRegistry>,
    pub(crate) executor: MultiprocessExecutor,
}

impl Runtime {
    /// A runtime on the tokio runtime in whose context this is called. Also removes what killed
    /// runtimes of this user have left in shared memory.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn new(config: RuntimeConfig, registry: NodeRegistry) -> Result<Self, RuntimeError> {
        match rm_bridge::sweep() {
            Ok(swept) if swept.namespaces.is_empty() => {}
            Ok(swept) => tracing::info!(?swept.namespaces, "removed what killed runtimes left"),
            Err(error) => tracing::warn!(%error, "cannot look for what killed runtimes left"),
        }
        let executor = MultiprocessExecutor::new();
        let executor = executor.map_err(|error| RuntimeError::Processes(error.to_string()))?;
        Ok(Self { config: Arc::new(config), registry: Arc::new(registry), executor })
    }

    /// The native node types.
    pub fn registry(&self) -> &NodeRegistry {
        &self.registry
    }

    /// The settings.
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }
}

/// Ends a session from outside. Clones cancel the same one.
#[derive(Debug, Clone)]
pub struct CancelToken {
    cancelled: Arc<watch::Sender<bool>>,
}

impl CancelToken {
    /// A token that has not been used.
    pub fn new() -> Self {
        Self { cancelled: Arc::new(watch::Sender::new(false)) }
    }

    /// Makes the session end as soon as it can.
    pub fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    /// Whether it has been used.
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Waits until it is used.
    pub async fn cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        // The sender lives in this token, so waiting cannot fail.
        let _ = cancelled.wait_for(|cancelled| *cancelled).await;
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}
