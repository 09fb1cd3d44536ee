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

/// The examples of the crate's README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod bridge;
mod causes;
mod data_plane;
mod executor;
mod item_span;
mod metrics;
mod multiprocess;
mod native;
mod outlet;
mod policy;
mod protocol;
mod repeats;
mod stage;
mod sweep;
mod timeline;
mod worker;

pub use bridge::{
    AnswerStream, AudioBuffer, AudioSamples, BridgeError, BridgeMetrics, BridgeStats,
    ChannelRegistry, ConversionError, DataBridge, DataBridgeMetrics, DataBridgeStats,
    ExecutorBridge, IPCDataConverter, IPCMessage, MultiprocessBridgeOptions,
    MultiprocessExecutorBridge, NativeExecutorBridge, NodeExecutions, SampleRef, ServiceError,
    SessionProcessMap,
};
pub use causes::with_causes;
pub use data_plane::{DataPlane, DataPlaneError};
pub use executor::ExecutorType;
pub use metrics::{ConnectionReport, InputReport, NodeReport, NodeStatistics, peak_memory};
pub use multiprocess::{
    Incoming, MultiprocessExecutor, Worker, WorkerError, WorkerEvents, WorkerSpec,
};
pub use native::{StageError, StageEvent, StageHandle, StageRemote, run_stage, spawn_stage};
pub use outlet::{Outlet, OutletClosed, Output, Outputs, outlet};
pub use policy::{Admission, CircuitBreaker, ItemGuard, ItemPolicy, OnError, RetryPolicy, Verdict};
pub use protocol::{
    FailedIn, ItemFailure, ItemPlace, WorkCode, WorkerConfig, WorkerEvent, WorkerFailure,
    WorkerInput, WorkerOutput, WorkerRequest,
};
pub use rm_ipc::{
    ChannelOptions, ChannelSnapshot, Doorbell, LatencySummary, Policy as QueuePolicy, Publisher,
    SharedMemoryChannel, Subscriber, monotonic_ns,
};
pub use rm_process::callback;
pub use rm_process::{
    Backoff, BackoffError, ExitReason, ExitStatus, FailureReport, Limits, NodeProcess,
    NodeProcessSnapshot, NotRestarted, ProcessError, ProcessStatus, Progress, Restart,
    RestartPolicy, Restarts,
};
pub use stage::{
    Call, Destination, Feed, FeedSender, Inlet, Publication, Room, Stage, StageNode, Subscription,
};
pub use sweep::{Swept, sweep};
pub use timeline::{ItemTimes, Mark, Phase, TimedItems, TimelineSink, Work};
pub use worker::{Cancellation, Decision, Next, ParamsChange, WorkerRuntime, WorkerRuntimeError};
