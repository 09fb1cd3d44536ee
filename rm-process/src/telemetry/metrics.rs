//! What became of calls, how many and how long they took, for one child and one direction.
//!
//! Main type: [`DirectionMetrics`]. Each call holds one [`InFlight`] from its beginning to its end,
//! so that none is counted twice or forgotten, however it ends. Counting takes no lock and allocates
//! nothing; nothing is kept per call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::latency::{Latencies, LatencySnapshot};

macro_rules! failure_kinds {
    ($($(#[$doc:meta])* $variant:ident, $field:ident;)*) => {
        /// Why a call failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum FailureKind {
            $($(#[$doc])* $variant,)*
        }

        impl FailureKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field),)*
                }
            }
        }

        /// How many calls failed, by kind.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct Failures {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Failures {
            /// How many failed for this reason.
            pub const fn of(&self, kind: FailureKind) -> u64 {
                match kind {
                    $(FailureKind::$variant => self.$field,)*
                }
            }

            fn count(of: impl Fn(FailureKind) -> u64) -> Self {
                Self { $($field: of(FailureKind::$variant),)* }
            }
        }
    };
}

failure_kinds! {
    /// Whoever served it answered with an error or an exception.
    Remote, remote;
    /// Whoever served it panicked.
    Panicked, panicked;
    /// Nobody serves its path.
    Unroutable, unroutable;
    /// Its request or a reply could not be encoded or decoded.
    Encoding, encoding;
    /// The caller gave it up.
    Cancelled, cancelled;
    /// Its time was up.
    Deadline, deadline;
    /// The connection or the process at its other end came to an end.
    Closed, closed;
    /// The other end did not keep to the protocol.
    Protocol, protocol;
}

impl Failures {
    /// How many failed, whatever the reason.
    pub fn total(&self) -> u64 {
        FailureKind::ALL.iter().map(|kind| self.of(*kind)).sum()
    }
}

/// Counts the calls of one child in one direction: requests, or callbacks.
#[derive(Debug, Default)]
pub struct DirectionMetrics {
    total: AtomicU64,
    in_flight: AtomicU64,
    succeeded: AtomicU64,
    failed: [AtomicU64; FailureKind::ALL.len()],
    items_in: AtomicU64,
    items_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    latencies: Latencies,
}

/// The counters of one direction at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectionSnapshot {
    /// Calls begun.
    pub total: u64,
    /// Calls begun and not ended.
    pub in_flight: u64,
    /// Calls that ended well.
    pub succeeded: u64,
    /// Calls that failed.
    pub failed: Failures,
    /// Items that arrived: replies at the caller, requests at who serves.
    pub items_in: u64,
    /// Items sent.
    pub items_out: u64,
    /// Bytes of the items that arrived.
    pub bytes_in: u64,
    /// Bytes of the items sent.
    pub bytes_out: u64,
    /// From the beginning to the end of each call that ended, well or not.
    pub latency: LatencySnapshot,
}

