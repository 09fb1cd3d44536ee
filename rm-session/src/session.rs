//! A pipeline that runs, with its threads, its worker processes and its shared memory.
//!
//! Main type: [`Session`]. It is created, initialised and run in this order, and closed in any
//! case. Whatever happens, [`Session::close`] leaves no process, no thread and no file; dropping a
//! session that was not closed does the same, without waiting.

use std::sync::Arc;
use std::time::Duration;

use rm_bridge::{
    ConnectionReport, DataPlane, ExecutorType, ExitReason, FeedSender, Incoming, InputReport,
    Limits, MultiprocessExecutor, NodeReport, Output, StageError, StageEvent, StageHandle, Worker,
    WorkerError, WorkerEvent, WorkerSpec, spawn_stage,
};
use rm_core::{NodeId, RuntimeData, SessionId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::SessionError;
use crate::plan::{Consumer, Plan, Route};
use crate::progress::{InitProgress, InitStatus};
use crate::runtime::{CancelToken, Runtime};
use crate::wiring;

/// Items that wait for the caller to take them.
const OUTPUT_DEPTH: usize = 64;
/// How often a loading node is spoken of at least.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long to wait for the cause after an effect has been seen.
const CAUSE_DELAY: Duration = Duration::from_secs(1);
/// How long a worker that has closed its control channel may go on living, and how long its last
/// words are waited for after its end.
const LAST_WORDS: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_secs(2);
/// How long workers have to end after a failure or a cancellation.
const SHORT_GRACE: Duration = Duration::from_millis(500);

/// What the parts of a session tell it.
enum Notice {
    Stage(usize, StageEvent),
    Started(usize, Worker),
    NotStarted(WorkerError),
    Worker(usize, Incoming),
    /// A worker's process has ended.
    Gone(usize),
    BadControl(WorkerError),
}

/// What a worker is and has done.
struct WorkerState {
    handle: Option<Worker>,
    ready: bool,
    last: InitProgress,
    finished: Option<(NodeReport, Vec<InputReport>)>,
}

/// What a stage has done.
type StageDone = (Vec<NodeReport>, Vec<ConnectionReport>, Vec<InputReport>);

/// A pipeline that runs.
pub struct Session {
    id: SessionId,
    plan: Plan,
    runtime: Runtime,
    /// Taken when the session is closed.
    executor: Option<MultiprocessExecutor>,
    cancel: CancelToken,
    data_plane: Arc<DataPlane>,
    stages: Vec<StageHandle>,
    stages_done: Vec<Option<StageDone>>,
    workers: Vec<WorkerState>,
    feeds: Vec<FeedSender>,
    outputs: mpsc::Receiver<Output>,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// Follow the workers; aborting one before its worker has started kills that.
    followers: JoinSet<()>,
    running: bool,
}

impl Session {
    /// Makes everything that a plan needs and starts to load its nodes.
    ///
    /// # Errors
    /// [`SessionError`]; nothing is left then.
    pub fn create(
        runtime: &Runtime,
        plan: Plan,
        cancel: CancelToken,
    ) -> Result<Self, SessionError> {
        let needed = plan.workers.len();
        if let Some(limit) = runtime.config.max_processes_per_session.filter(|max| needed > *max) {
            return Err(SessionError::TooManyProcesses { needed, limit });
        }
        let data_plane = Arc::new(wiring::data_plane(&plan, &runtime.config)?);
        let id = wiring::session_id(&data_plane);
        let (output, outputs) = mpsc::channel(OUTPUT_DEPTH);
        let (stages, feeds) = wiring::stages(&plan, &runtime.registry, &id, &data_plane, &output)?;
        let (sender, notices) = mpsc::unbounded_channel();
        let mut session = Self {
            id,
            runtime: runtime.clone(),
            executor: Some(MultiprocessExecutor::new().map_err(SessionError::Processes)?),
            cancel,
            data_plane,
            stages: Vec::new(),
            stages_done: stages.iter().map(|_| None).collect(),
            workers: Vec::new(),
            feeds,
            outputs,
            notices,
            followers: JoinSet::new(),
            running: false,
            plan,
        };
        let (stage_events, forwarded) = mpsc::unbounded_channel();
        session.followers.spawn(forward(forwarded, sender.clone()));
        for (index, stage) in stages.into_iter().enumerate() {
            let name = stage.name.clone();
            let handle = spawn_stage(stage, index, stage_events.clone());
            let handle = handle.map_err(|source| SessionError::Thread { stage: name, source })?;
            session.stages.push(handle);
        }
        for index in 0..session.plan.workers.len() {
            session.start_worker(index, sender.clone());
        }
        Ok(session)
    }

    fn start_worker(&mut self, index: usize, notices: mpsc::UnboundedSender<Notice>) {
        let config = wiring::worker(&self.plan, index, &self.id, &self.data_plane);
        let settings = &self.plan.multiprocess;
        let python = settings.python_executable.clone();
        let spec = WorkerSpec {
            python: python.or_else(|| self.runtime.config.python.clone()),
            init_timeout: self.init_timeout(),
            limits: Limits::default(),
            callbacks: Arc::clone(&self.runtime.config.callbacks),
            stubs: self.runtime.config.callback_stubs.clone(),
            config,
        };
        let (node, node_type) = wiring::name_of(&self.plan, self.plan.workers[index]);
        let (status, message) = (InitStatus::Starting, "starting its process".to_owned());
        self.workers.push(WorkerState {
            handle: None,
            ready: false,
            last: InitProgress { node, node_type, status, progress: 0.0, message },
            finished: None,
        });
        let executor = self.executor.clone().expect("the session is not closed");
        self.followers.spawn(async move {
            let (worker, mut events) = match executor.start(spec).await {
                Ok(started) => started,
                Err(error) => return drop(notices.send(Notice::NotStarted(error))),
            };
            // The session takes these as long as it lives.
            let _ = notices.send(Notice::Started(index, worker.clone()));
            let told = |event: Result<Option<Incoming>, WorkerError>| match event {
                Ok(Some(event)) => notices.send(Notice::Worker(index, event)).is_ok(),
                Ok(None) => false,
                Err(error) => {
                    let _ = notices.send(Notice::BadControl(error));
                    false
                }
            };
            // Both are watched: a process that the worker left may hold its end of the channel.
            let exited = loop {
                tokio::select! {
                    biased;
                    event = events.next() => if !told(event) { break false },
                    _ = worker.exited() => break true,
                }
            };
            if exited {
                let last_words = async { while told(events.next().await) {} };
                let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
            } else if tokio::time::timeout(SILENCE, worker.exited()).await.is_err() {
                worker.start_kill();
            }
            worker.exited().await;
            let _ = notices.send(Notice::Gone(index));
        });
    }

    fn init_timeout(&self) -> Duration {
        self.plan.multiprocess.init_timeout.unwrap_or(self.runtime.config.init_timeout)
    }

    /// Its name, under which its shared memory and its items go.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Waits until every node is ready, and tells of each step.
    ///
    /// # Errors
    /// [`SessionError`] if a node fails to load, dies or does not get ready, or the session is
    /// cancelled.
    pub async fn initialize(
        &mut self,
        mut progress: impl FnMut(InitProgress),
    ) -> Result<(), SessionError> {
        let loaded = self.load(&mut progress).await;
        if let Err(error) = &loaded
            && let Some(node) = error.node()
        {
            let mut step = self.step_of(node.clone());
            step.status = InitStatus::Failed(error.to_string());
            progress(step);
        }
        loaded
    }

    async fn load(&mut self, mut progress: impl FnMut(InitProgress)) -> Result<(), SessionError> {
        self.workers.iter().for_each(|worker| progress(worker.last.clone()));
        let mut stages_ready = 0;
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.tick().await;
        while stages_ready < self.stages.len() || self.workers.iter().any(|worker| !worker.ready) {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(SessionError::Cancelled),
                notice = self.notices.recv() => {
                    let notice = notice.expect("the followers of the stages hold a sender");
                    match self.take_initial(notice) {
                        Ok(Initial::Steps(steps)) => steps.into_iter().for_each(&mut progress),
                        Ok(Initial::StageReady(nodes)) => {
                            stages_ready += 1;
                            nodes.into_iter().for_each(|node| progress(self.step_of(node)));
                        }
                        Err(error) => return Err(self.cause_of(error).await),
                    }
                }
                _ = heartbeat.tick() => {
                    let loading = self.workers.iter().filter(|worker| !worker.ready);
                    loading.for_each(|worker| progress(worker.last.clone()));
                }
            }
        }
        self.running = true;
        self.stages.iter().for_each(StageHandle::start);
        Ok(())
    }

    fn take_initial(&mut self, notice: Notice) -> Result<Initial, SessionError> {
        let step = |state: &mut WorkerState, status, fraction: f32, message: String| {
            state.last.status = status;
            state.last.progress = fraction.clamp(0.0, 1.0);
            state.last.message = message;
            Ok(Initial::Steps(vec![state.last.clone()]))
        };
        match notice {
            Notice::Stage(_, StageEvent::Ready { nodes }) => Ok(Initial::StageReady(nodes)),
            Notice::Started(index, worker) => {
                let state = &mut self.workers[index];
                state.handle = Some(worker);
                step(state, InitStatus::LoadingModel, 0.0, "loading".to_owned())
            }
            Notice::Worker(index, Incoming::Progress(told)) => {
                let state = &mut self.workers[index];
                step(state, InitStatus::LoadingModel, told.fraction, told.message)
            }
            Notice::Worker(index, Incoming::Ready) => {
                self.workers[index].ready = true;
                step(&mut self.workers[index], InitStatus::Ready, 1.0, String::new())
            }
            other => self.take(other).map(|()| Initial::Steps(Vec::new())),
        }
    }

    /// The last step of a node: of a worker what it told, of a native node that it is ready.
    fn step_of(&self, node: NodeId) -> InitProgress {
        let workers = self.workers.iter().map(|worker| &worker.last);
        if let Some(last) = workers.clone().find(|last| last.node == node) {
            return last.clone();
        }
        let planned = self.plan.nodes.iter().find(|planned| planned.id == node);
        let node_type = planned.map(|planned| planned.node_type.clone()).unwrap_or_default();
        let (status, message) = (InitStatus::Ready, String::new());
        InitProgress { node, node_type, status, progress: 1.0, message }
    }

    /// Takes a notice that is expected at any time.
    fn take(&mut self, notice: Notice) -> Result<(), SessionError> {
        match notice {
            Notice::Stage(index, StageEvent::Finished { nodes, calls, inputs }) => {
                self.stages_done[index] = Some((nodes, calls, inputs));
            }
            Notice::Stage(_, StageEvent::Failed(error)) => return Err(error.into()),
            Notice::NotStarted(error) | Notice::BadControl(error) => return Err(error.into()),
            Notice::Worker(index, Incoming::Value(WorkerEvent::Failed(failure))) => {
                let InitProgress { node, node_type, .. } = self.workers[index].last.clone();
                let failure = Box::new(failure);
                return Err(SessionError::Node { node, node_type, failure });
            }
            Notice::Worker(
                index,
                Incoming::Value(WorkerEvent::Finished { items_in, items_out, time, inputs }),
            ) => {
                let node = self.workers[index].last.node.to_string();
                let executor = ExecutorType::Multiprocess;
                let report = NodeReport { node, executor, items_in, items_out, time };
                self.workers[index].finished = Some((report, inputs));
            }
            Notice::Gone(index) => return self.worker_gone(index),
            Notice::Stage(_, StageEvent::Ready { .. })
            | Notice::Worker(_, Incoming::Ready | Incoming::Progress(_) | Incoming::Failed(_))
            | Notice::Started(..) => {}
        }
        Ok(())
    }

    fn worker_gone(&self, index: usize) -> Result<(), SessionError> {
        let state = &self.workers[index];
        let (Some(worker), None) = (&state.handle, &state.finished) else { return Ok(()) };
        let InitProgress { node, node_type, message, .. } = state.last.clone();
        let report = Box::new(worker.failure_report());
        let is_late = report.exit.as_ref().is_some_and(|exit| exit.reason == ExitReason::Timeout);
        if is_late && !state.ready {
            let timeout = self.init_timeout();
            return Err(SessionError::InitTimeout {
                node,
                node_type,
                timeout,
                last: message,
                report,
            });
        }
        let when = if state.ready { "while running" } else { "before it was ready" };
        Err(SessionError::Crashed { node, node_type, when, report })
    }

    /// What lies behind `error`, if that is only an effect: a stage stops when the channels that
    /// it works with go, and they go because something else failed.
    async fn cause_of(&mut self, error: SessionError) -> SessionError {
        let is_effect =
            |error: &SessionError| matches!(error, SessionError::Stage(StageError::Stopped { .. }));
        if !is_effect(&error) {
            return error;
        }
        let cause = async {
            while let Some(notice) = self.notices.recv().await {
                match self.take(notice) {
                    Err(other) if !is_effect(&other) => return Some(other),
                    _ => {}
                }
            }
            None
        };
        tokio::time::timeout(CAUSE_DELAY, cause).await.ok().flatten().unwrap_or(error)
    }

    /// Takes the ends by which items get into the pipeline: one for each stage or worker that has
    /// no other input. Dropping one ends that input. Each item goes to all of them.
    pub fn take_feeds(&mut self) -> Vec<FeedSender> {
        std::mem::take(&mut self.feeds)
    }

    /// The next item that leaves the pipeline; `None` when the session is done.
    ///
    /// # Errors
    /// [`SessionError`] if a node fails or dies, or the session is cancelled.
    pub async fn next_output(&mut self) -> Result<Option<Output>, SessionError> {
        loop {
            let done = self.stages_done.iter().all(Option::is_some)
                && self.workers.iter().all(|worker| worker.finished.is_some());
            let drained = self.outputs.is_closed() && self.outputs.is_empty();
            if done && drained {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(SessionError::Cancelled),
                notice = self.notices.recv(), if !done => {
                    let notice = notice.expect("the followers of the stages hold a sender");
                    if let Err(error) = self.take(notice) {
                        return Err(self.cause_of(error).await);
                    }
                }
                output = self.outputs.recv(), if !drained => {
                    if output.is_some() {
                        return Ok(output);
                    }
                }
            }
        }
    }

    /// What the nodes and connections of a session that is done have done.
    pub fn reports(&self) -> (Vec<NodeReport>, Vec<ConnectionReport>) {
        let of_stages = self.stages_done.iter().flatten().flat_map(|(nodes, _, _)| nodes);
        let of_workers = self.workers.iter().filter_map(|worker| worker.finished.as_ref());
        let done: Vec<&NodeReport> = of_stages.chain(of_workers.map(|(node, _)| node)).collect();
        let report_of = |id: &NodeId| done.iter().find(|report| report.node == id.as_str());
        let nodes = self.plan.nodes.iter().filter_map(|node| report_of(&node.id));
        let nodes = nodes.map(|report| NodeReport::clone(report)).collect();
        (nodes, (0..self.plan.edges.len()).filter_map(|edge| self.connection(edge)).collect())
    }

    fn connection(&self, edge: usize) -> Option<ConnectionReport> {
        let edge = &self.plan.edges[edge];
        let id = |node: usize| self.plan.nodes[node].id.to_string();
        let (from, to) = (id(edge.from), id(edge.to));
        let channel = match edge.route {
            Route::Call => {
                let calls = self.stages_done.iter().flatten().flat_map(|(_, calls, _)| calls);
                let mut calls = calls.filter(|call| call.from == from && call.to == to);
                return calls.next().cloned();
            }
            Route::Channel(channel) => channel,
        };
        let reader = self.plan.place_of(edge.to);
        let channels = self.plan.channels.iter().enumerate();
        let mut read = channels.filter(|(_, planned)| planned.consumers.contains(&reader));
        let position = read.position(|(number, _)| number == channel)?;
        let inputs = match reader {
            Consumer::Stage(stage) => self.stages_done[stage].as_ref().map(|(_, _, inputs)| inputs),
            Consumer::Worker(worker) => {
                self.workers[worker].finished.as_ref().map(|(_, inputs)| inputs)
            }
            Consumer::Session => None,
        };
        let InputReport { messages, bytes, copied_bytes, missed, latency } =
            inputs?.get(position)?.clone();
        let copied_in = self.data_plane.bytes_copied_in(channel);
        let copied_bytes = copied_bytes.saturating_add(copied_in);
        Some(ConnectionReport { from, to, messages, bytes, copied_bytes, missed, latency })
    }

    /// Ends everything and waits for it: workers within the grace period (a short one unless the
    /// session is done), then threads, then shared memory.
    pub async fn close(mut self) {
        let done = self.running && self.workers.iter().all(|worker| worker.finished.is_some());
        let grace = if done { self.runtime.config.cleanup_grace_period } else { SHORT_GRACE };
        self.shut();
        // What is still being started is killed with its follower. The others are stopped in order,
        // also those whose start nobody has heard of yet.
        self.followers.abort_all();
        while self.followers.join_next().await.is_some() {}
        let started = |state: &mut WorkerState| state.handle.take();
        let mut handles: Vec<Worker> = self.workers.iter_mut().filter_map(started).collect();
        while let Ok(notice) = self.notices.try_recv() {
            if let Notice::Started(_, worker) = notice {
                handles.push(worker);
            }
        }
        let mut stopping = JoinSet::new();
        for worker in handles {
            stopping.spawn(async move { worker.stop(grace).await });
        }
        stopping.join_all().await;
        if let Some(executor) = self.executor.take() {
            executor.finished().await;
        }
        let stages = std::mem::take(&mut self.stages);
        let joined = tokio::task::spawn_blocking(|| stages.into_iter().for_each(StageHandle::join));
        // Panics of the threads have been reported as events.
        let _ = joined.await;
        self.data_plane.remove();
    }

    /// Tells everybody to stop.
    fn shut(&mut self) {
        self.outputs.close();
        self.feeds.clear();
        self.stages.iter().for_each(StageHandle::stop);
        self.data_plane.close();
    }

    /// Gives items to the pipeline in the background, in order, and ends its input after the last.
    pub fn feed(&mut self, items: Vec<RuntimeData>) {
        let feeds = self.take_feeds();
        let session = self.id.clone();
        for feed in feeds {
            let (items, session) = (items.clone(), session.clone());
            self.followers.spawn(async move {
                for item in items {
                    // The stage has ended, and says itself why.
                    if feed.send(item.with_session(session.clone())).await.is_err() {
                        break;
                    }
                }
            });
        }
    }
}

/// What initialisation makes of a notice.
enum Initial {
    Steps(Vec<InitProgress>),
    StageReady(Vec<NodeId>),
}

async fn forward(
    mut events: mpsc::UnboundedReceiver<(usize, StageEvent)>,
    notices: mpsc::UnboundedSender<Notice>,
) {
    while let Some((stage, event)) = events.recv().await {
        let _ = notices.send(Notice::Stage(stage, event));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shut();
        self.followers.abort_all();
        // They would make files anew where they are removed below.
        let workers = self.workers.iter().filter_map(|worker| worker.handle.as_ref());
        workers.for_each(Worker::start_kill);
        self.data_plane.remove();
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("pipeline", &self.plan.name).finish()
    }
}
