//! Times of messages in transit.
//!
//! Main types: [`Latencies`], which collects, and [`LatencySummary`], which is kept.

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds of the machine's monotonic clock, which all processes share.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}

/// A distribution of times, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// How many times were measured.
    pub count: u64,
    /// Median, in microseconds.
    pub median_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
}

/// Collects times in bounded memory, to 1 % exact.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    const LONGEST_NS: u64 = 3_600_000_000_000;

    /// No times yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, Self::LONGEST_NS, 2);
        Self(histogram.expect("the bounds and the precision are constants in range"))
    }

    /// Adds one time, in nanoseconds; an hour at most.
    pub fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// Sums them up.
    pub fn summary(&self) -> LatencySummary {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        LatencySummary { count: self.0.len(), median_us: at(0.5), p99_us: at(0.99) }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_exact_to_one_percent() {
        let mut latencies = Latencies::new();
        (1..=1_000_u64).for_each(|micros| latencies.record(micros * 1_000));
        let summary = latencies.summary();
        assert_eq!(summary.count, 1_000);
        assert!((summary.median_us - 500.0).abs() < 5.0, "{summary:?}");
        assert!((summary.p99_us - 990.0).abs() < 10.0, "{summary:?}");
    }
}
