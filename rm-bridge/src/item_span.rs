//! The trace of an item while a node works on it.
//!
//! Main type: [`ItemSpan`]. With the feature `opentelemetry` it is a span of `tracing` if the item's
//! trace is sampled; what the node makes of the item is below it. Without that feature the item's trace
//! context is passed on, and nothing else is done.

use rm_core::{DataHeader, RuntimeData, TraceContext};

/// A node's work on an item, from its first try to its last.
#[derive(Debug, Default)]
pub(crate) struct ItemSpan {
    context: TraceContext,
    #[cfg(feature = "opentelemetry")]
    span: Option<tracing::Span>,
}

impl ItemSpan {
    /// Work on an item begins.
    #[inline]
    pub(crate) fn begin(node: &str, node_type: &str, session: &str, item: &DataHeader) -> Self {
        #[cfg(feature = "opentelemetry")]
        {
            use rm_process::telemetry::{ItemInfo, item_span};
            let info = ItemInfo { node, node_type, session, sequence: item.sequence };
            let (span, context) = item_span(info, item.trace);
            Self { context, span: Some(span).filter(|span| !span.is_disabled()) }
        }
        #[cfg(not(feature = "opentelemetry"))]
        {
            let _ = (node, node_type, session);
            Self { context: item.trace }
        }
    }

    /// The item as the node is given it: what is made from it is below this span.
    #[inline]
    pub(crate) fn give(&self, item: RuntimeData) -> RuntimeData {
        #[cfg(feature = "opentelemetry")]
        if self.span.is_some() {
            return item.with_trace(self.context);
        }
        item
    }

    /// The trace of a thing that the node made of the item: its own if it names one.
    #[inline]
    pub(crate) fn trace_of(&self, made: &DataHeader) -> TraceContext {
        if made.trace.is_valid() { made.trace } else { self.context }
    }

    /// Does the node's work within the span.
    #[inline]
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "opentelemetry")]
        if let Some(span) = &self.span {
            return span.in_scope(work);
        }
        work()
    }

    /// Notes that the node has failed on the item, and that no try is left.
    #[inline]
    pub(crate) fn failed(&self, error: &dyn std::fmt::Display) {
        #[cfg(feature = "opentelemetry")]
        if let Some(span) = &self.span {
            span.record("otel.status_code", "error");
            span.record("otel.status_description", tracing::field::display(error));
        }
        #[cfg(not(feature = "opentelemetry"))]
        let _ = error;
    }

    /// Work on the item ends, after so many tries; gives the context for what was made.
    #[inline]
    pub(crate) fn end(self, tries: u32) -> TraceContext {
        #[cfg(feature = "opentelemetry")]
        if let Some(span) = self.span.filter(|_| tries > 1) {
            span.record("tries", tries);
        }
        #[cfg(not(feature = "opentelemetry"))]
        let _ = tries;
        self.context
    }

    /// The span, for code outside of this crate.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn span(&self) -> tracing::Span {
        self.span.clone().unwrap_or_else(tracing::Span::none)
    }
}

/// A thing that was made in the trace `context`; it keeps its own if it names one.
#[inline]
pub(crate) fn carry_on(made: RuntimeData, context: TraceContext) -> RuntimeData {
    if context.is_valid() && !made.header().trace.is_valid() {
        made.with_trace(context)
    } else {
        made
    }
}
