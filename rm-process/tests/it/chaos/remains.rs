//! What the operating system shows of a scene: processes, records, cgroups, sentinels, sockets.
//!
//! Main type: [`Seen`], a process at one moment. Nothing is killed or removed here.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use super::parent::SCENE;

/// How often to look again at a process that shows no environment, as one that is at its exec.
const EXEC_TRIES: u32 = 50;

/// A process at one moment.
#[derive(Clone)]
pub struct Seen {
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    pub is_zombie: bool,
    environment: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, parent, group, session, .. } = self;
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let state = status.lines().find(|line| line.starts_with("State")).unwrap_or("gone");
        let child = self.variable(super::parent::CHILD).unwrap_or("-");
        write!(f, "{pid} (parent {parent}, group {group}, session {session}) of {child}: ")?;
        write!(f, "{line}, {state}")
    }
}

impl Seen {
    /// `None` if there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        let mut tries = 0;
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The program's name may hold anything.
            let mut fields = stat.rsplit_once(") ")?.1.split(' ');
            let is_zombie = matches!(fields.next()?, "Z" | "X");
            let [parent, group, session] = [(); 3].map(|()| fields.next()?.parse().ok());
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let has_program = fs::read_link(format!("/proc/{pid}/exe")).is_ok();
            if is_zombie || !environment.is_empty() || !has_program || tries == EXEC_TRIES {
                let (parent, group, session) = (parent?, group?, session?);
                return Some(Self { pid, parent, group, session, is_zombie, environment });
            }
            tries += 1;
            std::thread::yield_now();
        }
    }

    pub fn variable(&self, name: &str) -> Option<&str> {
        let mut variables = self.environment.split(|&byte| byte == 0);
        let value = |variable: &'_ [u8]| -> Option<usize> {
            variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=").map(<[u8]>::len)
        };
        let found = variables.find(|variable| value(variable).is_some())?;
        std::str::from_utf8(&found[name.len() + 1..]).ok()
    }

    /// The runtimes that it was started under, outermost first.
    pub fn runtimes(&self) -> impl Iterator<Item = &str> {
        self.variable("REMOTEMEDIA_RUNTIME").into_iter().flat_map(|ids| ids.split(','))
    }

    /// A descriptor of it, if it is still the same.
    pub fn pidfd(&self) -> Option<OwnedFd> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // The number may have gone to another since it was seen.
        let is_same = Self::of(self.pid)?.variable(SCENE) == self.variable(SCENE);
        is_same.then_some(pidfd)
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let listed = fs::read_dir("/proc").expect("proc").flatten();
    listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn everybody() -> impl Iterator<Item = Seen> {
    pids().filter_map(Seen::of)
}

/// All living processes of a scene.
pub fn of_scene(scene: &str) -> Vec<Seen> {
    everybody().filter(|seen| seen.variable(SCENE) == Some(scene)).collect()
}

/// All living processes of any scene of this process.
pub fn of_this_test() -> Vec<String> {
    let own = format!("{}.", std::process::id());
    let is_own = |seen: &Seen| seen.variable(SCENE).is_some_and(|scene| scene.starts_with(&own));
    everybody().filter(is_own).map(|seen| format!("{seen:?}")).collect()
}

/// The zombies that are children of a process.
pub fn zombies_of(parent: u32) -> Vec<u32> {
    let zombies = everybody().filter(|seen| seen.is_zombie && seen.parent == parent);
    zombies.map(|seen| seen.pid).collect()
}

/// Waits until a process is dead, reaped or not. Whether it is.
pub fn is_dead_within(pidfd: &OwnedFd, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("a short time");
    let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut watched, Some(&time)).expect("a descriptor to wait on") == 1
}

/// The folder of the records of this user's runtimes.
fn records() -> PathBuf {
    let user = rustix::process::getuid().as_raw();
    format!("/dev/shm/remotemedia-processes-{user}").into()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The ids of the runtimes whose record names one of these processes as the owner.
pub fn runtimes_owned_by(pids: &BTreeSet<u32>) -> BTreeSet<String> {
    let owner = |id: &str| {
        let text = fs::read(records().join(id).join("record.json")).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&text).ok()?;
        record["owner"]["pid"].as_u64()?.try_into().ok()
    };
    let is_owned = |id: &String| owner(id).is_some_and(|owner: u32| pids.contains(&owner));
    names_in(&records()).into_iter().filter(is_owned).collect()
}

/// Records that are nobody's yet or any more, as is every one for a moment.
pub fn ownerless_records() -> BTreeSet<String> {
    let names = names_in(&records()).into_iter();
    names.filter(|id| !records().join(id).join("record.json").exists()).collect()
}

/// Cgroups of runtimes, wherever they are.
pub fn cgroups() -> BTreeSet<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        fields[2].starts_with("cgroup").then(|| PathBuf::from(fields[1]))
    });
    let mut folders: Vec<_> = mounts.collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in below {
            if entry.file_name().to_string_lossy().starts_with("remotemedia-") {
                found.insert(entry.path());
            } else {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// What there is of these runtimes: records, cgroups, and who has one in the command line, as a
/// sentinel has.
pub fn of_runtimes(runtimes: &BTreeSet<String>) -> Vec<String> {
    let is_named = |text: &str| runtimes.iter().any(|id| text.contains(id.as_str()));
    let mut left = names_in(&records());
    left.extend(cgroups().iter().map(|folder| folder.display().to_string()));
    left.retain(|name| is_named(name));
    for pid in pids() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if is_named(&line) {
            left.push(format!("{pid}: {line}"));
        }
    }
    left
}

/// Files in shared memory and sockets that could be a runtime's, by their names; without the records
/// and the namespaces of channels.
pub fn files(folder: &Path) -> BTreeSet<String> {
    let mut files: BTreeSet<_> = names_in(folder).into_iter().collect();
    let records = records();
    let is_other = |name: &String| !records.ends_with(name) && name.contains("remotemedia-process");
    files.extend(names_in(Path::new("/dev/shm")).into_iter().filter(is_other));
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let sockets = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
    let folder = folder.display().to_string();
    let is_own = |name: &&str| name.contains(&folder) || name.contains("remotemedia-process");
    files.extend(sockets.filter(is_own).map(str::to_owned));
    files
}

/// The ids of all runtimes that have a record.
pub fn ids() -> Vec<String> {
    names_in(&records())
}
