//! The span of a node's work on one item.
//!
//! Main function: [`item_span`]. Only items of a trace that is sampled have one: whoever sends an item
//! decides. Spans have the target `rm_process::item` and the level `DEBUG`.

use rm_core::TraceContext;
use tracing::field::Empty;
use tracing::{Span, debug_span};

/// What the span of an item says of it.
#[derive(Debug, Clone, Copy)]
pub struct ItemInfo<'a> {
    /// The node that works on it.
    pub node: &'a str,
    /// Its type.
    pub node_type: &'a str,
    /// The session that it runs in.
    pub session: &'a str,
    /// The item's position in the channel by which it came, from 0.
    pub sequence: u64,
}

/// The span of a node's work on an item, below the span that the item carries, and the context for what
/// the node makes of it: the span's own where OpenTelemetry records it, else the item's. An item
/// without a sampled trace has no span, and costs a comparison. The fields `tries`,
/// `otel.status_code` and `otel.status_description` are for who runs the node to fill in.
#[inline]
pub fn item_span(item: ItemInfo<'_>, carried: TraceContext) -> (Span, TraceContext) {
    if !carried.is_sampled() || !carried.is_valid() {
        return (Span::none(), carried);
    }
    begin(item, carried)
}

fn begin(item: ItemInfo<'_>, carried: TraceContext) -> (Span, TraceContext) {
    let ItemInfo { node, node_type, session, sequence } = item;
    let span = debug_span!(
        target: "rm_process::item",
        parent: None,
        "process",
        node,
        node_type,
        session,
        sequence,
        tries = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    );
    #[cfg(feature = "opentelemetry")]
    {
        super::bridge::set_parent(&span, carried);
        if let Some(own) = super::bridge::context_of(&span) {
            return (span, own);
        }
    }
    (span, carried)
}
