//! Bytes as Python objects.
//!
//! Main function: [`decode`]. Integers of all widths become `int`, floats of both widths `float`,
//! sequences lists, maps dicts; a sequence that is a key becomes a tuple, since a list is none.

use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use rm_process::value::MAX_DEPTH;
use rm_process::value::wire::{Item, Malformed, Reader};

/// The object in `body`, which holds nothing else.
///
/// # Errors
/// `ValueError` if the bytes are none, lie deeper than `max_depth` in one another (at most [`MAX_DEPTH`]), or have a dict
/// as a key.
pub(crate) fn decode<'py>(
    py: Python<'py>,
    body: &[u8],
    max_depth: usize,
) -> PyResult<Bound<'py, PyAny>> {
    // Whoever finds the keys in use makes its own: waiting for them could last for ever, as Python
    // may switch to another thread at any object that is made.
    let keys = KEYS.try_lock().ok();
    let max_depth = max_depth.min(MAX_DEPTH);
    let mut decoder = Decoder { py, reader: Reader::new(body), keys, depth: 0, max_depth };
    let item = decoder.next()?;
    let value = decoder.value(item)?;
    match decoder.reader.remaining() {
        0 => Ok(value),
        len => Err(refused(Malformed::Excess { len })),
    }
}

#[cold]
fn refused(problem: impl ToString) -> PyErr {
    PyValueError::new_err(problem.to_string())
}

/// Texts that were keys lately, each at the place that its bytes say: keys are few and come again
/// and again, as names of fields do.
type Keys = [Option<(Box<str>, Py<PyString>)>; KEYS_KEPT];

const KEYS_KEPT: usize = 256;

/// Longer keys are no names, in bytes.
const LONGEST_KEY_KEPT: usize = 32;

static KEYS: Mutex<Keys> = Mutex::new([const { None }; KEYS_KEPT]);

struct Decoder<'a, 'py> {
    py: Python<'py>,
    reader: Reader<'a>,
    keys: Option<MutexGuard<'static, Keys>>,
    depth: usize,
    max_depth: usize,
}

impl<'a, 'py> Decoder<'a, 'py> {
    fn next(&mut self) -> PyResult<Item<'a>> {
        self.reader.next_item().map_err(refused)
    }

    fn value(&mut self, item: Item<'a>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match item {
            Item::Null => py.None().into_bound(py),
            Item::Bool(truth) => PyBool::new(py, truth).to_owned().into_any(),
            Item::Unsigned(number) => match u64::try_from(number) {
                Ok(number) => PyInt::new(py, number).into_any(),
                Err(_) => PyInt::new(py, number).into_any(),
            },
            Item::Signed(number) => match i64::try_from(number) {
                Ok(number) => PyInt::new(py, number).into_any(),
                Err(_) => PyInt::new(py, number).into_any(),
            },
            Item::F32(number) => PyFloat::new(py, number.into()).into_any(),
            Item::F64(number) => PyFloat::new(py, number).into_any(),
            Item::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
            Item::Str(text) => PyString::new(py, text).into_any(),
            Item::ListStart => {
                let list = PyList::empty(py);
                self.enter()?;
                while !self.reader.take_list_end() {
                    let item = self.next()?;
                    list.append(self.value(item)?)?;
                }
                self.depth -= 1;
                list.into_any()
            }
            Item::MapStart => {
                let dict = PyDict::new(py);
                self.enter()?;
                while !self.reader.take_map_end() {
                    let key = self.next()?;
                    let key = self.key(key)?;
                    let item = self.next()?;
                    dict.set_item(key, self.value(item)?)?;
                }
                self.depth -= 1;
                dict.into_any()
            }
            Item::ListEnd | Item::MapEnd => {
                return Err(refused(Malformed::MisplacedEnd { at: self.reader.position() - 1 }));
            }
        })
    }

    fn key(&mut self, item: Item<'a>) -> PyResult<Bound<'py, PyAny>> {
        match item {
            Item::Str(text) => Ok(self.text_key(text).into_any()),
            Item::ListStart => {
                let mut items = Vec::new();
                self.enter()?;
                while !self.reader.take_list_end() {
                    let item = self.next()?;
                    items.push(self.key(item)?);
                }
                self.depth -= 1;
                Ok(PyTuple::new(self.py, items)?.into_any())
            }
            Item::MapStart => Err(refused("a dict cannot be a key of a dict")),
            item => self.value(item),
        }
    }

    fn text_key(&mut self, text: &str) -> Bound<'py, PyString> {
        let kept = match &mut self.keys {
            Some(keys) if text.len() <= LONGEST_KEY_KEPT => {
                let hash = text.bytes().fold(0_usize, |hash, byte| {
                    hash.wrapping_mul(31).wrapping_add(usize::from(byte))
                });
                &mut keys[hash % KEYS_KEPT]
            }
            _ => return PyString::new(self.py, text),
        };
        match kept {
            Some((known, key)) if **known == *text => key.bind(self.py).clone(),
            kept => {
                let key = PyString::intern(self.py, text);
                *kept = Some((text.into(), key.clone().unbind()));
                key
            }
        }
    }

    fn enter(&mut self) -> PyResult<()> {
        if self.depth == self.max_depth {
            return Err(refused(format!("nested deeper than {} levels", self.max_depth)));
        }
        self.depth += 1;
        Ok(())
    }
}
