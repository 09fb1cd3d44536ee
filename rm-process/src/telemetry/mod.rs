//! Which trace a call belongs to, and how calls go.
//!
//! Main types: [`CallInfo`], from which the spans of a call are made, [`ItemInfo`] for those of a node's
//! items, and [`metrics::DirectionMetrics`]. [`current`], [`scope`] and [`enter`] say in which trace the
//! running code is. Without a feature the context is only passed through, so that a trace begun in
//! one process is still known in the third. The feature `opentelemetry` ties it to the spans of
//! `tracing`; the feature `otlp` exports those. Nothing here sends or receives calls.

mod current;
mod item;
mod latency;
pub mod metrics;
mod span;

#[cfg(feature = "opentelemetry")]
mod bridge;
#[cfg(feature = "opentelemetry")]
mod instruments;
#[cfg(feature = "otlp")]
mod otlp;

pub use current::{Entered, current, enter, scope};
pub use item::{ItemInfo, item_span};
pub use latency::{Latencies, LatencySnapshot};
pub use span::{CallInfo, CallKind, client_span, record_failure, server_span};

#[cfg(feature = "opentelemetry")]
pub use instruments::Instruments;
#[cfg(feature = "otlp")]
pub use otlp::{OtlpError, OtlpGuard, otlp};
