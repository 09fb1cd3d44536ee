//! A child process that is called: one at a time or thousands at once, for one reply or a stream.
//!
//! Main type: [`SubprocessIpcBackend`]. What the child calls in turn is served by the
//! [`DynamicCallbackModule`] that it was started with.

use std::any::{Any, type_name};
use std::future::poll_fn;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rm_core::TraceContext;
use serde::Serialize;

use super::birth::{self, Wires};
use super::error::SubprocessIpcBackendError;
use super::message::KameoChildProcessMessage;
use super::outgoing::OutgoingCall;
use super::peer::{ChildStatus, DEATH_AFTER_CLOSE, Watch};
use super::replies::{InputSink, RawReplies, ReplyStream, sooner};
use crate::callback::DynamicCallbackModule;
use crate::command::CommandSpec;
use crate::error::ProcessError;
use crate::exit::ExitStatus;
use crate::handshake::{Handshake, HandshakeError, IpcLimits};
use crate::link::{CallContext, Caller, current_deadline};
use crate::process::NodeProcess;
use crate::protocol::Failed;
use crate::spawn::ProcessManager;
use crate::state::Event;
use crate::telemetry::metrics::{DirectionMetrics, DirectionSnapshot};
use crate::telemetry::{CallInfo, CallKind};
use crate::transport::Body;
use crate::value::{self, TupleVariants};

/// How long a child that has told that it cannot get ready has to tidy up and end.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// How a child is spoken to.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct BackendOptions {
    /// What this side takes.
    pub limits: IpcLimits,
    /// What the child may call.
    pub callbacks: Arc<DynamicCallbackModule>,
    tuple_variants: TupleVariants,
    config: Vec<u8>,
    stubs: Option<PathBuf>,
}

impl BackendOptions {
    /// The defaults, and nothing to call.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the child call what `callbacks` holds.
    pub fn callbacks(mut self, callbacks: impl Into<Arc<DynamicCallbackModule>>) -> Self {
        self.callbacks = callbacks.into();
        self
    }

    /// Keeps to other limits than the default ones.
    pub fn limits(mut self, limits: IpcLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Writes stubs and dataclasses of the callbacks for Python into `folder`, such as
    /// [`default_stub_dir`](crate::callback::stubs::default_stub_dir), and tells the child where they
    /// are. Without them a Python child can call all the same; so what cannot be written is a warning
    /// in the log.
    pub fn stubs(mut self, folder: &Path) -> Self {
        self.stubs = None;
        if self.callbacks.paths().next().is_some() {
            match self.callbacks.write_stubs(folder) {
                Ok(written) => self.stubs = Some(written),
                Err(error) => tracing::warn!(%error, "no stubs of the callbacks"),
            }
        }
        self
    }

    /// In which form the child is sent tuple variants of enums, in requests, inputs and answers of
    /// callbacks. What comes from it may have either form.
    pub fn tuple_variants(mut self, form: TupleVariants) -> Self {
        self.tuple_variants = form;
        self
    }

    /// What the child told that it takes, and how it is written to.
    pub(crate) fn of_child(&self, told: IpcLimits) -> IpcLimits {
        IpcLimits { tuple_variants: self.tuple_variants, ..told }
    }

    /// Gives the child a value with the first word, which it reads by
    /// [`SubprocessIpcChild::config`](crate::child::SubprocessIpcChild::config).
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Encode`] if the value has no serialised form.
    pub fn config<T: Serialize>(mut self, config: &T) -> Result<Self, SubprocessIpcBackendError> {
        self.config.clear();
        value::encode(config, &mut self.config, Default::default()).map_err(|source| {
            let (type_name, source) = (type_name::<T>(), source.into());
            SubprocessIpcBackendError::Encode { type_name, source }
        })?;
        Ok(self)
    }

    pub(crate) fn handshake(&self) -> Handshake {
        Handshake {
            config: self.config.clone(),
            callbacks: self.callbacks.paths().map(str::to_owned).collect(),
            stubs: self.stubs.clone(),
            ..Handshake::of_this_process(self.limits)
        }
    }
}

/// What became of the calls in both directions.
#[derive(Debug, Default)]
pub(crate) struct BackendMetrics {
    pub(crate) requests: Arc<DirectionMetrics>,
    pub(crate) callbacks: Arc<DirectionMetrics>,
}

/// A child process that takes `M` and answers with `M::Reply`.
///
/// Clones are the same child. When the last clone and the last reply stream are dropped, the child is
/// told to end and killed; [`shutdown`](Self::shutdown) lets it finish what it has begun.
///
/// ```no_run
/// use rm_process::{BackendOptions, CommandSpec, ProcessManager, SubprocessIpcBackend};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ProcessManager::new()?;
/// let spec = CommandSpec::new("./shouter");
/// let child =
///     SubprocessIpcBackend::<String>::spawn(&manager, spec, BackendOptions::new()).await?;
/// println!("{}", child.call(&"hello".to_owned()).await?);
/// let exit = child.shutdown(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the child is ended when its last handle is dropped"]
pub struct SubprocessIpcBackend<M> {
    inner: Arc<Inner>,
    takes: PhantomData<fn(&M)>,
}

#[derive(Debug)]
struct Inner {
    wires: Wires,
    caller: Caller,
    metrics: BackendMetrics,
    /// `None` for one that somebody else started.
    process: Option<NodeProcess>,
}

impl<M> Clone for SubprocessIpcBackend<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), takes: PhantomData }
    }
}

