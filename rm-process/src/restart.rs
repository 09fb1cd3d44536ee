//! Whether and when a node's process is started again after it has ended.
//!
//! Main type: [`Restarts`], a machine over the ends of one node's processes, with the
//! [`RestartPolicy`] that a manifest gives. It waits for nothing, starts nothing, and is given its
//! randomness.
//!
//! The delay before the restart n of a row, from 1, is `initial · factor^(n-1)`, at most `max`, of
//! which the fraction `jitter` is random: truncated exponential backoff with jitter, after Marc
//! Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (his "full jitter" is a
//! `jitter` of 1, his "equal jitter" one of 0.5). The random part is taken off, not added, so that
//! `max` holds.

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{ExitReason, ExitStatus};

/// After which ends the process of a node is started again.
///
/// In JSON `"never"`, `{"on_failure": {"max": 3, "backoff": {"initial_ms": 500}}}` or
/// `{"always": {}}`. A backoff, or a field of one, that is left out has its default.
///
/// ```
/// use rm_process::{Backoff, RestartPolicy};
/// use std::time::Duration;
///
/// let json = r#"{"on_failure": {"max": 3, "backoff": {"initial_ms": 500}}}"#;
/// let policy: RestartPolicy = serde_json::from_str(json)?;
/// let backoff = Backoff { initial: Duration::from_millis(500), ..Backoff::default() };
/// assert_eq!(policy, RestartPolicy::OnFailure { max: 3, backoff });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RestartPolicy {
    /// After none.
    #[default]
    Never,
    /// After each but an exit with code 0, up to a number of restarts in a row.
    OnFailure {
        /// Most restarts in a row.
        max: u32,
        /// How long to wait before each, and what ends a row.
        #[serde(default)]
        backoff: Backoff,
    },
    /// After each, however often.
    Always {
        /// How long to wait before each, and what ends a row.
        #[serde(default)]
        backoff: Backoff,
    },
}

/// How long to wait before a restart.
///
/// In JSON an object with `initial_ms`, `factor`, `max_ms`, `jitter` and `reset_after_ms`, where
/// times are whole milliseconds; it is refused if it is not [valid](Self::validate).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Backoff {
    /// Before the first restart of a row, at least 1 ms. By default 100 ms.
    pub initial: Duration,
    /// By which the delay grows from one restart to the next, at least 1. By default 2.
    pub factor: f64,
    /// Longest delay, at least `initial`. By default 30 s.
    pub max: Duration,
    /// The fraction of the delay that is random, from 0 to 1, so that what failed together does
    /// not return together. By default 0.1: a delay is 90 to 100 % of what it would be without.
    pub jitter: f64,
    /// A process that ran this long, at least 1 ms, ends the row. By default 60 s.
    pub reset_after: Duration,
}

/// Why a [`Backoff`] is not one.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BackoffError {
    /// Restarts without a pause would occupy the machine.
    #[error("`initial` of the backoff is {initial:?}, expected at least 1ms")]
    Initial {
        /// The delay given.
        initial: Duration,
    },
    /// Delays would shrink, or not be numbers.
    #[error("`factor` of the backoff is {factor}, expected a number from 1")]
    Factor {
        /// The factor given.
        factor: f64,
    },
    /// The first delay would be longer than the longest.
    #[error("`max` of the backoff is {max:?}, expected at least its `initial`, {initial:?}")]
    Max {
        /// The longest delay given.
        max: Duration,
        /// The first delay given.
        initial: Duration,
    },
    /// The random part would be less than nothing, more than all, or not a number.
    #[error("`jitter` of the backoff is {jitter}, expected a number from 0 to 1")]
    Jitter {
        /// The fraction given.
        jitter: f64,
    },
    /// No two restarts would ever be in a row, so that no delay grows and no limit holds.
    #[error("`reset_after` of the backoff is {reset_after:?}, expected at least 1ms")]
    ResetAfter {
        /// The time given.
        reset_after: Duration,
    },
}

/// What to do after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Start the process again.
    After {
        /// How long to wait before.
        delay: Duration,
        /// Which restart of its row this is, from 1.
        attempt: u32,
    },
    /// Leave it.
    No {
        /// Why.
        why: NotRestarted,
    },
}

/// Why a process is not started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotRestarted {
    /// It was asked to stop.
    Wanted,
    /// The policy is [`RestartPolicy::Never`].
    PolicyNever,
    /// It exited with code 0, and the policy is [`RestartPolicy::OnFailure`].
    EndedWell,
    /// It was restarted as often in a row as the policy allows.
    LimitReached {
        /// Most restarts in a row.
        max: u32,
    },
}

/// The restarts of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Restarts {
    policy: RestartPolicy,
    /// Restarts in the present row.
    in_a_row: u32,
}

