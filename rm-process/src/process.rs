//! A process that runs, or ran.
//!
//! Main type: [`NodeProcess`]. It watches, stops and explains a process; starting it is done by
//! [`ProcessManager`], talking to it by [`Connection`](crate::Connection). What follows from what
//! happens to a process is decided in `state`, and done here and in `monitor`.

use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use rm_core::ChannelId;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::command::CommandSpec;
use crate::connection::{FrameWriter, Incoming, send_stop};
use crate::exit::ExitStatus;
use crate::leader::Leader;
use crate::monitor::Monitor;
use crate::output::Capture;
use crate::page::{self, StatusPage};
use crate::protocol::Progress;
use crate::report::{End, FailureReport};
use crate::spawn::{ProcessManager, Slot};
use crate::state::{Action, Event, Lifecycle, LifecycleConfig, Signal as Step};
use crate::status::{IllegalTransition, ProcessStatus};

/// A handle to one process. Clones are handles to the same process; when the last one is dropped
/// while the process still runs, the process, its group and, where there is a cgroup, all of its
/// descendants are killed.
#[derive(Debug, Clone)]
pub struct NodeProcess {
    owner: Arc<Owner>,
}

/// What all handles share. Its drop is the end of the last handle.
#[derive(Debug)]
struct Owner {
    core: Arc<Core>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.core.kill();
    }
}

/// What is run when a process has ended.
pub(crate) type ExitHandler = Box<dyn Fn(ExitStatus) + Send>;

