//! What happens when a node fails on an item.
//!
//! Main types: [`ItemPolicy`], which a manifest gives each node, and [`ItemGuard`], the machine that
//! decides by it. The machine waits for nothing, runs nothing and is told the time; stages and workers
//! ask the same one.
//!
//! The circuit breaker is that of Michael Nygard, "Release It!" (2007): after some failures in a row
//! it opens, and items fail at once without the node being asked; after a while one item is tried,
//! and its outcome closes the circuit or keeps it open.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What becomes of an item on which a node has failed, when no try is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The session ends.
    #[default]
    Fail,
    /// The item is left out and reported.
    Skip,
    /// As `Fail`, but every failure is tried again, not only those that say that they are transient.
    Retry,
}

/// How often an item is tried again, and when.
///
/// The delay before try `n`, from 1, is `initial · factor^(n-1)`, at most `max_delay`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Most tries after the first; 0 for none.
    pub max: u32,
    /// The first delay.
    pub initial: Duration,
    /// By which it grows, at least 1.
    pub factor: f64,
    /// The longest delay.
    pub max_delay: Duration,
}

impl Default for RetryPolicy {
    /// Three tries, after 100, 200 and 400 ms; no delay is longer than 10 s.
    fn default() -> Self {
        Self {
            max: 3,
            initial: Duration::from_millis(100),
            factor: 2.0,
            max_delay: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// The delay before try `attempt`, from 1.
    pub fn delay(&self, attempt: u32) -> Duration {
        let exponent = f64::from(attempt.saturating_sub(1));
        let delay = self.initial.as_secs_f64() * self.factor.powf(exponent);
        Duration::try_from_secs_f64(delay).unwrap_or(self.max_delay).min(self.max_delay)
    }
}

/// When a node is not asked any more for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    /// Items failed in a row, after all tries, that open the circuit; 0 for never.
    pub failures: u32,
    /// How long it stays open until one item is tried.
    pub reset_after: Duration,
}

impl Default for CircuitBreaker {
    /// Five failures, ten seconds.
    fn default() -> Self {
        Self { failures: 5, reset_after: Duration::from_secs(10) }
    }
}

/// What happens when a node fails on an item.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ItemPolicy {
    /// What becomes of the item.
    pub on_error: OnError,
    /// How often it is tried again.
    pub retry: RetryPolicy,
    /// How long one try may take without giving anything; `None` for as long as it wants. Waiting for room
    /// does not count.
    pub timeout: Option<Duration>,
    /// When the node is not asked any more.
    pub circuit_breaker: CircuitBreaker,
}

/// What to do with an item that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Give it to the node.
    Try,
    /// Leave it out: the circuit is open.
    Reject {
        /// Items on which the node has failed in a row.
        failures: u32,
    },
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again.
    Retry {
        /// How long to wait before.
        delay: Duration,
        /// Which try it will be after the first, from 1.
        attempt: u32,
    },
    /// Leave the item out, and report it.
    Skip,
    /// Give up: the session ends.
    Fail,
}

/// Decides over the failures of one node.
#[derive(Debug, Clone)]
pub struct ItemGuard {
    policy: ItemPolicy,
    /// Tries of the present item after the first.
    attempts: u32,
    /// Items failed in a row.
    failures: u32,
    open_until: Option<Instant>,
}

impl ItemGuard {
    /// For a node that has not failed yet.
    pub fn new(policy: ItemPolicy) -> Self {
        Self { policy, attempts: 0, failures: 0, open_until: None }
    }

    /// The policy it follows.
    pub fn policy(&self) -> &ItemPolicy {
        &self.policy
    }

    /// Decides over the next item.
    pub fn admit(&mut self, now: Instant) -> Admission {
        self.attempts = 0;
        match self.open_until {
            Some(until) if now < until => Admission::Reject { failures: self.failures },
            _ => Admission::Try,
        }
    }

    /// Notes that the item is done.
    pub fn succeeded(&mut self) {
        (self.attempts, self.failures, self.open_until) = (0, 0, None);
    }

    /// Decides after a failure. `transient` says that the same work may succeed later.
    pub fn failed(&mut self, transient: bool, now: Instant) -> Verdict {
        let ItemPolicy { on_error, retry, circuit_breaker, .. } = self.policy;
        // An item that only probes an open circuit is not tried often.
        let is_probe = self.open_until.is_some();
        let may_retry = (transient || on_error == OnError::Retry) && !is_probe;
        if may_retry && self.attempts < retry.max {
            self.attempts += 1;
            let attempt = self.attempts;
            return Verdict::Retry { delay: retry.delay(attempt), attempt };
        }
        self.failures = self.failures.saturating_add(1);
        if circuit_breaker.failures > 0 && self.failures >= circuit_breaker.failures {
            self.open_until = now.checked_add(circuit_breaker.reset_after);
        }
        if on_error == OnError::Skip { Verdict::Skip } else { Verdict::Fail }
    }
}
