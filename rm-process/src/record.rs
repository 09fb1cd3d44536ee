//! The record of a runtime, by which its orphans are found if it dies without warning.
//!
//! Main type: [`Record`]. It is written and removed here; what a dead runtime left is hunted by
//! [`orphans`](crate::orphans).
//!
//! A record is a folder of its own, named by the runtime's id, with a lock on the folder itself
//! and one file in it:
//!
//! ```text
//! /dev/shm/remotemedia-processes-1000/      0700, this user's
//!     3f9c0a5512d4e871/                     locked (flock) while the runtime lives
//!         record.json                       whose it is, and its cgroups
//! ```
//!
//! # Why it is crash-safe
//! The folder is made, then locked, then gets its file, which is only ever replaced as a whole by
//! rename. A kill at any instruction leaves nothing, an empty folder, one with an unfinished
//! `record.json.new`, or a whole record; the kernel frees the lock. A folder without `record.json`
//! belongs to a runtime that had not started a child yet, or had none left.
//!
//! The lock is closed by exec. What was forked and has not come to its exec yet holds it too, for
//! a moment; so does a process that the owner forks and that never calls exec, as Python's
//! `multiprocessing` can do, for as long as it lives. Such a runtime counts as alive for longer
//! than it is, never for shorter.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rm_core::RuntimeId;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::identity::{Owner, random_id};

/// The format of the file.
pub const VERSION: u32 = 1;

/// The file in a record's folder.
pub const FILE: &str = "record.json";

/// What becomes the file when it is whole.
pub const UNFINISHED: &str = "record.json.new";

/// More than any record has.
const LONGEST: u64 = 1 << 20;

/// Why a record could not be made, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A file or folder of it could not be used.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The folder belongs to somebody else, or lets somebody else in.
    #[error(
        "{} is not a folder of user {user} alone (mode 0700, not a link); remove it",
        path.display()
    )]
    ForeignFolder {
        /// Which folder.
        path: PathBuf,
        /// This process's user.
        user: u32,
    },
    /// Others could replace the folder by another.
    #[error(
        "others may rename {}; the folder that it is in must be user {user}'s or root's, \
         and closed to others or sticky",
        path.display()
    )]
    Replaceable {
        /// Which folder.
        path: PathBuf,
        /// This process's user.
        user: u32,
    },
    /// The file is not a record.
    #[error("{} is not a record of format {VERSION}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The file is of another format, as another version of this program would write it.
    #[error("{} has format {found}, and only {VERSION} is known", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The operating system gave no random number for the id.
    #[error("no random number for the id of a runtime")]
    Random(#[source] getrandom::Error),
}

impl RecordError {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// [`VERSION`].
    pub version: u32,
    /// The runtime, as in the name of its folder.
    pub runtime: RuntimeId,
    /// The process whose runtime it is.
    pub owner: Owner,
    /// The cgroups of the runtime, also such as were about to be made.
    pub cgroups: Vec<PathBuf>,
}

/// The record of a living runtime. It is removed when this is dropped.
#[derive(Debug)]
pub struct Record {
    folder: PathBuf,
    contents: Contents,
    /// Held for as long as the runtime lives.
    _lock: OwnedFd,
}

impl Record {
    /// Makes a record for a new runtime of this process, before its first child is started.
    ///
    /// # Errors
    /// [`RecordError`] of the first folder that was tried, if none can be used.
    pub fn create() -> Result<Self, RecordError> {
        Self::create_in(&roots())
    }

    /// The same in the first of `roots` that can be used.
    pub(crate) fn create_in(roots: &[PathBuf]) -> Result<Self, RecordError> {
        let mut failed = None;
        for root in roots {
            match Self::create_under(root) {
                Err(error) => failed = failed.or(Some(error)),
                made => return made,
            }
        }
        let none = || at("use", Path::new("any folder"))(ErrorKind::NotFound.into());
        Err(failed.unwrap_or_else(none))
    }

