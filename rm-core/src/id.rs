//! Identifiers as types: a value that exists is valid.
//!
//! Main types: [`SessionId`], [`NodeId`], [`ChannelId`], [`RuntimeId`]. None of them draws
//! random numbers; who creates a runtime chooses its id.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty.
    #[error("{kind} id is empty")]
    Empty {
        /// Which kind of identifier was wanted.
        kind: &'static str,
    },
    /// The text is longer than the wire header can carry.
    #[error("{kind} id of {len} bytes is longer than {max} bytes")]
    TooLong {
        /// Which kind of identifier was wanted.
        kind: &'static str,
        /// Length found, in bytes.
        len: usize,
        /// Longest length allowed, in bytes.
        max: usize,
    },
    /// The text holds a character that may not be in this kind of identifier.
    #[error("{kind} id {id:?} holds {found:?}; allowed are letters, digits, '_', '-', '.' and ':'")]
    BadCharacter {
        /// Which kind of identifier was wanted.
        kind: &'static str,
        /// The whole text.
        id: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// The text is not the id of a runtime.
    #[error("{found:?} is not the id of a runtime, which is 16 hexadecimal digits in lower case")]
    NotARuntime {
        /// The text; of a long one the first 64 characters.
        found: String,
    },
}

fn check(kind: &'static str, max: usize, id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty { kind });
    }
    if id.len() > max {
        return Err(IdError::TooLong { kind, len: id.len(), max });
    }
    match id.chars().find(|c| !(c.is_alphanumeric() || "_-.:".contains(*c))) {
        Some(found) => Err(IdError::BadCharacter { kind, id: id.to_owned(), found }),
        None => Ok(()),
    }
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest identifier of this kind, in bytes.
            pub const MAX_LEN: usize = $max;

            /// Checks `id` and wraps it.
            ///
            /// # Errors
            /// [`IdError`] if it is empty, too long, or holds a character other than letters,
            /// digits, `_`, `-`, `.` and `:`.
            pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
                let id = id.into();
                check($kind, $max, &id)?;
                Ok(Self(id.into()))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(id: String) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

string_id!(
    /// One pipeline session. At most 64 bytes, so that it fits the wire header.
    SessionId, "session", 64
);
string_id!(
    /// One node of a manifest.
    NodeId, "node", 128
);
string_id!(
    /// One channel of a session.
    ChannelId, "channel", 128
);

/// One runtime of one process: the name under which its shared memory and files are kept apart.
///
/// It is written as 16 hexadecimal digits in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RuntimeId(u64);

impl RuntimeId {
    /// Wraps a number that the caller drew at random, so that the name cannot be guessed.
    pub const fn new(random: u64) -> Self {
        Self(random)
    }
}

impl fmt::Display for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<RuntimeId> for String {
    fn from(id: RuntimeId) -> Self {
        id.to_string()
    }
}

impl FromStr for RuntimeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parsed = u64::from_str_radix(text, 16).ok().map(Self);
        // There is one way to write an id: it is compared as the name of a folder.
        let same = parsed.filter(|id| id.to_string() == text);
        same.ok_or_else(|| IdError::NotARuntime { found: text.chars().take(64).collect() })
    }
}

impl TryFrom<String> for RuntimeId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_what_is_wrong() {
        assert_eq!(NodeId::new(""), Err(IdError::Empty { kind: "node" }));
        assert_eq!(
            SessionId::new("x".repeat(65)),
            Err(IdError::TooLong { kind: "session", len: 65, max: 64 })
        );
        assert!(matches!(ChannelId::new("a/b"), Err(IdError::BadCharacter { found: '/', .. })));
        assert_eq!(NodeId::new("vad-1").map(|id| id.to_string()), Ok("vad-1".to_owned()));
    }

    #[test]
    fn a_runtime_is_written_in_one_way_only() {
        let id = RuntimeId::new(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<RuntimeId>(&json).unwrap(), id);
        for other in ["", "ab", "00000000000000AB", "+0000000000000ab", "00000000000000abc"] {
            assert!(matches!(other.parse::<RuntimeId>(), Err(IdError::NotARuntime { .. })));
        }
    }

    #[test]
    fn ids_are_checked_when_deserialised() {
        assert!(serde_json::from_str::<SessionId>("\"a b\"").is_err());
        assert_eq!(serde_json::to_string(&SessionId::new("s1").unwrap()).unwrap(), "\"s1\"");
    }
}
