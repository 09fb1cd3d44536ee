//! Where a namespace's files are, and how they are reached without keeping it alive.
//!
//! Main type: [`Site`]. It opens and removes single files, and frees what dead processes have held in
//! iceoryx2; the namespace itself is made and removed by its owner.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use iceoryx2::node::{NodeState, NodeView};
use iceoryx2::prelude::*;
use rustix::fs::{FallocateFlags, fallocate};

use crate::control::ControlPage;
use crate::namespace::{IpcService, SHM, lock, shm_prefix};
use crate::segment::SharedPage;

/// What the names of control pages start with.
pub(crate) const CHANNEL_PREFIX: &str = "channel-";

pub(crate) struct Site {
    folder: PathBuf,
    config: Config,
    /// Whether this process has done with it. Held while files of dead processes are looked for, so
    /// that the namespace is not removed under the search.
    is_left: Mutex<bool>,
}

impl Site {
    pub(crate) fn new(folder: PathBuf, config: Config) -> Self {
        Self { folder, config, is_left: Mutex::new(false) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn create_file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.folder.join(name))
    }

    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.folder.join(name))
    }

    /// Gives a file another name, which must not be in use.
    pub(crate) fn link_file(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.folder.join(from), self.folder.join(to))
    }

    pub(crate) fn remove_file(&self, name: &str) {
        // It goes with the namespace otherwise.
        let _ = fs::remove_file(self.folder.join(name));
    }

    /// From here on nothing more is cleaned up.
    pub(crate) fn leave(&self) {
        *lock(&self.is_left) = true;
    }

    /// Frees what dead processes have held in iceoryx2, but for publishers of whom messages are still
    /// to be taken. Where another process is at it, that is given `patience` to be done.
    pub(crate) fn clean_up(&self, patience: Duration) {
        let mourned = self.mourned();
        self.clean_up_but(&mourned, patience);
    }

    /// Frees what dead processes have held in iceoryx2, also if messages are lost by that.
    pub(crate) fn clean_up_all(&self, patience: Duration) {
        self.clean_up_but(&[], patience);
    }

    fn clean_up_but(&self, mourned: &[u32], patience: Duration) {
        self.free_openers();
        let is_left = lock(&self.is_left);
        if *is_left {
            return;
        }
        // Where it fails, another process is at it.
        let _ = Node::<IpcService>::list(&self.config, |state| {
            if let NodeState::Dead(node) = state {
                let pid = node.id().pid::<IpcService>().ok();
                let pid = pid.and_then(|pid| u32::try_from(pid.value()).ok());
                if pid.is_none_or(|pid| !mourned.contains(&pid)) {
                    let _ = node.blocking_remove_stale_resources(patience);
                }
            }
            CallbackProgression::Continue
        });
    }

    /// Names of the namespace's shared memory.
    fn shared_memory(&self) -> impl Iterator<Item = fs::DirEntry> {
        let id = self.folder.file_name().and_then(|name| name.to_str());
        let prefix = id.map(shm_prefix);
        fs::read_dir(SHM).into_iter().flatten().flatten().filter(move |entry| {
            let (name, prefix) = (entry.file_name(), prefix.as_deref());
            prefix.is_some_and(|prefix| name.to_str().is_some_and(|name| name.starts_with(prefix)))
        })
    }

    /// Frees those who open shared memory whose maker was killed before he gave it a size: iceoryx2
    /// waits for that without end, be it to send, to receive or to clean up.
    ///
    /// A living maker is not disturbed: this only ever makes a file longer, and he sets the size
    /// that he wants afterwards.
    pub(crate) fn free_openers(&self) {
        for entry in self.shared_memory() {
            if entry.metadata().is_ok_and(|found| found.len() == 0)
                && let Ok(file) = OpenOptions::new().write(true).open(entry.path())
            {
                let _ = fallocate(&file, FallocateFlags::empty(), 0, 1);
            }
        }
    }

    /// Dead publishers of whom messages are still to be taken, on whichever channel.
    fn mourned(&self) -> Vec<u32> {
        let names = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let pages = names.filter(|name| name.starts_with(CHANNEL_PREFIX)).filter_map(|name| {
            let file = self.open_file(&name).ok()?;
            SharedPage::<ControlPage>::map(&file).ok()
        });
        pages.flat_map(|page| page.mourned().collect::<Vec<_>>()).collect()
    }
}
