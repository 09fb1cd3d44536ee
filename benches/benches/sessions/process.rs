//! What the kernel says of this process: its memory, threads and context switches.
//!
//! Main functions: [`status`] and [`switches`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A number of `/proc/self/status` or its like; sizes are in KiB.
fn number(file: &Path, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.with_context(|| format!("{} has no {name}", file.display()))?.parse()?)
}

/// A number of this process's status.
pub fn status(name: &str) -> Result<u64> {
    number(Path::new("/proc/self/status"), name)
}

/// How often threads of this process were switched to another one, of their own will and otherwise.
/// Those of threads that have ended are not counted.
pub fn switches() -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let file = task?.path().join("status");
        // A thread that ends meanwhile has nothing to tell.
        for name in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
            sum += number(&file, name).unwrap_or_default();
        }
    }
    Ok(sum)
}
