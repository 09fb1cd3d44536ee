//! What a run left behind: processes, shared-memory files, temporary files.
//!
//! Main type: [`Snapshot`]. It only looks; removing is the runtime's own business.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A word in the command line of everything that the runtime starts.
const PROCESS_MARKS: [&str; 2] = ["remotemedia_runtime", "bin/remotemedia"];

/// Words in the names of what the runtime may put into the temporary folder.
const FILE_MARKS: [&str; 3] = ["remotemedia", "iceoryx2", "iox2"];

/// What exists at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Snapshot {
    items: BTreeSet<String>,
}

impl Snapshot {
    /// Looks around.
    pub fn take() -> Self {
        let mut items = processes(Path::new("/proc"));
        let temporary = std::env::temp_dir();
        items.extend(files(Path::new("/dev/shm"), &[""]));
        items.extend(files(&temporary, &FILE_MARKS));
        items.extend(files(&temporary.join("iceoryx2"), &[""]));
        if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR") {
            items.extend(files(Path::new(&dir), &FILE_MARKS));
        }
        Self { items }
    }

    /// What exists now and did not exist in `before`.
    pub fn new_since(&self, before: &Self) -> Vec<String> {
        self.items.difference(&before.items).cloned().collect()
    }
}

fn processes(proc: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(proc) else {
        return BTreeSet::new();
    };
    let mut found = BTreeSet::new();
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process that has ended meanwhile has no command line any more.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if PROCESS_MARKS.iter().any(|mark| command.contains(mark)) {
            found.insert(format!("process {id}: {}", command.trim_end()));
        }
    }
    found
}

fn files(dir: &Path, marks: &[&str]) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| {
            let name = name.to_string_lossy();
            marks.iter().any(|mark| name.contains(mark))
        })
        .map(|name| dir.join(name).display().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_files_are_found_by_their_marks() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("remotemedia-1"), "").unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        let marked = files(dir.path(), &FILE_MARKS);
        assert_eq!(marked.len(), 1);
        assert_eq!(files(dir.path(), &[""]).len(), 2);

        let before = Snapshot::default();
        let after = Snapshot { items: marked };
        assert_eq!(after.new_since(&before).len(), 1);
        assert!(after.new_since(&after).is_empty());
    }

    #[test]
    fn processes_are_found_by_their_command_line() {
        let proc = tempfile::tempdir().unwrap();
        for (id, command) in [
            ("12", "python\0-m\0remotemedia_runtime.worker\0"),
            ("13", "sh\0"),
            ("self", "remotemedia_runtime"),
        ] {
            fs::create_dir(proc.path().join(id)).unwrap();
            fs::write(proc.path().join(id).join("cmdline"), command).unwrap();
        }
        let found: Vec<_> = processes(proc.path()).into_iter().collect();
        assert_eq!(found, ["process 12: python -m remotemedia_runtime.worker"]);
    }
}
