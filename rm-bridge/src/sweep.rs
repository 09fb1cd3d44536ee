//! Removes what killed runtimes of this user have left: processes, and shared memory.
//!
//! Main function: [`sweep`]. Each kind is found and removed where it is made, by proof that its owner
//! is dead.

use std::io;

/// What a [`sweep`] has removed.
#[derive(Debug, Default)]
pub struct Swept {
    /// Processes that had outlived their runtime, and what else it had.
    pub processes: rm_process::Swept,
    /// Shared memory.
    pub memory: rm_ipc::Swept,
}

impl Swept {
    /// Whether there was nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.processes.runtimes.is_empty() && self.memory.namespaces.is_empty()
    }

    /// What was removed, one by one, for a person.
    pub fn descriptions(&self) -> Vec<String> {
        let runtimes = self.processes.runtimes.iter().map(|id| format!("runtime {id}"));
        let processes = self.processes.processes.iter().map(|pid| format!("process {pid}"));
        let memory = self.memory.namespaces.iter().map(|id| format!("shared memory {id}"));
        runtimes.chain(processes).chain(memory).collect()
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
