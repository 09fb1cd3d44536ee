//! What a runtime does where a manifest does not say otherwise.
//!
//! Main type: [`RuntimeConfig`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rm_bridge::callback::DynamicCallbackModule;
use rm_bridge::callback::stubs::default_stub_dir;

/// Settings of a [`Runtime`](crate::Runtime). A manifest's own settings go before these.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Most worker processes of one session; `None` for no limit. A manifest can ask for less.
    pub max_processes_per_session: Option<usize>,
    /// How long a node may load without reporting progress.
    pub init_timeout: Duration,
    /// How long a worker may take to end when it is asked to.
    pub cleanup_grace_period: Duration,
    /// The interpreter of workers, or the folder of a virtual environment. `None` looks for one: the
    /// environment variable `REMOTEMEDIA_PYTHON`, the active virtual environment, `python3`.
    pub python: Option<PathBuf>,
    /// What Python nodes may call in this process, as `kameo.<module>.<Handler>(request)`.
    pub callbacks: Arc<DynamicCallbackModule>,
    /// The folder into which stubs and dataclasses of the callbacks are written, for editors and type
    /// checkers and for `from kameo.<module> import <type>`. `None` for none.
    pub callback_stubs: Option<PathBuf>,
    /// Most messages queued in a channel.
    pub channel_depth: u32,
    /// Most bytes queued in a channel: a power of two, and the largest message.
    pub channel_capacity: usize,
}

impl Default for RuntimeConfig {
    /// No limit of processes, 30 s to load, 5 s to end, 100 messages and 64 MiB a channel, stubs of
    /// callbacks in the user's cache folder.
    fn default() -> Self {
        Self {
            max_processes_per_session: None,
            init_timeout: Duration::from_secs(30),
            cleanup_grace_period: Duration::from_secs(5),
            python: None,
            callbacks: Arc::default(),
            callback_stubs: default_stub_dir().ok(),
            channel_depth: 100,
            channel_capacity: 64 << 20,
        }
    }
}
