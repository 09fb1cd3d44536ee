//! What ran, how often, how long.
//!
//! Main types: [`NodeReport`] and [`ConnectionReport`], one for each node and each connection of a
//! pipeline.

use std::time::{Duration, Instant};

use rm_ipc::{Latencies, LatencySummary};
use serde::{Deserialize, Serialize};

use crate::executor::ExecutorType;

/// What one node has done so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeStatistics {
    /// Items that it was given (a source: times that it was asked).
    pub items_in: u64,
    /// Items that it made.
    pub items_out: u64,
    /// Payload bytes of the items that it was given.
    pub bytes_in: u64,
    /// Payload bytes of the items that it made.
    pub bytes_out: u64,
    /// Bytes that were copied to send these: into shared memory, where they were not made there, once
    /// for each channel; and before, where they did not lie as items do.
    pub copied_bytes: u64,
    /// Failures, those of tries that were repeated included.
    pub errors: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Items left out after a failure, or because the circuit was open.
    pub skipped: u64,
    /// Items dropped because they were of an older epoch.
    pub flushed: u64,
    /// Items dropped because they had come before, from a node that was started again.
    pub repeated: u64,
    /// Time of its own work per item, without waiting.
    pub time: LatencySummary,
    /// Time of its own work, all items together, in microseconds.
    pub total_us: f64,
    /// Share of its own work in the time since it was ready, from 0 to 1.
    pub busy: f64,
    /// The most memory that its process has had in RAM, in bytes; 0 for a node without one.
    pub peak_memory_bytes: u64,
}

/// What one node did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// What ran it.
    pub executor: ExecutorType,
    /// What it did.
    #[serde(flatten)]
    pub statistics: NodeStatistics,
}

/// Counts what a node does.
#[derive(Debug)]
pub(crate) struct NodeMeter {
    /// All but times and memory.
    pub(crate) counts: NodeStatistics,
    time: Latencies,
    busy: Duration,
    since: Instant,
}

impl NodeMeter {
    pub(crate) fn new() -> Self {
        Self {
            counts: NodeStatistics::default(),
            time: Latencies::new(),
            busy: Duration::ZERO,
            since: Instant::now(),
        }
    }

    /// The node is ready: what share of the time it works is counted from here.
    pub(crate) fn start(&mut self) {
        self.since = Instant::now();
    }

    /// Notes its work on one item.
    pub(crate) fn record(&mut self, took: Duration) {
        self.time.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.busy = self.busy.saturating_add(took);
    }

    pub(crate) fn statistics(&self) -> NodeStatistics {
        let elapsed = self.since.elapsed().as_secs_f64();
        let busy = if elapsed > 0.0 { (self.busy.as_secs_f64() / elapsed).min(1.0) } else { 0.0 };
        let total_us = self.busy.as_secs_f64() * 1e6;
        NodeStatistics { time: self.time.summary(), total_us, busy, ..self.counts.clone() }
    }
}

/// The most memory that this process has had in RAM, in bytes; 0 where that is not known. Unlike what
/// getrusage(2) says, it is that of its own program only.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// What came in by one channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InputReport {
    /// Items received.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes that were copied on reception, because too many items were kept.
    pub copied_bytes: u64,
    /// Items that the queue's policy has dropped.
    pub dropped: u64,
    /// Items that were sent and did not come; zero unless something is wrong.
    pub missed: u64,
    /// Time from sending to reception.
    pub latency: LatencySummary,
}

/// What went over one connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// The node that items came from.
    pub from: String,
    /// The port of that node, where the connection names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_port: Option<String>,
    /// The node that they went to.
    pub to: String,
    /// The port of that node, where the connection names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<String>,
    /// Items.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes that were copied: once into shared memory where the sender had them on its heap (for
    /// all connections from one node together), and again where the receiver kept too much.
    pub copied_bytes: u64,
    /// Items that the queue's policy has dropped.
    pub dropped: u64,
    /// Items that were sent and did not come; zero unless something is wrong.
    pub missed: u64,
    /// Time from sending to reception; within one stage, from emission to the call.
    pub latency: LatencySummary,
}

impl InputReport {
    /// What has come in by `subscriber` so far.
    pub fn of(subscriber: &rm_ipc::Subscriber) -> Self {
        Self {
            messages: subscriber.latency().count,
            bytes: subscriber.bytes(),
            copied_bytes: subscriber.copied_bytes(),
            dropped: subscriber.dropped(),
            missed: subscriber.missed(),
            latency: subscriber.latency(),
        }
    }
}
