//! Runs nodes wherever they live, and carries data across.
//!
//! Native nodes that follow one another run as plain calls on one thread, a [`Stage`]. A Python
//! node runs in a worker process, which a [`MultiprocessExecutor`] starts and a [`WorkerRuntime`]
//! serves from inside. Between stages and workers lie channels of [`rm_ipc`], which go from one to
//! the other directly: the parent is no broker.
//!
//! This crate is the only place where channels and processes meet. It does not read manifests and
//! does not decide what runs where; `rm-session` does.

#![forbid(unsafe_code)]

mod data_plane;
mod executor;
mod metrics;
mod multiprocess;
mod native;
mod policy;
mod protocol;
mod stage;
mod sweep;
mod worker;

pub use data_plane::{DataPlane, DataPlaneError};
pub use executor::ExecutorType;
pub use metrics::{ConnectionReport, InputReport, NodeReport};
pub use multiprocess::{
    Incoming, MultiprocessExecutor, Worker, WorkerError, WorkerEvents, WorkerSpec,
};
pub use native::{StageError, StageEvent, StageHandle, spawn_stage};
pub use policy::{Admission, CircuitBreaker, ItemGuard, ItemPolicy, OnError, RetryPolicy, Verdict};
pub use protocol::{FailedIn, WorkerConfig, WorkerEvent, WorkerFailure, WorkerInput};
pub use rm_ipc::{
    ChannelOptions, Doorbell, LatencySummary, Policy as QueuePolicy, Publisher, Subscriber,
};
pub use rm_process::callback;
pub use rm_process::{
    Backoff, ExitReason, ExitStatus, FailureReport, Limits, ProcessError, Progress, RestartPolicy,
};
pub use stage::{
    Call, Destination, Feed, FeedSender, Output, Publication, Stage, StageNode, Subscription,
};
pub use sweep::{Swept, sweep};
pub use worker::{Next, WorkerRuntime, WorkerRuntimeError};
