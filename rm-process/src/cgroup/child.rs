//! The cgroup of one child.
//!
//! Main type: [`Cgroup`]. It is made by [`Cgroups::create`](super::Cgroups::create); how trees
//! are killed and removed is in [`tree`].

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CgroupError, Runtime, V2, read, tree};
use crate::sys;

/// The cgroup of one child: a folder in the v2 hierarchy, one in the v1 hierarchy of the memory
/// controller, both or none.
///
/// Dropping it removes what is empty. What is not goes with the runtime's folder, when that is
/// dropped, or in the next sweep.
#[derive(Debug)]
pub struct Cgroup {
    v2: Result<V2, CgroupError>,
    v1: Option<PathBuf>,
    not_held: Option<CgroupError>,
    /// Keeps the folder that the others are in.
    _runtime: Arc<Runtime>,
}

/// A v2 cgroup for one child, open. Both descriptors are above the standard streams, which a child
/// replaces.
#[derive(Debug)]
pub struct Birthplace {
    /// In which the kernel can have a process born (Linux 5.7 and later).
    pub folder: OwnedFd,
    /// Its `cgroup.procs`, open for writing. Moving takes the kernel about 10 ms if nobody else did
    /// so in the moment before: it waits until no processor is in the midst of a fork or an exit.
    pub procs: OwnedFd,
}

impl Cgroup {
    pub(super) fn new(
        runtime: Arc<Runtime>,
        v2: Result<V2, CgroupError>,
        v1: Option<PathBuf>,
        not_held: Option<CgroupError>,
    ) -> Self {
        Self { v2, v1, not_held, _runtime: runtime }
    }

    /// Removes the folders, after a wait of at most a second for processes that are dying.
    /// Returns those that could not be removed, because somebody is alive in them.
    ///
    /// Blocks the calling thread for that time.
    pub fn remove(mut self) -> Vec<PathBuf> {
        let folders: Vec<PathBuf> = self.folders().map(Path::to_owned).collect();
        // Nothing is left to do for the drop.
        self.v1 = None;
        self.v2 = Err(CgroupError::NotMounted { hierarchy: "v2 hierarchy of cgroups" });
        let deadline = tree::deadline();
        folders.into_iter().filter(|folder| !tree::remove_until(folder, deadline)).collect()
    }

    /// The v2 folder, for a child to be born in or else to move to.
    ///
    /// # Errors
    /// What the kernel says on opening it.
    pub fn birthplace(&self) -> io::Result<Option<Birthplace>> {
        let Some(folder) = self.v2() else { return Ok(None) };
        let procs = OpenOptions::new().write(true).open(folder.join("cgroup.procs"))?;
        let folder = File::open(folder)?;
        let (folder, procs) = (sys::apart(folder.into())?, sys::apart(procs.into())?);
        Ok(Some(Birthplace { folder, procs }))
    }

    /// The `tasks` of the v1 folder, through which a child enters it, see
    /// [`Prepared::enter`](crate::limits::Prepared::enter).
    ///
    /// # Errors
    /// What the kernel says on opening it.
    pub fn tasks(&self) -> io::Result<Option<OwnedFd>> {
        let Some(folder) = &self.v1 else { return Ok(None) };
        // A thread can move by itself, without waiting for all processors as a process has to.
        // Before its program begins the one thread of a child is the process.
        let tasks = OpenOptions::new().write(true).open(folder.join("tasks"))?;
        Ok(Some(sys::apart(tasks.into())?))
    }

    /// Kills all processes of the tree, whatever groups and sessions they are in.
    ///
    /// Where [`has_kill`](Self::has_kill) is false, this kills the members one by one and waits
    /// for their deaths, at most a second; else it returns at once.
    ///
    /// # Errors
    /// What the kernel says, or that somebody is alive at the end of that time.
    pub fn kill(&self) -> io::Result<()> {
        let deadline = tree::deadline();
        if self.has_kill() {
            return self.v2().map_or(Ok(()), |folder| tree::kill(folder, deadline));
        }
        self.folders().try_for_each(|folder| tree::kill(folder, deadline))
    }

    /// Whether the kernel kills all of the tree in one step, so that nobody can escape by forking
    /// (Linux 5.14 and later, v2).
    pub fn has_kill(&self) -> bool {
        self.v2().is_some_and(|folder| folder.join("cgroup.kill").exists())
    }

    /// The folder by whose `cgroup.kill` a process that is in it can end all of the tree.
    pub fn kill_folder(&self) -> Option<&Path> {
        self.v2().filter(|_| self.has_kill())
    }

    /// Why there is no folder in the v2 hierarchy, so that there is no
    /// [`has_kill`](Self::has_kill).
    pub fn why_no_tree(&self) -> Option<&CgroupError> {
        self.v2.as_ref().err()
    }

    /// Why the tree is not held to the memory asked for; `None` too if none was asked for.
    pub fn why_not_held(&self) -> Option<&CgroupError> {
        self.not_held.as_ref()
    }

    /// How many processes of the tree were killed because memory ran out: because of the limit
    /// here or above, or because the machine had no more.
    pub fn oom_kills(&self) -> u64 {
        let file = match self.memory() {
            Some((folder, true)) => folder.join("memory.events"),
            Some((folder, false)) => folder.join("memory.oom_control"),
            None => return 0,
        };
        tree::field(&read(&file).unwrap_or_default(), "oom_kill").unwrap_or(0)
    }

    /// The most bytes that the tree has used at one time, with the files that the kernel cached
    /// for it.
    pub fn peak_memory(&self) -> Option<u64> {
        self.bytes("memory.peak", "memory.max_usage_in_bytes")
    }

    /// The bytes that the tree uses now, with the files that the kernel caches for it.
    #[cfg(test)]
    pub fn current_memory(&self) -> Option<u64> {
        self.bytes("memory.current", "memory.usage_in_bytes")
    }

    /// Whether any process is alive in it.
    pub fn is_populated(&self) -> bool {
        self.folders().any(tree::is_populated)
    }

    /// Its folders, with which a record can lead a later sweep to them.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.v2().into_iter().chain(self.v1.as_deref())
    }

    fn v2(&self) -> Option<&Path> {
        self.v2.as_ref().ok().map(|v2| v2.folder.as_path())
    }

    /// The folder that counts memory, and whether it is one of v2.
    fn memory(&self) -> Option<(&Path, bool)> {
        if let Some(folder) = &self.v1 {
            return Some((folder, false));
        }
        let v2 = self.v2.as_ref().ok().filter(|v2| v2.memory.is_ok())?;
        Some((&v2.folder, true))
    }

    fn bytes(&self, in_v2: &str, in_v1: &str) -> Option<u64> {
        let (folder, is_v2) = self.memory()?;
        read(&folder.join(if is_v2 { in_v2 } else { in_v1 })).ok()?.trim().parse().ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.folders().for_each(tree::remove);
    }
}
