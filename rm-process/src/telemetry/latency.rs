//! A distribution of times that any number of threads add to at once.
//!
//! Main types: [`Latencies`], which collects, and [`LatencySnapshot`], which is kept. Adding is
//! three atomic operations: no lock, no allocation. Times are sorted into steps that grow with
//! them, as HdrHistogram does it, so that quantiles are exact to 1 %.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Each power of two is cut into this many steps; 1/64 wide, so their middle is 0.8 % off at most.
const STEPS: usize = 64;
const STEPS_LOG2: u32 = STEPS.ilog2();

/// Longer times count as this: 2^42 ns, a good hour.
const LONGEST_NS: u64 = (1 << 42) - 1;

/// Times below `STEPS` have a step each, and so have the powers of two above.
const LEN: usize = (42 - STEPS_LOG2 as usize + 1) * STEPS;

/// A distribution of times, summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySnapshot {
    /// How many times were measured.
    pub count: u64,
    /// Mean, in microseconds.
    pub mean_us: f64,
    /// Median, in microseconds.
    pub median_us: f64,
    /// 99th percentile, in microseconds.
    pub p99_us: f64,
    /// The longest, in microseconds.
    pub max_us: f64,
}

/// Collects times in 19 KB.
#[derive(Debug)]
pub struct Latencies {
    steps: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Latencies {
    /// No times yet.
    pub fn new() -> Self {
        let steps = (0..LEN).map(|_| AtomicU64::new(0)).collect();
        Self { steps, sum_ns: AtomicU64::new(0), max_ns: AtomicU64::new(0) }
    }

    /// Adds one time; a good hour at most.
    pub fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).map_or(LONGEST_NS, |ns| ns.min(LONGEST_NS));
        self.steps[step_of(nanos)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(nanos, Relaxed);
        // Mostly it is not the longest, and then nobody else's line is taken away.
        if nanos > self.max_ns.load(Relaxed) {
            self.max_ns.fetch_max(nanos, Relaxed);
        }
    }

    /// Sums them up. Times added meanwhile may be in one number and not yet in another.
    pub fn snapshot(&self) -> LatencySnapshot {
        let steps: Vec<u64> = self.steps.iter().map(|step| step.load(Relaxed)).collect();
        let count: u64 = steps.iter().sum();
        if count == 0 {
            return LatencySnapshot::default();
        }
        let longest = self.max_ns.load(Relaxed);
        LatencySnapshot {
            count,
            mean_us: micros(self.sum_ns.load(Relaxed)) / count as f64,
            median_us: micros(quantile(&steps, count.div_ceil(2)).min(longest)),
            p99_us: micros(quantile(&steps, count - count / 100).min(longest)),
            max_us: micros(longest),
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

/// The step into which a time falls: its highest seven bits, counted on from power to power.
const fn step_of(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEPS_LOG2 + 1);
    shift as usize * STEPS + (nanos >> shift) as usize
}

/// The middle of the times that fall into a step.
const fn middle_of(step: usize) -> u64 {
    let shift = (step / STEPS).saturating_sub(1);
    let first = (step - shift * STEPS) as u64;
    (first << shift) + ((1 << shift) >> 1)
}

/// The time at which `rank` of the times have been counted, from the shortest on.
fn quantile(steps: &[u64], rank: u64) -> u64 {
    let mut seen = 0;
    let reached = steps.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    reached.map_or(LONGEST_NS, middle_of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_snapshot_is_exact_to_one_percent() {
        let latencies = Latencies::new();
        (1..=1_000).for_each(|micros| latencies.record(Duration::from_micros(micros)));
        let snapshot = latencies.snapshot();
        assert_eq!((snapshot.count, snapshot.mean_us, snapshot.max_us), (1_000, 500.5, 1_000.0));
        assert!((snapshot.median_us - 500.0).abs() < 5.0, "{snapshot:?}");
        assert!((snapshot.p99_us - 990.0).abs() < 10.0, "{snapshot:?}");
    }

    #[test]
    fn one_time_is_all_quantiles() {
        let latencies = Latencies::new();
        assert_eq!(latencies.snapshot(), LatencySnapshot::default());
        latencies.record(Duration::from_nanos(63_000));
        let snapshot = latencies.snapshot();
        assert_eq!((snapshot.count, snapshot.mean_us, snapshot.max_us), (1, 63.0, 63.0));
        assert!((snapshot.median_us - 63.0).abs() < 0.63 && snapshot.p99_us <= 63.0);
    }

    #[test]
    fn the_longest_time_has_the_last_step() {
        assert_eq!(step_of(LONGEST_NS), LEN - 1);
        let latencies = Latencies::new();
        latencies.record(Duration::MAX);
        latencies.record(Duration::ZERO);
        let snapshot = latencies.snapshot();
        assert_eq!((snapshot.count, snapshot.max_us), (2, micros(LONGEST_NS)));
        assert_eq!(snapshot.median_us, 0.0);
    }

    proptest! {
        #[test]
        fn a_step_stands_for_its_times(bits in 0_u32..=42, random: u64) {
            let nanos = random & ((1 << bits) - 1);
            let step = step_of(nanos);
            prop_assert!(step < LEN);
            prop_assert!(middle_of(step).abs_diff(nanos) * 100 <= nanos);
            prop_assert!(nanos == 0 || step - step_of(nanos - 1) <= 1);
        }
    }
}
