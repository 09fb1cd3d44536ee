//! A cgroup with those below it: who is in it, killing them, and removing it.
//!
//! Main functions: [`kill`], [`remove_until`] and [`remove_dead`]. It makes nothing. A file system
//! of cgroups holds no symbolic links, so within it a path cannot lead anywhere else.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::own::Own;
use super::{CgroupError, is_runtime_name, read};

/// How long the killed may take to die and leave their cgroup.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a v1 cgroup is tried again, which does not tell when it is empty.
const RETRY: Duration = Duration::from_millis(5);

/// How deep a tree is followed; what lies deeper, its own processes made.
const MAX_DEPTH: usize = 32;

/// From linux/magic.h.
const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// When to give up on what begins now.
pub(super) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Kills and removes a folder of a dead runtime, as [`Cgroups::folders`](super::Cgroups::folders)
/// told it. That there is none is no error.
///
/// The caller has proved that the runtime is dead. Blocks for at most two seconds.
///
/// # Errors
/// [`CgroupError::NotDead`] if it is not the folder of a runtime, or this process is in it;
/// [`CgroupError::System`] if somebody in it does not die, or the kernel refuses something.
pub fn remove_dead(folder: &Path) -> Result<(), CgroupError> {
    let refuse = |reason| Err(CgroupError::NotDead { folder: folder.to_owned(), reason });
    let plain = folder.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if !folder.is_absolute() || !plain || !folder.file_name().is_some_and(is_runtime_name) {
        return refuse("it is not called like the folder of a runtime");
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return refuse("it is not a folder"),
        Err(error) => return Err(CgroupError::system("open", folder, &error.into())),
    };
    match rustix::fs::fstatfs(&opened) {
        Ok(found) if is_cgroup_magic(found.f_type as u64) => {}
        _ => return refuse("it does not lie on a file system of cgroups"),
    }
    let own = Own::of_this_process();
    if own.v2.iter().chain(&own.v1_memory).any(|own| own.starts_with(folder)) {
        return refuse("this process is in it");
    }
    kill(folder, deadline()).map_err(|error| CgroupError::system("kill all in", folder, &error))?;
    if remove_until(folder, deadline()) {
        return Ok(());
    }
    Err(CgroupError::system("remove", folder, &Errno::BUSY.into()))
}

fn is_cgroup_magic(magic: u64) -> bool {
    matches!(magic, CGROUP_SUPER_MAGIC | CGROUP2_SUPER_MAGIC)
}

/// Kills all processes in the cgroup and those below it: in one step where the kernel can do
/// that, else one by one until none is left.
pub(super) fn kill(folder: &Path, deadline: Instant) -> io::Result<()> {
    let switch = folder.join("cgroup.kill");
    if switch.exists() {
        let opened = OpenOptions::new().write(true).open(&switch);
        return match opened.and_then(|mut switch| switch.write_all(b"1")) {
            Err(error) if is_gone(&error) => Ok(()),
            written => written,
        };
    }
    for folder in with_all_below(folder) {
        kill_members(&folder, deadline)?;
    }
    Ok(())
}

/// Kills the members of one cgroup until it has none. A process that was sent SIGKILL cannot fork
/// any more, but stays a member until it is out of a fork that it had begun; so nobody is missed.
fn kill_members(folder: &Path, deadline: Instant) -> io::Result<()> {
    let mut killed: HashMap<i32, OwnedFd> = HashMap::new();
    loop {
        let members = members(folder)?;
        if members.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Errno::TIMEDOUT.into());
        }
        killed.retain(|pid, _| members.contains(pid));
        for &number in &members {
            let Some(pid) = Pid::from_raw(number) else { continue };
            let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            // The number may have gone to a stranger since it was read. If it is still that of a
            // member now that the descriptor holds the process, that is the member, or dead.
            if self::members(folder)?.contains(&number) {
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                killed.insert(number, pidfd);
            }
        }
        let death = |pidfd| PollFd::new(pidfd, PollFlags::IN);
        let mut deaths: Vec<PollFd<'_>> = killed.values().map(death).collect();
        // Without any, the last members died meanwhile.
        if !deaths.is_empty() {
            wait(&mut deaths, deadline);
        }
    }
}

fn members(folder: &Path) -> io::Result<Vec<i32>> {
    let text = match read(&folder.join("cgroup.procs")) {
        // Removed meanwhile.
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        text => text?,
    };
    // Those of other pid namespaces are 0 here, and out of reach.
    Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0).collect())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NODEV))
}

/// Returns after one of the events, or at the deadline.
fn wait(fds: &mut [PollFd<'_>], deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    if let Ok(timeout) = Timespec::try_from(left) {
        let _ = rustix::event::poll(fds, Some(&timeout));
    }
}

/// Whether any process is alive in the cgroup; in v2 also below it.
pub(super) fn is_populated(folder: &Path) -> bool {
    match read(&folder.join("cgroup.events")) {
        Ok(events) => field(&events, "populated") != Some(0),
        Err(_) => members(folder).is_ok_and(|members| !members.is_empty()),
    }
}

/// The number behind a name in a file of lines `NAME NUMBER`.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

/// Removes the cgroup with those below it if nobody is in them.
pub(super) fn remove(folder: &Path) {
    let _ = try_remove(folder);
}

/// Removes the cgroup with those below it as soon as nobody is in them. Whether it is gone.
pub(super) fn remove_until(folder: &Path, deadline: Instant) -> bool {
    loop {
        match try_remove(folder) {
            Ok(()) => return true,
            Err(error) if Errno::from_io_error(&error) != Some(Errno::BUSY) => return false,
            Err(_) if Instant::now() >= deadline => return false,
            Err(_) => wait_until_empty(folder, deadline),
        }
    }
}

/// Removing a cgroup of the kernel's takes its files along; only cgroups below it are in the way.
fn try_remove(folder: &Path) -> io::Result<()> {
    for folder in with_all_below(folder).iter().rev() {
        match fs::remove_dir(folder) {
            Err(error) if is_gone(&error) => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// The cgroup, and then those below it, each after the one that it is in.
fn with_all_below(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![(folder.to_owned(), 0)];
    let mut next = 0;
    while let Some((folder, depth)) = folders.get(next).cloned() {
        next += 1;
        if depth == MAX_DEPTH {
            continue;
        }
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|entry| (entry.path(), depth + 1)));
    }
    folders.into_iter().map(|(folder, _)| folder).collect()
}

/// Returns when nobody is in the cgroup, at the deadline, or after a moment where the kernel does
/// not tell.
fn wait_until_empty(folder: &Path, deadline: Instant) {
    let mut text = [0; 256];
    let watched = File::open(folder.join("cgroup.events")).and_then(|events| {
        // Reading takes note of the state whose change the poll then waits for.
        let length = events.read_at(&mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..length]);
        Ok((events, field(&text, "populated") == Some(1)))
    });
    match watched {
        Ok((events, true)) => wait(&mut [PollFd::new(&events, PollFlags::PRI)], deadline),
        _ => std::thread::sleep(RETRY),
    }
}
