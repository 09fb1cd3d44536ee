//! Starts workers: processes that each run one Python node.
//!
//! Main types: [`MultiprocessExecutor`], which starts them, and [`Worker`], the handle on one. The
//! channels of a worker are made by its caller; the worker joins them before it says that it is
//! ready. What goes through them does not come by here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rm_process::callback::DynamicCallbackModule;
use rm_process::{
    BackendOptions, ChildStatus, CommandSpec, ExitStatus, FailureReport, Limits, NodeProcess,
    ProcessError, ProcessManager, ProcessStatus, Progress, ReplyStream, SubprocessIpcBackend,
    SubprocessIpcBackendError, python,
};

use crate::metrics::NodeStatistics;
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
    /// Its node does not take what it was given.
    #[error("node {node} refuses its new parameters: {message}")]
    Refused {
        /// The node.
        node: String,
        /// Why, in the node's words.
        message: String,
    },
    /// It cannot be spoken to any more.
    #[error("cannot speak to the worker of node {node}")]
    Control {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: Box<SubprocessIpcBackendError>,
    },
}

/// What to start.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// The interpreter, or the folder of the virtual environment, in which the wheel is installed;
    /// `None` for the one that [`find_interpreter`](rm_process::python::find_interpreter) finds.
    pub python: Option<PathBuf>,
    /// How long the interpreter may take to start, and the node from one word of progress to the
    /// next.
    pub init_timeout: Duration,
    /// What the worker may use.
    pub limits: Limits,
    /// Environment variables that the worker has besides those that it inherits.
    pub env: BTreeMap<String, String>,
    /// What the node may call in this process.
    pub callbacks: Arc<DynamicCallbackModule>,
    /// The folder for what Python has to know of the callbacks' types, if it is to know it.
    pub stubs: Option<PathBuf>,
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

    /// As [`finished`](Self::finished), also while somebody keeps handles.
    pub async fn idle(&self) {
        self.manager.idle().await;
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
        command.env.extend(spec.env.into_iter().map(|(name, value)| (name.into(), value.into())));
        command.env_remove = python::NOT_INHERITED.iter().map(Into::into).collect();
        command.node_type.clone_from(&spec.config.node_type);
        command.session_id = spec.config.session_id.to_string();
        command.init_timeout = spec.init_timeout;
        command.init_limit = command.init_limit.max(spec.init_timeout);
        command.abort_at_deadline = true;
        command.limits = spec.limits;
        let options = BackendOptions::new().callbacks(spec.callbacks);
        let options = match &spec.stubs {
            Some(folder) => options.stubs(folder),
            None => options,
        };
        let started = SubprocessIpcBackend::spawn(&self.manager, command, options).await;
        let backend = started.map_err(|error| match error {
            SubprocessIpcBackendError::Process(source) => failed(python, source),
            source => control(&node, source),
        })?;
        let process = backend.process().expect("it was started here").clone();
        let inputs = spec.config.inputs.iter().map(|input| input.channel.clone()).collect();
        let outputs = spec.config.outputs.iter().map(|output| output.channel.clone()).collect();
        process.bind_channels(inputs, outputs);
        // Refused only where the process has ended already; its events tell of that.
        let _ = process.set_status(ProcessStatus::Initializing);
        let events = match backend.stream(&WorkerRequest::Serve(spec.config)).await {
            Ok(events) => Some(events),
            Err(error) if is_end(&error) => None,
            Err(source) => return Err(control(&node, source)),
        };
        let worker = Worker { node: node.clone(), process, backend: backend.clone() };
        Ok((worker, WorkerEvents { node, backend: Some(backend), events }))
    }
}

/// A worker's process. Clones are the same one; dropping the last kills it.
#[derive(Debug, Clone)]
pub struct Worker {
    node: String,
    process: NodeProcess,
    /// The worker takes the end of its connections for the word to end.
    backend: SubprocessIpcBackend<WorkerRequest>,
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

    /// What is known of the process, live.
    pub fn process(&self) -> &NodeProcess {
        &self.process
    }

    /// Makes the worker drop items older than `epoch`; done when this returns.
    ///
    /// # Errors
    /// [`WorkerError::Control`] if the worker is gone or going.
    pub async fn flush(&self, epoch: u32) -> Result<(), WorkerError> {
        self.ask(WorkerRequest::Flush { epoch }).await.map(drop)
    }

