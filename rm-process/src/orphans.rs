//! The hunt for what a dead runtime left: processes, cgroups, and its record.
//!
//! Main function: [`sweep`]. Records are made in [`record`](crate::record). What a runtime kept in
//! shared memory is not looked for here.
//!
//! # What is touched
//! A runtime is dead if its lock is free and its owner is gone: no such pid, or another process by
//! its start time, or another start of the machine. Nothing else is touched, nor is anything that
//! belongs to another user.
//!
//! A process is a dead runtime's if the environment it was started with names the runtime, whose
//! id nobody can guess. Of nested runtimes the outer one's death ends all: a process is killed if
//! any of the ids that it carries is a dead one's. Found are therefore all descendants, in
//! whatever session or group, except those that were started with a cleared environment, that
//! write their title over it, or that have changed their user; these die with their cgroup, where
//! there is one.
//!
//! A sweeper that was itself started under a dead runtime, or one of whose ancestors was, leaves
//! that runtime alone and says so: it cannot tell its own children and its terminal from what is
//! left over. It does not kill itself or its ancestors thereby.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rm_core::RuntimeId;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::cgroup;
use crate::identity::{ProcessStat, name_of, runtimes_of};
use crate::record::{self, Contents, RecordError};

/// How long the killed have to be gone. SIGKILL works at once unless a process waits for a device.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long, in one sweep, to try for the locks of those who may be dead. A process that was being
/// spawned when its parent was killed holds the lock until the kernel has killed it too.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// How many scans in a row must find nobody, on a machine where somebody forks all the time.
const CLEAN_SCANS: u32 = 8;

/// How many records or processes are open at once, of the 1024 descriptors that are usual.
const MOST_AT_ONCE: usize = 128;

/// What a [`sweep`] has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// The dead runtimes whose record is removed, by id.
    pub runtimes: Vec<String>,
    /// The processes that were killed by the mark in their environment.
    pub processes: Vec<u32>,
    /// The cgroups that were removed.
    pub cgroups: Vec<PathBuf>,
    /// What was left alone though it does not belong to a living runtime.
    pub skipped: Vec<Skipped>,
}

/// Something that a [`sweep`] left alone, or could not finish with.
#[derive(Debug, thiserror::Error)]
#[error("{} is left alone", path.display())]
#[non_exhaustive]
pub struct Skipped {
    /// The record, or the folder of records, or the file in one.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub reason: SkipReason,
}

/// Why a [`sweep`] left something alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// A record, or the folder of all records, cannot be used.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The name, kind or owner is not that of a record.
    #[error("it is not the record of a runtime of this user")]
    NotARecord,
    /// The file says another runtime than the folder's name.
    #[error("its file is the record of {found}")]
    OtherRuntime {
        /// The one in the file.
        found: RuntimeId,
    },
    /// The lock is free, but the process lives.
    #[error("its owner, process {pid}, is alive without holding its lock")]
    OwnerAlive {
        /// The owner.
        pid: u32,
    },
    /// No living process is its owner, but the lock is held.
    #[error(
        "its owner is not alive, and its lock is held by another sweep or by a process that the \
         owner forked"
    )]
    Locked,
    /// The sweeping process, or one of its ancestors, was started under the runtime.
    #[error("the process that sweeps was started under it; sweep from elsewhere")]
    OwnRuntime,
    /// The path is not one that the runtime would have made.
    #[error("{} is not a cgroup of this runtime", path.display())]
    ForeignCgroup {
        /// The path in the record.
        path: PathBuf,
    },
    /// A cgroup of a dead runtime cannot be removed yet.
    #[error("cannot remove cgroup {}", path.display())]
    Cgroup {
        /// Its folder.
        path: PathBuf,
        /// Why it cannot.
        #[source]
        source: io::Error,
    },
    /// A process of a dead runtime was killed and is not gone.
    #[error("its processes do not end within {} s of SIGKILL", PATIENCE.as_secs())]
    Undying,
}

