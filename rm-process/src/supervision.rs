//! What the handles of one process and its monitor share.
//!
//! Main type: [`Core`]. It takes events to the state machine and does what that answers, keeps what is
//! known of the process, and tells its end. It waits for nothing itself.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rm_core::ChannelId;
use rustix::process::Signal;
use tokio::sync::{Notify, watch};

use crate::backend::ChildStatus;
use crate::command::CommandSpec;
use crate::exit::ExitStatus;
use crate::leader::Leader;
use crate::output::Capture;
use crate::page::{self, StatusPage};
use crate::protocol::Progress;
use crate::report::{End, FailureReport};
use crate::spawn::{ProcessManager, Slot};
use crate::state::{Action, Event, Lifecycle, LifecycleConfig, Signal as Step};
use crate::status::{IllegalTransition, ProcessStatus};

/// What a process needs beside its leader to be watched.
pub(crate) struct Watched {
    pub(crate) spec: CommandSpec,
    pub(crate) page: Option<StatusPage>,
    pub(crate) unenforced: Vec<String>,
    pub(crate) slot: Slot,
    pub(crate) manager: ProcessManager,
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
    /// By which the child is asked to end; empty where it has no connections.
    ask: OnceLock<Box<dyn Fn() + Send + Sync>>,
    page: Option<StatusPage>,
    progress: Mutex<Option<Progress>>,
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
    /// For a process that was just started.
    pub(crate) fn new(leader: Leader, watched: Watched) -> Self {
        let Watched { spec, page, unenforced, slot, manager } = watched;
        let config = LifecycleConfig {
            has_control: page.is_some(),
            init_timeout: spec.init_timeout,
            init_limit: spec.init_limit,
            abort_at_deadline: spec.abort_at_deadline,
        };
        Self {
            pid: leader.pid(),
            leader: Mutex::new(leader),
            started_at: SystemTime::now(),
            started: Instant::now(),
            lifecycle: Mutex::new(Lifecycle::new(config)),
            changed: Notify::new(),
            ask: OnceLock::new(),
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
        }
    }

    /// Gives the way by which the child can be asked to end.
    pub(crate) fn set_ask(&self, ask: impl Fn() + Send + Sync + 'static) {
        // Set once, by who has just spawned it.
        let _ = self.ask.set(Box::new(ask));
    }

    /// Notes by which channels the process takes and gives items.
    pub(crate) fn bind_channels(&self, inputs: Vec<ChannelId>, outputs: Vec<ChannelId>) {
        let mut channels = self.channels();
        if self.exit_status().is_none() {
            *channels = (inputs, outputs);
        }
    }

    pub(crate) fn channels(&self) -> MutexGuard<'_, (Vec<ChannelId>, Vec<ChannelId>)> {
        lock(&self.channels)
    }

    pub(crate) fn started_at(&self) -> SystemTime {
        self.started_at
    }

    pub(crate) fn unenforced(&self) -> &[String] {
        &self.unenforced
    }

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
                Action::Signal(Step::Terminate) => self.signal_and_wake(Signal::TERM),
                Action::Signal(Step::Abort) => self.signal_and_wake(Signal::ABORT),
                Action::Signal(Step::Kill) => self.leader().signal(Signal::KILL),
            }
        }
        if changed {
            self.sample_memory();
        }
        self.changed.notify_one();
        Ok(())
    }

    /// Sends a signal that a process has to be running to react to.
    fn signal_and_wake(&self, signal: Signal) {
        let leader = self.leader();
        leader.signal(signal);
        leader.signal(Signal::CONT);
    }

    /// Asks the child to end. Where its input is full, SIGTERM says it later.
    fn ask(&self) {
        if let Some(ask) = self.ask.get() {
            ask();
        }
    }

    /// Takes what the child told of itself. What it tells out of turn has no effect.
    pub(crate) fn heard(&self, told: &ChildStatus) {
        let event = match told {
            ChildStatus::Progress(progress) => {
                *lock(&self.progress) = Some(progress.clone());
                Event::Progress
            }
            ChildStatus::Ready => Event::Ready,
            ChildStatus::Failed(failed) => Event::Failed(failed.message.clone()),
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

    pub(crate) fn sample_memory(&self) -> u64 {
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
        self.exit.send_replace(Some(exit.clone()));
        // After that, so that who notes the start meanwhile knows of the end, or comes before this.
        self.manager.note_exit(self.pid, self, &exit);
        lock(&self.keeps).clear();
        let handlers = lock(&self.handlers).take();
        handlers.into_iter().flatten().for_each(|handler| run_handler(&*handler, exit.clone()));
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
        run_handler(&*handler, exit.expect("handlers are taken after the end is known"));
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
            last_progress: lock(&self.progress).clone(),
            exit,
            uptime,
            end,
            stdout_tail: self.stdout.tail(),
            stderr_tail: self.stderr.tail(),
        }
    }
}

/// Runs what was to be run when a process has ended. Its panic harms nobody.
pub(crate) fn run_handler(handler: &dyn Fn(ExitStatus), exit: ExitStatus) {
    if catch_unwind(AssertUnwindSafe(|| handler(exit))).is_err() {
        tracing::error!("an exit handler panicked");
    }
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