    fn create_under(root: &Path) -> Result<Self, RecordError> {
        loop {
            make_folder(root)?;
            match check_root(root) {
                // Another process's last record went at this moment, and took the root along.
                Err(error) if error.is_missing() => continue,
                checked => checked?,
            }
            let runtime = random_id().map_err(RecordError::Random)?;
            let folder = root.join(runtime.to_string());
            match make_folder(&folder).and_then(|()| lock(&folder).map_err(at("lock", &folder))) {
                // A sweep came between creation and lock, found the folder empty and removed it.
                Ok(None) => {}
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
                Ok(Some(lock)) => {
                    let owner = Owner::this_process().map_err(at("read", Path::new("/proc")))?;
                    let contents =
                        Contents { version: VERSION, runtime, owner, cgroups: Vec::new() };
                    // If the file cannot be written, the drop of this removes the rest.
                    let record = Self { folder, contents, _lock: lock };
                    record.write()?;
                    return Ok(record);
                }
            }
        }
    }

    /// Adds a cgroup, before it is made: a kill in between would leave one that nobody knows. It
    /// must have a folder named by the runtime (see [`name_of`](crate::identity::name_of)) in its path.
    ///
    /// # Errors
    /// [`RecordError`] if the file cannot be written; it then is as it was.
    pub fn add_cgroup(&mut self, folder: &Path) -> Result<(), RecordError> {
        self.contents.cgroups.push(folder.to_owned());
        self.write().inspect_err(|_| drop(self.contents.cgroups.pop()))
    }

    /// The runtime.
    pub fn id(&self) -> RuntimeId {
        self.contents.runtime
    }

    fn write(&self) -> Result<(), RecordError> {
        let (whole, unfinished) = (self.folder.join(FILE), self.folder.join(UNFINISHED));
        let write = || {
            let text = serde_json::to_vec(&self.contents)?;
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&unfinished)?;
            file.write_all(&text)?;
            // Where the folder is on a disk, the name must not be there before the contents.
            file.sync_data()?;
            fs::rename(&unfinished, &whole)
        };
        write().map_err(at("write", &whole))
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // A process that was forked off and drops what it has a copy of is not the owner.
        if std::process::id() == self.contents.owner.pid {
            remove(&self.folder);
        }
    }
}

/// Removes a record, and the root if it was the last. Its lock is held by the caller.
///
/// What cannot be removed now is left to the next sweep.
pub(crate) fn remove(folder: &Path) {
    let _ = fs::remove_file(folder.join(UNFINISHED));
    let _ = fs::remove_file(folder.join(FILE));
    let _ = fs::remove_dir(folder);
    // Fails while another record is in it, which is right.
    let _ = folder.parent().map(fs::remove_dir);
}

/// What a record says; `None` if it has no file.
pub(crate) fn read(folder: &Path) -> Result<Option<Contents>, RecordError> {
    let path = folder.join(FILE);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(at("read", &path))?,
    };
    /// What every format has.
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let malformed = |source| RecordError::Malformed { path: path.clone(), source };
    let Head { version } = serde_json::from_slice(&text).map_err(malformed)?;
    if version != VERSION {
        return Err(RecordError::Version { path, found: version });
    }
    serde_json::from_slice(&text).map(Some).map_err(malformed)
}

/// Takes the lock of a record; `None` if somebody has it, or has removed the folder meanwhile.
pub(crate) fn lock(folder: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(folder, flags, Mode::empty())?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let locked = rustix::fs::fstat(&lock)?;
    let same = fs::symlink_metadata(folder)
        .is_ok_and(|now| (now.dev(), now.ino()) == (locked.st_dev, locked.st_ino));
    Ok(same.then_some(lock))
}

/// Where this user's records may be, the best place first.
pub(crate) fn roots() -> Vec<PathBuf> {
    let user = rustix::process::getuid().as_raw();
    roots_of(user, std::env::var_os("XDG_RUNTIME_DIR").as_deref(), &std::env::temp_dir())
}

