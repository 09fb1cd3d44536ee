//! Where a node runs.
//!
//! Main type: [`ExecutorType`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// What runs a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorType {
    /// Rust, in this process.
    Native,
    /// Python, in a process of its own.
    Multiprocess,
}

impl ExecutorType {
    /// The name used in manifests and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Multiprocess => "multiprocess",
        }
    }
}

impl fmt::Display for ExecutorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