/// Removes everything that this user's dead runtimes left.
///
/// Blocks: a sweep that finds nothing reads a few folders; one that finds a dead runtime reads all
/// of `/proc`, and waits until what it kills is gone. Two sweeps at once do no harm: the second
/// passes over what the first is at work on.
///
/// # Errors
/// The operating system's error if `/proc` cannot be read or it is out of descriptors. Every
/// record that was not finished with stays, for the next sweep.
pub fn sweep() -> io::Result<Swept> {
    sweep_in(&record::roots(), |folder| {
        // A record names also folders that were never made.
        fs::symlink_metadata(folder)?;
        cgroup::remove_dead(folder).map_err(io::Error::other)
    })
}

/// Kills every process that carries the mark of a runtime of this process, and waits for their ends:
/// what children that have ended have left. Returns their pids.
///
/// # Errors
/// The operating system's error if `/proc` cannot be read or it is out of descriptors.
pub(crate) fn kill_marked(runtime: RuntimeId) -> io::Result<Vec<u32>> {
    let mut killed = Vec::new();
    kill_all(&BTreeSet::from([runtime]), &mut killed)?;
    Ok(killed)
}

/// A dead runtime, locked by this sweep so that no other works on it.
struct Dead {
    folder: PathBuf,
    id: RuntimeId,
    cgroups: Vec<PathBuf>,
    /// Whether something of it is left that the next sweep has to deal with.
    unfinished: bool,
    _lock: OwnedFd,
}

/// The same under other roots. `remove_cgroup` kills what is in a cgroup and removes it; one that is
/// not there is none of its failures.
pub(crate) fn sweep_in(
    roots: &[PathBuf],
    remove_cgroup: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let mut records = Vec::new();
    for root in roots {
        match records_in(root, &mut swept) {
            Err(RecordError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => swept.skip(root, error),
            Ok(found) => records.extend(found),
        }
    }
    let until = Instant::now() + LOCK_PATIENCE;
    // Read only if there is something to judge, which is rare.
    let mut own = None;
    for batch in records.chunks(MOST_AT_ONCE) {
        let mut dead = Vec::new();
        for (folder, id) in batch {
            match examine(folder, *id, until, &mut own) {
                Err(Refusal::Skip(reason)) => swept.skip(folder, reason),
                Err(Refusal::Fail(error)) => return Err(error),
                Ok(found) => dead.extend(found),
            }
        }
        if !dead.is_empty() {
            finish(dead, &remove_cgroup, &mut swept)?;
        }
    }
    // What was left by somebody who was killed between making it and a record in it. Fails while
    // there is a record, which is right.
    for root in roots.iter().filter(|root| record::check_root(root).is_ok()) {
        let _ = fs::remove_dir(root);
    }
    Ok(swept)
}

/// Ends the dead: first their cgroups, which the kernel kills as a whole even while they fork,
/// then what carries their mark, and last their records.
fn finish(
    mut dead: Vec<Dead>,
    remove_cgroup: &impl Fn(&Path) -> io::Result<()>,
    swept: &mut Swept,
) -> io::Result<()> {
    for runtime in &mut dead {
        let name = name_of(runtime.id);
        for path in std::mem::take(&mut runtime.cgroups) {
            // The path comes from a file, so it must prove that it is the runtime's.
            let words = path.iter().filter_map(|word| word.to_str());
            let is_own = words.into_iter().any(|word| word.starts_with(&name));
            let problem = match is_own.then(|| remove_cgroup(&path)) {
                Some(Ok(())) => {
                    swept.cgroups.push(path);
                    continue;
                }
                Some(Err(error)) if error.kind() == ErrorKind::NotFound => continue,
                Some(Err(source)) => SkipReason::Cgroup { path, source },
                None => SkipReason::ForeignCgroup { path },
            };
            runtime.unfinished = true;
            swept.skip(&runtime.folder, problem);
        }
    }
    let ids = dead.iter().map(|runtime| runtime.id).collect();
    let undying = kill_all(&ids, &mut swept.processes)?;
    for runtime in dead {
        if undying.contains(&runtime.id) {
            swept.skip(&runtime.folder, SkipReason::Undying);
        } else if !runtime.unfinished {
            record::remove(&runtime.folder);
            swept.runtimes.push(runtime.id.to_string());
        }
    }
    Ok(())
}

impl Swept {
    fn skip(&mut self, path: &Path, reason: impl Into<SkipReason>) {
        self.skipped.push(Skipped { path: path.to_owned(), reason: reason.into() });
    }
}

/// The folders in `root` that have the name, kind and owner of a record.
fn records_in(root: &Path, swept: &mut Swept) -> Result<Vec<(PathBuf, RuntimeId)>, RecordError> {
    record::check_root(root)?;
    let failed = |source| RecordError::Io { action: "read", path: root.to_owned(), source };
    let mut records = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // Of a link itself, not of what it leads to.
        let is_own = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found.is_ok_and(|found| found.is_dir() && found.uid() == user()),
        };
        match id.filter(|_| is_own) {
            None => swept.skip(&entry.path(), SkipReason::NotARecord),
            Some(id) => records.push((entry.path(), id)),
        }
    }
    Ok(records)
}

