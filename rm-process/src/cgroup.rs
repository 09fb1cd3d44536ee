//! A cgroup for each child, so that its whole tree of processes is held to a limit of memory, is
//! killed at once, and its out-of-memory kills are counted.
//!
//! Main types: [`Cgroups`], which makes them for one runtime, and [`Cgroup`]. A machine on which
//! none can be made is normal: each [`Cgroup`] says what it cannot do, and why. This module moves
//! no process; a child enters by itself, see [`Prepared::enter`](crate::limits::Prepared::enter).
//!
//! A v2 cgroup kills, and tells whether anybody is left. It also holds the memory where the
//! memory controller is to be had in v2; where that is still in a v1 hierarchy, a second folder
//! there does.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

mod child;
mod own;
mod tree;

pub use child::{Birthplace, Cgroup};
use own::Own;
pub use tree::remove_dead;

/// How the folder of every runtime is called, before what tells it from others.
const RUNTIME_PREFIX: &str = "remotemedia-";

/// Why a cgroup cannot be made or used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The name is no name of a folder, or could be that of a file of the kernel's.
    #[error("{name:?} cannot name a cgroup: {right}")]
    Name {
        /// The name asked for.
        name: String,
        /// What a right one is.
        right: &'static str,
    },
    /// The hierarchy is not there, or does not show this process's own cgroup.
    #[error("no {hierarchy} is mounted that shows the cgroup of this process")]
    NotMounted {
        /// Which one.
        hierarchy: &'static str,
    },
    /// The v2 hierarchy has no memory controller here.
    #[error("the memory controller is not available in {}", .folder.display())]
    NoMemoryController {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A cgroup beside this process's own would not be held to the limits of that.
    #[error("{} has a limit of its own, which must not be escaped", .folder.display())]
    Limited {
        /// This process's own cgroup.
        folder: PathBuf,
    },
    /// A cgroup beside this process's own would not be killed with that.
    #[error("{} is a child of another runtime, whose tree must not be left", .folder.display())]
    Nested {
        /// This process's own cgroup.
        folder: PathBuf,
    },
    /// The cgroup cannot hold processes.
    #[error("{} is of the type {found:?}, which takes no processes", .folder.display())]
    Type {
        /// The cgroup.
        folder: PathBuf,
        /// Its `cgroup.type`.
        found: String,
    },
    /// Neither hierarchy holds the memory.
    #[error("{v2}, and {v1}")]
    NoMemory {
        /// Why v2 does not.
        v2: Box<CgroupError>,
        /// Why v1 does not.
        v1: Box<CgroupError>,
    },
    /// The folder is not that of a dead runtime.
    #[error("{} is not to be removed: {reason}", .folder.display())]
    NotDead {
        /// The folder.
        folder: PathBuf,
        /// What speaks against it.
        reason: &'static str,
    },
    /// The kernel refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    System {
        /// What was to be done.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
}

impl CgroupError {
    fn system(action: &'static str, path: &Path, error: &io::Error) -> Self {
        let source = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Self::System { action, path: path.to_owned(), source }
    }
}

/// Makes the cgroups of one runtime. Clones share its folders, which are made when they are first
/// needed, and removed when the last clone and the last [`Cgroup`] are gone.
#[derive(Debug, Clone)]
pub struct Cgroups(Arc<Runtime>);

#[derive(Debug)]
struct Runtime {
    name: String,
    own: Own,
    v2: OnceLock<Result<V2, CgroupError>>,
    v1: OnceLock<Result<PathBuf, CgroupError>>,
}

/// A folder in the v2 hierarchy: that of the runtime, or in it that of a child.
#[derive(Debug, Clone)]
struct V2 {
    folder: PathBuf,
    /// Whether children have the memory controller, or why not.
    memory: Result<(), CgroupError>,
}

impl Cgroups {
    /// For the runtime of that name, `remotemedia-` and something that nobody can guess. Makes
    /// nothing yet.
    pub fn new(name: &str) -> Self {
        Self::within(Own::of_this_process(), name)
    }

    fn within(own: Own, name: &str) -> Self {
        let (v2, v1) = (OnceLock::new(), OnceLock::new());
        Self(Arc::new(Runtime { name: name.to_owned(), own, v2, v1 }))
    }

