//! Python objects as self-describing bytes, and back: what calls and callbacks carry.
//!
//! Main functions: [`encode`] and [`decode`]. The bytes are those of `rm_process::value`, which
//! makes Rust types of them. Objects are written as they are met, and read as Python's plain types:
//! sets and tuples arrive as lists, instances of dataclasses as dicts.

mod read;
mod write;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rm_process::value::DEFAULT_MAX_DEPTH;

pub(crate) use read::decode;
pub(crate) use write::encode;

/// What a value is called in errors.
const ROOT: &str = "payload";

/// An object as bytes; for tests.
#[pyfunction]
#[pyo3(name = "_encode_value")]
pub(crate) fn encode_value<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = encode(value, ROOT, DEFAULT_MAX_DEPTH)?;
    Ok(PyBytes::new(value.py(), &bytes))
}

/// Bytes as an object; for tests.
#[pyfunction]
#[pyo3(name = "_decode_value")]
pub(crate) fn decode_value<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    decode(py, bytes, DEFAULT_MAX_DEPTH)
}
