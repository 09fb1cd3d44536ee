//! Child processes that start, explain themselves, stop, and never outlive their parent.
//!
//! A [`ProcessManager`] starts what a [`CommandSpec`] describes. The [`NodeProcess`] it gives
//! knows when and how the process ends, keeps the last of its output, and stops it together with
//! all of its group. A child that uses [`child`] is called by a [`SubprocessIpcBackend`], for one reply
//! or a stream, and calls what is registered in the parent's
//! [`DynamicCallbackModule`](callback::DynamicCallbackModule). The crate does not know what the values
//! mean, and moves no media data.
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
//! A child of one's own is called:
//!
//! ```no_run
//! use rm_process::{BackendOptions, CommandSpec, ProcessManager, SubprocessIpcBackend};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = ProcessManager::new()?;
//! let spec = CommandSpec::new("./splitter");
//! let child =
//!     SubprocessIpcBackend::<String>::spawn(&manager, spec, BackendOptions::new()).await?;
//! println!("{}", child.call(&"one".to_owned()).await?);
//! let mut words = child.stream(&"one two three".to_owned()).await?;
//! while let Some(word) = words.next().await {
//!     println!("{}", word?);
//! }
//! child.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! and answers, here in `./splitter`, with tokio:
//!
//! ```no_run
//! use rm_process::child::{self, Reply, SubprocessIpcChild};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     child::die_with_parent()?;
//!     let child = SubprocessIpcChild::<String>::connect().await?;
//!     let split = |text: String, _context| async move {
//!         let words: Vec<_> = text.split(' ').map(|word| Ok(word.to_owned())).collect();
//!         Ok(Reply::stream(tokio_stream::iter(words)))
//!     };
//!     child.serve(split).await;
//!     Ok(())
//! }
//! ```
//!
//! or without it, one request after the other:
//!
//! ```no_run
//! use rm_process::child::{self, blocking};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! child::die_with_parent()?;
//! let mut requests = blocking::connect::<String>()?;
//! while let Some(request) = requests.next() {
//!     let text = request.message()?;
//!     let mut responder = request.into_responder();
//!     for word in text.split(' ') {
//!         requests.handle().block_on(responder.send(&word.to_owned()))?;
//!     }
//!     responder.finish(None);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A child calls its parent by the path of a handler that the parent has registered:
//!
//! ```no_run
//! use rm_process::BackendOptions;
//! use rm_process::callback::{
//!     CallbackStream, DynamicCallbackModule, PythonExecutionError, TypedCallbackHandler,
//! };
//! use rm_process::child::ChildHandle;
//!
//! struct Price;
//!
//! #[async_trait::async_trait]
//! impl TypedCallbackHandler<String> for Price {
//!     type Response = u64;
//!
//!     async fn handle_callback(
//!         &self,
//!         symbol: String,
//!     ) -> Result<CallbackStream<u64>, PythonExecutionError> {
//!         Ok(Box::pin(tokio_stream::once(Ok(symbol.len() as u64))))
//!     }
//!
//!     fn type_name(&self) -> &'static str {
//!         "Price"
//!     }
//! }
//!
//! /// In the parent.
//! fn options() -> Result<BackendOptions, Box<dyn std::error::Error>> {
//!     let mut callbacks = DynamicCallbackModule::new();
//!     callbacks.register_handler("trading", Price)?;
//!     Ok(BackendOptions::new().callbacks(callbacks))
//! }
//!
//! /// In the child, whose handle is `SubprocessIpcChild::handle`.
//! async fn price(own: &ChildHandle) -> Result<u64, Box<dyn std::error::Error>> {
//!     Ok(own.callbacks().call("trading.Price", &"ABC").await?)
//! }
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
mod failure;
mod handshake;
pub mod protocol;
mod transport;
pub mod value;

#[cfg(feature = "kameo")]
mod actor;
mod backend;
pub mod callback;
pub mod child;
mod direct;
mod link;
pub mod telemetry;

#[cfg(feature = "kameo")]
pub use actor::{StreamOf, SubprocessIpcActor};
pub use backend::{
    BackendOptions, ChildStatus, Doorway, InputSink, KameoChildProcessMessage, Liveness,
    PoolOptions, PoolPlace, PoolReplies, PoolRequest, PoolStatus, PythonHandler, RawReplies,
    ReplyStream, Request, ServedFunction, SubprocessIpcBackend, SubprocessIpcBackendError,
    SubprocessPool,
};
pub use command::{BASE_ENV, CommandSpec};
pub use connection::ConnectionError;
pub use direct::{finished, kill_process, on_process_exit, spawn_node_process, terminate_process};
pub use error::ProcessError;
pub use exit::{ExitReason, ExitStatus};
pub use failure::PythonExecutionError;
pub use handshake::{Handshake, HandshakeError, IpcLimits, LimitsError, PROTOCOL_VERSION};
pub use limits::{Limit, LimitError, Limits};
pub use link::{CallContext, ReplySlot};
pub use node_config::NodeConfig;
pub use orphans::{SkipReason, Skipped, Swept, sweep};
pub use page::{ItemInWork, WorkPage};
pub use process::{NodeProcess, NodeProcessSnapshot};
pub use protocol::{Failed, Progress};
pub use python::{InterpreterError, ModulePathError};
pub use report::{End, FailureReport, PeakMemory};
pub use restart::{Backoff, BackoffError, NotRestarted, Restart, RestartPolicy, Restarts};
pub use spawn::{ManagerOptions, ProcessManager};
pub use status::{IllegalTransition, ProcessStatus};
pub use transport::PayloadError;
