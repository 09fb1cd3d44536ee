//! A process that runs, or ran.
//!
//! Main type: [`NodeProcess`]. It watches, stops and explains a process; starting it is done by
//! [`ProcessManager`](crate::ProcessManager), talking to it by
//! [`Connection`](crate::Connection).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::command::CommandSpec;
use crate::exit::ExitStatus;
use crate::leader::Leader;
use crate::output::{self, Capture};
use crate::report::FailureReport;
use crate::spawn::ProcessManager;
use crate::status::{IllegalTransition, ProcessStatus};
use crate::sys;

/// How long before the end of the grace period SIGKILL is sent, so that the process is gone at
/// its end.
const KILL_BEFORE_END: Duration = Duration::from_millis(250);

/// A handle to one process. Clones are handles to the same process; when the last one is dropped
/// while the process still runs, the process and its group are killed.
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
        self.core.leader().signal(Signal::KILL);
    }
}

/// What the handles and the watching task share.
#[derive(Debug)]
struct Core {
    leader: Mutex<Leader>,
    pid: u32,
    label: Arc<str>,
    command: String,
    has_control: bool,
    started_at: SystemTime,
    started: Instant,
    status: Mutex<ProcessStatus>,
    exit: watch::Sender<Option<ExitStatus>>,
    deadline_passed: AtomicBool,
    stdout: Arc<Capture>,
    stderr: Arc<Capture>,
    /// Keeps the thread alive to whose life the kernel has tied the process.
    _manager: ProcessManager,
}

impl Core {
    fn leader(&self) -> MutexGuard<'_, Leader> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> MutexGuard<'_, ProcessStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the death of the child, or causes it, and forgets the child.
    fn reap(&self) -> ExitStatus {
        let status = self.leader().reap();
        ExitStatus::from_wait(status, self.deadline_passed.load(Ordering::SeqCst))
    }

    fn publish(&self, exit: ExitStatus) {
        tracing::debug!(node = &*self.label, pid = self.pid, %exit, "process ended");
        let mut status = self.status();
        *status = status.after_exit(&exit);
        self.exit.send_replace(Some(exit));
    }
}

impl NodeProcess {
    /// Takes charge of a process that was just started.
    pub(crate) fn watch(
        mut leader: Leader,
        spec: &CommandSpec,
        has_control: bool,
        manager: ProcessManager,
    ) -> io::Result<Self> {
        let pidfd = sys::awaitable(leader.clone_pidfd()?)?;
        let stdout = leader.child_mut().stdout.take();
        let stderr = leader.child_mut().stderr.take();
        let pipe = |fd: Option<OwnedFd>| {
            pipe::Receiver::from_owned_fd(fd.expect("both streams were asked to be piped"))
        };
        let stdout = pipe(stdout.map(OwnedFd::from))?;
        let stderr = pipe(stderr.map(OwnedFd::from))?;

        let core = Arc::new(Core {
            pid: leader.pid(),
            leader: Mutex::new(leader),
            label: Arc::from(spec.label.as_str()),
            command: spec.display(),
            has_control,
            started_at: SystemTime::now(),
            started: Instant::now(),
            status: Mutex::new(ProcessStatus::Idle),
            exit: watch::Sender::new(None),
            deadline_passed: AtomicBool::new(false),
            stdout: Arc::default(),
            stderr: Arc::default(),
            _manager: manager,
        });
        tracing::debug!(node = &*core.label, pid = core.pid, "process started");

        let dead = watch::Sender::new(false);
        let drain = |pipe, capture: &Arc<Capture>, stream| {
            let capture = Arc::clone(capture);
            let node = Arc::clone(&core.label);
            tokio::spawn(output::drain(pipe, capture, node, stream, dead.subscribe()))
        };
        let drains = [drain(stdout, &core.stdout, "stdout"), drain(stderr, &core.stderr, "stderr")];
        let monitor = Monitor { core: Arc::clone(&core), exit: None };
        tokio::spawn(monitor.run(pidfd, dead, drains));
        let owner = Arc::new(Owner { core });
        Ok(Self { owner })
    }

    /// Sends SIGKILL because a deadline has passed, and waits for the end.
    pub(crate) async fn kill_at_deadline(&self) -> ExitStatus {
        self.core().deadline_passed.store(true, Ordering::SeqCst);
        self.core().leader().signal(Signal::KILL);
        self.exited().await
    }

    /// Changes the status to `next`. The end of the process changes it by itself.
    ///
    /// # Errors
    /// [`IllegalTransition`] if `next` may not follow the present status.
    pub fn set_status(&self, next: ProcessStatus) -> Result<(), IllegalTransition> {
        let mut status = self.core().status();
        status.become_next(next)?;
        // Where the end is known already, nothing else will turn "stopping" into "stopped".
        if let Some(exit) = &*self.core().exit.borrow() {
            *status = status.after_exit(exit);
        }
        Ok(())
    }

    /// Waits for the end of the process, or gives it at once if it has ended. When this returns,
    /// its output has been read to its end, the process has been reaped, and SIGKILL is on its way
    /// to all that was left of its group.
    pub async fn exited(&self) -> ExitStatus {
        let mut exit = self.core().exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await;
        exit.expect("the sender lives in this handle").clone().expect("waited for it to be there")
    }

