//! A pipeline that runs, with its threads, its worker processes and its shared memory.
//!
//! Main type: [`Session`], a cheap handle. What it stands for is owned by a task of its own, which
//! supervises it from its initialisation to its end; when the last handle is dropped, it ends. However
//! it ends, no process, no thread and no file is left.

mod drain;
mod driver;
mod failures;
mod figures;
mod follow;
mod params;
mod workers;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use futures_core::Stream;
use rm_bridge::{
    ChannelSnapshot, ConnectionReport, DataPlane, Destination, FeedSender, ItemFailure,
    NodeProcess, NodeProcessSnapshot, NodeReport, NodeStatistics, Output, Outputs, StageRemote,
    Worker, outlet,
};
use rm_core::{MessageKind, RuntimeData, SessionId, did_you_mean};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub(crate) use self::driver::call_of;
use self::driver::{Driver, Order};
pub(crate) use self::failures::keep;
use crate::error::{InputError, SessionError};
use crate::event::{DeadLetter, SessionEvent, SessionEvents};
use crate::plan::Plan;
use crate::progress::InitProgress;
use crate::runtime::{CancelToken, Runtime};
use crate::status::SessionStatus;
use crate::timeline;
use crate::wiring;

/// Items that wait for the caller to take them.
const OUTPUT_DEPTH: usize = 64;
/// Events that wait for a slow reader of them.
const EVENT_DEPTH: usize = 1024;
/// Items left out that are kept for a report.
pub(crate) const MAX_SKIPPED: usize = 1000;
/// Items set aside that are kept, with their data.
const MAX_DEAD_LETTERS: usize = 100;

/// One of the ends by which items get in.
pub(crate) struct Feeder {
    pub(crate) sender: FeedSender,
    /// The nodes that it leads to, by their places in the plan, with their ports, and where each lies.
    pub(crate) nodes: Vec<(usize, Option<String>, Option<Destination>)>,
    /// Most bytes of an item, where it goes into a channel.
    pub(crate) max_len: Option<usize>,
}

/// What is known of one worker from outside of the driver.
#[derive(Default)]
pub(crate) struct LiveWorker {
    pub(crate) handle: Option<Worker>,
    pub(crate) restarts: u32,
    /// What it had done when it finished.
    pub(crate) finished: Option<NodeStatistics>,
}

