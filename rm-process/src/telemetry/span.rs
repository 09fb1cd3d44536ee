//! The spans of calls: one where a call is made, one where it is served.
//!
//! Main type: [`CallInfo`]. Spans have the target `rm_process::call` and the level `DEBUG`. Where no
//! subscriber wants those, making one is a look at a flag: nothing is formatted and nothing
//! allocated. What becomes of calls is counted elsewhere, by the metrics.

use std::fmt::Display;

use rm_core::TraceContext;
use tracing::field::{Empty, display};
use tracing::{Span, debug_span};

use super::metrics::FailureKind;

/// On which of the two channels a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// The parent calls, the child serves.
    Request,
    /// The child calls, the parent serves.
    Callback,
}

impl CallKind {
    /// Its name in spans and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Callback => "callback",
        }
    }
}

/// What the spans of a call say of it.
#[derive(Debug, Clone, Copy)]
pub struct CallInfo<'a> {
    /// Which channel it goes on.
    pub kind: CallKind,
    /// What is called, such as `trading.DataFetch`.
    pub path: &'a str,
    /// The process at the other end.
    pub peer_pid: u32,
}

/// The span of a call that this process makes, and the context to send along with it: the span's
/// own where OpenTelemetry records it, else the caller's. Its field `correlation_id` is for who
/// makes the call to fill in.
pub fn client_span(call: CallInfo<'_>) -> (Span, Option<TraceContext>) {
    let CallInfo { kind, path, peer_pid } = call;
    let span = debug_span!(
        target: "rm_process::call",
        "call",
        otel.name = path,
        otel.kind = "client",
        kind = kind.as_str(),
        path,
        correlation_id = Empty,
        peer_pid,
        failure = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    #[cfg(feature = "opentelemetry")]
    if let Some(own) = super::bridge::context_of(&span) {
        return (span, Some(own));
    }
    (span, super::current())
}

/// The span of a call that this process serves, below the span of the `parent` process that was
/// sent with the call. It is below no span of this process: who runs the engine did not call.
///
/// Whoever serves runs in the span and in [`scope`](super::scope) of `parent`:
/// ```
/// # use rm_core::TraceContext;
/// # use rm_process::telemetry::{self, CallInfo, CallKind};
/// # async fn handler() {}
/// # async fn serve(call: CallInfo<'_>, parent: Option<TraceContext>) {
/// use tracing::Instrument;
///
/// let span = telemetry::server_span(call, 7, parent);
/// telemetry::scope(parent, handler()).instrument(span).await;
/// # }
/// ```
pub fn server_span(call: CallInfo<'_>, correlation_id: u64, parent: Option<TraceContext>) -> Span {
    let CallInfo { kind, path, peer_pid } = call;
    let span = debug_span!(
        target: "rm_process::call",
        parent: None,
        "serve",
        otel.name = path,
        otel.kind = "server",
        kind = kind.as_str(),
        path,
        correlation_id,
        peer_pid,
        failure = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    #[cfg(feature = "opentelemetry")]
    if let Some(parent) = parent {
        super::bridge::set_parent(&span, parent);
    }
    #[cfg(not(feature = "opentelemetry"))]
    let _ = parent;
    span
}

/// Marks the span of a call as failed. A call whose span nobody marks went well.
pub fn record_failure(span: &Span, kind: FailureKind, error: &dyn Display) {
    if span.is_disabled() {
        return;
    }
    span.record("failure", kind.as_str());
    span.record("otel.status_code", "error");
    span.record("otel.status_description", display(error));
}
