//! What bridges did, how often, how long.
//!
//! Main types: [`BridgeMetrics`] of one bridge and [`DataBridgeMetrics`] of what carries items between
//! two. Both are written to from tasks and never wait for one. What stages and workers of a session
//! do is counted elsewhere.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rm_ipc::{Latencies, LatencySummary};
use serde::{Deserialize, Serialize};

use crate::worker::lock;

fn as_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How often one node was executed, and how long that took in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeExecutions {
    /// Calls that the node completed.
    pub count: u64,
    /// Time from call to last answer, in microseconds, of all calls together.
    pub time_us: u64,
}

/// Counts what one bridge does.
#[derive(Debug, Default)]
pub struct BridgeMetrics {
    executions: Mutex<HashMap<String, NodeExecutions>>,
    transfer_count: AtomicU64,
    bytes_transferred: AtomicU64,
    conversion_latency_us: AtomicU64,
}

/// What one bridge did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeStats {
    /// Calls that nodes completed, of all nodes together.
    pub total_executions: u64,
    /// Items that were written into shared memory.
    pub total_transfers: u64,
    /// Their payload bytes.
    pub total_bytes: u64,
    /// How long it took to write one, in microseconds, on average.
    pub avg_conversion_latency_us: u64,
}

impl BridgeMetrics {
    /// Notes that a node completed a call.
    pub fn record_execution(&self, node_id: &str, duration: Duration) {
        let mut executions = lock(&self.executions);
        let node = match executions.get_mut(node_id) {
            Some(node) => node,
            None => executions.entry(node_id.to_owned()).or_default(),
        };
        node.count += 1;
        node.time_us = node.time_us.saturating_add(as_micros(duration));
    }

    /// Notes that an item of `bytes` was written into shared memory.
    pub fn record_transfer(&self, bytes: usize, latency: Duration) {
        self.transfer_count.fetch_add(1, Ordering::Relaxed);
        self.bytes_transferred.fetch_add(bytes as u64, Ordering::Relaxed);
        self.conversion_latency_us.fetch_add(as_micros(latency), Ordering::Relaxed);
    }

    /// What one node did.
    pub fn executions(&self, node_id: &str) -> NodeExecutions {
        lock(&self.executions).get(node_id).copied().unwrap_or_default()
    }

    /// What the bridge did.
    pub fn get_stats(&self) -> BridgeStats {
        let total_transfers = self.transfer_count.load(Ordering::Relaxed);
        let latency_us = self.conversion_latency_us.load(Ordering::Relaxed);
        BridgeStats {
            total_executions: lock(&self.executions).values().map(|node| node.count).sum(),
            total_transfers,
            total_bytes: self.bytes_transferred.load(Ordering::Relaxed),
            avg_conversion_latency_us: latency_us / total_transfers.max(1),
        }
    }
}

/// What one [`DataBridge`](super::DataBridge) did so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DataBridgeStats {
    /// Items carried.
    pub transfers: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Items that went from one executor to another of a different kind.
    pub conversions: u64,
    /// Payload bytes that were copied for that. Between executors of one kind it is zero.
    pub copied_bytes: u64,
    /// How long items took, those that waited for room included.
    pub latency: LatencySummary,
}

/// Counts what one [`DataBridge`](super::DataBridge) does.
#[derive(Debug)]
pub struct DataBridgeMetrics {
    counts: Mutex<(DataBridgeStats, Latencies)>,
}

impl Default for DataBridgeMetrics {
    fn default() -> Self {
        Self { counts: Mutex::new((DataBridgeStats::default(), Latencies::new())) }
    }
}

impl DataBridgeMetrics {
    /// Notes an item of `bytes` that was carried.
    pub fn record_transfer(&self, bytes: usize, latency: Duration) {
        let (counts, latencies) = &mut *lock(&self.counts);
        counts.transfers += 1;
        counts.bytes += bytes as u64;
        latencies.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Notes an item that was converted, and how many of its bytes were copied.
    pub fn record_conversion(&self, copied: usize) {
        let (counts, _) = &mut *lock(&self.counts);
        counts.conversions += 1;
        counts.copied_bytes += copied as u64;
    }

    /// What was carried so far.
    pub fn get_stats(&self) -> DataBridgeStats {
        let (counts, latencies) = &*lock(&self.counts);
        DataBridgeStats { latency: latencies.summary(), ..counts.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_for_each_node_and_summed_up() {
        let metrics = BridgeMetrics::default();
        assert_eq!(metrics.get_stats(), BridgeStats::default());
        for (node, us) in [("a", 5), ("a", 7), ("b", 1)] {
            metrics.record_execution(node, Duration::from_micros(us));
        }
        metrics.record_transfer(100, Duration::from_micros(3));
        metrics.record_transfer(50, Duration::from_micros(6));
        assert_eq!(metrics.executions("a"), NodeExecutions { count: 2, time_us: 12 });
        assert_eq!(metrics.executions("c"), NodeExecutions::default());
        let expected = BridgeStats {
            total_executions: 3,
            total_transfers: 2,
            total_bytes: 150,
            avg_conversion_latency_us: 4,
        };
        assert_eq!(metrics.get_stats(), expected);
    }
}
