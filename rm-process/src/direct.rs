//! The contract's functions, which take a process by its number.
//!
//! Main functions: [`spawn_node_process`], [`on_process_exit`], [`terminate_process`] and
//! [`kill_process`]: each is a call of the method of the same name on the default manager, which is
//! made at its first use and lives as long as this process. Whoever wants limits, or several runtimes
//! apart from each other, makes a [`ProcessManager`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::command::CommandSpec;
use crate::error::ProcessError;
use crate::exit::ExitStatus;
use crate::node_config::NodeConfig;
use crate::process::NodeProcess;
use crate::spawn::{Found, ProcessManager};
use crate::supervision::run_handler;

/// The default manager, with the process that made it.
static DEFAULT: Mutex<Option<(u32, ProcessManager)>> = Mutex::new(None);

impl ProcessManager {
    /// The manager that the free functions use. Processes that it has started are killed with this
    /// process, or with the tokio runtime that watches them.
    ///
    /// # Errors
    /// [`ProcessError::SpawnFailed`] if the operating system has no thread to give.
    pub fn default_manager() -> Result<Self, ProcessError> {
        let mut default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner);
        match &*default {
            // A fork of the process that made it has not its thread.
            Some((process, manager)) if *process == std::process::id() => Ok(manager.clone()),
            _ => {
                let manager = Self::new()?;
                *default = Some((std::process::id(), manager.clone()));
                Ok(manager)
            }
        }
    }

    /// Starts the process of a Python node, and waits until the node is ready. `node_type` is the
    /// import path of its class, `package.module:Class`.
    ///
    /// The node has no channels: it is loaded, initialised, supervised and cleaned up. Sessions give
    /// channels to the workers that they start.
    ///
    /// # Errors
    /// [`ProcessError`]; no process is left then.
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub async fn spawn_node_process(
        &self,
        node_type: &str,
        session_id: &str,
        config: NodeConfig,
    ) -> Result<NodeProcess, ProcessError> {
        let spec = CommandSpec::python_node(node_type, session_id, &config)?;
        self.spawn_ready(spec).await
    }

    /// Has `handler` called, once, with the end of a process; see [`NodeProcess::on_exit`]. Also for
    /// a process that has ended: it is called at once then, on this thread.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchProcess`] if this manager has not started such a process.
    pub fn on_process_exit(
        &self,
        process_id: u32,
        handler: impl Fn(ExitStatus) + Send + 'static,
    ) -> Result<(), ProcessError> {
        match self.find(process_id)? {
            Found::Living(core) => core.on_exit(Box::new(handler)),
            Found::Ended(exit) => run_handler(&handler, exit),
        }
        Ok(())
    }

    /// Ends a process within `grace_period`, and waits for its end; see [`NodeProcess::terminate`].
    /// One that has ended stays as it is.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchProcess`] if this manager has not started such a process.
    pub async fn terminate_process(
        &self,
        process_id: u32,
        grace_period: Duration,
    ) -> Result<(), ProcessError> {
        if let Found::Living(core) = self.find(process_id)? {
            core.terminate(grace_period).await;
        }
        Ok(())
    }

    /// Kills a process and its group with SIGKILL, and waits until it is reaped. One that has ended
    /// stays as it is.
    ///
    /// # Errors
    /// [`ProcessError::NoSuchProcess`] if this manager has not started such a process.
    pub async fn kill_process(&self, process_id: u32) -> Result<(), ProcessError> {
        if let Found::Living(core) = self.find(process_id)? {
            core.kill();
            core.exited().await;
        }
        Ok(())
    }
}

/// [`ProcessManager::spawn_node_process`] on the default manager.
///
/// # Errors
/// [`ProcessError`]; no process is left then.
///
/// # Panics
/// If called outside a tokio runtime with I/O and time enabled.
pub async fn spawn_node_process(
    node_type: &str,
    session_id: &str,
    config: NodeConfig,
) -> Result<NodeProcess, ProcessError> {
    ProcessManager::default_manager()?.spawn_node_process(node_type, session_id, config).await
}

/// [`ProcessManager::on_process_exit`] on the default manager.
///
/// # Errors
/// [`ProcessError::NoSuchProcess`] if it has not started such a process.
pub fn on_process_exit(
    process_id: u32,
    handler: impl Fn(ExitStatus) + Send + 'static,
) -> Result<(), ProcessError> {
    ProcessManager::default_manager()?.on_process_exit(process_id, handler)
}

/// [`ProcessManager::terminate_process`] on the default manager.
///
/// # Errors
/// [`ProcessError::NoSuchProcess`] if it has not started such a process.
pub async fn terminate_process(
    process_id: u32,
    grace_period: Duration,
) -> Result<(), ProcessError> {
    ProcessManager::default_manager()?.terminate_process(process_id, grace_period).await
}

/// [`ProcessManager::kill_process`] on the default manager.
///
/// # Errors
/// [`ProcessError::NoSuchProcess`] if it has not started such a process.
pub async fn kill_process(process_id: u32) -> Result<(), ProcessError> {
    ProcessManager::default_manager()?.kill_process(process_id).await
}

/// Waits until the default manager has removed all that its processes had outside of them, which is a
/// moment after the last of them has ended; see [`ProcessManager::finished`]. To be awaited at the end
/// of a program that uses the functions above, with no handle left. Otherwise a record of a few bytes
/// may stay until the next start.
pub async fn finished() {
    let default = DEFAULT.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((process, manager)) = default
        && process == std::process::id()
    {
        manager.finished().await;
    }
}
