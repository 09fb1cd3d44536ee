//! The task that owns a session from its initialisation to its end.
//!
//! Main type: [`Driver`]. It hears the nodes and their processes, and decides; nobody else changes the
//! session's status. What it does with processes stands in `workers`.

use std::sync::Arc;
use std::time::Duration;

use rm_bridge::{
    ConnectionReport, Incoming, InputReport, MultiprocessExecutor, NodeReport, Stage, StageError,
    StageEvent, StageHandle, Worker, WorkerError, spawn_stage,
};
use rm_core::NodeId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::failures::keep;
use super::workers::WorkerState;
use super::{Shared, lock};
use crate::error::SessionError;
use crate::event::SessionEvent;
use crate::plan::{Consumer, Edge, Plan, Route};
use crate::progress::{InitProgress, InitStatus};
use crate::runtime::{Places, Registered};
use crate::statistics::NodeSummary;
use crate::status::SessionStatus;

/// How often a loading node is spoken of at least.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long to wait for the cause after an effect has been seen.
const CAUSE_DELAY: Duration = Duration::from_secs(1);
/// How long workers have to end after a failure or a cancellation.
const SHORT_GRACE: Duration = Duration::from_millis(500);
/// How long workers are asked for what they have done before they end.
const ANSWER_PATIENCE: Duration = Duration::from_millis(100);
/// How long the threads of native nodes have to end. One that does not return is left behind.
const THREAD_PATIENCE: Duration = Duration::from_secs(5);

/// What the handles ask of the driver.
pub(crate) enum Order {
    /// To start all nodes; who asks is told of each step, and hears nothing if that fails.
    Initialize { steps: mpsc::UnboundedSender<InitProgress>, ready: oneshot::Sender<()> },
    /// To end the session.
    Close,
}

/// What the parts of a session tell it.
pub(super) enum Notice {
    Stage(usize, StageEvent),
    Started(usize, Worker),
    NotStarted(usize, WorkerError),
    Worker(usize, Incoming),
    /// A worker's process has ended.
    Gone(usize),
    /// A worker that is to be started again has waited for long enough.
    Due(usize),
    BadControl(WorkerError),
}

/// What a stage has done.
type StageDone = (Vec<NodeReport>, Vec<ConnectionReport>, Vec<InputReport>);

pub(super) enum StageState {
    Loading,
    Ready,
    Done(StageDone),
    Failed,
}

/// Owns a session.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) executor: MultiprocessExecutor,
    planned: Vec<Stage>,
    pub(super) handles: Vec<StageHandle>,
    pub(super) stages: Vec<StageState>,
    pub(super) workers: Vec<WorkerState>,
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
    pub(super) sender: mpsc::UnboundedSender<Notice>,
    /// Follow the workers; aborting one before its worker has started kills that.
    pub(super) followers: JoinSet<()>,
    /// Who hears of each step of the initialisation.
    steps: Option<mpsc::UnboundedSender<InitProgress>>,
    /// What the runtime has put aside for this session.
    _places: (Places, Registered),
    _leave_nothing: LeaveNothing,
}

/// Ends what is left where the driver itself is dropped before its end, with its tokio runtime.
struct LeaveNothing(Arc<Shared>);

