//! What nodes that write files share.
//!
//! Main type: [`TemporaryFile`], a file that nobody sees before it is complete. It does not write.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rm_core::NodeError;

/// Most sinks that write to the same place at the same time.
const MAX_SINKS: u32 = 64;

/// A failure with a file.
pub(crate) fn file_error(
    action: &'static str,
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> NodeError {
    NodeError::File { action, path: path.to_owned(), source: source.into() }
}

/// A file under a temporary name, removed unless it is kept.
///
/// It is locked while it is in use. What a killed process has left is not, and is used again by
/// the next sink for the same place, so that such files do not pile up.
pub(crate) struct TemporaryFile {
    path: PathBuf,
    /// Holds the lock until the file has its final name.
    _lock: File,
    kept: bool,
}

impl TemporaryFile {
    /// Makes a new file beside `target`, and the folder for both where it is missing.
    pub(crate) fn create(target: &Path) -> Result<(Self, File), NodeError> {
        let folder = target.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder).map_err(|error| file_error("create", folder, error))?;
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        for attempt in 0..MAX_SINKS {
            let path = folder.join(format!(".{name}.{attempt}.part"));
            let claimed = Self::claim(path);
            if let Some(made) = claimed.map_err(|error| file_error("create", target, error))? {
                return Ok(made);
            }
        }
        let problem = format!("{MAX_SINKS} others are writing it at the same time");
        Err(file_error("create", target, problem))
    }

    /// The file at `path`, empty; `None` if another sink has it.
    fn claim(path: PathBuf) -> io::Result<Option<(Self, File)>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Before it was locked here, its owner may have moved it to its place, or removed it.
        let (opened, found) = (file.metadata()?, fs::metadata(&path));
        if !found.is_ok_and(|found| (found.dev(), found.ino()) == (opened.dev(), opened.ino())) {
            return Ok(None);
        }
        file.set_len(0)?;
        let temporary = Self { path, _lock: file.try_clone()?, kept: false };
        Ok(Some((temporary, file)))
    }

    /// Where it lies now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to its final place.
    pub(crate) fn keep_as(mut self, target: &Path) -> Result<(), NodeError> {
        fs::rename(&self.path, target).map_err(|error| file_error("create", target, error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to be told of a failure here.
            let _ = fs::remove_file(&self.path);
        }
    }
}
