//! Items as Python objects, and Python objects as items.
//!
//! Main functions: [`to_python`] and [`from_python`]. Samples and tensors are not copied in either
//! direction, where the array is C-contiguous and in this machine's byte order; texts and bytes are
//! copied only on their way to Python.

use bytes::Bytes;
use numpy::{PyArrayDescr, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{IntoPyDict, PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString};
use rm_core::{AudioFormat, AudioLayout, DataMetadata, RuntimeData, TensorType};

use crate::array;
use crate::audio::{PyAudio, channels_of, format_of};
use crate::errors::{Error, MarshalingError};
use crate::json;
use crate::python::{numpy, numpy_scalar};

/// An item as a Python object: audio as `Audio`, a tensor as a read-only array, text as `str`, JSON
/// as plain objects, anything else as `bytes`.
///
/// # Errors
/// `MarshalingError` for data that Python has no form of.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    metadata: &DataMetadata,
    payload: Bytes,
) -> PyResult<Bound<'py, PyAny>> {
    match metadata {
        DataMetadata::Audio { sample_rate, channels, format, layout } => {
            let channels = usize::from(*channels);
            let samples = samples(py, payload, channels, *format, *layout)?;
            Ok(Bound::new(py, PyAudio::new(samples, *sample_rate))?.into_any())
        }
        DataMetadata::Tensor { shape, dtype } => {
            Ok(array::view(py, payload, shape, *dtype)?.into_any())
        }
        DataMetadata::Text { encoding, .. } if encoding == "utf-8" => {
            let text = std::str::from_utf8(&payload);
            let text = text.expect("an item of UTF-8 text is checked when it is made");
            Ok(PyString::new(py, text).into_any())
        }
        DataMetadata::Text { encoding, .. } => {
            PyBytes::new(py, &payload).call_method1("decode", (encoding,))
        }
        DataMetadata::Json => json::from_json(py, &payload),
        DataMetadata::Binary => Ok(PyBytes::new(py, &payload).into_any()),
        metadata => {
            let kind = metadata.data_type();
            Err(MarshalingError::new_err(format!("items of type {kind} have no form in Python")))
        }
    }
}

/// Samples as an array of shape (frames,) or (frames, channels).
fn samples(
    py: Python<'_>,
    payload: Bytes,
    channels: usize,
    format: AudioFormat,
    layout: AudioLayout,
) -> PyResult<Bound<'_, PyUntypedArray>> {
    let frames = payload.len() / (channels * format.bytes_per_sample());
    let (payload, dtype) = match format {
        AudioFormat::F32 => (payload, TensorType::F32),
        AudioFormat::F64 => (payload, TensorType::F64),
        AudioFormat::I16 => (payload, TensorType::I16),
        AudioFormat::I32 => (payload, TensorType::I32),
        AudioFormat::U8 => (payload, TensorType::U8),
        AudioFormat::I24 => {
            // The three bytes become the upper ones of four, so that full scale stays full scale.
            let wide = |sample: &[u8]| [0, sample[0], sample[1], sample[2]];
            let wide: Vec<u8> = payload.chunks_exact(3).flat_map(wide).collect();
            (Bytes::from(wide), TensorType::I32)
        }
        other => {
            return Err(MarshalingError::new_err(format!(
                "audio in {other} has no form in Python"
            )));
        }
    };
    match layout {
        _ if channels == 1 => array::view(py, payload, &[frames], dtype),
        AudioLayout::Planar => {
            let planes = array::view(py, payload, &[channels, frames], dtype)?;
            Ok(planes.getattr("T")?.cast_into()?)
        }
        _ => array::view(py, payload, &[frames, channels], dtype),
    }
}

/// A Python object as an item; the reverse of [`to_python`]. Lists, dicts, numbers and booleans
/// become JSON.
///
/// # Errors
/// `MarshalingError` naming the type, or within lists and dicts the place, of what cannot be sent.
pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<RuntimeData> {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        return tensor(array);
    }
    if let Ok(audio) = value.cast::<PyAudio>() {
        let audio = audio.get();
        return sound(audio.samples.bind(value.py()), audio.sample_rate);
    }
    let data = if let Ok(text) = value.cast::<PyString>() {
        let text = PyBackedStr::try_from(text.clone())?;
        RuntimeData::new(DataMetadata::utf8(), Bytes::from_owner(text))
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        RuntimeData::binary(Bytes::from_owner(PyBackedBytes::from(bytes.clone())))
    } else if is_json(value)? {
        RuntimeData::new(DataMetadata::Json, json::to_json(value)?)
    } else {
        return Err(MarshalingError::new_err(format!(
            "an object of type {} cannot be sent; expected Audio, numpy.ndarray, str, bytes, dict, \
             list or a number",
            value.get_type().fully_qualified_name()?
        )));
    };
    Ok(data.map_err(Error::from)?)
}

fn is_json(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyBool>()
        || value.is_instance(numpy_scalar(value.py())?)?)
}

/// A mono or multi-channel array as audio.
///
/// # Errors
/// `MarshalingError` if its type or shape is not that of audio.
pub(crate) fn sound(
    samples: &Bound<'_, PyUntypedArray>,
    sample_rate: u32,
) -> PyResult<RuntimeData> {
    let (payload, dtype) = payload(samples)?;
    let (Some(channels), Some(format)) = (channels_of(samples.shape()), format_of(dtype)) else {
        let shape = samples.getattr("shape")?;
        return Err(MarshalingError::new_err(format!(
            "an array of type {dtype} and shape {shape} cannot be sent as audio"
        )));
    };
    Ok(RuntimeData::audio(payload, sample_rate, channels, format).map_err(Error::from)?)
}

fn tensor(array: &Bound<'_, PyUntypedArray>) -> PyResult<RuntimeData> {
    let (payload, dtype) = payload(array)?;
    Ok(RuntimeData::tensor(payload, array.shape().to_vec(), dtype).map_err(Error::from)?)
}

/// The elements of an array in C order; copied only where they do not lie so.
fn payload(array: &Bound<'_, PyUntypedArray>) -> PyResult<(Bytes, TensorType)> {
    if let Some(payload) = array::bytes_of(array) {
        return Ok(payload);
    }
    let py = array.py();
    let descr = array.dtype().call_method1("newbyteorder", ("=",))?.cast_into::<PyArrayDescr>()?;
    if array::tensor_type(&descr).is_none() {
        return Err(MarshalingError::new_err(format!(
            "an array of type {} cannot be sent; expected plain numbers",
            array.dtype()
        )));
    }
    let order = [("order", "C")].into_py_dict(py)?;
    let ordered = numpy(py)?.call_method("array", (array, descr), Some(&order))?.cast_into()?;
    Ok(array::bytes_of(&ordered).expect("a new array of plain numbers in C order has bytes"))
}
