//! Where an object lies in the one that is converted, and what is wrong with it.
//!
//! Main type: [`Place`], which prints as `input["a"][3]`. It converts nothing.

use std::fmt::{self, Display};

use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};
use rm_core::{DataError, did_you_mean};

use crate::errors::{MarshalingError, chain};

/// Where an object lies in the one that is converted.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// It is the whole, which has this name.
    Root(&'a str),
    /// It lies under a key of a dict.
    Key(&'a Place<'a>, &'a str),
    /// It lies at an index of a list.
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// The error that says what is wrong with the object here.
    pub(crate) fn refuse(&self, problem: impl Display) -> PyErr {
        MarshalingError::new_err(format!("{self}: {problem}"))
    }

    /// The same for what makes no item.
    pub(crate) fn refuse_data(&self, error: &DataError) -> PyErr {
        self.refuse(chain(error))
    }

    /// The same for an error that Python raised when it looked at the object, as its cause. What is
    /// no failure of the object, such as Ctrl-C, stays as it is.
    pub(crate) fn refuse_because(
        &self,
        py: Python<'_>,
        problem: impl Display,
        cause: PyErr,
    ) -> PyErr {
        if !cause.is_instance_of::<PyException>(py) {
            return cause;
        }
        let error = self.refuse(format!("{problem}: {}", cause.value(py)));
        error.set_cause(py, Some(cause));
        error
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Key(within, key) => write!(f, "{within}[{key:?}]"),
            Self::Index(within, index) => write!(f, "{within}[{index}]"),
        }
    }
}

/// Why an array cannot be samples or pixels.
pub(crate) struct Misfit {
    /// The parameter that does not fit, where it is not the array.
    pub(crate) key: Option<&'static str>,
    pub(crate) problem: String,
    /// Whether it is of a wrong type, and not a wrong value.
    is_kind: bool,
}

impl Misfit {
    pub(crate) fn kind(problem: String) -> Self {
        Self { key: None, problem, is_kind: true }
    }

    pub(crate) fn value(problem: String) -> Self {
        Self { key: None, problem, is_kind: false }
    }

    pub(crate) fn of(key: &'static str, problem: String) -> Self {
        Self { key: Some(key), problem, is_kind: false }
    }
}

impl From<Misfit> for PyErr {
    fn from(misfit: Misfit) -> Self {
        match misfit.is_kind {
            true => MarshalingError::new_err(misfit.problem),
            false => PyValueError::new_err(misfit.problem),
        }
    }
}

/// A shape, as Python prints it.
pub(crate) struct Shape<'a>(pub(crate) &'a [usize]);

impl Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "({only},)"),
            dims => {
                let dims: Vec<_> = dims.iter().map(usize::to_string).collect();
                write!(f, "({})", dims.join(", "))
            }
        }
    }
}

/// Checks that a dict has no keys but these.
///
/// # Errors
/// `MarshalingError` with the first other key.
pub(crate) fn check_keys(
    dict: &Bound<'_, PyDict>,
    place: &Place<'_>,
    what: &str,
    keys: &[&str],
) -> PyResult<()> {
    for key in dict.keys() {
        let name = key.cast::<PyString>().ok().and_then(|key| key.to_str().ok());
        if name.is_some_and(|name| keys.contains(&name)) {
            continue;
        }
        let hint = did_you_mean(name.unwrap_or_default(), keys.iter().copied());
        return Err(place.refuse(format!(
            "a dict with an array under {what:?} can have the keys {}; it has {}{hint}",
            quoted(keys),
            shown(&key)
        )));
    }
    Ok(())
}

/// Names in quotation marks, with commas.
pub(crate) fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}

/// An object for an error: as Python prints it, if that is short, else by its type.
pub(crate) fn shown(value: &Bound<'_, PyAny>) -> String {
    let repr = value.repr().map(|repr| repr.to_string_lossy().into_owned());
    match (repr, value.get_type().fully_qualified_name()) {
        (Ok(repr), _) if repr.len() <= 80 => repr,
        (_, Ok(kind)) => format!("an object of type {kind}"),
        _ => "an object".to_owned(),
    }
}

/// A number from 1 to the largest of 32 bits.
///
/// # Errors
/// `MarshalingError` if it is none.
pub(crate) fn whole_number(
    value: &Bound<'_, PyAny>,
    place: &Place<'_>,
    what: &str,
) -> PyResult<u32> {
    let number = if value.is_instance_of::<PyBool>() { None } else { value.extract().ok() };
    number.filter(|number| *number > 0).ok_or_else(|| {
        let found = shown(value);
        place.refuse(format!("{found} cannot be {what}; expected an int from 1 to {}", u32::MAX))
    })
}
