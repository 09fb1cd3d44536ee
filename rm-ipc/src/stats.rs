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

/// Collects times in bounded memory: the first 64 as they are, more of them to 1 % exact.
#[derive(Debug, Clone)]
pub struct Latencies(Times);

/// A histogram takes 37 KB: to make one for each node and connection would take longer than many a
/// short run.
#[derive(Debug, Clone)]
enum Times {
    Few(Vec<u64>),
    Many(Histogram<u64>),
}

impl Latencies {
    const LONGEST_NS: u64 = 3_600_000_000_000;
    const FEW: usize = 64;

    /// No times yet.
    pub const fn new() -> Self {
        Self(Times::Few(Vec::new()))
    }

    /// Adds one time, in nanoseconds; an hour at most.
    pub fn record(&mut self, nanos: u64) {
        match &mut self.0 {
            Times::Many(histogram) => histogram.saturating_record(nanos),
            Times::Few(times) if times.len() < Self::FEW => {
                times.push(nanos.min(Self::LONGEST_NS));
            }
            Times::Few(times) => {
                let histogram = Histogram::new_with_bounds(1, Self::LONGEST_NS, 2);
                let mut histogram =
                    histogram.expect("the bounds and the precision are constants in range");
                times.iter().for_each(|&time| histogram.saturating_record(time));
                histogram.saturating_record(nanos);
                self.0 = Times::Many(histogram);
            }
        }
    }

    /// Sums them up.
    pub fn summary(&self) -> LatencySummary {
        let summary = |count, at: &dyn Fn(f64) -> u64| LatencySummary {
            count,
            median_us: at(0.5) as f64 / 1_000.0,
            p99_us: at(0.99) as f64 / 1_000.0,
        };
        match &self.0 {
            Times::Many(histogram) => {
                summary(histogram.len(), &|quantile| histogram.value_at_quantile(quantile))
            }
            Times::Few(times) => {
                let mut times = times.clone();
                times.sort_unstable();
                // The least time that is not below this share of all, as the histogram has it.
                let rank = |quantile: f64| (quantile * times.len() as f64).ceil() as usize;
                let at = |quantile| times.get(rank(quantile).max(1) - 1).copied().unwrap_or(0);
                summary(times.len() as u64, &at)
            }
        }
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

    #[test]
    fn a_summary_is_the_same_before_and_after_there_are_many() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), LatencySummary::default());
        for count in 1..=200_u64 {
            // In an order of its own.
            latencies.record(count * 61 % 211 * 1_000);
            let mut times: Vec<_> = (1..=count).map(|count| count * 61 % 211).collect();
            times.sort_unstable();
            let at = |percent: u64| times[(count * percent).div_ceil(100) as usize - 1] as f64;
            let summary = latencies.summary();
            assert_eq!(summary.count, count);
            for (found, expected) in [(summary.median_us, at(50)), (summary.p99_us, at(99))] {
                assert!((found - expected).abs() <= expected / 100.0, "{count}: {summary:?}");
            }
        }
    }

    #[test]
    fn a_time_above_an_hour_is_an_hour() {
        let mut latencies = Latencies::new();
        for _ in 0..=Latencies::FEW {
            latencies.record(u64::MAX);
            let hour = 3.6e9;
            assert!((latencies.summary().p99_us - hour).abs() <= hour / 100.0);
        }
    }
}
