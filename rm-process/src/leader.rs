//! The direct child and its process group, as the operating system knows them.
//!
//! Main type: [`Leader`]. It signals and reaps; it does not wait in async code and keeps no
//! status.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::cgroup::Cgroup;
use crate::report::PeakMemory;
use crate::sys::{self, Born, Usage};

/// The reading ends of a child's standard output and standard error.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// By how much a peak has to be above what the parent had in RAM to be the child's own: the parent's
/// threads allocate meanwhile, and the kernel counts per processor.
const PEAK_MARGIN: u64 = 8 << 20;

/// A child that leads its own process group, until it is reaped.
///
/// # Why signals cannot hit a stranger
/// A pid, and with it the number of a group, is free for reuse only after the process was reaped
/// (and the group is empty). Signals are sent only while `reaped` is false, by the same value
/// that reaps, which its owner guards with a mutex. The rest of the group is killed while the
/// leader is still a zombie, when its number is certainly ours. This is the reason for a pidfd of
/// our own instead of tokio's `Child`: tokio too waits on a pidfd, but it reaps in the same step.
#[derive(Debug)]
pub(crate) struct Leader {
    pidfd: OwnedFd,
    pid: Pid,
    /// The process whose child it is.
    parent: u32,
    output: Option<Output>,
    /// Where it and all its descendants are, where this machine allows that.
    cgroup: Option<Cgroup>,
    /// The most that this process had had in RAM when the child was born, in bytes: the operating
    /// system counts that into the child's peak.
    forked_from: u64,
    /// Says that the runtime has somebody to be kept for.
    tenancy: Option<Arc<()>>,
    reaped: bool,
}

/// What is known of a child that has been reaped.
#[derive(Debug, Default)]
pub(crate) struct Reaped {
    /// Its end; `None` if the operating system had forgotten it by itself.
    pub(crate) status: Option<ExitStatus>,
    /// What it has used.
    pub(crate) usage: Usage,
    /// Most memory that its program had in RAM at once.
    pub(crate) peak_memory: PeakMemory,
    /// Most memory that it and its descendants had at once, in bytes, where that was counted.
    pub(crate) tree_peak: Option<u64>,
    /// How many of them the kernel has killed because they were over their memory limit.
    pub(crate) oom_kills: u64,
    /// What is left of it outside of this process.
    pub(crate) remains: Remains,
}

/// What is left to be removed of a child that has been reaped.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// To be removed.
    pub(crate) cgroup: Option<Cgroup>,
    /// Says that the runtime has somebody to be kept for until that is done: its record is what leads
    /// a sweep to the cgroup. Dropped after that.
    pub(crate) tenancy: Option<Arc<()>>,
}

impl Leader {
    /// Takes charge of a child that was started as the leader of a group of its own.
    pub(crate) fn new(
        child: Born,
        output: Output,
        cgroup: Option<Cgroup>,
        forked_from: u64,
        tenancy: Arc<()>,
    ) -> Self {
        let Born { pid, pidfd } = child;
        let (output, tenancy) = (Some(output), Some(tenancy));
        let parent = std::process::id();
        Self { pidfd, pid, parent, output, cgroup, forked_from, tenancy, reaped: false }
    }

    /// Sends a signal to the whole group, unless the child has been reaped; SIGKILL also to those that
    /// have left the group.
    pub(crate) fn signal(&self, signal: Signal) {
        self.signal_group(signal);
        // Where it takes time, it is done at the end.
        if signal == Signal::KILL
            && let Some(cgroup) = self.cgroup.as_ref().filter(|cgroup| cgroup.has_kill())
        {
            // An error means that the folder is gone, which it is only without members.
            let _ = cgroup.kill();
        }
    }

    fn signal_group(&self, signal: Signal) {
        if self.reaped || !self.is_own() || self.is_forgotten() {
            return;
        }
        let group = rustix::process::kill_process_group(self.pid, signal);
        // The child may have left its group. A second SIGKILL does no harm; other signals are
        // repeated only where the group got none. An error means that the process is dead.
        if group.is_err() || signal == Signal::KILL {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Whether this is the process whose child it is, and not a fork with a copy of this.
    fn is_own(&self) -> bool {
        self.parent == std::process::id()
    }

    /// Whether the operating system has forgotten the child by itself, or somebody else in this process
    /// has waited for it. Its number may be a stranger's then.
    fn is_forgotten(&self) -> bool {
        self.look().is_err_and(|error| error == Errno::CHILD)
    }

    /// Whether the child is dead; it stays a zombie.
    pub(crate) fn is_dead(&self) -> bool {
        // An error means that the operating system has forgotten it by itself.
        !self.look().is_ok_and(|status| status.is_none())
    }

    /// The child's end, if it is there to be waited for; it stays there.
    fn look(&self) -> Result<Option<WaitIdStatus>, Errno> {
        let dead = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), dead)
    }

    /// Kills what is left of the group, then waits for the child and forgets it. Returns at once
    /// if the child is dead already, and soon after its death if not. A second time it gives nothing.
    pub(crate) fn reap(&mut self) -> Reaped {
        if self.reaped || !self.is_own() {
            return Reaped::default();
        }
        self.signal_group(Signal::KILL);
        let cgroup = self.cgroup.take();
        // Writing to a cgroup's switch waits for everybody who moves a process at that moment, so it
        // is done only where somebody is left.
        if let Some(cgroup) = cgroup.as_ref().filter(|cgroup| cgroup.is_populated()) {
            // Who does not die in time is left to the sweep.
            let _ = cgroup.kill();
        }
        let waited = sys::wait(self.pidfd.as_fd());
        self.reaped = true;
        let usage = waited.map(|(_, usage)| usage).unwrap_or_default();
        let bytes = usage.peak_memory;
        let is_bound = bytes <= self.forked_from.saturating_add(PEAK_MARGIN);
        Reaped {
            status: waited.map(|(status, _)| status),
            usage,
            peak_memory: PeakMemory { bytes, is_bound },
            tree_peak: cgroup.as_ref().and_then(Cgroup::peak_memory),
            oom_kills: cgroup.as_ref().map_or(0, Cgroup::oom_kills),
            remains: Remains { cgroup, tenancy: self.tenancy.take() },
        }
    }

    /// Takes its standard output and standard error.
    pub(crate) fn take_output(&mut self) -> Option<Output> {
        self.output.take()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// A second descriptor of the child, which becomes readable when it is dead.
    pub(crate) fn clone_pidfd(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.reap();
    }
}