    /// Gives the worker's node new values of parameters, as a JSON object; it has taken them, or refused
    /// all of them, when this returns. Waits until the item in work is done.
    ///
    /// # Errors
    /// [`WorkerError::Refused`] if the node does not take them, or [`WorkerError::Control`].
    pub async fn set_params(&self, params: String) -> Result<(), WorkerError> {
        match self.ask(WorkerRequest::SetParams { params }).await? {
            WorkerEvent::Refused { message } => {
                Err(WorkerError::Refused { node: self.node.clone(), message })
            }
            _ => Ok(()),
        }
    }

    /// What the worker's node has done so far, also while it computes.
    ///
    /// # Errors
    /// [`WorkerError::Control`] if the worker is gone or going.
    pub async fn statistics(&self) -> Result<NodeStatistics, WorkerError> {
        match self.ask(WorkerRequest::Statistics).await? {
            WorkerEvent::Statistics(statistics) => Ok(statistics),
            _ => Ok(NodeStatistics::default()),
        }
    }

    async fn ask(&self, request: WorkerRequest) -> Result<WorkerEvent, WorkerError> {
        self.backend.call(&request).await.map_err(|source| control(&self.node, source))
    }

    /// What is known of the process.
    pub fn failure_report(&self) -> FailureReport {
        self.process.failure_report()
    }
}

/// What comes from a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming {
    /// It is loading its node.
    Progress(Progress),
    /// Its node is ready.
    Ready,
    /// It cannot go on, and why.
    Failed(String),
    /// What its node did.
    Value(WorkerEvent),
}

/// What a worker tells.
#[derive(Debug)]
pub struct WorkerEvents {
    node: String,
    /// `None` once it has nothing more to tell of itself.
    backend: Option<SubprocessIpcBackend<WorkerRequest>>,
    /// `None` once nothing more comes from its node.
    events: Option<ReplyStream<WorkerEvent>>,
}

impl WorkerEvents {
    /// The next event; `None` when the worker has closed its end or is dead. Of progress that nobody
    /// waited for, the latest is given.
    ///
    /// # Errors
    /// [`WorkerError::Control`] if what came is no event.
    pub async fn next(&mut self) -> Result<Option<Incoming>, WorkerError> {
        while self.backend.is_some() || self.events.is_some() {
            tokio::select! {
                // What it tells of itself comes first, as it does on the wire.
                biased;
                told = told(&self.backend), if self.backend.is_some() => match told {
                    Some(ChildStatus::Progress(progress)) => {
                        return Ok(Some(Incoming::Progress(progress)));
                    }
                    Some(ChildStatus::Ready) => return Ok(Some(Incoming::Ready)),
                    Some(ChildStatus::Failed(failed)) => {
                        return Ok(Some(Incoming::Failed(failed.message)));
                    }
                    None => self.backend = None,
                },
                event = event(&mut self.events), if self.events.is_some() => match event {
                    Some(Ok(event)) => {
                        self.note(&event);
                        return Ok(Some(Incoming::Value(event)));
                    }
                    Some(Err(error)) if !is_end(&error) => {
                        return Err(control(&self.node, error));
                    }
                    Some(Err(_)) | None => self.events = None,
                },
            }
        }
        Ok(None)
    }

    fn note(&self, event: &WorkerEvent) {
        let process = self.backend.as_ref().and_then(SubprocessIpcBackend::process);
        if let (WorkerEvent::Failed(failure), Some(process)) = (event, process) {
            // Refused only where the process has ended already.
            let _ = process.set_status(ProcessStatus::Error(failure.to_string()));
        }
    }
}

async fn told(backend: &Option<SubprocessIpcBackend<WorkerRequest>>) -> Option<ChildStatus> {
    backend.as_ref()?.told().await
}

async fn event(
    events: &mut Option<ReplyStream<WorkerEvent>>,
) -> Option<Result<WorkerEvent, SubprocessIpcBackendError>> {
    events.as_mut()?.next().await
}

/// Whether it only means that the worker is gone or going.
fn is_end(error: &SubprocessIpcBackendError) -> bool {
    use SubprocessIpcBackendError as Error;
    matches!(
        error,
        Error::ProcessEnded { .. } | Error::Closed | Error::ShuttingDown | Error::Remote(_)
    )
}

fn control(node: &str, source: SubprocessIpcBackendError) -> WorkerError {
    WorkerError::Control { node: node.to_owned(), source: Box::new(source) }
}