impl DirectionMetrics {
    /// Counts a call from now on, until what is returned is finished or dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.total.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        let metrics = Arc::clone(self);
        InFlight { metrics, since: Instant::now(), outcome: Err(FailureKind::Cancelled) }
    }

    /// Counts an item that arrived.
    pub fn item_in(&self, bytes: usize) {
        self.items_in.fetch_add(1, Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts an item that was sent.
    pub fn item_out(&self, bytes: usize) {
        self.items_out.fetch_add(1, Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    /// Calls begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// The counters now. Each is exact; a call that begins or ends meanwhile may be in one and not
    /// in another.
    pub fn snapshot(&self) -> DirectionSnapshot {
        DirectionSnapshot {
            total: self.total.load(Relaxed),
            in_flight: self.in_flight(),
            succeeded: self.succeeded.load(Relaxed),
            failed: Failures::count(|kind| self.failed[kind as usize].load(Relaxed)),
            items_in: self.items_in.load(Relaxed),
            items_out: self.items_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            latency: self.latencies.snapshot(),
        }
    }
}

/// A call that has begun. Dropped without having been finished, it counts as cancelled.
#[derive(Debug)]
#[must_use = "a call that is not finished counts as cancelled"]
pub struct InFlight {
    metrics: Arc<DirectionMetrics>,
    since: Instant,
    outcome: Result<(), FailureKind>,
}

impl InFlight {
    /// Counts how the call ended, and how long it took.
    pub fn finish(mut self, outcome: Result<(), FailureKind>) {
        self.outcome = outcome;
    }

    /// Where it is counted.
    pub fn metrics(&self) -> &DirectionMetrics {
        &self.metrics
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.latencies.record(self.since.elapsed());
        let counter = match self.outcome {
            Ok(()) => &self.metrics.succeeded,
            Err(kind) => &self.metrics.failed[kind as usize],
        };
        counter.fetch_add(1, Relaxed);
        self.metrics.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    #[test]
    fn each_outcome_is_counted_where_it_belongs() {
        let metrics = Arc::new(DirectionMetrics::default());
        for (times, kind) in FailureKind::ALL.iter().enumerate() {
            (0..times).for_each(|_| metrics.begin().finish(Err(*kind)));
        }
        metrics.begin().finish(Ok(()));
        let snapshot = metrics.snapshot();
        for (times, kind) in FailureKind::ALL.iter().enumerate() {
            assert_eq!(snapshot.failed.of(*kind), times as u64, "{}", kind.as_str());
        }
        assert_eq!((snapshot.total, snapshot.succeeded, snapshot.failed.total()), (29, 1, 28));
        assert_eq!((snapshot.in_flight, snapshot.latency.count), (0, 29));
    }

    #[test]
    fn a_call_dropped_unfinished_counts_as_cancelled() {
        let metrics = Arc::new(DirectionMetrics::default());
        let call = metrics.begin();
        assert_eq!(metrics.snapshot().in_flight, 1);
        drop(call);
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.failed.cancelled), (0, 1));
    }

    #[test]
    fn items_are_counted_with_their_bytes() {
        let metrics = Arc::new(DirectionMetrics::default());
        let call = metrics.begin();
        call.metrics().item_out(100);
        call.metrics().item_in(0);
        call.metrics().item_in(7);
        call.finish(Ok(()));
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.items_in, snapshot.bytes_in), (2, 7));
        assert_eq!((snapshot.items_out, snapshot.bytes_out), (1, 100));
    }

    #[test]
    fn a_snapshot_names_its_units_and_comes_back_from_json() {
        let metrics = Arc::new(DirectionMetrics::default());
        metrics.begin().finish(Err(FailureKind::Deadline));
        let snapshot = metrics.snapshot();
        let json = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(json["failed"]["deadline"], 1);
        assert!(json["latency"]["p99_us"].is_f64());
        assert_eq!(serde_json::from_value::<DirectionSnapshot>(json).unwrap(), snapshot);
    }

    /// What the `n`th call does in the tests of concurrency.
    fn end(call: InFlight, n: usize) {
        call.metrics().item_out(n);
        match n % 10 {
            8 => drop(call),
            9 => call.finish(Err(FailureKind::Remote)),
            _ => call.finish(Ok(())),
        }
    }

    fn check_totals(metrics: &DirectionMetrics, calls: u64) {
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.total, snapshot.in_flight), (calls, 0));
        assert_eq!(snapshot.succeeded, calls / 10 * 8);
        assert_eq!((snapshot.failed.cancelled, snapshot.failed.remote), (calls / 10, calls / 10));
        assert_eq!((snapshot.latency.count, snapshot.items_out), (calls, calls));
    }

    #[test]
    fn counts_are_exact_whatever_threads_do_at_once() {
        const THREADS: usize = 8;
        const CALLS: usize = 20_000;
        let metrics = Arc::new(DirectionMetrics::default());
        let running = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while running.load(Relaxed) {
                    assert!(metrics.snapshot().in_flight <= THREADS as u64);
                }
            });
            let callers: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| (0..CALLS).for_each(|n| end(metrics.begin(), n))))
                .collect();
            let ended: Vec<_> = callers.into_iter().map(|caller| caller.join()).collect();
            running.store(false, Relaxed);
            reader.join().unwrap();
            assert!(ended.iter().all(Result::is_ok));
        });
        check_totals(&metrics, (THREADS * CALLS) as u64);
        assert_eq!(metrics.snapshot().bytes_out, (THREADS * CALLS * (CALLS - 1) / 2) as u64);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn counts_are_exact_when_tasks_are_aborted() {
        const TASKS: u64 = 10_000;
        let metrics = Arc::new(DirectionMetrics::default());
        let mut tasks = JoinSet::new();
        for n in 0..TASKS {
            let call = metrics.begin();
            tasks.spawn(async move {
                yield_now().await;
                match n % 2 {
                    0 => call.finish(Ok(())),
                    _ => std::future::pending().await,
                }
            });
        }
        assert_eq!(metrics.snapshot().total, TASKS);
        for _ in 0..TASKS / 2 {
            tasks.join_next().await.expect("half of the tasks end").unwrap();
        }
        assert_eq!(metrics.snapshot().in_flight, TASKS / 2);
        tasks.shutdown().await;
        let snapshot = metrics.snapshot();
        assert_eq!((snapshot.in_flight, snapshot.latency.count), (0, TASKS));
        assert_eq!((snapshot.succeeded, snapshot.failed.cancelled), (TASKS / 2, TASKS / 2));
    }
}
