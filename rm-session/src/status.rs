//! Where a session is in its life.
//!
//! Main type: [`SessionStatus`], with the transitions that there are.

use std::fmt;

use serde::Serialize;

/// Where a session is in its life.
///
/// `Initializing → Ready → Running → Stopping → Stopped`; from each but `Stopped` also to `Error`, and
/// from each of the first three to `Stopping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It is made, and its nodes load or are about to.
    Initializing,
    /// All nodes are ready, and nothing has been sent.
    Ready,
    /// Items are on their way.
    Running,
    /// It ends: nodes are told to stop, and what it has made is removed.
    Stopping,
    /// It has ended, and nothing of it is left.
    Stopped,
    /// It has failed with this message, and nothing of it is left.
    Error(String),
}

/// A change of status that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a session that is {from} cannot become {to}")]
pub struct IllegalStatus {
    /// What it is.
    pub from: SessionStatus,
    /// What it was to become.
    pub to: SessionStatus,
}

impl SessionStatus {
    /// Whether nothing comes after it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Stopped | Self::Error(_))
    }

    /// Whether items can be sent.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Ready | Self::Running)
    }

    /// The next status.
    ///
    /// # Errors
    /// [`IllegalStatus`] if it cannot follow this one.
    pub fn become_next(&self, next: Self) -> Result<Self, IllegalStatus> {
        use SessionStatus::{Error, Initializing, Ready, Running, Stopped, Stopping};
        let can = match (self, &next) {
            (Initializing, Ready) | (Ready, Running) | (Stopping, Stopped) => true,
            (Initializing | Ready | Running, Stopping) => true,
            (from, Error(_)) => !from.is_final(),
            _ => false,
        };
        if can { Ok(next) } else { Err(IllegalStatus { from: self.clone(), to: next }) }
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initializing => f.write_str("initializing"),
            Self::Ready => f.write_str("ready"),
            Self::Running => f.write_str("running"),
            Self::Stopping => f.write_str("stopping"),
            Self::Stopped => f.write_str("stopped"),
            Self::Error(message) => write!(f, "error: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_transitions_exist() {
        use SessionStatus::{Error, Initializing, Ready, Running, Stopped, Stopping};
        let all = [Initializing, Ready, Running, Stopping, Stopped, Error(String::new())];
        let legal: Vec<_> = all
            .iter()
            .flat_map(|from| all.iter().map(move |to| (from.clone(), to.clone())))
            .filter(|(from, to)| from.become_next(to.clone()).is_ok())
            .collect();
        let error = || Error(String::new());
        let expected = [
            (Initializing, Ready),
            (Initializing, Stopping),
            (Initializing, error()),
            (Ready, Running),
            (Ready, Stopping),
            (Ready, error()),
            (Running, Stopping),
            (Running, error()),
            (Stopping, Stopped),
            (Stopping, error()),
        ];
        assert_eq!(legal, expected);
    }

    #[test]
    fn an_illegal_transition_names_both_ends() {
        let refused = SessionStatus::Stopped.become_next(SessionStatus::Running);
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err("a session that is stopped cannot become running".to_owned())
        );
    }
}
