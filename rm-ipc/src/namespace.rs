//! The folder and the name prefix that keep one session's files and shared memory apart.
//!
//! Main type: [`Namespace`]. Its owner creates it and holds a lock for as long as it lives; other
//! processes open it by path. It is removed with its owner.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use iceoryx2::prelude::*;
use rm_core::RuntimeId;
use rustix::fs::{FlockOperation, flock};

use crate::cleanup;
use crate::control::ControlPage;
use crate::publisher::RawPublisher;
use crate::segment::SharedPage;
use crate::site::Site;

/// Shared memory file system: where POSIX shared memory lives on Linux.
pub(crate) const SHM: &str = "/dev/shm";

pub(crate) type IpcService = ipc_threadsafe::Service;

/// Why a namespace could not be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// A file or folder of it could not be made or opened.
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
    /// Its folder belongs to somebody else, who could read or replace what is in it.
    #[error("{} belongs to user {owner}, not to user {user}; remove it", path.display())]
    ForeignFolder {
        /// Which folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// This process's user.
        user: u32,
    },
    /// The path is not one of a namespace.
    #[error("{} is not the folder of a namespace", path.display())]
    NotANamespace {
        /// The path given.
        path: PathBuf,
    },
    /// The operating system gave no random number for the name.
    #[error("no random number for the name of a namespace")]
    Random(#[source] getrandom::Error),
    /// Shared memory could not be set up.
    #[error("cannot set up shared memory: {0}")]
    Iceoryx(String),
}

/// A port whose publisher has left while messages were queued, and how to tell that they are taken.
struct Lingering {
    page: Arc<SharedPage<ControlPage>>,
    port: Arc<RawPublisher>,
    /// Its namespace, unless that keeps this itself.
    _stays: Option<Namespace>,
}

/// What lingers in namespaces that this process has opened, and not made.
static LINGERING: Mutex<Vec<Lingering>> = Mutex::new(Vec::new());

/// Lets go of those whose messages are taken.
fn prune(lingering: &Mutex<Vec<Lingering>>) {
    let gone: Vec<_> = lock(lingering).extract_if(.., |left| !left.page.has_queued()).collect();
    // What drops with them must not meet the lock.
    drop(gone);
}

struct Inner {
    id: RuntimeId,
    site: Arc<Site>,
    node: Mutex<Option<Node<IpcService>>>,
    lingering: Mutex<Vec<Lingering>>,
    /// Locked while the owner lives; `None` where the namespace was opened, not created.
    lock: Option<File>,
}

/// One session's part of the machine's shared memory. Clones are the same namespace.
#[derive(Clone)]
pub struct Namespace {
    inner: Arc<Inner>,
}

/// A namespace that is not kept alive.
pub(crate) struct WeakNamespace(Weak<Inner>);

impl WeakNamespace {
    pub(crate) fn upgrade(&self) -> Option<Namespace> {
        self.0.upgrade().map(|inner| Namespace { inner })
    }
}

/// The folder that holds all namespaces of this user.
pub(crate) fn base_folder() -> PathBuf {
    Path::new(SHM).join(format!("remotemedia-{}", rustix::process::getuid().as_raw()))
}

/// What the names of the namespace's shared-memory files start with.
pub(crate) fn shm_prefix(id: &str) -> String {
    format!("rm{id}_")
}

pub(crate) fn lock_path(base: &Path, id: &str) -> PathBuf {
    base.join(format!("{id}.lock"))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> NamespaceError + 'a {
    move |source| NamespaceError::Io { action, path: path.to_owned(), source }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn make_folder(path: &Path) -> Result<(), NamespaceError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(at("create", path)(error))
        }
        _ => Ok(()),
    }
}

fn check_owner(path: &Path) -> Result<(), NamespaceError> {
    let found = fs::symlink_metadata(path).map_err(at("inspect", path))?;
    let user = rustix::process::getuid().as_raw();
    if found.uid() != user || !found.is_dir() {
        return Err(NamespaceError::ForeignFolder {
            path: path.to_owned(),
            owner: found.uid(),
            user,
        });
    }
    Ok(())
}

/// Creates and locks the lock file; `None` if somebody was faster or removed it meanwhile.
fn take_lock(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        file => file?,
    };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    // A sweep that came between creation and lock has removed the name again.
    let same = fs::metadata(path).is_ok_and(|now| {
        file.metadata().is_ok_and(|mine| (mine.dev(), mine.ino()) == (now.dev(), now.ino()))
    });
    Ok(same.then_some(file))
}

fn iceoryx(error: impl std::fmt::Debug) -> NamespaceError {
    NamespaceError::Iceoryx(format!("{error:?}"))
}

fn make_site(id: &str, folder: &Path) -> Result<Site, NamespaceError> {
    let mut config = Config::default();
    config.global.prefix = FileName::new(shm_prefix(id).as_bytes()).map_err(iceoryx)?;
    let root = folder.to_str().ok_or_else(|| iceoryx("path is not UTF-8"))?;
    let root = iceoryx2::prelude::Path::new(root.as_bytes()).map_err(iceoryx)?;
    config.global.set_root_path(&root);
    config.global.node.cleanup_dead_nodes_on_creation = false;
    config.global.node.cleanup_dead_nodes_on_destruction = false;
    config.global.service.cleanup_dead_nodes_on_open = false;
    Ok(Site::new(folder.to_owned(), config))
}

fn make_node(site: &Site) -> Result<Node<IpcService>, NamespaceError> {
    // Every failure comes back as a value and is reported as an error of this crate.
    set_log_level(LogLevel::Fatal);
    NodeBuilder::new()
        .config(site.config())
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<IpcService>()
        .map_err(iceoryx)
}