/// What the handles and the driver share.
pub(crate) struct Shared {
    pub(crate) id: SessionId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) runtime: Runtime,
    /// `None` once the session has ended.
    data_plane: Mutex<Option<Arc<DataPlane>>>,
    /// The folder of its shared memory, if it has any.
    pub(crate) folder: Option<PathBuf>,
    /// The channels as they were at the end.
    last_channels: Mutex<Vec<ChannelSnapshot>>,
    pub(crate) outputs: Outputs,
    pub(crate) cancel: CancelToken,
    /// Used when the last handle goes.
    pub(crate) abandoned: CancelToken,
    pub(crate) epoch: Arc<AtomicU32>,
    pub(crate) status: watch::Sender<SessionStatus>,
    pub(crate) events: Mutex<Option<broadcast::Sender<SessionEvent>>>,
    /// Parameters by node: those of the plan, and what was changed since.
    pub(crate) params: Mutex<Vec<Value>>,
    /// Held while parameters change, so that they are noted in the order in which nodes take them.
    changing: tokio::sync::Mutex<()>,
    pub(crate) workers: Mutex<Vec<LiveWorker>>,
    pub(crate) stages: Mutex<Vec<StageRemote>>,
    pub(crate) reports: Mutex<(Vec<NodeReport>, Vec<ConnectionReport>)>,
    /// The first items that were left out.
    skipped: Mutex<Vec<ItemFailure>>,
    /// The first items that were set aside.
    dead_letters: Mutex<Vec<DeadLetter>>,
    pub(crate) timeline: timeline::Writer,
    feeds: Mutex<Option<Arc<Vec<Feeder>>>>,
    /// Why it failed, until somebody has taken it.
    pub(crate) failure: Mutex<Option<SessionError>>,
    has_input: AtomicBool,
    initialized: AtomicBool,
    /// Threads that did not end.
    pub(crate) left_behind: AtomicUsize,
    orders: mpsc::UnboundedSender<Order>,
    created_at: SystemTime,
    began: Instant,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Goes to the next status, if it can follow; tells of it.
    pub(crate) fn set_status(&self, next: SessionStatus) {
        self.status.send_if_modified(|status| {
            let Ok(next) = status.become_next(next) else { return false };
            *status = next.clone();
            // Here, so that events come in the order of the changes.
            self.tell(SessionEvent::Status(next));
            true
        });
    }

    pub(crate) fn tell(&self, event: SessionEvent) {
        if let Some(events) = &*lock(&self.events) {
            // Nobody needs to listen.
            let _ = events.send(event);
        }
    }

    /// Its shared memory, while there is some.
    pub(crate) fn plane(&self) -> Option<Arc<DataPlane>> {
        lock(&self.data_plane).clone()
    }

    fn channels(&self) -> Vec<ChannelSnapshot> {
        match self.plane() {
            Some(plane) => {
                (0..plane.len()).map(|number| plane.channel(number).snapshot()).collect()
            }
            None => lock(&self.last_channels).clone(),
        }
    }

    /// Lets go of its shared memory, which is gone when this returns.
    pub(crate) fn remove_plane(&self) {
        let channels = self.channels();
        let plane = lock(&self.data_plane).take();
        if let Some(plane) = plane {
            *lock(&self.last_channels) = channels;
            plane.close();
            plane.remove();
        }
    }

    /// Notes an item that was left out.
    pub(crate) fn note_skipped(&self, failure: ItemFailure) {
        let ItemFailure { node, item, failure: cause, .. } = &failure;
        tracing::warn!(%node, item, %cause, "an item is left out");
        let mut skipped = lock(&self.skipped);
        if skipped.len() < MAX_SKIPPED {
            skipped.push(failure.clone());
        }
        drop(skipped);
        self.tell(SessionEvent::ItemSkipped(failure));
    }

    /// Notes an item that was set aside.
    pub(crate) fn note_dead_letter(&self, letter: DeadLetter) {
        let mut letters = lock(&self.dead_letters);
        if letters.len() < MAX_DEAD_LETTERS {
            letters.push(letter.clone());
        }
        drop(letters);
        self.tell(SessionEvent::DeadLetter(letter));
    }

    /// Takes nothing more from outside.
    pub(crate) fn close_feeds(&self) {
        lock(&self.feeds).take();
    }

    /// The workers whose processes live, each with how often it was started again.
    fn living(&self) -> Vec<(usize, u32, Worker)> {
        let workers = lock(&self.workers);
        let living = workers.iter().enumerate();
        let living = living
            .filter_map(|(index, worker)| Some((index, worker.restarts, worker.handle.clone()?)));
        living.collect()
    }

    fn node(&self, node: &str) -> Option<usize> {
        self.plan.nodes.iter().position(|planned| planned.id.as_str() == node)
    }
}

/// A session at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SessionSnapshot {
    /// Its name.
    pub id: SessionId,
    /// The processes of its nodes that live.
    pub processes: Vec<NodeProcessSnapshot>,
    /// Its channels.
    pub channels: Vec<ChannelSnapshot>,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// When it was made.
    pub created_at: SystemTime,
}

/// Ends the session when the last handle goes.
pub(crate) struct Life {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.abandoned.cancel();
        self.shared.outputs.close();
    }
}

/// A pipeline that runs. Clones are handles on the same one; the session ends with the last.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    life: Arc<Life>,
}

impl Session {
    /// Makes everything that a plan needs in this process: shared memory, nodes. Nothing runs before
    /// [`initialize`](Self::initialize).
    ///
    /// # Errors
    /// [`SessionError`]: limits that it would exceed, and what cannot be made. Nothing is left then.
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub fn create(
        runtime: &Runtime,
        plan: Plan,
        cancel: CancelToken,
    ) -> Result<Self, SessionError> {
        Self::create_as(runtime, None, plan, cancel)
    }