    /// Makes the cgroup of one child, as far as that is possible here. `child` is a name of
    /// letters, digits, `-` and `_` that no living child of this runtime has; `max_memory` the
    /// bytes to which its tree is held.
    ///
    /// What cannot be made is no failure: the answer says why, see [`Cgroup::why_no_tree`] and
    /// [`Cgroup::why_not_held`].
    pub fn create(&self, child: &str, max_memory: Option<u64>) -> Cgroup {
        let runtime = Arc::clone(&self.0);
        if let Err(error) = check_child_name(child) {
            return Cgroup::new(runtime, Err(error.clone()), None, max_memory.and(Some(error)));
        }
        let v2 = runtime.make_v2(child);
        let mut v1 = None;
        let held = max_memory.map_or(Ok(()), |bytes| {
            let in_v2 =
                v2.clone().and_then(|v2| v2.memory.and_then(|()| hold_v2(&v2.folder, bytes)));
            in_v2.or_else(|no_v2| {
                let made = runtime.make_v1(child, bytes);
                v1 = Some(made.map_err(|no_v1| CgroupError::NoMemory {
                    v2: Box::new(no_v2),
                    v1: Box::new(no_v1),
                })?);
                Ok(())
            })
        });
        Cgroup::new(runtime, v2, v1, held.err())
    }

    /// The folders that this runtime has, or may still make: what [`remove_dead`] is to be given
    /// if this process dies.
    pub fn folders(&self) -> Vec<PathBuf> {
        let Runtime { name, own, .. } = &*self.0;
        let beside = own.v2.as_deref().and_then(Path::parent);
        let parents = [own.v2.as_deref(), beside, own.v1_memory.as_deref()];
        parents.into_iter().flatten().map(|parent| parent.join(name)).collect()
    }
}

impl Runtime {
    /// A cgroup in the v2 hierarchy.
    fn make_v2(&self, child: &str) -> Result<V2, CgroupError> {
        let made = self.v2.get_or_init(|| {
            check_runtime_name(&self.name)?;
            let hierarchy = "v2 hierarchy of cgroups";
            let own = self.own.v2.as_deref().ok_or(CgroupError::NotMounted { hierarchy })?;
            make_runtime_v2(own, &self.name)
        });
        let runtime = made.as_ref().map_err(Clone::clone)?;
        let folder = make(&runtime.folder.join(child))?;
        match read(&folder.join("cgroup.type")) {
            Ok(found) if found.trim_end() != "domain" => {
                let found = found.trim_end().to_owned();
                tree::remove(&folder);
                Err(CgroupError::Type { folder, found })
            }
            _ => Ok(V2 { folder, memory: runtime.memory.clone() }),
        }
    }

    /// A cgroup in the v1 hierarchy of the memory controller, held to that many bytes.
    fn make_v1(&self, child: &str, max_memory: u64) -> Result<PathBuf, CgroupError> {
        let made = self.v1.get_or_init(|| {
            check_runtime_name(&self.name)?;
            let hierarchy = "v1 hierarchy of the memory controller";
            let own = self.own.v1_memory.as_deref().ok_or(CgroupError::NotMounted { hierarchy })?;
            make(&own.join(&self.name))
        });
        let folder = make(&made.as_ref().map_err(Clone::clone)?.join(child))?;
        hold_v1(&folder, max_memory).inspect_err(|_| tree::remove(&folder))?;
        Ok(folder)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let v2 = self.v2.get().and_then(|made| made.as_ref().ok()).map(|v2| &v2.folder);
        let v1 = self.v1.get().and_then(|made| made.as_ref().ok());
        // A child whose start nobody waited for may have been killed just now.
        let deadline = tree::deadline();
        for folder in v2.into_iter().chain(v1) {
            tree::remove_until(folder, deadline);
        }
    }
}

/// The runtime's folder in the v2 hierarchy: where its children can have the memory controller,
/// else where this process is.
fn make_runtime_v2(own: &Path, name: &str) -> Result<V2, CgroupError> {
    let memory = match make_with_memory(own, name) {
        Ok(folder) => return Ok(V2 { folder, memory: Ok(()) }),
        Err(error) => error,
    };
    // A cgroup with processes gives no controllers to those below it, unless it is the root of
    // the hierarchy. A service manager that delegates gives them to the one above it.
    let memory = match beside(own).map(|parent| make_with_memory(&parent?, name)) {
        Some(Ok(folder)) => return Ok(V2 { folder, memory: Ok(()) }),
        Some(Err(error)) => error,
        None => memory,
    };
    check_can_move(own)?;
    Ok(V2 { folder: make(&own.join(name))?, memory: Err(memory) })
}