/// Why a record is not dealt with.
enum Refusal {
    Skip(SkipReason),
    Fail(io::Error),
}

impl<E: Into<SkipReason>> From<E> for Refusal {
    fn from(reason: E) -> Self {
        Self::Skip(reason.into())
    }
}

/// The runtime of a record, if it is proven dead; `None` if it lives or has vanished.
fn examine(
    folder: &Path,
    id: RuntimeId,
    until: Instant,
    own: &mut Option<Surroundings>,
) -> Result<Option<Dead>, Refusal> {
    let Some(lock) = lock_dead(folder, until)? else { return Ok(None) };
    let contents = record::read(folder)?;
    // Without a file there is no owner to look for: it was killed before it had a child, or after
    // it had the last.
    if let Some(contents) = &contents {
        if contents.runtime != id {
            return Err(SkipReason::OtherRuntime { found: contents.runtime }.into());
        }
        if is_alive(contents)? {
            return Err(SkipReason::OwnerAlive { pid: contents.owner.pid }.into());
        }
    }
    for entry in fs::read_dir(folder).map_err(|source| io_error("read", folder, source))? {
        let entry = entry.map_err(|source| io_error("read", folder, source))?;
        let known = [record::FILE, record::UNFINISHED].map(std::ffi::OsStr::new);
        if !known.contains(&entry.file_name().as_os_str()) {
            return Err(SkipReason::NotARecord.into());
        }
    }
    let own = match own {
        Some(own) => own,
        none => none.insert(Surroundings::of_this_process().map_err(Refusal::Fail)?),
    };
    if own.include(id) {
        return Err(SkipReason::OwnRuntime.into());
    }
    let cgroups = contents.map(|contents| contents.cgroups).unwrap_or_default();
    Ok(Some(Dead { folder: folder.to_owned(), id, cgroups, unfinished: false, _lock: lock }))
}

/// The lock of a record, unless the runtime is alive or the record has vanished.
fn lock_dead(folder: &Path, until: Instant) -> Result<Option<OwnedFd>, Refusal> {
    loop {
        match record::lock(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("lock", folder, error).into()),
            Ok(Some(lock)) => return Ok(Some(lock)),
            Ok(None) => {}
        }
        match record::read(folder) {
            Ok(Some(contents)) if is_alive(&contents)? => return Ok(None),
            // Dead, or being made or removed at this moment.
            Ok(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Ok(_) => return Err(SkipReason::Locked.into()),
            // Another version's, and alive.
            Err(_) => return Ok(None),
        }
    }
}

