//! Starts workers: processes that each run one Python node.
//!
//! Main types: [`MultiprocessExecutor`], which starts them, and [`Worker`], the handle on one. The
//! channels of a worker are made by its caller; the worker joins them before it says that it is
//! ready. What goes through them does not come by here.

use std::path::PathBuf;
use std::time::Duration;

use rm_process::{
    CommandSpec, ConnectionError, ExitStatus, FailureReport, Incoming, Limits, NodeProcess,
    ProcessError, ProcessManager, ProcessStatus, Receiver, Sender, python,
};

use crate::protocol::{WorkerConfig, WorkerEvent};

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
    /// The interpreter, or the folder of the virtual environment, in which the wheel is installed;
    /// `None` for the one that [`find_interpreter`](rm_process::python::find_interpreter) finds.
    pub python: Option<PathBuf>,
    /// How long the interpreter may take to start, and the node from one word of progress to the
    /// next.
    pub init_timeout: Duration,
    /// What the worker may use.
    pub limits: Limits,
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
        let named = spec.python.clone().unwrap_or_else(|| PathBuf::from("python3"));
        let failed = |python: PathBuf, source: ProcessError| {
            let (node, source) = (node.clone(), Box::new(source));
            WorkerError::Start { node, python, source }
        };
        let python = python::find_interpreter(spec.python.as_deref());
        let python = python.map_err(|error| failed(named, error.into()))?;
        let environment = python::environment(&python, &[], |name| std::env::var_os(name));
        let environment = environment.map_err(|error| failed(python.clone(), error.into()))?;
        let mut command = CommandSpec::new(&python)
            .args(python::OPTIONS)
            .args(["-m", WORKER_MODULE])
            .label(node.clone());
        command.env = environment;
        command.env_remove = python::NOT_INHERITED.iter().map(Into::into).collect();
        command.node_type.clone_from(&spec.config.node_type);
        command.session_id = spec.config.session_id.to_string();
        command.init_timeout = spec.init_timeout;
        command.abort_at_deadline = true;
        command.limits = spec.limits;
        let started = self.manager.spawn::<WorkerConfig, WorkerEvent>(command).await;
        let (process, connection) = started.map_err(|source| failed(python, source))?;
        let (requests, events) = connection.split();
        let (inputs, outputs) = (&spec.config.inputs, &spec.config.output);
        let inputs = inputs.iter().map(|input| input.channel.clone()).collect();
        process.bind_channels(inputs, outputs.iter().cloned().collect());
        let worker = Worker { process, requests };
        // Refused only where the process has ended already; its events tell of that.
        let _ = worker.process.set_status(ProcessStatus::Initializing);
        match worker.requests.send(&spec.config).await {
            Ok(()) | Err(ConnectionError::Closed) => {
                let process = worker.process.clone();
                Ok((worker, WorkerEvents { node, process, events }))
            }
            Err(source) => Err(WorkerError::Control { node, source }),
        }
    }
}

/// A worker's process. Clones are the same one; dropping the last kills it.
#[derive(Debug, Clone)]
pub struct Worker {
    process: NodeProcess,
    /// The worker takes the end of its input for the word to end.
    requests: Sender<WorkerConfig>,
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

    /// Asks the worker to end, then makes it, within `grace`.
    pub async fn stop(&self, grace: Duration) -> ExitStatus {
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
    process: NodeProcess,
    events: Receiver<WorkerEvent>,
}

impl WorkerEvents {
    /// The next event; `None` when the worker has closed its end or is dead.
    ///
    /// # Errors
    /// [`WorkerError::Control`] if what came is no event.
    pub async fn next(&mut self) -> Result<Option<Incoming<WorkerEvent>>, WorkerError> {
        let next = self.events.next().await.map_err(|source| {
            let node = self.node.clone();
            WorkerError::Control { node, source }
        })?;
        if let Some(Incoming::Value(WorkerEvent::Failed(failure))) = &next {
            // Refused only where the process has ended already.
            let _ = self.process.set_status(ProcessStatus::Error(failure.to_string()));
        }
        Ok(next)
    }
}