/// What the handles and the watching task share.
pub(crate) struct Core {
    pub(crate) spec: CommandSpec,
    pid: u32,
    leader: Mutex<Leader>,
    started_at: SystemTime,
    started: Instant,
    lifecycle: Mutex<Lifecycle>,
    /// Told when the lifecycle may have another deadline.
    pub(crate) changed: Notify,
    runtime: tokio::runtime::Handle,
    /// By which the child is asked to end; empty where it has no control channel.
    writer: OnceLock<Weak<tokio::sync::Mutex<FrameWriter>>>,
    page: Option<StatusPage>,
    progress: Mutex<Progress>,
    /// Memory in RAM when it was last looked at, in bytes.
    memory: AtomicU64,
    channels: Mutex<(Vec<ChannelId>, Vec<ChannelId>)>,
    /// Whatever the process needs as long as it lives and only so long.
    keeps: Mutex<Vec<Box<dyn Any + Send>>>,
    exit: watch::Sender<Option<ExitStatus>>,
    end: OnceLock<End>,
    /// `None` once they have been run.
    handlers: Mutex<Option<Vec<ExitHandler>>>,
    pub(crate) stdout: Arc<Capture>,
    pub(crate) stderr: Arc<Capture>,
    unenforced: Vec<String>,
    /// Its place among the processes that there may be, until it has ended.
    slot: Mutex<Option<Slot>>,
    /// Keeps the thread alive to whose life the kernel has tied the process.
    pub(crate) manager: ProcessManager,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status();
        let mut shown = f.debug_struct("NodeProcess");
        shown.field("label", &self.spec.label).field("pid", &self.pid).field("status", &status);
        shown.finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    pub(crate) fn leader(&self) -> MutexGuard<'_, Leader> {
        lock(&self.leader)
    }

    pub(crate) fn lifecycle(&self) -> MutexGuard<'_, Lifecycle> {
        lock(&self.lifecycle)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// When something is due that was planned for `since_start`.
    pub(crate) fn instant_of(&self, since_start: Duration) -> Option<Instant> {
        self.started.checked_add(since_start)
    }

    /// Tells the state machine what has happened, and does what follows.
    pub(crate) fn event(&self, event: Event) -> Result<(), IllegalTransition> {
        let (actions, changed) = {
            let mut lifecycle = self.lifecycle();
            let before = lifecycle.status().clone();
            let actions = lifecycle.handle(event, self.started.elapsed())?;
            (actions, before != *lifecycle.status())
        };
        for action in actions {
            match action {
                Action::Ask => self.ask(),
                Action::Signal(Step::Terminate) => self.leader().signal(Signal::TERM),
                Action::Signal(Step::Abort) => self.leader().signal(Signal::ABORT),
                Action::Signal(Step::Kill) => self.leader().signal(Signal::KILL),
            }
        }
        if changed {
            self.sample_memory();
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Asks the child to end. Where its input is full, SIGTERM says it later.
    fn ask(&self) {
        let Some(writer) = self.writer.get().and_then(Weak::upgrade) else { return };
        self.runtime.spawn(async move {
            // A child that is dead, or dies meanwhile, closes its end.
            let _ = send_stop(&writer).await;
        });
    }

    /// Takes what the child told of itself. What it tells out of turn has no effect.
    pub(crate) fn heard<Rx>(&self, incoming: &Incoming<Rx>) {
        let event = match incoming {
            Incoming::Value(_) => return,
            Incoming::Progress(progress) => {
                lock(&self.progress).clone_from(progress);
                Event::Progress
            }
            Incoming::Ready => Event::Ready,
            Incoming::Failed(message) => Event::Failed(message.clone()),
        };
        // A child may begin to load unasked.
        let _ = self.event(Event::Initialize);
        if let Err(error) = self.event(event) {
            tracing::warn!(node = %self.spec.label, pid = self.pid, %error, "told out of turn");
        }
    }

    pub(crate) fn kill(&self) {
        // Refused only where the process has ended.
        let _ = self.event(Event::Kill);
    }

    /// Where the process is in its life. Between `Ready` and `Processing` its status page decides.
    pub(crate) fn status(&self) -> ProcessStatus {
        let status = self.lifecycle().status().clone();
        match (&status, &self.page) {
            (ProcessStatus::Ready, Some(page)) if page.item(page::monotonic()).is_some() => {
                ProcessStatus::Processing
            }
            _ => status,
        }
    }

    fn sample_memory(&self) -> u64 {
        // What cannot be read belongs to a process that is gone.
        let leader = self.leader();
        if !leader.is_dead()
            && let Some(found) = memory_of(&self.pid.to_string())
        {
            self.memory.store(found.resident, Ordering::Relaxed);
        }
        self.memory.load(Ordering::Relaxed)
    }

    /// Takes something that the process needs and that goes with its end.
    pub(crate) fn keep(&self, kept: impl Any + Send) {
        lock(&self.keeps).push(Box::new(kept));
        if self.exit.borrow().is_some() {
            lock(&self.keeps).clear();
        }
    }

    /// What it was working on.
    pub(crate) fn page(&self) -> Option<&StatusPage> {
        self.page.as_ref()
    }

    /// Makes the end known to everybody who waits for it or asked to be told.
    pub(crate) fn publish(&self, exit: ExitStatus, end: End) {
        tracing::debug!(node = %self.spec.label, pid = self.pid, %exit, "process ended");
        // Set once: there is one monitor, and it publishes once.
        let _ = self.end.set(end);
        *lock(&self.channels) = (Vec::new(), Vec::new());
        // First, so that who waits for the end may start another process in its place.
        *lock(&self.slot) = None;
        self.manager.note_exit(self.pid, self, &exit);
        self.exit.send_replace(Some(exit.clone()));
        lock(&self.keeps).clear();
        let handlers = lock(&self.handlers).take();
        handlers.into_iter().flatten().for_each(|handler| self.tell(&handler, &exit));
    }

    fn tell(&self, handler: &ExitHandler, exit: &ExitStatus) {
        let told = catch_unwind(AssertUnwindSafe(|| handler(exit.clone())));
        if told.is_err() {
            tracing::error!(node = %self.spec.label, pid = self.pid, "an exit handler panicked");
        }
    }

    /// Has `handler` run when the process has ended, or now if it has.
    pub(crate) fn on_exit(&self, handler: ExitHandler) {
        {
            let mut handlers = lock(&self.handlers);
            if let Some(handlers) = &mut *handlers {
                handlers.push(handler);
                return;
            }
        }
        let exit = self.exit.borrow().clone();
        self.tell(&handler, &exit.expect("handlers are taken after the end is known"));
    }

    pub(crate) async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await;
        exit.expect("the sender lives in this value").clone().expect("waited for it to be there")
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.exit.borrow().clone()
    }

    pub(crate) async fn terminate(&self, grace: Duration) -> ExitStatus {
        // Refused only where the process has ended.
        let _ = self.event(Event::Stop { grace });
        self.exited().await
    }

    pub(crate) fn report(&self) -> FailureReport {
        let exit = self.exit_status();
        let uptime = match &exit {
            Some(exit) => exit.timestamp.duration_since(self.started_at).unwrap_or_default(),
            None => self.started.elapsed(),
        };
        let end = match self.end.get() {
            Some(end) => end.clone(),
            None => End::of_living(self),
        };
        FailureReport {
            label: self.spec.label.clone(),
            node_type: self.spec.node_type.clone(),
            session_id: self.spec.session_id.clone(),
            command: self.spec.display(),
            pid: self.pid,
            status: self.status(),
            deadline: self.lifecycle().passed().map(ToString::to_string),
            last_progress: Some(lock(&self.progress).clone())
                .filter(|last| *last != Progress::default()),
            exit,
            uptime,
            end,
            stdout_tail: self.stdout.tail(),
            stderr_tail: self.stderr.tail(),
        }
    }
}

