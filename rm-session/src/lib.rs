//! From a JSON manifest to a running, supervised pipeline.
//!
//! In the order in which data meets them: a [`Manifest`] says what a user wants to run, a
//! [`Graph`] puts its nodes in order, and a [`Plan`] decides which executor runs each of them,
//! which of them share a thread, and which channels lie between. All three are pure values: when
//! they exist, nothing has been started yet, and most mistakes have been found. A [`Session`] on a
//! [`Runtime`] then starts what the plan says, or [`run`] does all of it at once.
//!
//! ```
//! use rm_core::RuntimeData;
//! use rm_session::{CancelToken, Manifest, Plan, RunEvent, Runtime, RuntimeConfig};
//!
//! # #[cfg(feature = "nodes")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::new(RuntimeConfig::default(), rm_session::builtin_nodes());
//! let manifest = r#"{"version": "v1", "nodes": [{"id": "same", "node_type": "PassThroughNode"}]}"#;
//! let plan = Plan::new(Manifest::from_json(manifest)?, runtime.registry())?;
//! let print = |event| {
//!     if let RunEvent::Output(output) = event {
//!         println!("{}: {:?}", output.node, output.data.as_text());
//!     }
//! };
//! let input = vec![RuntimeData::text("hello")?];
//! let report = rm_session::run(&runtime, plan, input, print, CancelToken::new()).await?;
//! assert_eq!(report.nodes[0].statistics.items_in, 1);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "nodes"))]
//! # fn main() {}
//! ```

#![forbid(unsafe_code)]

/// The examples of the crate's README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod config;
mod direct;
mod error;
mod event;
mod graph;
mod inline;
mod machine;
mod manifest;
mod plan;
mod problem;
mod progress;
mod run;
mod runtime;
mod session;
mod statistics;
mod status;
#[cfg(feature = "metrics")]
mod telemetry;
mod timeline;
mod wiring;

pub use config::{ConfigError, RuntimeConfig, SettingError, settings};
pub use direct::{cleanup_session, create_session, default_runtime, initialize_pipeline};
pub use error::{CleanupError, InitError, InputError, ParamsError, SessionError};
pub use event::{DeadLetter, SessionEvent, SessionEvents};
pub use graph::{Graph, GraphError};
pub use inline::run_inline;
pub use machine::{Gpu, GpuVendor, Machine, SharedMemory};
pub use manifest::{
    Capabilities, Connection, ExecutorType, Format, GpuSpec, Manifest, ManifestError,
    MultiprocessSettings, NodeSpec, OverrideError, PipelineConfig, QueueSpec, manifest_schema,
    parse_override,
};
pub use plan::{
    Consumer, Conversion, Edge, Plan, PlanError, PlannedChannel, PlannedNode, Producer, Queue,
    Reason, Route, SharedMemoryPlan, Stage,
};
pub use problem::{Problem, ProblemKind, Warning};
pub use progress::{InitProgress, InitStatus};
pub use rm_bridge::callback;
pub use run::{RunEvent, RunReport, run};
pub use runtime::{CancelToken, Runtime};
pub use session::{Session, SessionSnapshot};
pub use statistics::{NodeSummary, SessionStatistics};
pub use status::{IllegalStatus, SessionStatus};
#[cfg(feature = "prometheus")]
pub use telemetry::PrometheusMetrics;
pub use timeline::{NodeRun, NodeTimeline, RunEnd, Step, Timeline};

/// The built-in media nodes.
#[cfg(feature = "nodes")]
pub fn builtin_nodes() -> rm_core::NodeRegistry {
    let mut registry = rm_core::NodeRegistry::new();
    rm_nodes::register_all(&mut registry).expect("the built-in nodes have names of their own");
    registry
}