/// Takes from other users what iceoryx2 lets everybody read and write: a file with its list of
/// segments.
fn close_to_others(id: &str) -> Result<(), NamespaceError> {
    let shm = Path::new(SHM);
    let prefix = shm_prefix(id);
    for entry in fs::read_dir(shm).map_err(at("read", shm))?.flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            let only_owner = fs::Permissions::from_mode(0o600);
            fs::set_permissions(entry.path(), only_owner).map_err(at("close", &entry.path()))?;
        }
    }
    Ok(())
}

impl Namespace {
    /// Makes a namespace under a name that nobody can guess, for the calling process to own.
    ///
    /// # Errors
    /// [`NamespaceError`] if the folder cannot be made, or belongs to another user.
    pub fn create() -> Result<Self, NamespaceError> {
        let base = base_folder();
        loop {
            make_folder(&base)?;
            match check_owner(&base) {
                // Another process's last namespace went at this moment, and took the base along.
                Err(NamespaceError::Io { source, .. }) if is_missing(&source) => continue,
                checked => checked?,
            }
            let id = RuntimeId::new(getrandom::u64().map_err(NamespaceError::Random)?);
            let name = id.to_string();
            let lock_path = lock_path(&base, &name);
            let lock = match take_lock(&lock_path) {
                Ok(Some(lock)) => lock,
                Ok(None) => continue,
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(at("create", &lock_path)(error)),
            };
            let folder = base.join(&name);
            let make = || {
                make_folder(&folder)?;
                let site = make_site(&name, &folder)?;
                let node = make_node(&site)?;
                close_to_others(&name)?;
                Ok((node, site))
            };
            let (node, site) = make().inspect_err(|_| cleanup::remove(&base, &name))?;
            return Ok(Self::new(id, site, node, Some(lock)));
        }
    }

    /// Opens a namespace that another process (or this one) has created.
    ///
    /// # Errors
    /// [`NamespaceError`] if the path is not a namespace's, or is not this user's.
    pub fn open(folder: &Path) -> Result<Self, NamespaceError> {
        let not_one = || NamespaceError::NotANamespace { path: folder.to_owned() };
        let name = folder.file_name().and_then(|name| name.to_str()).ok_or_else(not_one)?;
        let id = u64::from_str_radix(name, 16).map_err(|_| not_one())?;
        if folder.parent().and_then(Path::parent) != Some(Path::new(SHM)) || name.len() != 16 {
            return Err(not_one());
        }
        // The folder that it is in may not even be looked into by others than its owner.
        let base = folder.parent().ok_or_else(not_one)?;
        check_owner(base)?;
        check_owner(folder)?;
        if base != base_folder() {
            return Err(not_one());
        }
        let site = make_site(name, folder)?;
        let node = make_node(&site)?;
        Ok(Self::new(RuntimeId::new(id), site, node, None))
    }

    fn new(id: RuntimeId, site: Site, node: Node<IpcService>, lock: Option<File>) -> Self {
        let (site, node) = (Arc::new(site), Mutex::new(Some(node)));
        let lingering = Mutex::default();
        Self { inner: Arc::new(Inner { id, site, node, lingering, lock }) }
    }

    /// Keeps the port of a publisher that has left until its messages are taken.
    ///
    /// A subscriber finds its sender's memory only while the sender's port exists, and it may not
    /// have looked yet. Where this process has only opened the namespace, it is kept open as well.
    pub(crate) fn linger(&self, page: Arc<SharedPage<ControlPage>>, port: Arc<RawPublisher>) {
        let is_owner = self.inner.lock.is_some();
        let stays = (!is_owner).then(|| self.clone());
        let lingering = if is_owner { &self.inner.lingering } else { &LINGERING };
        prune(lingering);
        lock(lingering).push(Lingering { page, port, _stays: stays });
    }

    /// The port of a publisher that has left the channel of `tag`, for the next one to go on with.
    pub(crate) fn take_lingering(&self, tag: u64) -> Option<Arc<RawPublisher>> {
        let is_of = |left: &Lingering| left.page.tag.load(Ordering::Relaxed) == tag;
        [&self.inner.lingering, &LINGERING].into_iter().find_map(|lingering| {
            let mut lingering = lock(lingering);
            let index = lingering.iter().position(is_of)?;
            Some(lingering.swap_remove(index).port)
        })
    }

    pub(crate) fn downgrade(&self) -> WeakNamespace {
        WeakNamespace(Arc::downgrade(&self.inner))
    }

    /// Its name.
    pub fn id(&self) -> RuntimeId {
        self.inner.id
    }

    /// Its folder, by which other processes open it.
    pub fn folder(&self) -> &Path {
        self.inner.site.folder()
    }

    /// Removes all files and shared memory of the namespace at once. What is still mapped stays
    /// readable until it is dropped; nothing new can be created or opened.
    ///
    /// Only the owner removes; for others this does nothing.
    pub fn remove(&self) {
        self.inner.remove();
    }

    pub(crate) fn with_node<T>(&self, use_it: impl FnOnce(&Node<IpcService>) -> T) -> Option<T> {
        let node = lock(&self.inner.node);
        node.as_ref().map(use_it)
    }

    /// Frees what dead processes, and ports that have lingered, have held in iceoryx2.
    pub(crate) fn clean_up(&self) {
        prune(&self.inner.lingering);
        prune(&LINGERING);
        self.inner.site.clean_up(std::time::Duration::ZERO);
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.inner.site
    }
}

impl Inner {
    fn remove(&self) {
        self.site.leave();
        lock(&self.lingering).clear();
        drop(lock(&self.node).take());
        if self.lock.is_some() {
            cleanup::remove(&base_folder(), &self.id.to_string());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.remove();
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace").field("folder", &self.folder()).finish()
    }
}