fn roots_of(user: u32, runtime_folder: Option<&OsStr>, temporary: &Path) -> Vec<PathBuf> {
    let of_user = format!("remotemedia-processes-{user}");
    let mut roots = vec![Path::new("/dev/shm").join(&of_user)];
    // The variable is to be ignored if it is not an absolute path, says its specification.
    let runtime_folder = runtime_folder.map(Path::new).filter(|folder| folder.is_absolute());
    roots.extend(runtime_folder.map(|folder| folder.join("remotemedia-processes")));
    roots.push(temporary.join(&of_user));
    roots
}

/// Makes sure that a folder is this user's alone, and that nobody else can put another in its
/// place.
pub(crate) fn check_root(root: &Path) -> Result<(), RecordError> {
    let user = rustix::process::getuid().as_raw();
    let found = fs::symlink_metadata(root).map_err(at("inspect", root))?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(RecordError::ForeignFolder { path: root.to_owned(), user });
    }
    let parent = root.parent().unwrap_or(root);
    let around = fs::metadata(parent).map_err(at("inspect", parent))?;
    let (writable_by_others, sticky) = (around.mode() & 0o022 != 0, around.mode() & 0o1000 != 0);
    if ![user, 0].contains(&around.uid()) || (writable_by_others && !sticky) {
        return Err(RecordError::Replaceable { path: root.to_owned(), user });
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), RecordError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(at("create", path)),
    }
}

fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> RecordError + 'a {
    move |source| RecordError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_record_is_there_while_its_runtime_is_and_nothing_after_that() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("records");
        let mut first = Record::create_in(std::slice::from_ref(&root)).unwrap();
        let second = Record::create_in(std::slice::from_ref(&root)).unwrap();
        assert_ne!(first.id(), second.id());
        let path = root.join(first.id().to_string());
        assert_eq!(lock(&path).unwrap().map(drop), None);

        let cgroup = Path::new("/sys/fs/cgroup").join(crate::identity::name_of(first.id()));
        first.add_cgroup(&cgroup).unwrap();
        let expected = Contents {
            version: VERSION,
            runtime: first.id(),
            owner: Owner::this_process().unwrap(),
            cgroups: vec![cgroup],
        };
        assert_eq!(read(&path).unwrap(), Some(expected));
        assert_eq!(names(&path), [FILE]);
        assert_eq!(lock(&path).unwrap().map(drop), None);
        drop(first);
        assert_eq!(names(&root), [second.id().to_string()]);
        drop(second);
        assert!(!root.exists());
    }

    #[test]
    fn a_copy_of_a_record_in_a_process_that_was_forked_off_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("records");
        let mut record = Record::create_in(std::slice::from_ref(&root)).unwrap();
        let id = record.id().to_string();
        record.contents.owner.pid += 1;
        drop(record);
        assert_eq!(names(&root), [id]);
    }

    #[test]
    fn a_folder_that_was_removed_before_it_was_locked_is_not_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        assert_eq!(lock(&path).unwrap_err().kind(), ErrorKind::NotFound);
        make_folder(&path).unwrap();
        let sweeper = lock(&path).unwrap().unwrap();
        assert_eq!(lock(&path).unwrap().map(drop), None);
        drop(sweeper);
        assert!(lock(&path).unwrap().is_some());
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(lock(&folder.path().join("file")).is_err());
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        assert!(lock(&folder.path().join("link")).is_err());
    }

    #[test]
    fn shared_memory_is_preferred_to_the_users_folder_and_that_to_temporary_files() {
        let roots = |runtime: Option<&str>| {
            let roots = roots_of(7, runtime.map(OsStr::new), Path::new("/tmp"));
            roots.into_iter().map(|root| root.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let shm = "/dev/shm/remotemedia-processes-7";
        let temporary = "/tmp/remotemedia-processes-7";
        let in_runtime = "/run/user/7/remotemedia-processes";
        assert_eq!(roots(Some("/run/user/7")), [shm, in_runtime, temporary]);
        assert_eq!(roots(Some("relative")), [shm, temporary]);
        assert_eq!(roots(None), [shm, temporary]);
    }

    #[test]
    fn where_no_folder_can_be_used_the_error_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let roots = [folder.path().join("missing/records"), file];
        let error = Record::create_in(&roots).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot create {}", roots[0].display()));
    }
}
