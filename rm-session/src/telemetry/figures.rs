//! Which figures there are: their names, what they mean, and where they are read.
//!
//! Main type: [`Figure`]. Counters of nodes and channels are kept for the whole runtime as well, under
//! the same name behind `remotemedia_runtime_` instead of `remotemedia_`.

use metrics::Unit;
use rm_bridge::ChannelSnapshot;

use crate::statistics::{NodeSummary, SessionStatistics};

/// What can be read off a `T`.
pub(super) struct Figure<T, V> {
    /// Its name behind the prefix, with its unit.
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) meaning: &'static str,
    pub(super) read: fn(&T) -> V,
}

const fn figure<T, V>(
    name: &'static str,
    unit: Unit,
    meaning: &'static str,
    read: fn(&T) -> V,
) -> Figure<T, V> {
    Figure { name, unit, meaning, read }
}

/// Counters of a node. Those of a process that was started again are carried on.
pub(super) const NODE_COUNTERS: [Figure<NodeSummary, u64>; 8] = [
    figure("node_items_in_total", Unit::Count, "Items given to a node.", |node| {
        node.statistics.items_in
    }),
    figure("node_items_out_total", Unit::Count, "Items that a node made.", |node| {
        node.statistics.items_out
    }),
    figure(
        "node_errors_total",
        Unit::Count,
        "Failures, those of repeated tries included.",
        |node| node.statistics.errors,
    ),
    figure("node_retries_total", Unit::Count, "Tries of an item after the first.", |node| {
        node.statistics.retries
    }),
    figure("node_skipped_total", Unit::Count, "Items left out after a failure.", |node| {
        node.statistics.skipped
    }),
    figure("node_flushed_total", Unit::Count, "Items dropped by a flush.", |node| {
        node.statistics.flushed
    }),
    figure("node_repeated_total", Unit::Count, "Items dropped because they came twice.", |node| {
        node.statistics.repeated
    }),
    figure("node_restarts_total", Unit::Count, "Starts of a process after the first.", |node| {
        u64::from(node.restarts)
    }),
];

/// Where among [`NODE_COUNTERS`] the one stands that the session counts, and not the node's process.
pub(super) const RESTARTS: usize = NODE_COUNTERS.len() - 1;

/// The present state of a node.
pub(super) const NODE_GAUGES: [Figure<NodeSummary, f64>; 2] = [
    figure("node_busy_ratio", Unit::Count, "Share of the time in which a node works.", |node| {
        node.statistics.busy
    }),
    figure("node_memory_bytes", Unit::Bytes, "Memory of a node's process.", |node| {
        node.memory_bytes as f64
    }),
];

/// A node's time per item, by quantile, in seconds.
pub(super) const NODE_TIMES: [(&str, Figure<NodeSummary, f64>); 2] = [
    (
        "0.5",
        figure(NODE_TIME, Unit::Seconds, NODE_TIME_MEANING, |node| {
            node.statistics.time.median_us / 1e6
        }),
    ),
    (
        "0.99",
        figure(NODE_TIME, Unit::Seconds, NODE_TIME_MEANING, |node| {
            node.statistics.time.p99_us / 1e6
        }),
    ),
];
const NODE_TIME: &str = "node_item_seconds";
const NODE_TIME_MEANING: &str = "A node's own work on one item since its process began.";

/// Counters of a channel.
pub(super) const CHANNEL_COUNTERS: [Figure<ChannelSnapshot, u64>; 4] = [
    figure("channel_messages_total", Unit::Count, "Messages sent.", |channel| channel.messages),
    figure("channel_sent_bytes_total", Unit::Bytes, "Payload bytes sent.", |channel| channel.bytes),
    figure("channel_copied_bytes_total", Unit::Bytes, "Payload bytes copied.", |channel| {
        channel.copied_bytes
    }),
    figure("channel_dropped_total", Unit::Count, "Messages dropped by policy.", |channel| {
        channel.dropped
    }),
];

/// The present state of a channel.
pub(super) const CHANNEL_GAUGES: [Figure<ChannelSnapshot, f64>; 3] = [
    figure("channel_queued_messages", Unit::Count, "Messages that wait.", |channel| {
        channel.queued as f64
    }),
    figure("channel_queued_bytes", Unit::Bytes, "Payload bytes that wait.", |channel| {
        channel.current_occupancy as f64
    }),
    figure("channel_capacity_bytes", Unit::Bytes, "Most payload bytes that can wait.", |channel| {
        channel.buffer_capacity as f64
    }),
];

/// The present state of a session.
pub(super) const SESSION_GAUGES: [Figure<SessionStatistics, f64>; 4] = [
    figure("session_uptime_seconds", Unit::Seconds, "Time since it was made.", |session| {
        session.uptime.as_secs_f64()
    }),
    figure("session_processes", Unit::Count, "Its worker processes that live.", |session| {
        session.processes as f64
    }),
    figure("session_memory_bytes", Unit::Bytes, "Memory of these.", |session| {
        session.memory_bytes as f64
    }),
    figure("session_waiting_outputs", Unit::Count, "Items that wait for the caller.", |session| {
        session.waiting_outputs as f64
    }),
];

/// A name of a living part's figure.
pub(super) fn own(name: &str) -> String {
    format!("remotemedia_{name}")
}

/// The name of the same figure, summed up over all sessions that there have been.
pub(super) fn total(name: &str) -> String {
    format!("remotemedia_runtime_{name}")
}