/// How a child answers to being asked whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// It answered, and works on that many calls.
    Alive {
        /// Calls that it has taken and not ended.
        in_flight: u64,
        /// Time from the question to the answer.
        round_trip: Duration,
    },
    /// It did not answer, because it is stopped, as by SIGSTOP or a debugger.
    Stopped,
    /// It did not answer, though it is not stopped: it keeps the thread that would.
    Silent,
    /// It is gone.
    Gone,
}

impl<M: KameoChildProcessMessage> SubprocessIpcBackend<M> {
    /// Starts a child that uses [`SubprocessIpcChild`](crate::child::SubprocessIpcChild), and waits
    /// until it has introduced itself. It is then [`Idle`](crate::ProcessStatus::Idle).
    ///
    /// If the returned future is dropped, the process is killed. The process is watched on the calling
    /// tokio runtime and is killed when that runtime ends.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Process`]; no process is left then.
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub async fn spawn(
        manager: &ProcessManager,
        spec: CommandSpec,
        options: BackendOptions,
    ) -> Result<Self, SubprocessIpcBackendError> {
        Ok(Self::start(manager, spec, options).await?)
    }

    pub(crate) async fn start(
        manager: &ProcessManager,
        spec: CommandSpec,
        options: BackendOptions,
    ) -> Result<Self, ProcessError> {
        let metrics = BackendMetrics::default();
        let (process, wires) = birth::spawn(manager, spec, &options, &metrics).await?;
        Ok(Self::new(wires, metrics, Some(process)))
    }

