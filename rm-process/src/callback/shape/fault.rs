//! What a `Deserialize` implementation complains about, kept apart by kind.
//!
//! Main type: [`Fault`], the error type of the probe. Every fault is also noted in a list of this
//! thread: an untagged enum drops the errors of its attempts, and they say what it tried.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Error, Expected, Unexpected};

thread_local! {
    static NOTED: RefCell<Vec<Fault>> = const { RefCell::new(Vec::new()) };
}

/// More than this many in one run say nothing new.
const MOST: usize = 256;

/// A complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The probe has seen what it came for.
    Stop,
    /// A field is not there.
    Missing(&'static str),
    /// A field, or its alias, is there twice.
    Duplicate(&'static str),
    /// There is no such variant; these there are.
    UnknownVariant(&'static [&'static str]),
    /// A value of another type; this is what would be right.
    Wrong(String),
    /// Too few or too many items; this is what would be right.
    Length(String),
    /// Anything else.
    Other(String),
}

impl Fault {
    fn noted(self) -> Self {
        NOTED.with_borrow_mut(|noted| {
            if noted.len() < MOST {
                noted.push(self.clone());
            }
        });
        self
    }

    /// Takes the faults noted since the last time.
    pub(super) fn take() -> Vec<Self> {
        NOTED.take()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string()).noted()
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Wrong(expected.to_string()).noted()
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Wrong(expected.to_string()).noted()
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::Length(expected.to_string()).noted()
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownVariant(expected).noted()
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field).noted()
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::Duplicate(field).noted()
    }
}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
}
