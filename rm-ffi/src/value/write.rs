//! Python objects as bytes.
//!
//! Main function: [`encode`]. What Rust has a form for and how it is found:
//!
//! - `None`, `bool`, `int` of up to 128 bits, `float`, `str`, `bytes`, `bytearray`, `memoryview`;
//! - lists, tuples, sets and frozensets as sequences; dicts with keys of any of these types;
//! - instances of dataclasses and named tuples as maps of their fields, under their Python names;
//! - members of an `Enum` as their values, which is where a variant's Rust name belongs;
//! - numbers and arrays of NumPy as plain numbers and lists; a flat array of `uint8` as bytes;
//! - `datetime`, `date` and `time` as ISO 8601 text, paths as text;
//! - anything else that says it is an integer (`__index__`). `__float__` is not asked, because
//!   decimals and fractions would lose digits unnoticed.
//!
//! Cycles are not looked for; they end where every value ends, at the greatest depth.

use std::fmt::Display;

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyMemoryView, PySet,
    PyString, PyTuple, PyType,
};
use rm_process::value::MAX_DEPTH;
use rm_process::value::wire::{Item, Reader, Writer};

use crate::errors::MarshalingError;
use crate::python::{is_loaded, numpy_scalar};

/// An object as bytes. In errors the whole object is called `root`.
///
/// # Errors
/// `MarshalingError` with the place of the first object that cannot be sent.
pub(crate) fn encode(value: &Bound<'_, PyAny>, root: &str, max_depth: usize) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::with_capacity(128);
    let max_depth = max_depth.min(MAX_DEPTH);
    let mut encoder = Encoder { out: Writer::new(&mut bytes), depth: 0, max_depth };
    match encoder.write(value) {
        Ok(()) => Ok(bytes),
        Err(Failure::Raised(error)) => Err(error),
        Err(Failure::Refused { steps, problem }) => {
            let path: String = steps.into_iter().rev().collect();
            Err(MarshalingError::new_err(format!("{root}{path}: {problem}")))
        }
    }
}

/// Why an object has no bytes.
enum Failure {
    /// Of its own; the steps lead to it, the last one first.
    Refused { steps: Vec<String>, problem: String },
    /// Python raised while it was looked at.
    Raised(PyErr),
}

impl Failure {
    #[cold]
    fn refused(problem: impl Display) -> Self {
        Self::Refused { steps: Vec::new(), problem: problem.to_string() }
    }

    #[cold]
    fn below(mut self, step: impl FnOnce() -> String) -> Self {
        if let Self::Refused { steps, .. } = &mut self {
            steps.push(step());
        }
        self
    }
}

impl<E: Into<PyErr>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Raised(error.into())
    }
}

type Written = Result<(), Failure>;

struct Encoder<'a> {
    out: Writer<&'a mut Vec<u8>>,
    depth: usize,
    max_depth: usize,
}

