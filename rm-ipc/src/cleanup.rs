//! Removes what a namespace leaves, its own owner's or a dead one's.
//!
//! Main function: [`sweep`]. An owner is proven dead by its lock, which the kernel releases with
//! its last process; nothing is inferred from process ids.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::getuid;

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
    let mut ids = BTreeSet::new();
    // Names without a lock count too: a process that was killed late in its life may have made
    // files after its namespace was removed. Its lock is the first thing that a namespace has and
    // the last to go, so what has none when it is looked for after the names is dead.
    for folder in [base.as_path(), Path::new(SHM)] {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let owned = entry.metadata().is_ok_and(|found| found.uid() == getuid().as_raw());
            ids.extend(entry.file_name().to_str().and_then(id_of).filter(|_| owned));
        }
    }
    let mut swept = Swept::default();
    for id in ids {
        // The lock is held until the name is gone: the file may be one that its owner has just made
        // and not locked yet, who then finds that it is not his and makes another.
        let lock = match File::open(lock_path(&base, &id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => continue,
            Ok(lock) if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() => {
                continue;
            }
            Ok(lock) => Some(lock),
        };
        remove(&base, &id);
        drop(lock);
        swept.namespaces.push(id);
    }
    remove_base(&base);
    Ok(swept)
}

/// The namespace that a file belongs to, by its name.
fn id_of(name: &str) -> Option<String> {
    let name = name.strip_prefix("rm").unwrap_or(name);
    let is_id = |id: &str| id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (id, rest) = name.split_at_checked(16)?;
    let known = rest.is_empty() || rest == ".lock" || rest.starts_with('_');
    (is_id(id) && known).then(|| id.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_namespace_are_told_from_others() {
        let id = "0123456789abcdef";
        for name in [id, "0123456789abcdef.lock", "rm0123456789abcdef_x.dynamic"] {
            assert_eq!(id_of(name).as_deref(), Some(id), "{name}");
        }
        for name in ["remotemedia-0", "rm0123", "0123456789abcdeg", "0123456789abcdef1", "x_y", ""]
        {
            assert_eq!(id_of(name), None, "{name}");
        }
    }

    #[test]
    fn sweep_removes_what_was_made_after_its_namespace_had_gone() {
        let namespace = crate::Namespace::create().unwrap();
        let base = base_folder();
        let id = format!("{:016x}", getrandom::u64().unwrap());
        let late = Path::new(SHM).join(format!("rm{id}_late.data"));
        fs::write(&late, "x").unwrap();
        fs::create_dir(base.join(&id)).unwrap();
        let living = namespace.folder().to_owned();
        // Another test's sweep may be faster, so what this one reports is not asserted.
        sweep().unwrap();
        assert!(!late.exists() && !base.join(&id).exists());
        assert!(living.exists());
    }
}
