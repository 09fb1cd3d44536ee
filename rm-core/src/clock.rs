//! Time within a session: a clock that never goes backwards, and a guard for times from elsewhere.
//!
//! Main types: [`SessionClock`], which gives wall-clock timestamps that never go backwards,
//! whatever is done to the machine's clock, and [`MonotonicStamp`], which holds the timestamps of
//! a producer to the same rule. Nothing here waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::header::DataHeader;

/// A clock that starts at the wall clock's time and then only moves forward.
///
/// ```
/// use std::time::Duration;
/// use rm_core::{DataHeader, DataMetadata, SessionClock};
///
/// let clock = SessionClock::start();
/// let mut first = DataHeader::new(DataMetadata::Json, 2);
/// let mut second = first.clone();
/// first.timestamp = clock.now();
/// second.timestamp = first.timestamp - Duration::from_secs(1);
/// clock.stamp(&mut first);
/// clock.stamp(&mut second);
/// assert_eq!(second.timestamp, first.timestamp);
/// assert_eq!(clock.clamped(), 1);
/// ```
#[derive(Debug)]
pub struct SessionClock {
    started_at: SystemTime,
    started: Instant,
    stamp: MonotonicStamp,
}

impl SessionClock {
    /// Starts the clock now.
    pub fn start() -> Self {
        let (started_at, started) = (SystemTime::now(), Instant::now());
        Self { started_at, started, stamp: MonotonicStamp::new() }
    }

    /// When the clock was started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The time now; never before an earlier answer of the same clock.
    pub fn now(&self) -> SystemTime {
        self.started_at + self.started.elapsed()
    }

    /// Moves the header's timestamp up to the latest that was stamped before, if it is earlier.
    pub fn stamp(&self, header: &mut DataHeader) {
        header.timestamp = self.stamp.admit(header.timestamp);
    }

    /// How many timestamps [`stamp`](Self::stamp) has moved.
    pub fn clamped(&self) -> u64 {
        self.stamp.clamped()
    }
}

/// Holds the timestamps of one stream to the rule that they never go backwards.
///
/// A timestamp that would is replaced by the latest one before it, and counted; it is never an
/// error. It works for several threads at once, without a lock. As each publisher has its own
/// stream, each takes its own guard: what a node makes from an item carries that item's time, which
/// may well lie before what other nodes of the session have sent.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use rm_core::MonotonicStamp;
///
/// let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
/// let stamp = MonotonicStamp::new();
/// assert_eq!(stamp.admit(late), late);
/// assert_eq!(stamp.admit(early), late);
/// assert_eq!(stamp.admit(late), late);
/// assert_eq!(stamp.clamped(), 1);
/// ```
#[derive(Debug, Default)]
pub struct MonotonicStamp {
    /// The latest timestamp, in nanoseconds since 1970.
    last_ns: AtomicU64,
    clamped: AtomicU64,
}

impl MonotonicStamp {
    /// A guard that has seen nothing yet.
    pub const fn new() -> Self {
        Self { last_ns: AtomicU64::new(0), clamped: AtomicU64::new(0) }
    }

    /// `timestamp`, or the latest one admitted if that is later.
    ///
    /// A time before 1970 counts as going backwards. A time beyond 2554, which the wire header
    /// cannot carry, comes back as it is and changes nothing.
    pub fn admit(&self, timestamp: SystemTime) -> SystemTime {
        let since = timestamp.duration_since(SystemTime::UNIX_EPOCH);
        match since.map(|since| u64::try_from(since.as_nanos())) {
            Ok(Ok(nanos)) => match self.admit_ns(nanos) {
                admitted if admitted == nanos => timestamp,
                later => from_nanos(later),
            },
            Ok(Err(_)) => timestamp,
            Err(_) => {
                self.clamped.fetch_add(1, Ordering::Relaxed);
                from_nanos(self.last_ns.load(Ordering::Relaxed))
            }
        }
    }

    /// As [`admit`](Self::admit), in nanoseconds since 1970.
    pub fn admit_ns(&self, timestamp_ns: u64) -> u64 {
        // Nothing else is published by this number, so the order of its own changes is enough.
        let last = self.last_ns.fetch_max(timestamp_ns, Ordering::Relaxed);
        if last > timestamp_ns {
            self.clamped.fetch_add(1, Ordering::Relaxed);
        }
        last.max(timestamp_ns)
    }

    /// How many timestamps would have gone backwards.
    pub fn clamped(&self) -> u64 {
        self.clamped.load(Ordering::Relaxed)
    }
}

/// The time so many nanoseconds after the start of 1970.
pub(crate) fn from_nanos(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_does_not_go_backwards() {
        let clock = SessionClock::start();
        let times: Vec<_> = (0..1000).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
        assert!(times[0] >= clock.started_at());
    }

    #[test]
    fn times_that_the_wire_cannot_carry_do_not_disturb_the_others() {
        let stamp = MonotonicStamp::new();
        let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(stamp.admit(before_1970), SystemTime::UNIX_EPOCH);
        let year_3000 = SystemTime::UNIX_EPOCH + Duration::from_secs(32_503_680_000);
        assert_eq!(stamp.admit(year_3000), year_3000);
        let now = SystemTime::now();
        assert_eq!(stamp.admit(now), now);
        assert_eq!(stamp.admit(before_1970), now);
        assert_eq!(stamp.clamped(), 2);
    }

    #[test]
    fn each_of_several_threads_sees_time_move_forward() {
        let stamp = MonotonicStamp::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let stamp = &stamp;
                scope.spawn(move || {
                    let given = (0..10_000_u64).map(|i| i * 7919 % 5000 + thread);
                    let admitted: Vec<_> = given.map(|ns| stamp.admit_ns(ns)).collect();
                    assert!(admitted.is_sorted());
                });
            }
        });
        assert_eq!(stamp.admit_ns(0), 5002);
    }

    proptest! {
        #[test]
        fn every_time_is_the_latest_so_far_and_every_change_is_counted(
            times in proptest::collection::vec(any::<u64>(), 0..50),
        ) {
            let stamp = MonotonicStamp::new();
            let (mut latest, mut late) = (0, 0);
            for &ns in &times {
                late += u64::from(ns < latest);
                latest = latest.max(ns);
                prop_assert_eq!(stamp.admit(from_nanos(ns)), from_nanos(latest));
            }
            prop_assert_eq!(stamp.clamped(), late);
        }
    }
}
