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

use iceoryx2::node::NodeState;
use iceoryx2::prelude::*;

use crate::control::ControlPage;
use crate::namespace::{IpcService, lock};
use crate::peer::Identity;
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

    pub(crate) fn remove_file(&self, name: &str) {
        // It goes with the namespace otherwise.
        let _ = fs::remove_file(self.folder.join(name));
    }

    /// From here on nothing more is cleaned up.
    pub(crate) fn leave(&self) {
        *lock(&self.is_left) = true;
    }

    /// Frees what dead processes have held in iceoryx2.
    pub(crate) fn clean_up(&self) {
        let is_left = lock(&self.is_left);
        if *is_left {
            return;
        }
        // Where it fails, another process is at it.
        let _ = Node::<IpcService>::list(&self.config, |state| {
            if let NodeState::Dead(node) = state {
                let _ = node.blocking_remove_stale_resources(Duration::ZERO);
            }
            CallbackProgression::Continue
        });
    }

    /// Frees what `dead` has held in iceoryx2; later, if messages of it are still being taken.
    pub(crate) fn clean_up_dead(&self, dead: Identity) {
        let names = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let mourns = |name: String| {
            let page = self.open_file(&name).and_then(|file| SharedPage::<ControlPage>::map(&file));
            page.is_ok_and(|page| page.mourns(dead))
        };
        if !names.any(|name| name.starts_with(CHANNEL_PREFIX) && mourns(name)) {
            self.clean_up();
        }
    }
}