    /// [`spawn`](Self::spawn), and waits until the child has told that it is ready.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Process`], also for a child that cannot get ready; no process is
    /// left then.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub async fn spawn_ready(
        manager: &ProcessManager,
        spec: CommandSpec,
        options: BackendOptions,
    ) -> Result<Self, SubprocessIpcBackendError> {
        let backend = Self::spawn(manager, spec, options).await?;
        backend.ready().await?;
        Ok(backend)
    }

    pub(crate) fn new(wires: Wires, metrics: BackendMetrics, process: Option<NodeProcess>) -> Self {
        let caller = Caller::new(wires.requests.clone());
        let inner = Inner { wires, caller, metrics, process };
        Self { inner: Arc::new(inner), takes: PhantomData }
    }

    /// Waits until the child has told that it is ready. Whatever else it tells until then goes by.
    ///
    /// # Errors
    /// [`ProcessError`] if it cannot get ready, or ends. It is gone then.
    pub async fn ready(&self) -> Result<(), ProcessError> {
        let process = self.inner.process.as_ref();
        if let Some(process) = process {
            // Refused only where it has died meanwhile, which is seen below.
            let _ = process.core().event(Event::Initialize);
        }
        loop {
            match (self.told().await, process) {
                (Some(ChildStatus::Ready), _) => return Ok(()),
                (Some(ChildStatus::Progress(_)), _) => {}
                (Some(ChildStatus::Failed(failed)), Some(process)) => {
                    let farewell = tokio::time::timeout(FAREWELL, process.exited()).await;
                    if farewell.is_err() {
                        process.terminate(DEATH_AFTER_CLOSE).await;
                    }
                    let report = Box::new(process.failure_report());
                    let Failed { message, error } = failed;
                    return Err(ProcessError::InitFailed { message, error, report });
                }
                (None, Some(process)) => return Err(birth::died_early(process).await),
                (Some(ChildStatus::Failed(failed)), None) => {
                    return Err(ProcessError::SpawnFailed(failed.message));
                }
                (None, None) => {
                    let label = format!("process {}", self.process_id());
                    let source = HandshakeError::Closed;
                    let stderr_tail = String::new();
                    return Err(ProcessError::ForeignPeer { label, source, stderr_tail });
                }
            }
        }
    }

    /// Calls the child for one reply.
    ///
    /// The call has the deadline of the call that this task serves, if it serves one;
    /// [`request`](Self::request) can set another. If the returned future is dropped, the call is
    /// cancelled in the child.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError`], one for each call, whatever happens to the child.
    pub async fn call(&self, message: &M) -> Result<M::Reply, SubprocessIpcBackendError> {
        self.request(message).send().await
    }

    /// Calls the child for a stream of replies.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError`] if the call cannot be made; what happens to it later comes as the
    /// stream's last item.
    pub async fn stream(
        &self,
        message: &M,
    ) -> Result<ReplyStream<M::Reply>, SubprocessIpcBackendError> {
        self.request(message).stream().await
    }

    /// A call to be made, for more than [`call`](Self::call) and [`stream`](Self::stream) can say.
    pub fn request<'a>(&'a self, message: &'a M) -> Request<'a, M> {
        let context = CallContext { deadline: current_deadline(), trace: None };
        Request { backend: self, message, context }
    }

    /// What the child tells of itself next; `None` once it is gone. Of progress only the latest is
    /// kept until somebody asks.
    pub async fn told(&self) -> Option<ChildStatus> {
        poll_fn(|context| self.inner.wires.words.poll_next(context)).await
    }

    /// Asks whether the child is there, and waits `patience` for its answer. Nothing asks by itself.
    pub async fn ping(&self, patience: Duration) -> Liveness {
        let asked = Instant::now();
        let answer = self.inner.wires.requests.ping();
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(in_flight)) => Liveness::Alive { in_flight, round_trip: asked.elapsed() },
            Ok(Err(_)) => Liveness::Gone,
            Err(_) if self.inner.wires.requests.ended().is_some() => Liveness::Gone,
            Err(_) if is_stopped(self.process_id()) => Liveness::Stopped,
            Err(_) => Liveness::Silent,
        }
    }

    /// Lets the child finish what it has begun, and waits for its end: no new calls are made, those in
    /// flight go on, and the child ends when they are done; after half of `grace` it is asked by
    /// SIGTERM, and shortly before its end killed. `None` for a process that somebody else started,
    /// which is only told.
    pub async fn shutdown(&self, grace: Duration) -> Option<ExitStatus> {
        match &self.inner.process {
            Some(process) => Some(process.terminate(grace).await),
            None => {
                self.inner.wires.requests.drain();
                // One that is gone needs no word.
                let _ = self.inner.wires.requests.say(crate::protocol::Control::Stop);
                None
            }
        }
    }

    /// The process, to watch, stop and explain; `None` for one that somebody else started.
    pub fn process(&self) -> Option<&NodeProcess> {
        self.inner.process.as_ref()
    }

    /// The operating system's number of the process.
    pub fn process_id(&self) -> u32 {
        self.inner.wires.peer_pid
    }

    /// Calls to the child that have not ended.
    pub fn in_flight(&self) -> usize {
        self.inner.wires.requests.in_flight()
    }

    /// Whether calls can still be made.
    pub fn is_open(&self) -> bool {
        self.inner.wires.requests.ended().is_none()
    }

    /// Counters and times of the calls made to the child.
    pub fn request_metrics(&self) -> DirectionSnapshot {
        self.inner.metrics.requests.snapshot()
    }

    /// Counters and times of the calls that the child made.
    pub fn callback_metrics(&self) -> DirectionSnapshot {
        self.inner.metrics.callbacks.snapshot()
    }

    /// What tells the end of the child without keeping it alive.
    pub(crate) fn watch(&self) -> Watch {
        let core = self.inner.process.as_ref().map(|process| Arc::clone(process.core()));
        Watch { words: Arc::clone(&self.inner.wires.words), core }
    }

    /// What the child takes.
    pub(super) fn peer_limits(&self) -> &IpcLimits {
        self.inner.wires.requests.peer_limits()
    }

    /// Makes a call whose request is written already.
    pub(super) async fn send(
        &self,
        request: Body,
        context: CallContext,
    ) -> Result<RawReplies, SubprocessIpcBackendError> {
        self.begin(context).call(request).await
    }

    /// Begins a call, which keeps the child alive.
    fn begin(&self, context: CallContext) -> OutgoingCall {
        let inner = &self.inner;
        let (path, peer_pid) = (type_name::<M>(), inner.wires.peer_pid);
        let info = CallInfo { kind: CallKind::Request, path, peer_pid };
        let keeps = Some(Arc::clone(inner) as Arc<dyn Any + Send + Sync>);
        OutgoingCall::begin(inner.caller.clone(), context, info, &inner.metrics.requests, keeps)
    }

    /// The connections without the process, which then lives as long as its other handles.
    pub(crate) fn into_wires(self) -> Option<Wires> {
        Some(Arc::into_inner(self.inner)?.wires)
    }
}

