//! What a runtime does where a manifest does not say otherwise, and what no manifest can exceed.
//!
//! Main type: [`RuntimeConfig`]. It is made in code, or [loaded](RuntimeConfig::load) from a TOML
//! file and the environment. It is not where the needs of one pipeline belong.

mod load;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rm_bridge::callback::DynamicCallbackModule;
use rm_bridge::callback::stubs::default_stub_dir;

pub use self::load::{ConfigError, SettingError, settings};

/// Settings of a [`Runtime`](crate::Runtime). Where a manifest has a setting of the same meaning,
/// that goes before; limits hold whatever a manifest asks for.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Most worker processes of one session; `None` for no limit. A manifest can ask for less.
    pub max_processes_per_session: Option<usize>,
    /// Most worker processes of all sessions together; `None` for no limit.
    pub max_processes: Option<usize>,
    /// Most sessions at a time; `None` for no limit.
    pub max_sessions: Option<usize>,
    /// Most bytes of memory that the nodes of one session may need; `None` for no limit.
    pub max_memory_per_session: Option<u64>,
    /// Most bytes of shared memory of one session: the sum of the capacities of its channels. They are
    /// not reserved, but used as queues fill.
    pub shm_segment_size: usize,
    /// How long a node may load without reporting progress.
    pub init_timeout: Duration,
    /// How long a worker may take to end when it is asked to.
    pub cleanup_grace_period: Duration,
    /// Whether more is told: Python nodes log from `DEBUG` on, and a file of each failure is kept in
    /// [`failure_dir`](Self::failure_dir).
    pub debug_mode: bool,
    /// Whether sessions keep on what the time of each item goes in each node; a plan can be
    /// [set](crate::Plan::timeline) to it for itself.
    pub timeline: bool,
    /// The folder of files of failures; `None` for `remotemedia/failures` in `$XDG_STATE_HOME` or
    /// `~/.local/state`.
    pub failure_dir: Option<PathBuf>,
    /// The interpreter of workers, or the folder of a virtual environment. `None` looks for one: the
    /// environment variable `REMOTEMEDIA_PYTHON`, the active virtual environment, `python3`.
    pub python: Option<PathBuf>,
    /// What Python nodes may call in this process, as `kameo.<module>.<Handler>(request)`.
    pub callbacks: Arc<DynamicCallbackModule>,
    /// The folder into which stubs and dataclasses of the callbacks are written, for editors and type
    /// checkers and for `from kameo.<module> import <type>`. `None` for none.
    pub callback_stubs: Option<PathBuf>,
    /// Most messages queued in a channel, from 1 to 65,536.
    pub channel_depth: u32,
    /// Most bytes queued in a channel: a power of two. `None` shares
    /// [`shm_segment_size`](Self::shm_segment_size) out among the channels of a session.
    pub channel_capacity: Option<usize>,
}

impl Default for RuntimeConfig {
    /// No limits but 256 MiB of shared memory a session, 30 s to load, 5 s to end, 100 messages a
    /// channel, stubs of callbacks in the user's cache folder.
    fn default() -> Self {
        Self {
            max_processes_per_session: None,
            max_processes: None,
            max_sessions: None,
            max_memory_per_session: None,
            shm_segment_size: 256 << 20,
            init_timeout: Duration::from_secs(30),
            cleanup_grace_period: Duration::from_secs(5),
            debug_mode: false,
            timeline: false,
            failure_dir: None,
            python: None,
            callbacks: Arc::default(),
            callback_stubs: default_stub_dir().ok(),
            channel_depth: 100,
            channel_capacity: None,
        }
    }
}