    /// Ends the process within `grace`: SIGTERM to its group at half of it, SIGKILL 250 ms before
    /// its end (at once if there is less), then waits for the end.
    ///
    /// The first half belongs to the process, which the caller has asked over its control channel
    /// to stop. A process without a control channel gets SIGTERM at once. The returned future
    /// drives the escalation; if it is dropped, what comes next does not happen.
    pub async fn terminate(&self, grace: Duration) -> ExitStatus {
        // Refused only where the process is stopping or stopped already.
        let _ = self.set_status(ProcessStatus::Stopping);
        let plan = StopPlan::new(grace, self.core().has_control);
        if let Some(exit) = self.exited_within(plan.before_term).await {
            return exit;
        }
        if !plan.before_kill.is_zero() {
            self.core().leader().signal(Signal::TERM);
            if let Some(exit) = self.exited_within(plan.before_kill).await {
                return exit;
            }
        }
        self.kill_at_deadline().await
    }

    /// Kills the process and its group with SIGKILL, without waiting.
    pub fn start_kill(&self) {
        // Refused only where the process is stopping or stopped already.
        let _ = self.set_status(ProcessStatus::Stopping);
        self.core().leader().signal(Signal::KILL);
    }

    /// Kills the process and its group with SIGKILL and waits until it is reaped.
    pub async fn kill(&self) -> ExitStatus {
        self.start_kill();
        self.exited().await
    }

    async fn exited_within(&self, time: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(time, self.exited()).await.ok()
    }

    /// The operating system's number of the process. It may belong to another process after the
    /// end of this one.
    pub fn process_id(&self) -> u32 {
        self.core().pid
    }

    /// What the process is called in logs and errors.
    pub fn label(&self) -> &str {
        &self.core().label
    }

    /// Where the process is in its life.
    pub fn status(&self) -> ProcessStatus {
        self.core().status().clone()
    }

    /// When the process was started.
    pub fn started_at(&self) -> SystemTime {
        self.core().started_at
    }

    /// How the process ended, if it has.
    pub fn try_exit_status(&self) -> Option<ExitStatus> {
        self.core().exit.borrow().clone()
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
        let core = self.core();
        let exit = self.try_exit_status();
        let uptime = match &exit {
            Some(exit) => {
                let uptime = exit.timestamp.duration_since(core.started_at);
                uptime.unwrap_or_default()
            }
            None => core.started.elapsed(),
        };
        FailureReport {
            label: core.label.to_string(),
            command: core.command.clone(),
            pid: core.pid,
            status: self.status(),
            exit,
            uptime,
            stderr_tail: self.stderr_tail(),
        }
    }

    fn core(&self) -> &Core {
        &self.owner.core
    }
}

/// The task that waits for the end of one process.
///
/// If the task is dropped before (its runtime shuts down), it kills the process and waits for it,
/// so that an end is published in any case and no process is left.
struct Monitor {
    core: Arc<Core>,
    /// The end, once it is known and until it is published.
    exit: Option<ExitStatus>,
}

impl Monitor {
    async fn run(
        mut self,
        pidfd: AsyncFd<OwnedFd>,
        dead: watch::Sender<bool>,
        drains: [JoinHandle<()>; 2],
    ) {
        // An error means that the runtime shuts down; `reap` kills the process then. A wake-up
        // alone is no proof of death, and would be a poor reason to kill a healthy process.
        while let Ok(mut ready) = pidfd.readable().await {
            if self.core.leader().is_dead() {
                break;
            }
            ready.clear_ready();
        }
        self.exit = Some(self.core.reap());
        dead.send_replace(true);
        for drain in drains {
            // An error means that the runtime shuts down; the rest of the output is lost then.
            let _ = drain.await;
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let exit = self.exit.take();
        self.core.publish(exit.unwrap_or_else(|| self.core.reap()));
    }
}

/// When the steps of a termination come.
#[derive(Debug, PartialEq, Eq)]
struct StopPlan {
    /// From the start until SIGTERM.
    before_term: Duration,
    /// From SIGTERM until SIGKILL; zero leaves SIGTERM out.
    before_kill: Duration,
}

impl StopPlan {
    fn new(grace: Duration, asked: bool) -> Self {
        let kill_at = grace.saturating_sub(KILL_BEFORE_END);
        let half = grace / 2;
        let before_term = match asked {
            false => Duration::ZERO,
            true if half < kill_at => half,
            // So short that SIGKILL comes in the first half: SIGTERM takes the middle before it.
            true => kill_at / 2,
        };
        Self { before_term, before_kill: kill_at - before_term }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigterm_comes_at_half_of_the_grace_and_sigkill_before_its_end() {
        let check = |grace_ms, asked, before_term_ms, before_kill_ms| {
            let plan = StopPlan::new(Duration::from_millis(grace_ms), asked);
            let expected = StopPlan {
                before_term: Duration::from_millis(before_term_ms),
                before_kill: Duration::from_millis(before_kill_ms),
            };
            assert_eq!(plan, expected, "grace of {grace_ms} ms");
        };
        check(5000, true, 2500, 2250);
        check(5000, false, 0, 4750);
        check(500, true, 125, 125);
        check(400, true, 75, 75);
        check(250, true, 0, 0);
        check(0, false, 0, 0);
        let endless = StopPlan::new(Duration::MAX, true);
        assert!(endless.before_kill > endless.before_term / 2);
    }
}