fn is_alive(contents: &Contents) -> Result<bool, Refusal> {
    contents.owner.is_alive().map_err(Refusal::Fail)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> RecordError {
    RecordError::Io { action, path: path.to_owned(), source }
}

/// What the sweeping process itself lives under.
struct Surroundings {
    runtimes: BTreeSet<RuntimeId>,
    cgroups: String,
}

impl Surroundings {
    fn of_this_process() -> io::Result<Self> {
        let mut runtimes = BTreeSet::new();
        let mut pid = std::process::id();
        while pid != 0 {
            runtimes.extend(runtimes_of(pid)?);
            pid = ProcessStat::of(pid)?.map_or(0, |found| found.parent);
        }
        Ok(Self { runtimes, cgroups: fs::read_to_string("/proc/self/cgroup").unwrap_or_default() })
    }

    fn include(&self, id: RuntimeId) -> bool {
        self.runtimes.contains(&id) || self.cgroups.contains(&name_of(id))
    }
}

/// A process that carries the mark of dead runtimes and has been sent SIGKILL.
struct Killed {
    pid: u32,
    pidfd: OwnedFd,
    runtimes: BTreeSet<RuntimeId>,
}

/// Kills every process of these runtimes, and what they fork meanwhile, and waits until they are
/// gone. Returns the runtimes that still have some when patience is at its end.
fn kill_all(
    dead: &BTreeSet<RuntimeId>,
    processes: &mut Vec<u32>,
) -> io::Result<BTreeSet<RuntimeId>> {
    let end = Instant::now() + PATIENCE;
    let mut clean = 0;
    while clean < CLEAN_SCANS {
        let before = last_pid()?;
        let killed = kill_found(dead)?;
        if killed.is_empty() {
            // If nothing was forked meanwhile, the scan has seen every process that there is. Else
            // it may have missed one that forked and exited before its turn came.
            clean = if last_pid()? == before { CLEAN_SCANS } else { clean + 1 };
            continue;
        }
        clean = 0;
        for process in &killed {
            wait_gone(&process.pidfd, end)?;
            if !processes.contains(&process.pid) {
                processes.push(process.pid);
            }
        }
        if Instant::now() >= end {
            return Ok(killed.into_iter().flat_map(|process| process.runtimes).collect());
        }
    }
    Ok(BTreeSet::new())
}

/// The pid that was given out last, which says whether there was a fork.
fn last_pid() -> io::Result<u32> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let last = load.split_ascii_whitespace().last().and_then(|last| last.parse().ok());
    last.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/loadavg is malformed"))
}

/// Looks through all processes once and kills those of these runtimes, at most
/// [`MOST_AT_ONCE`] of them; the newest, which may be about to fork and exit, come first.
fn kill_found(dead: &BTreeSet<RuntimeId>) -> io::Result<Vec<Killed>> {
    let listed = fs::read_dir("/proc")?.collect::<io::Result<Vec<_>>>()?;
    let pid = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut pids: Vec<_> = listed.iter().filter_map(pid).collect();
    // Pids are given out in rising order, and from the start again when the highest is reached.
    let last = last_pid()?;
    pids.sort_unstable_by_key(|&pid| (pid > last, std::cmp::Reverse(pid)));
    let mut killed = Vec::new();
    for pid in pids {
        if fs::metadata(format!("/proc/{pid}")).is_ok_and(|found| found.uid() == user()) {
            killed.extend(kill_if_marked(pid, dead)?);
        }
        if killed.len() == MOST_AT_ONCE {
            break;
        }
    }
    Ok(killed)
}

/// The handle comes first, then the proof, then the signal: if the pid changes hands in between,
/// the signal reaches nobody, for the handle stays with the process that is gone.
fn kill_if_marked(pid: u32, dead: &BTreeSet<RuntimeId>) -> io::Result<Option<Killed>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let pidfd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        // Which of these it is for a process that is just being forgotten depends on the kernel.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
        pidfd => pidfd?,
    };
    let carried: BTreeSet<_> = runtimes_of(pid)?.into_iter().collect();
    let runtimes: BTreeSet<_> = carried.intersection(dead).copied().collect();
    if runtimes.is_empty() {
        return Ok(None);
    }
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        // It is another user's by now, having started a program that changes the user.
        Err(Errno::SRCH | Errno::PERM) => Ok(None),
        sent => sent.map(|()| Some(Killed { pid, pidfd, runtimes })).map_err(io::Error::from),
    }
}

/// Waits until a process is dead, reaped or not, or it is `end`.
fn wait_gone(pidfd: &OwnedFd, end: Instant) -> io::Result<()> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            polled => return Ok(polled.map(drop)?),
        }
    }
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

#[cfg(test)]
mod tests;
