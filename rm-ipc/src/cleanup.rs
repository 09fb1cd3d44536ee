//! Removes what a namespace leaves, its own owner's or a dead one's.
//!
//! Main function: [`sweep`]. An owner is proven dead by its lock, which the kernel releases with
//! its last process; nothing is inferred from process ids.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::namespace::{SHM, base_folder, lock_path, shm_prefix};

/// What a [`sweep`] has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Names of the dead namespaces.
    pub namespaces: Vec<String>,
}

/// Removes every namespace of this user whose owner is dead.
///
/// # Errors
/// The operating system's error if the folder of all namespaces cannot be read. A namespace that
/// vanishes meanwhile is none.
pub fn sweep() -> io::Result<Swept> {
    let base = base_folder();
    let mut swept = Swept::default();
    let entries = match fs::read_dir(&base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else {
            continue;
        };
        let Ok(lock) = File::open(base.join(&name)) else {
            continue;
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove(&base, id);
            swept.namespaces.push(id.to_owned());
        }
    }
    remove_base(&base);
    Ok(swept)
}

/// Removes one namespace: shared memory, folder, lock, and the base folder if it was the last.
///
/// What is gone already is no failure, and what cannot be removed now is left to the next sweep:
/// that is why the lock goes last.
pub(crate) fn remove(base: &Path, id: &str) {
    let prefix = shm_prefix(id);
    let names = fs::read_dir(SHM).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(&prefix))) {
        let _ = fs::remove_file(Path::new(SHM).join(name));
    }
    let _ = fs::remove_dir_all(base.join(id));
    let _ = fs::remove_file(lock_path(base, id));
    remove_base(base);
}

fn remove_base(base: &Path) {
    // Fails while another namespace is in it, which is right.
    let _ = fs::remove_dir(base);
}
