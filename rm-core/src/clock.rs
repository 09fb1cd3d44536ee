//! One monotonic clock per session.
//!
//! Main type: [`SessionClock`]. It gives wall-clock timestamps that never go backwards, whatever
//! is done to the machine's clock.

use std::time::{Instant, SystemTime};

/// A clock that starts at the wall clock's time and then only moves forward.
#[derive(Debug, Clone, Copy)]
pub struct SessionClock {
    started_at: SystemTime,
    started: Instant,
}

impl SessionClock {
    /// Starts the clock now.
    pub fn start() -> Self {
        Self { started_at: SystemTime::now(), started: Instant::now() }
    }

    /// When the clock was started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The time now; never before an earlier answer of the same clock.
    pub fn now(&self) -> SystemTime {
        self.started_at + self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_backwards() {
        let clock = SessionClock::start();
        let times: Vec<_> = (0..1000).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
        assert!(times[0] >= clock.started_at());
    }
}
