//! The direct child and its process group, as the operating system knows them.
//!
//! Main type: [`Leader`]. It signals and reaps; it does not wait in async code and keeps no
//! status.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

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
    child: Child,
    pidfd: OwnedFd,
    pid: Pid,
    reaped: bool,
}

impl Leader {
    /// Takes charge of a child that was spawned as the leader of a group of its own. If that
    /// fails, the child is killed.
    pub(crate) fn new(mut child: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { child, pidfd, pid, reaped: false }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Sends a signal to the whole group, unless the child has been reaped.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        let group = rustix::process::kill_process_group(self.pid, signal);
        // The child may have left its group. A second SIGKILL does no harm; other signals are
        // repeated only where the group got none. An error means that the process is dead.
        if group.is_err() || signal == Signal::KILL {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Whether the child is dead; it stays a zombie.
    pub(crate) fn is_dead(&self) -> bool {
        let dead = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), dead) {
            Ok(status) => status.is_some(),
            // Nothing to wait for: the operating system has forgotten it by itself.
            Err(_) => true,
        }
    }

    /// Kills what is left of the group, then waits for the child and forgets it. Returns at once
    /// if the child is dead already, and soon after its death if not.
    ///
    /// The answer is `None` if the operating system forgot the child by itself, or a second time.
    pub(crate) fn reap(&mut self) -> Option<ExitStatus> {
        if self.reaped {
            return None;
        }
        self.signal(Signal::KILL);
        let status = self.child.wait().ok();
        self.reaped = true;
        status
    }

    pub(crate) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
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
