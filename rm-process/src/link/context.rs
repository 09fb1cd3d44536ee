//! In what context a call is made: until when, and in which trace.
//!
//! Main type: [`CallContext`]. Calls that are made while a call is served inherit its deadline; the
//! trace is `telemetry`'s.

use std::cell::Cell;
use std::future::Future;
use std::time::{Duration, Instant};

use rm_core::TraceContext;

use crate::protocol::WireContext;

tokio::task_local! {
    static DEADLINE: Cell<Option<Instant>>;
}

/// Until when a call may take, and in which trace it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallContext {
    /// When it is of no use any more.
    pub deadline: Option<Instant>,
    /// The trace that it belongs to.
    pub trace: Option<TraceContext>,
}

impl CallContext {
    pub(crate) fn received(wire: WireContext) -> Self {
        let within = |us| Instant::now().checked_add(Duration::from_micros(us));
        Self { deadline: wire.timeout_us.and_then(within), trace: wire.trace }
    }

    pub(crate) fn to_wire(self) -> WireContext {
        let left = |deadline: Instant| {
            let left = deadline.saturating_duration_since(Instant::now());
            u64::try_from(left.as_micros()).unwrap_or(u64::MAX)
        };
        WireContext { trace: self.trace, timeout_us: self.deadline.map(left) }
    }

    /// How long is left; `None` where there is no deadline.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// The deadline of the call that this task serves.
pub(crate) fn current_deadline() -> Option<Instant> {
    DEADLINE.try_with(Cell::get).ok().flatten()
}

/// Runs what serves a call, so that calls made there inherit its deadline.
pub(crate) fn scope<F: Future>(
    deadline: Option<Instant>,
    serve: F,
) -> impl Future<Output = F::Output> {
    DEADLINE.scope(Cell::new(deadline), serve)
}
