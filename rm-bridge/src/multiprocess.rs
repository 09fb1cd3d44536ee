//! Starts workers: processes that each run one Python node.
//!
//! Main types: [`MultiprocessExecutor`], which starts them, and [`Worker`], the handle on one. The
//! channels of a worker are made by its caller; the worker joins them before it says that it is
//! ready. What goes through them does not come by here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use rm_process::{
    CommandSpec, ConnectionError, ExitStatus, FailureReport, NodeProcess, ProcessError,
    ProcessManager, ProcessStatus, Receiver, Sender,
};

use crate::protocol::{WorkerConfig, WorkerEvent, WorkerRequest};

/// The module that a worker's interpreter runs.
const WORKER_MODULE: &str = "remotemedia_runtime.worker";

/// Why a worker could not be started or spoken to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its process could not be started, or did not introduce itself.
    #[error("cannot start the worker of node {node} with {}", python.display())]
    Start {
        /// The node.
        node: String,
        /// The interpreter.
        python: PathBuf,
        /// Why.
        #[source]
        source: Box<ProcessError>,
    },
    /// It cannot be spoken to any more.
    #[error("cannot speak to the worker of node {node}")]
    Control {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: ConnectionError,
    },
}

/// What to start.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerSpec {
    /// The interpreter, in whose environment the wheel is installed.
    pub python: PathBuf,
    /// How long the interpreter may take to start and introduce itself.
    pub handshake_timeout: Duration,
    /// What the worker is to know.
    pub config: WorkerConfig,
}

/// Starts workers. Clones share one spawner.
#[derive(Debug, Clone)]
pub struct MultiprocessExecutor {
    manager: ProcessManager,
}

impl MultiprocessExecutor {
    /// An executor for the tokio runtime in whose context this is called.
    ///
    /// # Errors
    /// [`ProcessError`] if its spawner cannot be started.
    pub fn new() -> Result<Self, ProcessError> {
        Ok(Self { manager: ProcessManager::new()? })
    }

    /// Waits until every worker that was started is dead and reaped, also those whose start was
    /// given up. They have to have been told to end, and all handles on them have to be dropped.
    pub async fn finished(self) {
        self.manager.finished().await;
    }

    /// Starts a worker and configures it. It then loads its node, and tells of that by its events.
    ///
    /// # Errors
    /// [`WorkerError`]; the process, if there was one, is gone by then.
    pub async fn start(&self, spec: WorkerSpec) -> Result<(Worker, WorkerEvents), WorkerError> {
        let node = spec.config.node_id.to_string();
        let mut command = CommandSpec::new(OsString::from(&spec.python))
            .args(["-m", WORKER_MODULE])
            .label(node.clone());
        command.handshake_timeout = spec.handshake_timeout;
        let started = self.manager.spawn::<WorkerRequest, WorkerEvent>(command).await;
        let (process, connection) = started.map_err(|source| {
            let (python, source) = (spec.python, Box::new(source));
            WorkerError::Start { node: node.clone(), python, source }
        })?;
        let (requests, events) = connection.split();
        let worker = Worker { process, requests };
        let configure = WorkerRequest::Configure(Box::new(spec.config));
        // A worker that died meanwhile is reported by its events.
        // Refused only where the process has ended already.
        let _ = worker.process.set_status(ProcessStatus::Initializing);
        match worker.requests.send(&configure).await {
            Ok(()) | Err(ConnectionError::Closed) => Ok((worker, WorkerEvents { node, events })),
            Err(source) => Err(WorkerError::Control { node, source }),
        }
    }
}

/// A worker's process. Clones are the same one; dropping the last kills it.
#[derive(Debug, Clone)]
pub struct Worker {
    process: NodeProcess,
    requests: Sender<WorkerRequest>,
}

impl Worker {
    /// The operating system's number of the process.
    pub fn process_id(&self) -> u32 {
        self.process.process_id()
    }

    /// Waits for the end of the process.
    pub async fn exited(&self) -> ExitStatus {
        self.process.exited().await
    }

    /// Notes that the worker has said that its node is ready.
    pub fn note_ready(&self) {
        // Refused only where the process has ended already.
        let _ = self.process.set_status(ProcessStatus::Ready);
    }

    /// Asks the worker to end, then makes it, within `grace`.
    pub async fn stop(&self, grace: Duration) -> ExitStatus {
        // A worker that does not hear, or does not even read, is made to end all the same.
        let asks = self.requests.send(&WorkerRequest::Shutdown);
        let _ = tokio::time::timeout(grace / 4, asks).await;
        self.process.terminate(grace).await
    }

    /// Kills the worker and its group, without waiting.
    pub fn start_kill(&self) {
        self.process.start_kill();
    }

    /// What is known of the process.
    pub fn failure_report(&self) -> FailureReport {
        self.process.failure_report()
    }
}

/// What a worker tells.
#[derive(Debug)]
pub struct WorkerEvents {
    node: String,
    events: Receiver<WorkerEvent>,
}

impl WorkerEvents {
    /// The next event; `None` when the worker has closed its end or is dead.
    ///
    /// # Errors
    /// [`WorkerError::Control`] if what came is no event.
    pub async fn next(&mut self) -> Result<Option<WorkerEvent>, WorkerError> {
        self.events.recv().await.map_err(|source| {
            let node = self.node.clone();
            WorkerError::Control { node, source }
        })
    }
}