/// What a process needs beside its leader to be watched.
pub(crate) struct Watched {
    pub(crate) spec: CommandSpec,
    pub(crate) page: Option<StatusPage>,
    pub(crate) unenforced: Vec<String>,
    pub(crate) slot: Slot,
    pub(crate) manager: ProcessManager,
}

impl NodeProcess {
    /// Takes charge of a process that was just started.
    pub(crate) fn watch(leader: Leader, watched: Watched) -> io::Result<Self> {
        let Watched { spec, page, unenforced, slot, manager } = watched;
        let config = LifecycleConfig {
            has_control: page.is_some(),
            init_timeout: spec.init_timeout,
            init_limit: spec.init_limit,
            abort_at_deadline: spec.abort_at_deadline,
        };
        let core = Arc::new(Core {
            pid: leader.pid(),
            leader: Mutex::new(leader),
            started_at: SystemTime::now(),
            started: Instant::now(),
            lifecycle: Mutex::new(Lifecycle::new(config)),
            changed: Notify::new(),
            runtime: tokio::runtime::Handle::current(),
            writer: OnceLock::new(),
            page,
            progress: Mutex::default(),
            memory: AtomicU64::new(0),
            channels: Mutex::default(),
            keeps: Mutex::default(),
            exit: watch::Sender::new(None),
            end: OnceLock::new(),
            handlers: Mutex::new(Some(Vec::new())),
            stdout: Arc::default(),
            stderr: Arc::default(),
            unenforced,
            slot: Mutex::new(Some(slot)),
            spec,
            manager,
        });
        core.event(Event::Spawned).expect("nothing has happened to it yet");
        Monitor::start(&core)?;
        core.manager.note_start(core.pid, &core);
        tracing::debug!(node = %core.spec.label, pid = core.pid, "process started");
        Ok(Self { owner: Arc::new(Owner { core }) })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.owner.core
    }

    /// Gives the way by which the child can be asked to end.
    pub(crate) fn set_writer(&self, writer: &Arc<tokio::sync::Mutex<FrameWriter>>) {
        // Set once, by who has just spawned it.
        let _ = self.core().writer.set(Arc::downgrade(writer));
    }

    /// Changes the status to what the owner knows of the process, where it does not tell it
    /// itself: `Initializing`, `Ready`, `Processing`, or `Error` with what went wrong. The end of
    /// the process, and being told to end, change the status by themselves.
    ///
    /// # Errors
    /// [`IllegalTransition`] if `next` may not follow the present status, or is `Idle`, `Stopping`
    /// or `Stopped`, which nobody can decree.
    pub fn set_status(&self, next: ProcessStatus) -> Result<(), IllegalTransition> {
        let from = self.core().lifecycle().status().clone();
        let event = match &next {
            ProcessStatus::Initializing => Event::Initialize,
            ProcessStatus::Ready if from == ProcessStatus::Processing => Event::ItemDone,
            ProcessStatus::Ready => Event::Ready,
            ProcessStatus::Processing => Event::ItemStarted,
            ProcessStatus::Error(message) => Event::Failed(message.clone()),
            ProcessStatus::Idle | ProcessStatus::Stopping | ProcessStatus::Stopped => {
                return Err(IllegalTransition { from, to: next });
            }
        };
        if !from.can_become(&next) {
            return Err(IllegalTransition { from, to: next });
        }
        self.core().event(event)
    }

    /// Waits for the end of the process, or gives it at once if it has ended. When this returns,
    /// its output has been read to its end, the process has been reaped, and SIGKILL is on its way
    /// to all that was left of its group.
    pub async fn exited(&self) -> ExitStatus {
        self.core().exited().await
    }

    /// Has `handler` called with the end of the process: once, on a thread of the tokio runtime that
    /// watches the process, or at once on this thread if the process has ended. A handler should not
    /// block; one that panics harms nobody.
    pub fn on_exit(&self, handler: impl Fn(ExitStatus) + Send + 'static) {
        self.core().on_exit(Box::new(handler));
    }

    /// Ends the process within `grace`, and waits for its end: it is asked over its control channel,
    /// where it has one; SIGTERM goes to its group at half of the grace period (at once where it
    /// cannot be asked), and SIGKILL 250 ms before its end (at once if there is less).
    ///
    /// Dropping the returned future changes nothing of that. A second call can only hasten the end.
    pub async fn terminate(&self, grace: Duration) -> ExitStatus {
        self.core().terminate(grace).await
    }

    /// Begins what [`terminate`](Self::terminate) does, without waiting.
    pub fn start_terminate(&self, grace: Duration) {
        // Refused only where the process has ended.
        let _ = self.core().event(Event::Stop { grace });
    }

    /// Ends the process because it has missed a deadline of its owner's, such as an item's: `missed`
    /// says which. A process that prints its stacks on SIGABRT gets that first. The report names the
    /// deadline.
    pub fn expire(&self, missed: impl Into<String>) {
        // Refused only where the process has ended.
        let _ = self.core().event(Event::Expire(missed.into()));
    }

