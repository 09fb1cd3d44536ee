//! What sessions share.
//!
//! Main type: [`Runtime`]. It is an explicit value; [`default_runtime`](crate::default_runtime) is one
//! for those who need no other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use rm_core::{NodeRegistry, SessionId};
use tokio::sync::watch;

use crate::config::RuntimeConfig;
use crate::error::SessionError;
use crate::plan::Plan;
use crate::session::{Life, Session, lock};

/// What sessions share: settings, node types and limits. Clones are the same.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) config: Arc<RuntimeConfig>,
    pub(crate) registry: Arc<NodeRegistry>,
    table: Arc<Table>,
}

/// The sessions that there are.
#[derive(Default)]
struct Table {
    sessions: Mutex<HashMap<SessionId, (u64, Weak<Life>)>>,
    processes: AtomicUsize,
    counter: AtomicU64,
    #[cfg(feature = "metrics")]
    ledger: crate::telemetry::Ledger,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(lock(&self.sessions).keys()).finish()
    }
}

/// Processes that a session may start; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Places {
    table: Arc<Table>,
    count: usize,
}

impl Drop for Places {
    fn drop(&mut self) {
        self.table.processes.fetch_sub(self.count, Ordering::AcqRel);
    }
}

/// A session's entry in the table; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    table: Arc<Table>,
    id: SessionId,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut sessions = lock(&self.table.sessions);
        // Another may have the name by now.
        if sessions.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            sessions.remove(&self.id);
        }
        #[cfg(feature = "metrics")]
        self.table.ledger.close(self.number);
    }
}

#[cfg(feature = "metrics")]
impl Registered {
    /// Notes what the session has done, before that can no longer be asked.
    pub(crate) async fn note_end(&self, session: &crate::session::Shared, failed: bool) {
        /// How long a worker is waited for that may be what has failed.
        const PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);
        let statistics = session.statistics(PATIENCE).await;
        self.table.ledger.note_end(self.number, &statistics, failed);
    }
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
        let (config, registry, table) = (Arc::new(config), Arc::new(registry), Arc::default());
        Self { config, registry, table }
    }

    /// The native node types.
    pub fn registry(&self) -> &NodeRegistry {
        &self.registry
    }

    /// The settings.
    pub fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    /// The session of that name, if there is one that has not ended.
    pub fn session(&self, id: &SessionId) -> Option<Session> {
        let sessions = lock(&self.table.sessions);
        sessions.get(id).and_then(|(_, life)| life.upgrade()).map(Session::of)
    }

    /// The names of all sessions that have not ended, in alphabetical order.
    pub fn sessions(&self) -> Vec<SessionId> {
        let mut ids: Vec<_> = lock(&self.table.sessions).keys().cloned().collect();
        ids.sort();
        ids
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn ledger(&self) -> &crate::telemetry::Ledger {
        &self.table.ledger
    }

    /// Puts aside the processes that a plan needs.
    pub(crate) fn admit(&self, plan: &Plan) -> Result<Places, SessionError> {
        let needed = plan.workers.len();
        if let Some(limit) = self.config.max_processes_per_session.filter(|max| needed > *max) {
            return Err(SessionError::TooManyProcesses { needed, limit });
        }
        let admit = |running: usize| {
            let sum = running.checked_add(needed)?;
            self.config.max_processes.is_none_or(|max| sum <= max).then_some(sum)
        };
        let (table, order) = (&self.table, Ordering::AcqRel);
        match table.processes.fetch_update(order, Ordering::Acquire, admit) {
            Ok(_) => Ok(Places { table: Arc::clone(table), count: needed }),
            Err(running) => {
                let limit = self.config.max_processes.unwrap_or(usize::MAX);
                Err(SessionError::RuntimeFull { needed, running, limit })
            }
        }
    }

    /// Notes a session under its name.
    pub(crate) fn register(&self, life: &Arc<Life>) -> Result<Registered, SessionError> {
        let (table, id) = (Arc::clone(&self.table), life.shared.id.clone());
        let number = table.counter.fetch_add(1, Ordering::Relaxed);
        let mut sessions = lock(&table.sessions);
        if let Some(limit) = self.config.max_sessions.filter(|max| sessions.len() >= *max) {
            return Err(SessionError::TooManySessions { running: sessions.len(), limit });
        }
        if sessions.contains_key(&id) {
            return Err(SessionError::Exists { id });
        }
        sessions.insert(id.clone(), (number, Arc::downgrade(life)));
        drop(sessions);
        #[cfg(feature = "metrics")]
        table.ledger.open(number, Arc::downgrade(&life.shared));
        Ok(Registered { table, id, number })
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
