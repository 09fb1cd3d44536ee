//! Python objects as JSON, and back.
//!
//! Main functions: [`to_json`] and [`from_json`], and [`to_python`] for what is no text yet. An object
//! that JSON cannot hold is named by its place. Text that is no JSON does not come here: items are
//! checked when they are made.

use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::Serialize;

use crate::audio::PyAudio;
pub(crate) use crate::objects::to_python;
use crate::place::Place;
use crate::python::{json_loads, numpy_scalar};
use crate::video::PyVideoFrame;

/// How deep lists and objects may lie in one another; native nodes read no deeper either.
const MAX_DEPTH: usize = 127;

/// Whether an object is of a type that has a JSON form, whatever lies in it. Tuples and `None` have
/// one only within lists and dicts.
pub(crate) fn is_json(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyBool>()
        || is_numpy_scalar(value)?)
}

/// Whether an object is a number (or text, or time) of NumPy. Asks its type only, never the object,
/// so that no code of the user's runs.
fn is_numpy_scalar(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.get_type().is_subclass(numpy_scalar(value.py())?)
}

/// An object as JSON text.
///
/// Numbers and texts of NumPy become plain ones. NaN and the infinities have no JSON form.
///
/// # Errors
/// `MarshalingError` with the place of the first object that JSON cannot hold.
pub(crate) fn to_json(value: &Bound<'_, PyAny>, place: &Place<'_>) -> PyResult<Vec<u8>> {
    let mut writer = Writer { out: Vec::new(), root: place, depth: 0 };
    writer.write(place, value)?;
    Ok(writer.out)
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

fn write_plain(out: &mut Vec<u8>, value: impl Serialize) {
    serde_json::to_writer(out, &value)
        .expect("numbers and texts have a JSON form, and memory takes it");
}

struct Writer<'a> {
    out: Vec<u8>,
    root: &'a Place<'a>,
    depth: usize,
}

impl Writer<'_> {
    fn write(&mut self, place: &Place<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(text) = value.cast::<PyString>() {
            let text = text.to_str().map_err(|_| {
                place.refuse("text with lone surrogates has no JSON form; encode it as bytes")
            })?;
            write_plain(&mut self.out, text);
        } else if value.is_none() {
            self.out.extend(b"null");
        } else if let Ok(truth) = value.cast::<PyBool>() {
            write_plain(&mut self.out, truth.is_true());
        } else if let Ok(number) = value.cast::<PyFloat>() {
            let number = number.value();
            if !number.is_finite() {
                return Err(place.refuse(format!("{number} has no JSON form; send None for it")));
            }
            write_plain(&mut self.out, number);
        } else if value.is_instance_of::<PyInt>() {
            match (value.extract::<i64>(), value.extract::<u64>()) {
                (Ok(number), _) => write_plain(&mut self.out, number),
                (_, Ok(number)) => write_plain(&mut self.out, number),
                _ => {
                    return Err(place.refuse(
                        "an integer of more than 64 bits has no JSON form that nodes read; send \
                         it as text",
                    ));
                }
            }
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.write_dict(place, dict)?;
        } else if let Ok(list) = value.cast::<PyList>() {
            self.write_list(place, list.iter())?;
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.write_list(place, tuple.iter())?;
        } else if is_numpy_scalar(value)? {
            // Times would lose their unit, and records the names of their fields.
            let kind: String = value.getattr("dtype")?.getattr("kind")?.extract()?;
            let plain = value.call_method0("item")?;
            if !"biuf".contains(&kind) || is_numpy_scalar(&plain)? {
                return Err(refuse_type(place, value));
            }
            self.write(place, &plain)?;
        } else {
            return Err(refuse_type(place, value));
        }
        Ok(())
    }

    fn enter(&mut self) -> PyResult<()> {
        if self.depth == MAX_DEPTH {
            return Err(self.root.refuse(format!(
                "lists and dicts lie deeper than {MAX_DEPTH} in one another, or contain themselves"
            )));
        }
        self.depth += 1;
        Ok(())
    }

    fn write_list<'py>(
        &mut self,
        place: &Place<'_>,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        self.enter()?;
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.write(&Place::Index(place, index), &item)?;
        }
        self.out.push(b']');
        self.depth -= 1;
        Ok(())
    }

    fn write_dict(&mut self, place: &Place<'_>, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        self.enter()?;
        self.out.push(b'{');
        for (index, (key, item)) in dict.iter().enumerate() {
            let Ok(key) = key.cast::<PyString>() else {
                let kind = key.get_type().fully_qualified_name()?;
                return Err(
                    place.refuse(format!("a key of type {kind} has no JSON form; expected str"))
                );
            };
            let key = key.to_str().map_err(|_| {
                place.refuse("a key with lone surrogates has no JSON form; expected plain text")
            })?;
            if index > 0 {
                self.out.push(b',');
            }
            write_plain(&mut self.out, key);
            self.out.push(b':');
            self.write(&Place::Key(place, key), &item)?;
        }
        self.out.push(b'}');
        self.depth -= 1;
        Ok(())
    }
}

fn refuse_type(place: &Place<'_>, value: &Bound<'_, PyAny>) -> PyErr {
    let kind = match value.get_type().fully_qualified_name() {
        Ok(kind) => kind,
        Err(error) => return error,
    };
    let advice = if value.is_instance_of::<PyUntypedArray>() {
        "send it as an item of its own, or as a list (array.tolist())"
    } else if value.is_instance_of::<PyAudio>() || value.is_instance_of::<PyVideoFrame>() {
        "send it as an item of its own"
    } else if value.is_instance_of::<PyBytes>() {
        "send it as an item of its own, or as text (base64)"
    } else {
        "expected dict, list, str, int, float, bool or None"
    };
    place.refuse(format!("an object of type {kind} has no JSON form; {advice}"))
}
