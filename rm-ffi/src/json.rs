//! Python objects as JSON, and back.
//!
//! Main functions: [`to_json`] and [`from_json`]. An object that JSON cannot hold is named by its
//! place. Text that is no JSON does not come here: items are checked when they are made.

use std::fmt;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::Serialize;

use crate::errors::MarshalingError;
use crate::python::{json_loads, numpy_scalar};

/// How deep lists and objects may lie in one another; native nodes read no deeper either.
const MAX_DEPTH: usize = 127;

/// Where an object lies in the one that is written.
#[derive(Clone, Copy)]
struct Place<'a> {
    within: Option<&'a Place<'a>>,
    step: Step<'a>,
    depth: usize,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Top,
    Key(&'a str),
    Index(usize),
}

impl<'a> Place<'a> {
    const TOP: Place<'static> = Place { within: None, step: Step::Top, depth: 0 };

    fn below(&'a self, step: Step<'a>) -> PyResult<Self> {
        if self.depth == MAX_DEPTH {
            let message = format!("lists and dicts lie deeper than {MAX_DEPTH} in one another");
            return Err(MarshalingError::new_err(message));
        }
        Ok(Self { within: Some(self), step, depth: self.depth + 1 })
    }

    fn refuse(&self, what: &str) -> PyErr {
        let at = if self.depth == 0 { String::new() } else { format!(" at {self}") };
        MarshalingError::new_err(format!("{what}{at} has no JSON form"))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            within.fmt(f)?;
        }
        match self.step {
            Step::Top => Ok(()),
            Step::Key(key) => write!(f, "[{key:?}]"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// An object as JSON text.
///
/// Numbers and texts of NumPy become plain ones. NaN and the infinities have no JSON form.
///
/// # Errors
/// `MarshalingError` with the place of the first object that JSON cannot hold.
pub(crate) fn to_json(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut out = Vec::new();
    write(&mut out, &Place::TOP, value)?;
    Ok(out)
}

/// JSON text as an object, as `json.loads` gives it.
///
/// # Errors
/// `ValueError` if it is no JSON.
pub(crate) fn from_json<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text =
        std::str::from_utf8(text).map_err(|error| PyValueError::new_err(error.to_string()))?;
    json_loads(py)?.call1((text,))
}

/// A value of the runtime as Python's plain objects.
///
/// # Errors
/// `ValueError` if it has no JSON form.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    value: &impl Serialize,
) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|error| PyValueError::new_err(error.to_string()))?;
    json_loads(py)?.call1((text,))
}

fn write_plain(out: &mut Vec<u8>, value: impl Serialize) {
    serde_json::to_writer(out, &value)
        .expect("numbers and texts have a JSON form, and memory takes it");
}

fn write(out: &mut Vec<u8>, place: &Place<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(text) = value.cast::<PyString>() {
        let text = text.to_str().map_err(|_| place.refuse("text with lone surrogates"))?;
        write_plain(out, text);
    } else if value.is_none() {
        out.extend(b"null");
    } else if let Ok(truth) = value.cast::<PyBool>() {
        write_plain(out, truth.is_true());
    } else if value.is_instance_of::<PyFloat>() {
        let number: f64 = value.extract()?;
        if !number.is_finite() {
            return Err(place.refuse(&number.to_string()));
        }
        write_plain(out, number);
    } else if value.is_instance_of::<PyInt>() {
        match (value.extract::<i64>(), value.extract::<u64>()) {
            (Ok(number), _) => write_plain(out, number),
            (_, Ok(number)) => write_plain(out, number),
            _ => return Err(place.refuse("an integer of more than 64 bits")),
        }
    } else if let Ok(dict) = value.cast::<PyDict>() {
        write_dict(out, place, dict)?;
    } else if let Ok(list) = value.cast::<PyList>() {
        write_list(out, place, list.iter())?;
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        write_list(out, place, tuple.iter())?;
    } else if value.is_instance(numpy_scalar(value.py())?)? {
        let plain = value.call_method0("item")?;
        if plain.is_instance(numpy_scalar(value.py())?)? {
            return Err(place.refuse(&format!("a {}", value.get_type().name()?)));
        }
        write(out, place, &plain)?;
    } else {
        return Err(place.refuse(&format!("an object of type {}", value.get_type().name()?)));
    }
    Ok(())
}

fn write_list<'py>(
    out: &mut Vec<u8>,
    place: &Place<'_>,
    items: impl Iterator<Item = Bound<'py, PyAny>>,
) -> PyResult<()> {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, &place.below(Step::Index(index))?, &item)?;
    }
    out.push(b']');
    Ok(())
}

fn write_dict(out: &mut Vec<u8>, place: &Place<'_>, dict: &Bound<'_, PyDict>) -> PyResult<()> {
    out.push(b'{');
    for (index, (key, item)) in dict.iter().enumerate() {
        let Ok(key) = key.cast::<PyString>() else {
            return Err(place.refuse(&format!("a key of type {}", key.get_type().name()?)));
        };
        let key = key.to_str().map_err(|_| place.refuse("a key with lone surrogates"))?;
        if index > 0 {
            out.push(b',');
        }
        write_plain(out, key);
        out.push(b':');
        write(out, &place.below(Step::Key(key))?, &item)?;
    }
    out.push(b'}');
    Ok(())
}