    /// As [`create`](Self::create), under a name of the caller's.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`SessionError::Exists`] if a session of the runtime has that name.
    ///
    /// # Panics
    /// As [`create`](Self::create).
    pub fn create_as(
        runtime: &Runtime,
        name: Option<SessionId>,
        plan: Plan,
        cancel: CancelToken,
    ) -> Result<Self, SessionError> {
        let places = runtime.admit(&plan)?;
        let data_plane = wiring::data_plane(&plan)?;
        let id = name.unwrap_or_else(|| wiring::session_id(&data_plane));
        let (outlet, outputs) = outlet(OUTPUT_DEPTH);
        let epoch = Arc::default();
        let made = wiring::stages(&plan, &runtime.registry, &id, &data_plane, outlet, &epoch)?;
        let (mut stages, feeds) = made;
        let timeline = timeline::Writer::new(&plan, &id, &mut stages);
        let (orders, ordered) = mpsc::unbounded_channel();
        let plan = Arc::new(plan);
        let shared = Arc::new(Shared {
            id,
            runtime: runtime.clone(),
            folder: data_plane.folder().map(ToOwned::to_owned),
            data_plane: Mutex::new(Some(Arc::new(data_plane))),
            last_channels: Mutex::default(),
            outputs,
            cancel,
            abandoned: CancelToken::new(),
            epoch,
            status: watch::Sender::new(SessionStatus::Initializing),
            events: Mutex::new(Some(broadcast::Sender::new(EVENT_DEPTH))),
            params: Mutex::new(plan.nodes.iter().map(|node| node.params.clone()).collect()),
            changing: tokio::sync::Mutex::default(),
            workers: Mutex::new(plan.workers.iter().map(|_| LiveWorker::default()).collect()),
            stages: Mutex::default(),
            reports: Mutex::default(),
            skipped: Mutex::default(),
            dead_letters: Mutex::default(),
            timeline,
            feeds: Mutex::new(Some(Arc::new(feeds))),
            failure: Mutex::default(),
            has_input: AtomicBool::new(false),
            initialized: AtomicBool::new(false),
            left_behind: AtomicUsize::new(0),
            orders,
            created_at: SystemTime::now(),
            began: Instant::now(),
            plan,
        });
        let session = Self::of(Arc::new(Life { shared }));
        let registered = runtime.register(&session.life)?;
        let driver = Driver::new(Arc::clone(&session.shared), stages, (places, registered))?;
        tokio::spawn(driver.run(ordered));
        Ok(session)
    }

    /// Another handle on a session that has one.
    pub(crate) fn of(life: Arc<Life>) -> Self {
        Self { shared: Arc::clone(&life.shared), life }
    }

    /// Its name, under which its items go.
    pub fn id(&self) -> &SessionId {
        &self.shared.id
    }

    /// What it runs.
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// Whether somebody has started its nodes.
    pub(crate) fn is_initialized(&self) -> bool {
        self.shared.initialized.load(Ordering::Relaxed)
    }

