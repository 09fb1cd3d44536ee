//! Dying with the parent.
//!
//! Main function: [`die_with_parent`]. It needs nothing of what the process does otherwise.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::connect::{CONTROL_FD_ENV, ChildError, parse_control};
use crate::sys;

/// Environment variable that tells a child the folder of its own cgroup, with which it can end all of
/// its descendants. Not set where there is none.
pub const CGROUP_ENV: &str = "REMOTEMEDIA_CGROUP";

/// Stack of the thread that waits for the parent's death; it makes three system calls.
const WATCHER_STACK: usize = 64 * 1024;

/// Ties the life of this process and all its descendants in its process group to the parent's.
///
/// A thread waits on a pidfd of the parent and, when the parent dies in whatever way, kills the
/// whole group with SIGKILL, and where this process has a cgroup of its own everything in that; it
/// needs no lock of the program, so it works also while Python holds the GIL. Call it first thing on
/// the main thread, before any grandchild is started.
///
/// Up to here the kernel sends SIGKILL to this process alone when the parent dies. From here on it
/// sends SIGCONT, which wakes a stopped process so that the thread can do its work. Replacing the
/// program by exec afterwards ends the thread, and with it the protection.
///
/// # Errors
/// [`ChildError::NotMainThread`], [`ChildError::NotGroupLeader`], or [`ChildError::Watch`].
pub fn die_with_parent() -> Result<(), ChildError> {
    // The kernel keeps the parent-death signal per thread, and the one set before exec belongs to
    // the main thread.
    if rustix::thread::gettid() != rustix::process::getpid() {
        return Err(ChildError::NotMainThread);
    }
    // By nix: 0, of a leader outside of this PID namespace, is no number for rustix.
    if nix::unistd::getpgrp() != nix::unistd::getpid() {
        return Err(ChildError::NotGroupLeader);
    }
    let cannot = |error: Errno| ChildError::Watch(error.into());
    let parent = rustix::process::getppid();
    // A child of this crate has had this signal since before exec, so its parent was alive until
    // now, and is `parent`. For others it is set here, and the parent is whoever it is now.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(cannot)?;
    let pidfd = match parent.map(|parent| rustix::process::pidfd_open(parent, PidfdFlags::empty()))
    {
        Some(Ok(pidfd)) => pidfd,
        // No parent that can be seen from here (a PID namespace), so none to die with.
        None => return Err(cannot(Errno::SRCH)),
        Some(Err(Errno::SRCH)) => kill_own_group(None),
        Some(Err(error)) => return Err(cannot(error)),
    };
    let cgroup = own_cgroup();
    // The pidfd is the parent's only if the parent still lived when it was opened: its number may
    // have been reused.
    if rustix::process::getppid() != parent {
        kill_own_group(cgroup.as_ref());
    }
    // A second call changes nothing.
    let parent = PARENT.get_or_init(|| Parent { pidfd, cgroup });
    std::thread::Builder::new()
        .name("parent-watch".to_owned())
        .stack_size(WATCHER_STACK)
        .spawn(|| watch(parent))
        .map_err(ChildError::Watch)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::CONT)).map_err(cannot)
}

/// The parent that this process dies with.
struct Parent {
    pidfd: OwnedFd,
    /// By which this process's own cgroup is killed.
    cgroup: Option<File>,
}

static PARENT: OnceLock<Parent> = OnceLock::new();

/// How long after it has closed its end of the control channel a parent is awaited to die.
const DEATH_AFTER_CLOSE: Duration = Duration::from_millis(100);

/// Ends this process with its parent if that is dying. A dying parent closes the control channel a
/// moment before its death shows, and a child that takes that for the word to end would be gone
/// before it could end its descendants.
pub(super) fn end_with_parent() {
    static AWAITED: OnceLock<()> = OnceLock::new();

    let Some(parent) = PARENT.get() else { return };
    // Once: a parent that lives on after that is watched by the thread alone.
    AWAITED.get_or_init(|| {
        let until = Instant::now() + DEATH_AFTER_CLOSE;
        loop {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now()));
            let mut watched = [PollFd::new(&parent.pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut watched, left.ok().as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => break,
                Ok(_) => kill_own_group(parent.cgroup.as_ref()),
            }
        }
    });
}

fn watch(parent: &Parent) {
    // Signal handlers of the program run on its own threads, not on this small stack. If the mask
    // cannot be set, they may run here too, which is no reason not to watch.
    let _ = SigSet::all().thread_block();
    loop {
        let mut watched = [PollFd::new(&parent.pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut watched, None) {
            Ok(0) | Err(Errno::INTR | Errno::AGAIN | Errno::NOMEM) => {}
            Ok(_) | Err(_) => kill_own_group(parent.cgroup.as_ref()),
        }
    }
}

/// The switch by which everything in this process's own cgroup is killed.
fn own_cgroup() -> Option<File> {
    let folder = std::env::var_os(CGROUP_ENV)?;
    // The variable may have come down to a descendant of the process that is meant. Only that has the
    // control channel, open since before its program began.
    let [control, ..] = parse_control(&std::env::var(CONTROL_FD_ENV).ok()?)?;
    if !sys::is_open(control.0, (control.1, FileType::Socket)) {
        return None;
    }
    OpenOptions::new().write(true).open(Path::new(&folder).join("cgroup.kill")).ok()
}

/// Ends this process and everything in its group and its cgroup. Only for the leader of a group.
fn kill_own_group(cgroup: Option<&File>) -> ! {
    if let Some(mut switch) = cgroup {
        let _ = switch.write_all(b"1");
    }
    let own: Pid = rustix::process::getpid();
    let _ = rustix::process::kill_process_group(own, Signal::KILL);
    // Not reached: SIGKILL cannot be ignored, and a process may always signal itself.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dying_with_the_parent_is_refused_on_another_thread() {
        let error = die_with_parent().unwrap_err();
        assert!(matches!(error, ChildError::NotMainThread));
    }
}
