//! A process that runs, or ran.
//!
//! Main type: [`NodeProcess`]. It watches, stops and explains a process; starting it is done by
//! [`ProcessManager`](crate::ProcessManager), talking to it by [`Connection`](crate::Connection).
//! What follows from what happens to a process is decided in `state`, and done in `supervision` and
//! `monitor`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rm_core::ChannelId;
use serde::{Deserialize, Serialize};

use crate::exit::ExitStatus;
use crate::leader::Leader;
use crate::monitor::Monitor;
use crate::report::FailureReport;
use crate::state::Event;
use crate::status::{IllegalTransition, ProcessStatus};
use crate::supervision::{Core, Watched};

/// A handle to one process. Clones are handles to the same process; when the last one is dropped
/// while the process still runs, the process, its group and, where there is a cgroup, all of its
/// descendants are killed.
///
/// A handler that was given to [`on_exit`](NodeProcess::on_exit) and holds a handle keeps the process
/// alive, too.
#[derive(Debug, Clone)]
#[must_use = "the process is killed when its last handle is dropped"]
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

impl NodeProcess {
    /// Takes charge of a process that was just started.
    pub(crate) fn watch(leader: Leader, watched: Watched) -> io::Result<Self> {
        let core = Arc::new(Core::new(leader, watched));
        core.event(Event::Spawned).expect("nothing has happened to it yet");
        Monitor::start(&core)?;
        core.manager.note_start(core.pid(), &core);
        tracing::debug!(node = %core.spec.label, pid = core.pid(), "process started");
        Ok(Self { owner: Arc::new(Owner { core }) })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.owner.core
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
        self.core().bind_channels(inputs, outputs);
    }

    /// The operating system's number of the process. It may belong to another process after the
    /// end of this one.
    pub fn process_id(&self) -> u32 {
        self.core().pid()
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
        self.core().started_at()
    }

    /// How much of its memory is in RAM, in bytes, shared memory included: now, or when its status
    /// last changed if it has ended.
    pub fn memory_usage(&self) -> u64 {
        self.core().sample_memory()
    }

    /// The channels by which it takes items; none after its end.
    pub fn input_channels(&self) -> Vec<ChannelId> {
        self.core().channels().0.clone()
    }

    /// The channels by which it gives items; none after its end.
    pub fn output_channels(&self) -> Vec<ChannelId> {
        self.core().channels().1.clone()
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
        self.core().unenforced()
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
