//! Child processes that start, explain themselves, stop, and never outlive their parent.
//!
//! A [`ProcessManager`] starts what a [`CommandSpec`] describes. The [`NodeProcess`] it gives
//! knows when and how the process ends, keeps the last of its output, and stops it together with
//! all of its group. A child that calls [`child::connect`] also has a [`Connection`]: a control
//! channel that carries any serde values in both directions. The crate does not know what the
//! values mean, and moves no media data.
//!
//! Any executable can be supervised:
//!
//! ```
//! use rm_process::{CommandSpec, ExitReason, ProcessManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = ProcessManager::new()?;
//! let spec = CommandSpec::new("sh").args(["-c", "echo 'no such model' >&2; exit 3"]);
//! let process = manager.spawn_plain(spec.label("asr")).await?;
//! let exit = process.exited().await;
//! assert_eq!((exit.code, exit.reason), (Some(3), ExitReason::Crash));
//! assert_eq!(process.stderr_tail(), "no such model\n");
//! println!("{}", process.failure_report());
//! # Ok(())
//! # }
//! ```
//!
//! A child of one's own talks to its parent. The parent:
//!
//! ```no_run
//! use rm_process::{CommandSpec, ProcessManager};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = ProcessManager::new()?;
//! let (process, mut connection) =
//!     manager.spawn::<String, u64>(CommandSpec::new("./counter")).await?;
//! connection.send(&"count these letters".to_owned()).await?;
//! println!("{:?} letters", connection.recv().await?);
//! drop(connection);
//! process.terminate(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! and the child, `./counter`:
//!
//! ```no_run
//! use rm_process::child;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! child::die_with_parent()?;
//! let (sender, mut receiver) = child::connect::<u64, String>()?.split();
//! while let Some(text) = receiver.recv()? {
//!     sender.send(&(text.len() as u64))?;
//! }
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("rm-process runs on Linux only: it needs pidfd, prctl and process groups");

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod cgroup;
mod command;
mod error;
mod limits;
mod node_config;
pub mod python;

mod identity;
mod orphans;
mod record;
mod sentinel;

mod launch;
mod page;
mod spawn;
mod sys;
mod workshop;

mod leader;
mod monitor;
mod output;
mod process;
mod restart;
mod state;
mod status;
mod supervision;

pub mod diagnosis;
mod exit;
mod report;
mod verdict;

mod connection;
mod handshake;
pub mod protocol;

pub mod child;
mod direct;

pub use command::{BASE_ENV, CommandSpec};
pub use connection::{Connection, ConnectionError, Incoming, Receiver, Sender};
pub use direct::{finished, kill_process, on_process_exit, spawn_node_process, terminate_process};
pub use error::ProcessError;
pub use exit::{ExitReason, ExitStatus};
pub use handshake::{HandshakeError, PROTOCOL_VERSION};
pub use limits::{Limit, LimitError, Limits};
pub use node_config::NodeConfig;
pub use orphans::{SkipReason, Skipped, Swept, sweep};
pub use page::{ItemInWork, WorkPage};
pub use process::{NodeProcess, NodeProcessSnapshot};
pub use protocol::Progress;
pub use python::{InterpreterError, ModulePathError};
pub use report::{End, FailureReport, PeakMemory};
pub use restart::{Backoff, BackoffError, NotRestarted, Restart, RestartPolicy, Restarts};
pub use spawn::{ManagerOptions, ProcessManager};
pub use status::{IllegalTransition, ProcessStatus};
