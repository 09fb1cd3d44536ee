//! Values of the runtime as Python's plain objects.
//!
//! Main function: [`to_python`]. It gives what `json.loads` gives of a value's JSON, in a fifth of the
//! time: every run ends with its metrics. Items that are JSON already do not come here. The crate
//! `pythonize` does the same, for older versions of PyO3.

use std::fmt::{self, Display};

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use serde::ser::{self, Serialize, Serializer};

/// A value of the runtime as Python's plain objects.
///
/// # Errors
/// `ValueError` if the value says that it has no such form.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    value: &impl Serialize,
) -> PyResult<Bound<'py, PyAny>> {
    value.serialize(Maker(py)).map_err(|failure| failure.0)
}

/// What Python raised, or a value said.
#[derive(Debug)]
struct Failure(PyErr);

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Failure {}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl ser::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Self(PyValueError::new_err(message.to_string()))
    }
}

type Made<'py> = Result<Bound<'py, PyAny>, Failure>;

#[derive(Clone, Copy)]
struct Maker<'py>(Python<'py>);

impl<'py> Maker<'py> {
    fn list(self, variant: Option<&'static str>) -> List<'py> {
        List { maker: self, list: PyList::empty(self.0), variant }
    }

    fn dict(self, variant: Option<&'static str>) -> Dict<'py> {
        Dict { maker: self, dict: PyDict::new(self.0), key: None, variant }
    }

    fn none(self) -> Made<'py> {
        Ok(self.0.None().into_bound(self.0))
    }

    /// An object, under the name of the variant that it belongs to.
    fn named(self, variant: Option<&'static str>, object: Bound<'py, PyAny>) -> Made<'py> {
        let Some(name) = variant else { return Ok(object) };
        let dict = PyDict::new(self.0);
        dict.set_item(name, object)?;
        Ok(dict.into_any())
    }
}

macro_rules! plain {
    ($($name:ident($type:ty)),*) => {
        $(fn $name(self, value: $type) -> Made<'py> {
            Ok(value.into_bound_py_any(self.0)?)
        })*
    };
}

impl<'py> Serializer for Maker<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;
    type SerializeSeq = List<'py>;
    type SerializeTuple = List<'py>;
    type SerializeTupleStruct = List<'py>;
    type SerializeTupleVariant = List<'py>;
    type SerializeMap = Dict<'py>;
    type SerializeStruct = Dict<'py>;
    type SerializeStructVariant = Dict<'py>;

    plain!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_char(char),
        serialize_str(&str)
    );

    fn serialize_f32(self, value: f32) -> Made<'py> {
        // The number that was meant: 0.1 and not 0.10000000149.
        self.serialize_f64(value.to_string().parse().unwrap_or_else(|_| value.into()))
    }

    fn serialize_f64(self, value: f64) -> Made<'py> {
        if value.is_finite() { Ok(value.into_bound_py_any(self.0)?) } else { self.none() }
    }

    fn serialize_bytes(self, value: &[u8]) -> Made<'py> {
        Ok(PyList::new(self.0, value)?.into_any())
    }

    fn serialize_none(self) -> Made<'py> {
        self.none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Made<'py> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Made<'py> {
        self.none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Made<'py> {
        self.none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Made<'py> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Made<'py> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Made<'py> {
        self.named(Some(name), value.serialize(self)?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'py>, Failure> {
        Ok(self.list(None))
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'py>, Failure> {
        Ok(self.list(None))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'py>, Failure> {
        Ok(self.list(None))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<List<'py>, Failure> {
        Ok(self.list(Some(name)))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Dict<'py>, Failure> {
        Ok(self.dict(None))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Dict<'py>, Failure> {
        Ok(self.dict(None))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Dict<'py>, Failure> {
        Ok(self.dict(Some(name)))
    }
}

/// A list that is being made.
struct List<'py> {
    maker: Maker<'py>,
    list: Bound<'py, PyList>,
    variant: Option<&'static str>,
}

impl<'py> ser::SerializeSeq for List<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        Ok(self.list.append(value.serialize(self.maker)?)?)
    }

    fn end(self) -> Made<'py> {
        self.maker.named(self.variant, self.list.into_any())
    }
}

macro_rules! like_a_list {
    ($($kind:ident: $name:ident),*) => {
        $(impl<'py> ser::$kind for List<'py> {
            type Ok = Bound<'py, PyAny>;
            type Error = Failure;

            fn $name<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
                ser::SerializeSeq::serialize_element(self, value)
            }

            fn end(self) -> Made<'py> {
                ser::SerializeSeq::end(self)
            }
        })*
    };
}

like_a_list!(
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

/// A dict that is being made.
struct Dict<'py> {
    maker: Maker<'py>,
    dict: Bound<'py, PyDict>,
    /// The key whose value comes next.
    key: Option<Bound<'py, PyAny>>,
    variant: Option<&'static str>,
}

impl<'py> ser::SerializeMap for Dict<'py> {
    type Ok = Bound<'py, PyAny>;
    type Error = Failure;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failure> {
        let key = key.serialize(self.maker)?;
        self.key = Some(if key.is_instance_of::<PyString>() { key } else { key.str()?.into_any() });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        let key = self.key.take().expect("a key comes before its value");
        Ok(self.dict.set_item(key, value.serialize(self.maker)?)?)
    }

    fn end(self) -> Made<'py> {
        self.maker.named(self.variant, self.dict.into_any())
    }
}

macro_rules! like_a_dict {
    ($($kind:ident),*) => {
        $(impl<'py> ser::$kind for Dict<'py> {
            type Ok = Bound<'py, PyAny>;
            type Error = Failure;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Failure> {
                let key = PyString::intern(self.maker.0, key);
                Ok(self.dict.set_item(key, value.serialize(self.maker)?)?)
            }

            fn end(self) -> Made<'py> {
                ser::SerializeMap::end(self)
            }
        })*
    };
}

like_a_dict!(SerializeStruct, SerializeStructVariant);