/// Whether a process is stopped, by proc_pid_stat(5).
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next());
    matches!(state, Some('T' | 't'))
}

/// A call to be made.
#[derive(Debug)]
#[must_use = "no call is made until it is sent"]
pub struct Request<'a, M> {
    backend: &'a SubprocessIpcBackend<M>,
    message: &'a M,
    context: CallContext,
}

impl<M: KameoChildProcessMessage> Request<'_, M> {
    /// Gives the call up after `timeout`, here and in the child. A deadline that is inherited and
    /// sooner stays.
    pub fn timeout(self, timeout: Duration) -> Self {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => self.deadline(deadline),
            None => self,
        }
    }

    /// Gives the call up at `deadline`, here and in the child. One that is inherited and sooner stays.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.context.deadline = sooner(self.context.deadline, Some(deadline));
        self
    }

    /// Makes the call a part of this trace, rather than of the current one.
    pub fn trace(mut self, trace: TraceContext) -> Self {
        self.context.trace = Some(trace);
        self
    }

    /// Makes the call, for one reply.
    ///
    /// # Errors
    /// As [`SubprocessIpcBackend::call`].
    pub async fn send(self) -> Result<M::Reply, SubprocessIpcBackendError> {
        self.stream().await?.one().await
    }

    /// Makes the call, for a stream of replies.
    ///
    /// # Errors
    /// As [`SubprocessIpcBackend::stream`].
    pub async fn stream(self) -> Result<ReplyStream<M::Reply>, SubprocessIpcBackendError> {
        let (outgoing, body) = self.prepare().await?;
        Ok(ReplyStream::new(outgoing.call(body).await?))
    }

    /// Makes a call whose request is followed by a stream of items, for a stream of replies.
    ///
    /// # Errors
    /// As [`SubprocessIpcBackend::stream`].
    pub async fn exchange<I: Serialize>(
        self,
    ) -> Result<(InputSink<I>, ReplyStream<M::Reply>), SubprocessIpcBackendError> {
        let limits = *self.backend.peer_limits();
        let (outgoing, body) = self.prepare().await?;
        let (sink, replies) = outgoing.exchange(body).await?;
        Ok((InputSink::new(sink, limits), ReplyStream::new(replies)))
    }

    async fn prepare(self) -> Result<(OutgoingCall, Body), SubprocessIpcBackendError> {
        self.backend.begin(self.context).encode(self.message).await
    }
}