    /// The folder of its shared memory, if it has any.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.shared.folder.clone()
    }

    /// Threads that did not end with it.
    pub(crate) fn left_behind(&self) -> usize {
        self.shared.left_behind.load(Ordering::Relaxed)
    }

    /// Where it is in its life.
    pub fn status(&self) -> SessionStatus {
        self.shared.status.borrow().clone()
    }

    /// The status now, and the latest whenever it has changed. [`events`](Self::events) has each of
    /// them.
    pub fn status_changes(&self) -> watch::Receiver<SessionStatus> {
        self.shared.status.subscribe()
    }

    /// When it was made.
    pub fn created_at(&self) -> SystemTime {
        self.shared.created_at
    }

    /// The processes of its nodes that live.
    pub fn processes(&self) -> Vec<NodeProcess> {
        let workers = lock(&self.shared.workers);
        let living = workers.iter().filter_map(|worker| worker.handle.as_ref());
        living.map(|worker| worker.process().clone()).collect()
    }

    /// Its channels, as they are now.
    pub fn channels(&self) -> Vec<ChannelSnapshot> {
        self.shared.channels()
    }

    /// Payload bytes that were copied into shared memory so far, in all channels together.
    pub fn copied_bytes(&self) -> u64 {
        self.channels().iter().map(|channel| channel.copied_bytes).sum()
    }

    /// All of it as one plain value.
    pub fn snapshot(&self) -> SessionSnapshot {
        SessionSnapshot {
            id: self.id().clone(),
            processes: self.processes().iter().map(NodeProcess::snapshot).collect(),
            channels: self.channels(),
            status: self.status(),
            created_at: self.created_at(),
        }
    }

    /// What happens in it from now on.
    pub fn events(&self) -> SessionEvents {
        let events = match &*lock(&self.shared.events) {
            Some(events) => events.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        SessionEvents { events }
    }

    /// Starts all nodes at once, waits until every one is ready, and tells of each step: each node that
    /// is loading at least every two seconds.
    ///
    /// # Errors
    /// [`SessionError`] if a node fails to load, dies or does not get ready, or the session is
    /// cancelled: it has ended then. [`SessionError::AlreadyInitialized`] changes nothing.
    pub async fn initialize(
        &self,
        mut progress: impl FnMut(InitProgress),
    ) -> Result<(), SessionError> {
        if self.shared.initialized.swap(true, Ordering::Relaxed) {
            let (id, status) = (self.id().clone(), self.status());
            return Err(SessionError::AlreadyInitialized { id, status });
        }
        let (steps, mut told) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        // A driver that has ended has left a failure, or the status says all.
        let _ = self.shared.orders.send(Order::Initialize { steps, ready });
        while let Some(step) = told.recv().await {
            progress(step);
        }
        match is_ready.await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.end().await.err().unwrap_or_else(|| self.ended())),
        }
    }

    /// Gives an item to every node that takes items from outside, once all of them have room. Nothing
    /// is sent if the future is dropped.
    ///
    /// # Errors
    /// [`InputError`]; the item was not sent.
    pub async fn send_all(&self, data: RuntimeData) -> Result<(), InputError> {
        let feeds = self.feeds()?;
        if feeds.is_empty() {
            return Err(InputError::NoInput);
        }
        feeds.iter().try_for_each(|feed| self.check_len(feed, &data))?;
        let data = self.stamped(data)?;
        let mut rooms = Vec::with_capacity(feeds.len());
        for feed in feeds.iter() {
            rooms.push(feed.sender.room().await.ok_or(InputError::Ended)?);
        }
        rooms.into_iter().for_each(|room| room.fill(None, data.clone()));
        Ok(())
    }

    /// Gives an item to one node that takes items from outside, by its id, or `id.port` for one of its
    /// ports. Waits for room.
    ///
    /// # Errors
    /// [`InputError`]; the item was not sent.
    pub async fn send(&self, node: &str, data: RuntimeData) -> Result<(), InputError> {
        let feeds = self.feeds()?;
        let (feed, destination) = self.feed_of(&feeds, node)?;
        self.check_len(feed, &data)?;
        let data = self.stamped(data)?;
        feed.sender.send(destination, data).await.map_err(|_| InputError::Ended)
    }

    fn feeds(&self) -> Result<Arc<Vec<Feeder>>, InputError> {
        let status = self.status();
        match &*lock(&self.shared.feeds) {
            Some(feeds) if status.is_active() => Ok(Arc::clone(feeds)),
            Some(_) => Err(InputError::NotReady { status }),
            None => Err(InputError::Ended),
        }
    }

    fn feed_of<'a>(
        &self,
        feeds: &'a [Feeder],
        name: &str,
    ) -> Result<(&'a Feeder, Option<Destination>), InputError> {
        let ways = || feeds.iter().flat_map(|feed| feed.nodes.iter().map(move |way| (feed, way)));
        let name_of = |way: &(usize, Option<String>, Option<Destination>)| {
            let id = self.shared.plan.nodes[way.0].id.as_str();
            way.1.as_ref().map_or_else(|| id.to_owned(), |port| format!("{id}.{port}"))
        };
        if let Some((feed, way)) = ways().find(|(_, way)| name_of(way) == name) {
            return Ok((feed, way.2.clone()));
        }
        let names: Vec<_> = ways().map(|(_, way)| name_of(way)).collect();
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        let known = names.join(", ");
        Err(InputError::NoSuchInput { name: name.to_owned(), hint, known })
    }

    /// Refuses what could never be sent on, which would end the session.
    fn check_len(&self, feed: &Feeder, data: &RuntimeData) -> Result<(), InputError> {
        let len = data.payload().len();
        match feed.max_len {
            Some(limit) if len > limit => {
                let nodes = feed.nodes.iter().map(|way| self.shared.plan.nodes[way.0].id.as_str());
                let nodes = nodes.collect::<Vec<_>>().join(", ");
                Err(InputError::TooLarge { len, limit, nodes })
            }
            _ => Ok(()),
        }
    }

    fn stamped(&self, data: RuntimeData) -> Result<RuntimeData, InputError> {
        if data.kind() != MessageKind::Data {
            return Err(InputError::NoItem { kind: data.kind() });
        }
        if !self.shared.has_input.swap(true, Ordering::Relaxed) {
            self.shared.set_status(SessionStatus::Running);
        }
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        #[cfg(feature = "opentelemetry")]
        let data = in_trace(data);
        Ok(data.with_session(self.shared.id.clone()).with_epoch(epoch).with_origin(None))
    }

    /// Ends the input: the nodes finish what they have, in order, and the session ends when the last
    /// item is out.
    pub fn finish(&self) {
        self.shared.close_feeds();
    }

    /// The next item that leaves the pipeline; `None` when the session has ended well. Nothing is lost
    /// if the future is dropped. Of several that wait, each item goes to one.
    ///
    /// # Errors
    /// [`SessionError`], after everything that was complete: what ended the session, once; later
    /// [`SessionError::Ended`].
    pub async fn recv(&self) -> Result<Option<Output>, SessionError> {
        match self.shared.outputs.recv().await {
            Some(output) => Ok(Some(output)),
            None => self.end().await.map(|()| None),
        }
    }

    /// The items that leave the pipeline, as a stream that ends with the session, or with the error
    /// that ended it. Dropping it leaves the session as it is.
    pub fn outputs(
        &self,
    ) -> impl Stream<Item = Result<Output, SessionError>> + Send + Unpin + use<> {
        Box::pin(futures_util::stream::unfold(Some(self.clone()), |session| async move {
            let session = session?;
            match session.recv().await {
                Ok(output) => Some((Ok(output?), Some(session))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Waits for the end of the session.
    async fn end(&self) -> Result<(), SessionError> {
        let mut status = self.shared.status.subscribe();
        // The sender lives in what this handle shares.
        let _ = status.wait_for(SessionStatus::is_final).await;
        match lock(&self.shared.failure).take() {
            Some(failure) => Err(failure),
            None if self.status() == SessionStatus::Stopped => Ok(()),
            None => Err(self.ended()),
        }
    }

    fn ended(&self) -> SessionError {
        SessionError::Ended { status: self.status() }
    }

    /// Drops everything that is queued, everywhere: when this returns, nothing comes out any more of
    /// what was sent before. What is in work is finished first, and its outcome is dropped. Nodes are
    /// told to drop what they hold back.
    ///
    /// # Errors
    /// [`SessionError`] if a worker could not be told, because it is gone.
    pub async fn flush(&self) -> Result<(), SessionError> {
        let epoch = self.shared.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.outputs.flush(epoch);
        lock(&self.shared.stages).iter().for_each(StageRemote::notice_epoch);
        let workers = self.shared.living();
        let mut told = tokio::task::JoinSet::new();
        for (_, _, worker) in workers {
            told.spawn(async move { worker.flush(epoch).await });
        }
        while let Some(done) = told.join_next().await {
            match done {
                // One that ends takes the epoch with it, or is told when it is started again.
                Ok(Ok(()) | Err(rm_bridge::WorkerError::Control { .. })) | Err(_) => {}
                Ok(Err(error)) => return Err(error.into()),
            }
        }
        // What came out meanwhile.
        self.shared.outputs.flush(epoch);
        Ok(())
    }

    /// What the nodes and connections have done, once the session has ended; connections are there only
    /// of those that have come to their end by themselves.
    pub fn reports(&self) -> (Vec<NodeReport>, Vec<ConnectionReport>) {
        lock(&self.shared.reports).clone()
    }

    /// The items that were left out because a node failed on them: the first thousand. The nodes'
    /// statistics count all of them.
    pub fn skipped(&self) -> Vec<ItemFailure> {
        lock(&self.shared.skipped).clone()
    }

    /// The items that were set aside because they have ended their node twice: the first hundred.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        lock(&self.shared.dead_letters).clone()
    }

    /// Makes it end as soon as it can, without waiting; [`recv`](Self::recv) then gives
    /// [`SessionError::Cancelled`].
    pub fn cancel(&self) {
        self.shared.abandoned.cancel();
    }

    /// Ends everything and waits until nothing is left: processes within the grace period (a short one
    /// unless all items are out), then threads, then shared memory. Items that nobody has taken can be
    /// taken still.
    pub async fn close(&self) {
        let _ = self.shared.orders.send(Order::Close);
        let mut status = self.shared.status.subscribe();
        let _ = status.wait_for(SessionStatus::is_final).await;
    }
}

/// An item that names no trace is of that of the code which sends it.
#[cfg(feature = "opentelemetry")]
fn in_trace(data: RuntimeData) -> RuntimeData {
    match rm_process::telemetry::current() {
        Some(context) if !data.header().trace.is_valid() => data.with_trace(context),
        _ => data,
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (id, status) = (&self.shared.id, self.status());
        let pipeline = &self.shared.plan.name;
        f.debug_struct("Session")
            .field("id", id)
            .field("pipeline", pipeline)
            .field("status", &status)
            .finish()
    }
}
