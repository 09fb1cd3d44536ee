//! Where the stubs lie, and how they get there whole.
//!
//! Main items: [`write_stubs`], [`default_stub_dir`]. What stands in them is made in `python`.
//!
//! ```text
//! ~/.cache/remotemedia/stubs/
//!     3f9c0a5512d4e871/              named by its content, never changed
//!         kameo/__init__.pyi         for type checkers and editors
//!         kameo/py.typed
//!         kameo/trading/__init__.pyi
//!         kameo_types/trading/__init__.py   the types at run time
//!     current -> 3f9c0a5512d4e871    what editors are pointed to
//! ```
//!
//! # Why no half-made state is seen
//! A folder is filled under another name and then renamed; two writers of the same content meet at
//! the rename, where the second finds the work done. The link is replaced by rename too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::names::is_identifier;
use super::python;
use crate::callback::shape::Shape;

/// The link to the stubs that were written last.
const CURRENT: &str = "current";

/// A callback as its stub needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackShape {
    /// The module, with dots between its parts: `"trading"`, `"trading.eu"`.
    pub module: String,
    /// The name of the callback in the module: `"DataFetch"`.
    pub name: String,
    /// What it is called with.
    pub request: Shape,
    /// What its items are.
    pub response: Shape,
}

/// Why stubs could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StubError {
    /// There is no folder for caches.
    #[error("neither XDG_CACHE_HOME nor HOME is an absolute path; set one of them")]
    NoCache,
    /// A file or folder could not be used.
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
}

/// Where stubs lie if nobody says otherwise: `remotemedia/stubs` in `$XDG_CACHE_HOME` or `~/.cache`.
///
/// # Errors
/// [`StubError::NoCache`] if neither is known.
pub fn default_stub_dir() -> Result<PathBuf, StubError> {
    let absolute =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(cache.ok_or(StubError::NoCache)?.join("remotemedia/stubs"))
}

/// Writes the stubs of `callbacks` into a folder of their own in `dir`, and gives that folder.
///
/// It holds the packages `kameo` (stubs) and `kameo_types` (the types at run time), and never
/// changes; `dir/current` is a link to the folder that was written last, for editors. A callback of
/// which the name or module is no identifier in Python is left out. The order of `callbacks` does
/// not matter.
///
/// # Errors
/// [`StubError::Io`] with the file that could not be written.
pub fn write_stubs(dir: &Path, callbacks: &[CallbackShape]) -> Result<PathBuf, StubError> {
    let files = files(callbacks);
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    let name = format!("{:016x}", hasher.finish());
    make_folder(dir)?;
    let target = dir.join(&name);
    if !is_whole(&target, &files) {
        publish(dir, &target, &files)?;
    }
    let link = dir.join(CURRENT);
    if !fs::read_link(&link).is_ok_and(|old| old == Path::new(&name)) {
        let new = fresh(dir, |path| symlink(&name, path))?;
        fs::rename(&new, &link)
            .inspect_err(|_| drop(fs::remove_file(&new)))
            .map_err(at("replace", &link))?;
    }
    Ok(target)
}

/// All files by their paths.
fn files(callbacks: &[CallbackShape]) -> BTreeMap<String, String> {
    let mut modules: BTreeMap<&str, Vec<&CallbackShape>> = BTreeMap::new();
    for callback in callbacks {
        if callback.module.split('.').chain([&*callback.name]).all(is_identifier) {
            modules.entry(&callback.module).or_default().push(callback);
        }
    }
    // A module inside another is reached through it, whether that has callbacks or not.
    for module in modules.keys().copied().collect::<Vec<_>>() {
        for (dot, _) in module.match_indices('.') {
            modules.entry(&module[..dot]).or_default();
        }
    }
    let inside = |parent: &str| -> BTreeSet<&str> {
        let paths = modules.keys().filter_map(|module| match parent {
            "" => Some(*module),
            parent => module.strip_prefix(parent)?.strip_prefix('.'),
        });
        paths.filter(|path| !path.contains('.')).collect()
    };
    let mut files = BTreeMap::new();
    let mut root = python::ROOT.to_owned();
    for name in inside("") {
        root += &format!("from . import {name} as {name}\n");
    }
    files.insert("kameo/__init__.pyi".to_owned(), root);
    files.insert("kameo/py.typed".to_owned(), String::new());
    let head = "\"\"\"The types of callbacks at run time.\"\"\"\n".to_owned();
    files.insert("kameo_types/__init__.py".to_owned(), head);
    for (path, callbacks) in &modules {
        let mut callbacks = callbacks.clone();
        callbacks.sort_by(|one, other| one.name.cmp(&other.name));
        callbacks.dedup_by(|one, other| one.name == other.name);
        let inner: Vec<_> = inside(path).into_iter().collect();
        let module = python::module(path, &callbacks, &inner);
        let folder = path.replace('.', "/");
        files.insert(format!("kameo/{folder}/__init__.pyi"), module.stub);
        files.insert(format!("kameo_types/{folder}/__init__.py"), module.types);
    }
    files
}

/// Says whether the folder holds these files. One that lost some of them is made anew.
fn is_whole(folder: &Path, files: &BTreeMap<String, String>) -> bool {
    let is_same = |(path, text): (&String, &String)| {
        fs::read(folder.join(path)).is_ok_and(|found| found == text.as_bytes())
    };
    files.iter().all(is_same)
}

fn publish(dir: &Path, target: &Path, files: &BTreeMap<String, String>) -> Result<(), StubError> {
    let new = fresh(dir, |path| DirBuilder::new().mode(0o700).create(path))?;
    let published = fill(&new, files).and_then(|()| rename(dir, &new, target, files));
    if fs::symlink_metadata(&new).is_ok() {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_dir_all(&new);
    }
    published
}

fn fill(folder: &Path, files: &BTreeMap<String, String>) -> Result<(), StubError> {
    for (path, text) in files {
        let path = folder.join(path);
        make_folder(path.parent().unwrap_or(folder))?;
        let mut options = OpenOptions::new();
        let write = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        write.map_err(at("write", &path))?;
    }
    Ok(())
}

fn rename(
    dir: &Path,
    new: &Path,
    target: &Path,
    files: &BTreeMap<String, String>,
) -> Result<(), StubError> {
    loop {
        match fs::rename(new, target) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                if is_whole(target, files) {
                    return Ok(());
                }
                // It was damaged. Whoever has a file of it open keeps that.
                let old = fresh(dir, |path| DirBuilder::new().mode(0o700).create(path))?;
                let moved = fs::rename(target, &old);
                let _ = fs::remove_dir_all(&old);
                match moved {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(at("replace", target)(error));
                    }
                    _ => {}
                }
            }
            Err(error) => return Err(at("make", target)(error)),
        }
    }
}

/// Makes something under a name that nobody has.
fn fresh(dir: &Path, make: impl Fn(&Path) -> io::Result<()>) -> Result<PathBuf, StubError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!(".new-{}-{count}", std::process::id()));
        match make(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|()| path.clone()).map_err(at("make", &path)),
        }
    }
}

fn make_folder(path: &Path) -> Result<(), StubError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("make", path))
}

fn at<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StubError + 'a {
    move |source| StubError::Io { action, path: path.to_owned(), source }
}