impl Encoder<'_> {
    fn write(&mut self, value: &Bound<'_, PyAny>) -> Written {
        // The commonest first. Instances of subclasses (members of an `IntEnum`, NumPy's `float64`)
        // are what they are derived from, but for named tuples.
        if let Ok(text) = value.cast::<PyString>() {
            self.text(text)
        } else if let Ok(truth) = value.cast::<PyBool>() {
            self.item(Item::Bool(truth.is_true()))
        } else if let Ok(number) = value.cast::<PyInt>() {
            self.integer(number)
        } else if value.is_none() {
            self.item(Item::Null)
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.dict(dict)
        } else if let Ok(list) = value.cast::<PyList>() {
            self.list(list.iter())
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.item(Item::F64(number.value()))
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.list(tuple.iter())
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            self.item(Item::Bytes(bytes.as_bytes()))
        } else {
            self.write_other(value)
        }
    }

    #[cold]
    fn write_other(&mut self, value: &Bound<'_, PyAny>) -> Written {
        let py = value.py();
        if let Ok(tuple) = value.cast::<PyTuple>() {
            match value.getattr_opt("_fields")? {
                Some(names) => self.fields(value, names.try_iter()?),
                None => self.list(tuple.iter()),
            }
        } else if value.is_instance_of::<PyType>() {
            Err(unsendable(value)?)
        } else if value.hasattr("__dataclass_fields__")? {
            let fields = dataclass_fields(py)?.call1((value,))?;
            // What a generated dataclass leaves out where it is None: Rust has a default for what is not
            // there, and none for what is nothing.
            let absent = value.get_type().getattr_opt(intern!(py, "__kameo_absent__"))?;
            let mut told = Vec::new();
            for field in fields.try_iter()? {
                let name = field?.getattr(intern!(py, "name"))?;
                let may_go =
                    absent.as_ref().is_some_and(|absent| absent.contains(&name).unwrap_or(false));
                if !may_go
                    || !value.getattr(name.cast::<PyString>().map_err(PyErr::from)?)?.is_none()
                {
                    told.push(Ok(name));
                }
            }
            self.fields(value, told.into_iter())
        } else if let Ok(set) = value.cast::<PySet>() {
            self.list(set.iter())
        } else if let Ok(set) = value.cast::<PyFrozenSet>() {
            self.list(set.iter())
        } else if let Ok(bytes) = value.cast::<PyByteArray>() {
            self.item(Item::Bytes(&bytes.to_vec()))
        } else if value.is_instance_of::<PyMemoryView>() {
            self.bytes_by(value, "tobytes")
        } else if value.is_instance(enum_type(py)?)? {
            self.write(&value.getattr("value")?)
        } else if is_time(value)? {
            self.write(&value.call_method0("isoformat")?)
        } else if value.is_instance(path_type(py)?)? {
            self.write(&value.call_method0("__fspath__")?)
        } else if is_loaded(py, "numpy")? && value.is_instance(numpy_scalar(py)?)? {
            let plain = value.call_method0("item")?;
            match plain.is_instance(numpy_scalar(py)?)? {
                true => Err(unsendable(value)?),
                false => self.write(&plain),
            }
        } else if is_loaded(py, "numpy")? && value.is_instance_of::<PyUntypedArray>() {
            self.array(value.cast::<PyUntypedArray>().map_err(PyErr::from)?)
        } else if value.hasattr("__index__")? {
            self.write(&value.call_method0("__index__")?)
        } else {
            Err(unsendable(value)?)
        }
    }

    fn item(&mut self, item: Item<'_>) -> Written {
        Ok(self.out.item(item)?)
    }

    fn text(&mut self, text: &Bound<'_, PyString>) -> Written {
        match text.to_str() {
            Ok(text) => self.item(Item::Str(text)),
            Err(_) => Err(Failure::refused("cannot send text with lone surrogates")),
        }
    }

    fn integer(&mut self, number: &Bound<'_, PyInt>) -> Written {
        if let Ok(number) = number.extract::<i64>() {
            return self.item(match u64::try_from(number) {
                Ok(number) => Item::Unsigned(number.into()),
                Err(_) => Item::Signed(number.into()),
            });
        }
        match (number.extract::<u128>(), number.extract::<i128>()) {
            (Ok(number), _) => self.item(Item::Unsigned(number)),
            (_, Ok(number)) => self.item(Item::Signed(number)),
            _ => Err(Failure::refused("cannot send an int of more than 128 bits")),
        }
    }

    fn list<'py>(&mut self, items: impl Iterator<Item = Bound<'py, PyAny>>) -> Written {
        self.enter(Item::ListStart)?;
        for (index, item) in items.enumerate() {
            self.write(&item).map_err(|failure| failure.below(|| format!("[{index}]")))?;
        }
        self.leave(Item::ListEnd)
    }

    fn dict(&mut self, dict: &Bound<'_, PyDict>) -> Written {
        self.enter(Item::MapStart)?;
        for (key, item) in dict.iter() {
            self.write(&key).map_err(|failure| failure.below(|| " (a key)".to_owned()))?;
            self.write(&item).map_err(|failure| failure.below(|| step_of(&key)))?;
        }
        self.leave(Item::MapEnd)
    }

    fn fields<'py>(
        &mut self,
        value: &Bound<'py, PyAny>,
        names: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> Written {
        self.enter(Item::MapStart)?;
        for name in names {
            let name = name?.cast_into::<PyString>().map_err(PyErr::from)?;
            self.text(&name)?;
            let item = value.getattr(&name)?;
            self.write(&item).map_err(|failure| failure.below(|| step_of(&name)))?;
        }
        self.leave(Item::MapEnd)
    }

    fn array(&mut self, array: &Bound<'_, PyUntypedArray>) -> Written {
        let dtype = array.dtype();
        let kind: char = dtype.getattr("kind")?.extract()?;
        if !"biuf".contains(kind) {
            return Err(Failure::refused(format!("cannot send a numpy array of type {dtype}")));
        }
        let is_bytes = kind == 'u' && array.ndim() == 1 && dtype.getattr("itemsize")?.eq(1)?;
        if is_bytes {
            self.bytes_by(array, "tobytes")
        } else {
            self.write(&array.call_method0("tolist")?)
        }
    }

    fn bytes_by(&mut self, value: &Bound<'_, PyAny>, method: &str) -> Written {
        let bytes = value.call_method0(method)?;
        let bytes = bytes.cast::<PyBytes>().map_err(PyErr::from)?;
        self.item(Item::Bytes(bytes.as_bytes()))
    }

    fn enter(&mut self, start: Item<'_>) -> Written {
        if self.depth == self.max_depth {
            return Err(Failure::refused(format!("nested deeper than {} levels", self.max_depth)));
        }
        self.depth += 1;
        self.item(start)
    }

    fn leave(&mut self, end: Item<'_>) -> Written {
        self.depth -= 1;
        self.item(end)
    }
}

fn unsendable(value: &Bound<'_, PyAny>) -> PyResult<Failure> {
    let name = value.get_type().name()?;
    Ok(Failure::refused(format!("cannot send an object of type {name}")))
}

/// How the path goes on below a key that has been written.
fn step_of(key: &Bound<'_, PyAny>) -> String {
    let bytes = encode(key, "", MAX_DEPTH).unwrap_or_default();
    Reader::new(&bytes).next_item().map_or_else(|_| String::new(), |key| key.step())
}

/// `dataclasses.fields`.
fn dataclass_fields(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    FUNCTION.import(py, "dataclasses", "fields")
}

fn enum_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    TYPE.import(py, "enum", "Enum")
}

fn path_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    TYPE.import(py, "pathlib", "PurePath")
}

/// Whether it is a `date` (as every `datetime` is) or a `time`.
fn is_time(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static DATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static TIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = value.py();
    Ok(value.is_instance(DATE.import(py, "datetime", "date")?)?
        || value.is_instance(TIME.import(py, "datetime", "time")?)?)
}