    /// Kills the process and its group with SIGKILL, without waiting.
    pub fn start_kill(&self) {
        self.core().kill();
    }

    /// Kills the process and its group with SIGKILL and waits until it is reaped.
    pub async fn kill(&self) -> ExitStatus {
        self.start_kill();
        self.exited().await
    }

    /// Notes by which channels the process takes and gives items, for [`snapshot`](Self::snapshot).
    pub fn bind_channels(&self, inputs: Vec<ChannelId>, outputs: Vec<ChannelId>) {
        let mut channels = lock(&self.core().channels);
        if self.core().exit_status().is_none() {
            *channels = (inputs, outputs);
        }
    }

    /// The operating system's number of the process. It may belong to another process after the
    /// end of this one.
    pub fn process_id(&self) -> u32 {
        self.core().pid
    }

    /// A pidfd of the process: it becomes readable when the process is dead, and always means this
    /// process.
    ///
    /// # Errors
    /// The operating system's error if there are no descriptors left.
    pub fn process_handle(&self) -> io::Result<OwnedFd> {
        self.core().leader().clone_pidfd()
    }

    /// What the process is called in logs and errors.
    pub fn label(&self) -> &str {
        &self.core().spec.label
    }

    /// The type of the node that it runs; empty where that was not said.
    pub fn node_type(&self) -> &str {
        &self.core().spec.node_type
    }

    /// The session that it belongs to; empty where that was not said.
    pub fn session_id(&self) -> &str {
        &self.core().spec.session_id
    }

    /// Where the process is in its life.
    pub fn status(&self) -> ProcessStatus {
        self.core().status()
    }

    /// When the process was started.
    pub fn initialization_timestamp(&self) -> SystemTime {
        self.core().started_at
    }

    /// How much of its memory is in RAM, in bytes, shared memory included: now, or when its status
    /// last changed if it has ended.
    pub fn memory_usage(&self) -> u64 {
        self.core().sample_memory()
    }

    /// The channels by which it takes items; none after its end.
    pub fn input_channels(&self) -> Vec<ChannelId> {
        lock(&self.core().channels).0.clone()
    }

    /// The channels by which it gives items; none after its end.
    pub fn output_channels(&self) -> Vec<ChannelId> {
        lock(&self.core().channels).1.clone()
    }

    /// All of the above as one plain value.
    pub fn snapshot(&self) -> NodeProcessSnapshot {
        NodeProcessSnapshot {
            process_id: self.process_id(),
            node_type: self.node_type().to_owned(),
            status: self.status(),
            memory_usage: self.memory_usage(),
            initialization_timestamp: self.initialization_timestamp(),
            input_channels: self.input_channels(),
            output_channels: self.output_channels(),
            session_id: self.session_id().to_owned(),
        }
    }

    /// What was asked of this machine for the process and could not be had, in words; such as
    /// that no cgroup could be made to hold its descendants to `max_memory`, too.
    pub fn unenforced(&self) -> &[String] {
        &self.core().unenforced
    }

    /// How the process ended, if it has.
    pub fn try_exit_status(&self) -> Option<ExitStatus> {
        self.core().exit_status()
    }

    /// The last 64 KiB that the process wrote to stdout.
    pub fn stdout_tail(&self) -> String {
        self.core().stdout.tail()
    }

    /// The last 64 KiB that the process wrote to stderr.
    pub fn stderr_tail(&self) -> String {
        self.core().stderr.tail()
    }

    /// All that is known about the process, for a person or a log.
    pub fn failure_report(&self) -> FailureReport {
        self.core().report()
    }
}

/// What a [`NodeProcess`] is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeProcessSnapshot {
    /// The operating system's number of the process.
    pub process_id: u32,
    /// The type of the node that it runs.
    pub node_type: String,
    /// Where it is in its life.
    pub status: ProcessStatus,
    /// How much of its memory is in RAM, in bytes.
    pub memory_usage: u64,
    /// When it was started.
    pub initialization_timestamp: SystemTime,
    /// The channels by which it takes items.
    pub input_channels: Vec<ChannelId>,
    /// The channels by which it gives items.
    pub output_channels: Vec<ChannelId>,
    /// The session that it belongs to.
    pub session_id: String,
}

/// Memory of a process that is in RAM, in bytes.
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// The most that its program has had.
    pub(crate) peak: u64,
}

/// From proc_pid_status(5); `process` is a number or `self`. `None` for a process that is gone.
pub(crate) fn memory_of(process: &str) -> Option<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let kibibytes = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { resident: kibibytes("VmRSS:")?, peak: kibibytes("VmHWM:")? })
}
