//! What the sessions of a runtime have done together, for whoever watches the process.
//!
//! Main functions: [`Runtime::record_metrics`](crate::Runtime::record_metrics) and, with the feature
//! `prometheus`, [`Runtime::prometheus`](crate::Runtime::prometheus). Both ask the sessions when they
//! are called; nothing is recorded as items go by. Spans of items are made where nodes run, in
//! `rm-bridge`.

mod figures;
mod ledger;
#[cfg(feature = "prometheus")]
mod prometheus;
mod record;

pub(crate) use ledger::Ledger;
#[cfg(feature = "prometheus")]
pub use prometheus::PrometheusMetrics;