/// The cgroup above this process's own, if there is one that may be used, or why not.
fn beside(own: &Path) -> Option<Result<PathBuf, CgroupError>> {
    let parent = own.parent()?;
    // Above the root of the hierarchy lies another file system.
    if !parent.join("cgroup.procs").exists() {
        return None;
    }
    if parent.file_name().is_some_and(is_runtime_name) {
        return Some(Err(CgroupError::Nested { folder: own.to_owned() }));
    }
    let limits = ["memory.max", "memory.high", "memory.swap.max", "cpu.max", "pids.max"];
    let limits = limits.map(|file| own.join(file));
    if limits.iter().any(|file| read(file).is_ok_and(|text| !text.starts_with("max"))) {
        return Some(Err(CgroupError::Limited { folder: own.to_owned() }));
    }
    Some(Ok(parent.to_owned()))
}

/// The runtime's folder below a cgroup that gives it the memory controller.
fn make_with_memory(above: &Path, name: &str) -> Result<PathBuf, CgroupError> {
    let has_memory = |file: &str| {
        let controllers = read(&above.join(file)).unwrap_or_default();
        controllers.split_whitespace().any(|controller| controller == "memory")
    };
    if !has_memory("cgroup.controllers") {
        return Err(CgroupError::NoMemoryController { folder: above.to_owned() });
    }
    check_can_move(above)?;
    if !has_memory("cgroup.subtree_control") {
        write(&above.join("cgroup.subtree_control"), "+memory")?;
    }
    let folder = make(&above.join(name))?;
    write(&folder.join("cgroup.subtree_control"), "+memory")
        .inspect_err(|_| tree::remove(&folder))?;
    Ok(folder)
}

/// Whether processes of this user may move below that cgroup: the kernel asks whether they may
/// write to the members of the nearest cgroup above both where they were and where they go.
fn check_can_move(above: &Path) -> Result<(), CgroupError> {
    let procs = above.join("cgroup.procs");
    let opened = OpenOptions::new().write(true).open(&procs);
    opened.map(drop).map_err(|error| CgroupError::system("write to", &procs, &error))
}

fn hold_v2(folder: &Path, max_memory: u64) -> Result<(), CgroupError> {
    // All of a tree dies of its limit, not one process of it that the others wait for. Swap would
    // let it grow on. Old kernels have not the first, and a kernel without swap not the second.
    write_if_there(&folder.join("memory.oom.group"), "1")?;
    write_if_there(&folder.join("memory.swap.max"), "0")?;
    write(&folder.join("memory.max"), &max_memory.to_string())
}

fn hold_v1(folder: &Path, max_memory: u64) -> Result<(), CgroupError> {
    let bytes = max_memory.to_string();
    write(&folder.join("memory.limit_in_bytes"), &bytes)?;
    // Memory and swap together; not there unless the kernel counts swap.
    write_if_there(&folder.join("memory.memsw.limit_in_bytes"), &bytes)
}

fn is_runtime_name(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().strip_prefix(RUNTIME_PREFIX).is_some_and(is_word)
}

/// Letters, digits, `-` and `_`. All files of the kernel's have a dot in their names, or are
/// `tasks`, `release_agent` or `notify_on_release`.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn check_runtime_name(name: &str) -> Result<(), CgroupError> {
    if is_runtime_name(name.as_ref()) {
        return Ok(());
    }
    let right = "it must be `remotemedia-` and then letters, digits, `-` or `_`";
    Err(CgroupError::Name { name: name.to_owned(), right })
}

fn check_child_name(name: &str) -> Result<(), CgroupError> {
    if is_word(name) {
        return Ok(());
    }
    let right = "it must consist of letters, digits, `-` and `_`";
    Err(CgroupError::Name { name: name.to_owned(), right })
}

fn make(folder: &Path) -> Result<PathBuf, CgroupError> {
    fs::create_dir(folder).map_err(|error| CgroupError::system("make", folder, &error))?;
    Ok(folder.to_owned())
}

fn read(file: &Path) -> io::Result<String> {
    fs::read_to_string(file)
}

/// Writes to a file of the kernel's, which takes each write by itself as a command.
fn write(file: &Path, text: &str) -> Result<(), CgroupError> {
    let written = OpenOptions::new().write(true).open(file);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| CgroupError::system("write to", file, &error))
}

fn write_if_there(file: &Path, text: &str) -> Result<(), CgroupError> {
    match write(file, text) {
        Err(CgroupError::System { source: Errno::NOENT, .. }) => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests;