impl Restarts {
    /// A node that was not restarted yet.
    ///
    /// # Errors
    /// [`BackoffError`] if the policy has a backoff that is not valid, which one that was read
    /// from JSON always is.
    pub fn new(policy: RestartPolicy) -> Result<Self, BackoffError> {
        match policy {
            RestartPolicy::Never => {}
            RestartPolicy::OnFailure { backoff, .. } | RestartPolicy::Always { backoff } => {
                backoff.validate()?;
            }
        }
        Ok(Self { policy, in_a_row: 0 })
    }

    /// Decides after one end. `wanted` says that the process was asked to stop, `uptime` how long
    /// it ran, and `random` is a fresh number from 0 to below 1.
    ///
    /// Each restart counts that follows a run shorter than [`Backoff::reset_after`]; under
    /// [`RestartPolicy::Always`] also one after an exit with code 0, so that a process that ends
    /// well at once is not started in a busy loop.
    pub fn on_exit(
        &mut self,
        exit: &ExitStatus,
        wanted: bool,
        uptime: Duration,
        random: f64,
    ) -> Restart {
        if wanted {
            return Restart::No { why: NotRestarted::Wanted };
        }
        let (backoff, max) = match self.policy {
            RestartPolicy::Never => return Restart::No { why: NotRestarted::PolicyNever },
            RestartPolicy::OnFailure { .. } if exit.reason == ExitReason::Normal => {
                return Restart::No { why: NotRestarted::EndedWell };
            }
            RestartPolicy::OnFailure { max, backoff } => (backoff, Some(max)),
            RestartPolicy::Always { backoff } => (backoff, None),
        };
        if uptime >= backoff.reset_after {
            self.in_a_row = 0;
        }
        if let Some(max) = max
            && self.in_a_row >= max
        {
            return Restart::No { why: NotRestarted::LimitReached { max } };
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let attempt = self.in_a_row;
        Restart::After { delay: backoff.delay(attempt, random), attempt }
    }

    /// The policy it follows.
    pub fn policy(&self) -> &RestartPolicy {
        &self.policy
    }
}

impl Backoff {
    /// Whether each field is in its range.
    ///
    /// # Errors
    /// [`BackoffError`] with the first field that is not.
    pub fn validate(&self) -> Result<(), BackoffError> {
        let Self { initial, factor, max, jitter, reset_after } = *self;
        let shortest = Duration::from_millis(1);
        if initial < shortest {
            return Err(BackoffError::Initial { initial });
        }
        if !(factor.is_finite() && factor >= 1.0) {
            return Err(BackoffError::Factor { factor });
        }
        if max < initial {
            return Err(BackoffError::Max { max, initial });
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(BackoffError::Jitter { jitter });
        }
        if reset_after < shortest {
            return Err(BackoffError::ResetAfter { reset_after });
        }
        Ok(())
    }

    /// The delay before the restart `attempt`, from 1, of a row; `random` is from 0 to below 1.
    fn delay(&self, attempt: u32, random: f64) -> Duration {
        let grown = self.initial.as_secs_f64() * self.factor.powf(f64::from(attempt - 1));
        let full = grown.min(self.max.as_secs_f64());
        let delay = full * (1.0 - self.jitter * random);
        // Rounding may lead beyond `max`, and beyond what a duration can hold.
        Duration::try_from_secs_f64(delay).unwrap_or(self.max).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            factor: 2.0,
            max: Duration::from_secs(30),
            jitter: 0.1,
            reset_after: Duration::from_secs(60),
        }
    }
}

impl fmt::Display for NotRestarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wanted => f.write_str("it was asked to stop"),
            Self::PolicyNever => f.write_str("its restart policy is \"never\""),
            Self::EndedWell => f.write_str("it ended well"),
            Self::LimitReached { max } => write!(f, "it was restarted {max} times in a row"),
        }
    }
}

/// A [`Backoff`] as a manifest has it.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    initial_ms: u64,
    factor: f64,
    max_ms: u64,
    jitter: f64,
    reset_after_ms: u64,
}

impl Default for Written {
    fn default() -> Self {
        Backoff::default().into()
    }
}

impl From<Backoff> for Written {
    fn from(backoff: Backoff) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            initial_ms: ms(backoff.initial),
            factor: backoff.factor,
            max_ms: ms(backoff.max),
            jitter: backoff.jitter,
            reset_after_ms: ms(backoff.reset_after),
        }
    }
}

impl TryFrom<Written> for Backoff {
    type Error = BackoffError;

    fn try_from(written: Written) -> Result<Self, BackoffError> {
        let backoff = Self {
            initial: Duration::from_millis(written.initial_ms),
            factor: written.factor,
            max: Duration::from_millis(written.max_ms),
            jitter: written.jitter,
            reset_after: Duration::from_millis(written.reset_after_ms),
        };
        backoff.validate()?;
        Ok(backoff)
    }
}
