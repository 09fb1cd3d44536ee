//! What sessions share.
//!
//! Main type: [`Runtime`]. It is an explicit value; there is no global one.

use std::sync::Arc;

use rm_core::NodeRegistry;
use tokio::sync::watch;

use crate::config::RuntimeConfig;

/// What sessions share: settings and node types. Clones are the same.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) config: Arc<RuntimeConfig>,
    pub(crate) registry: Arc<NodeRegistry>,
}

impl Runtime {
    /// A runtime. Also removes what killed runtimes of this user have left: processes, shared memory. Its
    /// sessions run on the tokio runtime in whose context they are created.
    pub fn new(config: RuntimeConfig, registry: NodeRegistry) -> Self {
        match rm_bridge::sweep() {
            Ok(swept) => {
                let (removed, skipped) = (swept.removed(), swept.skipped());
                if !removed.is_empty() {
                    tracing::info!(?removed, "removed what killed runtimes left");
                }
                if !skipped.is_empty() {
                    tracing::warn!(?skipped, "what killed runtimes left is left alone");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look for what killed runtimes left"),
        }
        Self { config: Arc::new(config), registry: Arc::new(registry) }
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
