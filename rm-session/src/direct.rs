//! The functions for who needs no runtime of their own.
//!
//! Main functions: [`create_session`], [`initialize_pipeline`] and [`cleanup_session`], thin calls on
//! one [`default_runtime`]. The same can be done with explicit values: [`Runtime`] and [`Session`].

use std::sync::OnceLock;

use rm_core::{NodeRegistry, SessionId, did_you_mean};

use crate::config::RuntimeConfig;
use crate::error::{CleanupError, InitError, SessionError};
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::progress::InitProgress;
use crate::runtime::{CancelToken, Runtime};
use crate::session::Session;
use crate::status::SessionStatus;

/// The runtime of this module's functions, made at its first use: settings from
/// [`RuntimeConfig::load`], and the built-in nodes where the feature `nodes` is on.
///
/// # Errors
/// [`SessionError::Config`] if the settings cannot be read; the next call tries again.
pub fn default_runtime() -> Result<&'static Runtime, SessionError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let config = RuntimeConfig::load()?;
    #[cfg(feature = "nodes")]
    let registry: NodeRegistry = crate::builtin_nodes();
    #[cfg(not(feature = "nodes"))]
    let registry = NodeRegistry::new();
    Ok(RUNTIME.get_or_init(|| Runtime::new(config, registry)))
}

/// Makes a session of a pipeline, on the [`default_runtime`]. Its nodes are started by
/// [`initialize_pipeline`].
///
/// # Errors
/// [`SessionError`]: `Id` if `session_id` is no name, `Plan` if the pipeline cannot be run, `Exists`
/// if there is a session of that name, and what keeps it from being made.
///
/// # Panics
/// If it is called outside of a tokio runtime.
pub async fn create_session(session_id: &str, pipeline: Manifest) -> Result<Session, SessionError> {
    let runtime = default_runtime()?;
    let id = SessionId::new(session_id).map_err(SessionError::Id)?;
    let plan = Plan::new(pipeline, runtime.registry()).map_err(SessionError::Plan)?;
    Session::create_as(runtime, Some(id), plan, CancelToken::new())
}

/// Starts all nodes of a session and waits until they are ready.
///
/// # Errors
/// [`InitError`]; if a node has failed, the session has ended.
pub async fn initialize_pipeline(
    session: &mut Session,
    progress_handler: impl Fn(InitProgress) + Send + 'static,
) -> Result<(), InitError> {
    let status = session.status();
    if status != SessionStatus::Initializing || session.is_initialized() {
        return Err(InitError::AlreadyInitialized { id: session.id().clone(), status });
    }
    Ok(session.initialize(progress_handler).await?)
}

/// Ends a session of the [`default_runtime`] and waits until nothing is left of it.
///
/// # Errors
/// [`CleanupError`]: `NoSuchSession`, or what is left.
pub async fn cleanup_session(session_id: &str) -> Result<(), CleanupError> {
    let missing = |hint| CleanupError::NoSuchSession { id: session_id.to_owned(), hint };
    let runtime = default_runtime().map_err(|_| missing(String::new()))?;
    runtime.cleanup_session(session_id).await
}

impl Runtime {
    /// Ends a session by its name and waits until nothing is left of it.
    ///
    /// # Errors
    /// As [`cleanup_session`].
    pub async fn cleanup_session(&self, session_id: &str) -> Result<(), CleanupError> {
        let found = SessionId::new(session_id).ok().and_then(|id| self.session(&id));
        let Some(session) = found else {
            let ids = self.sessions();
            let hint = did_you_mean(session_id, ids.iter().map(SessionId::as_str));
            return Err(CleanupError::NoSuchSession { id: session_id.to_owned(), hint });
        };
        let folder = session.folder();
        session.close().await;
        if !session.processes().is_empty() {
            return Err(CleanupError::ProcessesStillRunning);
        }
        if folder.is_some_and(|folder| folder.exists()) {
            return Err(CleanupError::ChannelCleanupFailed);
        }
        match session.left_behind() {
            0 => Ok(()),
            threads => Err(CleanupError::ResourceLeak(format!(
                "{threads} threads of native nodes that do not return"
            ))),
        }
    }
}