impl Drop for LeaveNothing {
    fn drop(&mut self) {
        self.0.close_feeds();
        self.0.outputs.close();
        lock(&self.0.stages).iter().for_each(rm_bridge::StageRemote::stop);
        if let Some(plane) = self.0.plane() {
            plane.close();
        }
        // They would make files anew where they are removed below.
        for worker in lock(&self.0.workers).iter_mut().filter_map(|live| live.handle.take()) {
            worker.start_kill();
        }
        self.0.remove_plane();
    }
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        planned: Vec<Stage>,
        places: (Places, Registered),
    ) -> Result<Self, SessionError> {
        let (sender, notices) = mpsc::unbounded_channel();
        let workers = WorkerState::all(&shared)?;
        Ok(Self {
            executor: MultiprocessExecutor::new().map_err(SessionError::Processes)?,
            stages: planned.iter().map(|_| StageState::Loading).collect(),
            planned,
            handles: Vec::new(),
            workers,
            notices,
            sender,
            followers: JoinSet::new(),
            steps: None,
            _places: places,
            _leave_nothing: LeaveNothing(Arc::clone(&shared)),
            shared,
        })
    }

    /// Runs the session to its end, whatever that is.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let ended = self.supervise(&mut orders).await;
        self.shared.close_feeds();
        self.shared.set_status(SessionStatus::Stopping);
        let is_done = self.is_done();
        // Of nodes that are not done, who was told to end says nothing any more.
        let so_far = match is_done {
            true => Vec::new(),
            false => self.shared.statistics(ANSWER_PATIENCE).await.nodes,
        };
        let failure = match ended {
            Ok(()) => None,
            Err(error) => {
                keep(self.shared.runtime.config(), &self.shared.id, &error, None);
                self.tell_failure(&error);
                self.drain(&error).await;
                Some(error)
            }
        };
        *lock(&self.shared.reports) = self.reports(&so_far);
        #[cfg(feature = "metrics")]
        self._places.1.note_end(&self.shared, failure.is_some()).await;
        let shared = Arc::clone(&self.shared);
        let grace =
            if is_done { shared.runtime.config().cleanup_grace_period } else { SHORT_GRACE };
        self.close(grace).await;
        let status = failure.as_ref().map(|error| SessionStatus::Error(error.to_string()));
        *lock(&shared.failure) = failure;
        shared.set_status(status.unwrap_or(SessionStatus::Stopped));
        lock(&shared.events).take();
    }

    async fn supervise(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<(), SessionError> {
        let (cancel, abandoned) = (self.shared.cancel.clone(), self.shared.abandoned.clone());
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(SessionError::Cancelled),
            () = abandoned.cancelled() => Err(SessionError::Cancelled),
            ended = self.follow_orders(orders) => ended,
        }
    }

    async fn follow_orders(
        &mut self,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<(), SessionError> {
        let Some(Order::Initialize { steps, ready }) = orders.recv().await else {
            return Ok(());
        };
        self.steps = Some(steps);
        tokio::select! {
            biased;
            loaded = self.load() => loaded?,
            () = closed(orders) => return Err(SessionError::Cancelled),
        }
        self.steps = None;
        // Who asked may have lost patience.
        let _ = ready.send(());
        tokio::select! {
            biased;
            () = closed(orders) => Ok(()),
            done = self.work() => done,
        }
    }

    /// Starts everything and waits until it is ready.
    async fn load(&mut self) -> Result<(), SessionError> {
        let (stage_events, forwarded) = mpsc::unbounded_channel();
        self.followers.spawn(forward(forwarded, self.sender.clone()));
        for (index, stage) in std::mem::take(&mut self.planned).into_iter().enumerate() {
            let name = stage.name.clone();
            for node in &stage.nodes {
                self.shared.timeline.note_step(&node.id, &InitStatus::LoadingModel);
            }
            let handle = spawn_stage(stage, index, stage_events.clone());
            let handle = handle.map_err(|source| SessionError::Thread { stage: name, source })?;
            lock(&self.shared.stages).push(handle.remote().clone());
            self.handles.push(handle);
        }
        for index in 0..self.workers.len() {
            self.start_worker(index);
        }
        let began = Instant::now();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.tick().await;
        while !self.is_loaded() {
            tokio::select! {
                biased;
                notice = self.notices.recv() => {
                    let notice = notice.expect("the driver holds a sender");
                    self.take_or_explain(notice).await?;
                }
                _ = heartbeat.tick() => self.speak_of_the_loading(began.elapsed())?,
            }
        }
        // In any case before the first item.
        self.shared.set_status(SessionStatus::Ready);
        if self.has_sources() {
            self.shared.set_status(SessionStatus::Running);
        }
        self.handles.iter().for_each(StageHandle::start);
        Ok(())
    }

    fn is_loaded(&self) -> bool {
        let loads = |stage: &StageState| matches!(stage, StageState::Loading);
        !self.stages.iter().any(loads) && self.workers.iter().all(|worker| worker.ready)
    }

    fn has_sources(&self) -> bool {
        let registry = &self.shared.runtime.registry;
        let plan = &self.shared.plan;
        let metadata = plan.nodes.iter().filter_map(|node| registry.metadata(&node.node_type));
        metadata.into_iter().any(|metadata| metadata.source)
    }

    fn speak_of_the_loading(&mut self, elapsed: Duration) -> Result<(), SessionError> {
        let loading = self.workers.iter().filter(|worker| !worker.ready);
        let mut steps: Vec<_> = loading.map(|worker| worker.last.clone()).collect();
        let plan = &self.shared.plan;
        let stages = plan.stages.iter().zip(&self.stages);
        let loading = stages.filter(|(_, state)| matches!(state, StageState::Loading));
        let nodes: Vec<_> = loading.flat_map(|(stage, _)| stage.nodes.clone()).collect();
        let timeout = self.init_timeout();
        if let Some(node) = nodes.first().filter(|_| elapsed > timeout) {
            let node = plan.nodes[*node].id.clone();
            return Err(SessionError::NativeInitTimeout { node, timeout });
        }
        for node in nodes {
            steps.push(InitProgress::native(plan, node, InitStatus::LoadingModel, 0.0));
        }
        steps.into_iter().for_each(|step| self.tell_step(step));
        Ok(())
    }

    /// Takes what happens until everything is done.
    async fn work(&mut self) -> Result<(), SessionError> {
        while !self.is_done() {
            let notice = self.notices.recv().await.expect("the driver holds a sender");
            self.take_or_explain(notice).await?;
            // Those that have ended, of workers that were started again.
            while self.followers.try_join_next().is_some() {}
        }
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        let is_done = |stage: &StageState| matches!(stage, StageState::Done(_));
        self.stages.iter().all(is_done)
            && self.workers.iter().all(|worker| worker.finished.is_some())
            && self.handles.len() == self.stages.len()
    }

    async fn take_or_explain(&mut self, notice: Notice) -> Result<(), SessionError> {
        match self.take(notice) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.cause_of(error).await),
        }
    }

    /// Takes a notice, at any time.
    pub(super) fn take(&mut self, notice: Notice) -> Result<(), SessionError> {
        match notice {
            Notice::Stage(index, event) => return self.take_stage(index, event),
            Notice::Started(index, worker) => self.worker_started(index, worker),
            Notice::NotStarted(index, error) => return self.worker_not_started(index, error),
            Notice::Worker(index, incoming) => return self.take_worker(index, incoming),
            Notice::Gone(index) => return self.worker_gone(index),
            Notice::Due(index) => self.start_worker(index),
            Notice::BadControl(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take_stage(&mut self, index: usize, event: StageEvent) -> Result<(), SessionError> {
        match event {
            StageEvent::Ready { nodes } => {
                self.stages[index] = StageState::Ready;
                for node in nodes {
                    let plan = Arc::clone(&self.shared.plan);
                    let place = plan.nodes.iter().position(|planned| planned.id == node);
                    if let Some(place) = place {
                        self.tell_step(InitProgress::native(&plan, place, InitStatus::Ready, 1.0));
                    }
                }
            }
            StageEvent::Skipped(failure) => {
                self.shared.note_skipped(failure);
            }
            StageEvent::Finished { nodes, calls, inputs } => {
                self.stages[index] = StageState::Done((nodes, calls, inputs));
            }
            StageEvent::Failed(error) => {
                self.stages[index] = StageState::Failed;
                return Err(error.into());
            }
        }
        Ok(())
    }

    pub(super) fn init_timeout(&self) -> Duration {
        let timeout = self.shared.plan.multiprocess.init_timeout;
        timeout.unwrap_or(self.shared.runtime.config().init_timeout)
    }

    pub(super) fn tell_step(&self, step: InitProgress) {
        if let Some(steps) = &self.steps {
            // Who asked may have lost patience.
            let _ = steps.send(step.clone());
        }
        self.shared.timeline.note_step(&step.node, &step.status);
        self.shared.tell(SessionEvent::Progress(step));
    }

    /// A failure while nodes load is the last step of one of them.
    fn tell_failure(&mut self, error: &SessionError) {
        if let (Some(node), true) = (error.node(), self.steps.is_some()) {
            let workers = self.workers.iter().map(|worker| &worker.last);
            let last = workers.clone().find(|last| last.node == *node).cloned();
            let plan = &self.shared.plan;
            let native = plan.nodes.iter().position(|planned| planned.id == *node);
            let native =
                native.map(|place| InitProgress::native(plan, place, InitStatus::Starting, 0.0));
            if let Some(mut step) = last.or(native) {
                step.status = InitStatus::Failed(error.to_string());
                self.tell_step(step);
            }
        }
        self.steps = None;
    }

    /// What lies behind `error`, if that is only an effect: a stage stops when the channels that
    /// it works with go, and they go because something else failed.
    async fn cause_of(&mut self, error: SessionError) -> SessionError {
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

    /// What the nodes and connections have done; of nodes that did not come to their end, what they had
    /// done before.
    fn reports(&self, so_far: &[NodeSummary]) -> (Vec<NodeReport>, Vec<ConnectionReport>) {
        let plan = &self.shared.plan;
        let of_stages = self.stages.iter().filter_map(StageState::done).flat_map(|done| &done.0);
        let of_workers = self.workers.iter().filter_map(|worker| worker.finished.as_ref());
        let done: Vec<&NodeReport> = of_stages.chain(of_workers.map(|(node, _)| node)).collect();
        let report_of = |id: &NodeId| done.iter().find(|report| report.node == id.as_str());
        let before = |id: &NodeId| so_far.iter().find(|summary| summary.node == *id);
        let nodes = plan.nodes.iter().filter_map(|node| match report_of(&node.id) {
            Some(report) => Some(NodeReport::clone(report)),
            None => before(&node.id).map(NodeSummary::report),
        });
        let nodes = nodes.collect();
        (nodes, (0..plan.edges.len()).filter_map(|edge| self.connection(edge)).collect())
    }

    fn connection(&self, edge: usize) -> Option<ConnectionReport> {
        let plan = &self.shared.plan;
        let edge = &plan.edges[edge];
        let id = |node: usize| plan.nodes[node].id.to_string();
        let (from, to) = (id(edge.from), id(edge.to));
        let channel = match edge.route {
            Route::Call => {
                let done = self.stages.iter().filter_map(StageState::done);
                return call_of(plan, edge, done.flat_map(|done| &done.1)).cloned();
            }
            Route::Channel(channel) => channel,
        };
        let reader = plan.place_of(edge.to);
        let channels = plan.channels.iter().enumerate();
        let mut read = channels.filter(|(_, planned)| planned.consumers.contains(&reader));
        let position = read.position(|(number, _)| number == channel)?;
        let inputs = match reader {
            Consumer::Stage(stage) => self.stages[stage].done().map(|done| &done.2),
            Consumer::Worker(worker) => {
                self.workers[worker].finished.as_ref().map(|(_, inputs)| inputs)
            }
            Consumer::Session => None,
        };
        let InputReport { messages, bytes, copied_bytes, dropped, missed, latency } =
            inputs?.get(position)?.clone();
        let copied_in = self.shared.plane().map_or(0, |plane| plane.bytes_copied_in(channel));
        Some(ConnectionReport {
            from,
            from_port: edge.from_port.clone(),
            to,
            to_port: edge.to_port.clone(),
            messages,
            bytes,
            copied_bytes: copied_bytes.saturating_add(copied_in),
            dropped,
            missed,
            latency,
        })
    }

    /// Ends everything and waits for it: workers within the grace period, then threads, then shared
    /// memory.
    async fn close(mut self, grace: Duration) {
        // What waits for a caller can still be taken, and holds nobody up.
        self.shared.outputs.lift_limit();
        self.handles.iter().for_each(StageHandle::stop);
        if let Some(plane) = self.shared.plane() {
            plane.close();
        }
        // What is still being started is killed with its follower. The others are stopped in order,
        // also those whose start nobody has heard of yet.
        self.followers.abort_all();
        while self.followers.join_next().await.is_some() {}
        let started = |state: &mut WorkerState| state.handle.take();
        let mut workers: Vec<Worker> = self.workers.iter_mut().filter_map(started).collect();
        while let Ok(notice) = self.notices.try_recv() {
            if let Notice::Started(_, worker) = notice {
                workers.push(worker);
            }
        }
        lock(&self.shared.workers).iter_mut().for_each(|live| live.handle = None);
        let mut stopping = JoinSet::new();
        for worker in workers {
            stopping.spawn(async move { worker.stop(grace).await });
        }
        // Not all at once, which would panic where the tokio runtime is being dropped.
        while stopping.join_next().await.is_some() {}
        // The caller may keep handles on them.
        self.executor.idle().await;
        let patience = Instant::now() + THREAD_PATIENCE;
        for handle in self.handles {
            let patience = patience.saturating_duration_since(Instant::now());
            if !handle.ended(patience).await {
                self.shared.left_behind.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tracing::error!(session = %self.shared.id,
                    "a native node does not return, and its thread is left behind");
            }
        }
        self.shared.outputs.close();
        // They hold bells.
        lock(&self.shared.stages).clear();
        self.shared.remove_plane();
    }
}

impl StageState {
    fn done(&self) -> Option<&StageDone> {
        match self {
            Self::Done(done) => Some(done),
            _ => None,
        }
    }
}

pub(super) fn is_effect(error: &SessionError) -> bool {
    matches!(error, SessionError::Stage(StageError::Stopped { .. }))
}

/// What went over a connection within a stage, among what went over all of them.
pub(crate) fn call_of<'a>(
    plan: &Plan,
    edge: &Edge,
    mut calls: impl Iterator<Item = &'a ConnectionReport>,
) -> Option<&'a ConnectionReport> {
    let id = |node: usize| plan.nodes[node].id.as_str();
    calls.find(|call| {
        (call.from.as_str(), call.to.as_str()) == (id(edge.from), id(edge.to))
            && (&call.from_port, &call.to_port) == (&edge.from_port, &edge.to_port)
    })
}

/// Waits until the session is to be closed.
async fn closed(orders: &mut mpsc::UnboundedReceiver<Order>) {
    loop {
        match orders.recv().await {
            // The handles ask for it once.
            Some(Order::Initialize { .. }) => {}
            Some(Order::Close) | None => return,
        }
    }
}

async fn forward(
    mut events: mpsc::UnboundedReceiver<(usize, StageEvent)>,
    notices: mpsc::UnboundedSender<Notice>,
) {
    while let Some((stage, event)) = events.recv().await {
        let _ = notices.send(Notice::Stage(stage, event));
    }
}
