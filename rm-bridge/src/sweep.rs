//! Removes what killed runtimes of this user have left: processes, and shared memory.
//!
//! Main function: [`sweep`]. Each kind is found and removed where it is made, by proof that its owner
//! is dead.

use std::io;

use crate::causes::with_causes;

/// What a [`sweep`] has removed.
#[derive(Debug, Default)]
pub struct Swept {
    /// Processes that had outlived their runtime, and what else it had.
    pub processes: rm_process::Swept,
    /// Shared memory.
    pub memory: rm_ipc::Swept,
}

impl Swept {
    /// What was removed, one by one, for a person.
    pub fn removed(&self) -> Vec<String> {
        let rm_process::Swept { runtimes, processes, cgroups, .. } = &self.processes;
        let runtimes = runtimes.iter().map(|id| format!("runtime {id}"));
        let processes = processes.iter().map(|pid| format!("process {pid}"));
        let cgroups = cgroups.iter().map(|folder| format!("cgroup {}", folder.display()));
        let memory = self.memory.namespaces.iter().map(|id| format!("shared memory {id}"));
        runtimes.chain(processes).chain(cgroups).chain(memory).collect()
    }

    /// What was left alone though it does not belong to a living runtime, and why, one by one, for
    /// a person.
    pub fn skipped(&self) -> Vec<String> {
        let skipped = self.processes.skipped.iter();
        skipped.map(|skipped| format!("{skipped}: {}", with_causes(&skipped.reason))).collect()
    }
}

/// Removes what killed runtimes of this user have left: first processes, which might make more
/// of the rest, then shared memory.
///
/// # Errors
/// The operating system's error if the folders where all of it is noted cannot be read.
pub fn sweep() -> io::Result<Swept> {
    let processes = rm_process::sweep()?;
    Ok(Swept { processes, memory: rm_ipc::sweep()? })
}
