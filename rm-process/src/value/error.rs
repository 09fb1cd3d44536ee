//! What is wrong with a value, and where in it.
//!
//! Main type: [`ValueError`], which reads `payload.items[3].price: expected float, got str`. Types
//! are named as Python names them, because that is mostly who sent the value.

use std::borrow::Cow;
use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::wire::{Item, Malformed};

/// Bytes that are not a value of the type that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ValueError {
    path: String,
    #[source]
    problem: Box<Problem>,
    wanted: &'static str,
}

impl ValueError {
    /// Where it is: `payload.items[3].price`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it is.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The Rust type of the whole value that was wanted, with its modules.
    pub const fn wanted(&self) -> &'static str {
        self.wanted
    }
}

/// What is wrong at one place of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It has another type.
    #[error("expected {expected}, got {got}")]
    Type {
        /// The type wanted.
        expected: Cow<'static, str>,
        /// The type, or the value, that is there.
        got: Cow<'static, str>,
    },
    /// An integer is too large or too small.
    #[error("{value} does not fit {target} ({min}..={max})")]
    Range {
        /// The integer.
        value: String,
        /// The Rust type wanted.
        target: &'static str,
        /// Its least value.
        min: i128,
        /// Its greatest value.
        max: u128,
    },
    /// It has more or fewer elements.
    #[error("expected {expected}, got {got} items")]
    Length {
        /// What was wanted.
        expected: String,
        /// How many elements are there.
        got: usize,
    },
    /// A dict lacks a field.
    #[error("missing field `{0}`")]
    MissingField(&'static str),
    /// A dict has a field twice.
    #[error("field `{0}` is there twice")]
    DuplicateField(&'static str),
    /// A dict has a field that the type does not have.
    #[error("unknown field `{found}`, {}", one_of(expected, "fields"))]
    UnknownField {
        /// The field.
        found: String,
        /// Those of the type.
        expected: &'static [&'static str],
    },
    /// An enum has no such variant.
    #[error("unknown variant `{found}`, {}", one_of(expected, "variants"))]
    UnknownVariant {
        /// The variant.
        found: String,
        /// Those of the enum.
        expected: &'static [&'static str],
    },
    /// A variant with fields is named and nothing more.
    #[error("variant `{variant}` needs a value")]
    BareVariant {
        /// The variant.
        variant: String,
    },
    /// Lists and dicts lie too deep in one another.
    #[error("nested deeper than {max} levels")]
    TooDeep {
        /// How deep they may.
        max: usize,
    },
    /// The bytes are no value at all.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// What the type itself says of the value.
    #[error("{0}")]
    Custom(String),
}

fn one_of(names: &[&str], what: &str) -> String {
    match names {
        [] => format!("there are no {what}"),
        [name] => format!("expected `{name}`"),
        names => format!("expected one of `{}`", names.join("`, `")),
    }
}

/// A problem on its way up from where it was found; small, as every call returns one.
#[derive(Debug)]
pub(super) struct Failure(Box<(Problem, Vec<String>)>);

impl Failure {
    /// The problem is below that step of the path.
    pub(super) fn below(mut self, step: String) -> Self {
        self.0.1.push(step);
        self
    }

    pub(super) fn problem(&self) -> &Problem {
        &self.0.0
    }

    pub(super) fn at_root(self, root: &str, wanted: &'static str) -> ValueError {
        let (problem, steps) = *self.0;
        let mut path = root.to_owned();
        path.extend(steps.into_iter().rev());
        ValueError { path, problem: Box::new(problem), wanted }
    }

    pub(super) fn wrong_type(expected: impl Into<Cow<'static, str>>, got: Item<'_>) -> Self {
        Problem::Type { expected: expected.into(), got: got.python_type().into() }.into()
    }
}

impl<P: Into<Problem>> From<P> for Failure {
    #[cold]
    fn from(problem: P) -> Self {
        Self(Box::new((problem.into(), Vec::new())))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Problem::Custom(message.to_string()).into()
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = in_python(expected.to_string());
        Problem::Type { expected, got: type_of(&found) }.into()
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = expected.to_string();
        let number = match found {
            Unexpected::Unsigned(number) => Some(number.to_string()),
            Unexpected::Signed(number) => Some(number.to_string()),
            _ => None,
        };
        if let Some(number) = number
            && let Some(&(target, min, max)) = INTEGERS.iter().find(|(name, ..)| *name == expected)
        {
            return Problem::Range { value: number, target, min, max }.into();
        }
        let got = match found {
            Unexpected::Bool(true) => "True".into(),
            Unexpected::Bool(false) => "False".into(),
            Unexpected::Unsigned(number) => number.to_string().into(),
            Unexpected::Signed(number) => number.to_string().into(),
            Unexpected::Float(number) => number.to_string().into(),
            Unexpected::Char(text) => format!("{:?}", text.to_string()).into(),
            Unexpected::Str(text) => format!("{text:?}").into(),
            found => type_of(&found),
        };
        Problem::Type { expected: in_python(expected), got }.into()
    }

    fn invalid_length(len: usize, expected: &dyn Expected) -> Self {
        Problem::Length { expected: expected.to_string(), got: len }.into()
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        Problem::UnknownVariant { found: found.to_owned(), expected }.into()
    }

    fn unknown_field(found: &str, expected: &'static [&'static str]) -> Self {
        Problem::UnknownField { found: found.to_owned(), expected }.into()
    }

    fn missing_field(field: &'static str) -> Self {
        Problem::MissingField(field).into()
    }

    fn duplicate_field(field: &'static str) -> Self {
        Problem::DuplicateField(field).into()
    }
}

macro_rules! integers {
    ($($ty:ident)*) => {
        /// Rust's integers with their least and greatest values.
        const INTEGERS: &[(&str, i128, u128)] =
            &[$((stringify!($ty), $ty::MIN as i128, $ty::MAX as u128)),*];
    };
}

integers!(u8 u16 u32 u64 usize u128 i8 i16 i32 i64 isize i128);

/// What serde and its derived code call a type, in Python's words.
fn in_python(expected: String) -> Cow<'static, str> {
    let known = match &*expected {
        "f32" | "f64" => "float",
        "a boolean" => "bool",
        "a string" | "string" | "str" => "str",
        "a character" => "str of one character",
        "byte array" | "bytes" => "bytes",
        "a sequence" => "list",
        "a map" => "dict",
        "unit" => "None",
        name if INTEGERS.iter().any(|(integer, ..)| *integer == name) => "int",
        _ => return expected.into(),
    };
    known.into()
}

fn type_of(found: &Unexpected<'_>) -> Cow<'static, str> {
    let name = match found {
        Unexpected::Bool(_) => "bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "int",
        Unexpected::Float(_) => "float",
        Unexpected::Char(_) | Unexpected::Str(_) => "str",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "None",
        Unexpected::Seq => "list",
        Unexpected::Map => "dict",
        // That is how visitors without 128-bit integers call them.
        Unexpected::Other(name) if name.starts_with("integer") => "an int of more than 64 bits",
        found => return found.to_string().into(),
    };
    name.into()
}
