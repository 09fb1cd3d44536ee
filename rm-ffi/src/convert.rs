//! Items as Python objects, and Python objects as items.
//!
//! Main functions: [`to_python`] and [`from_python`]. Samples, pixels and tensors are not copied in
//! either direction, where the array is C-contiguous, aligned and in this machine's byte order;
//! texts and bytes are copied only on their way to Python. Where other packages' memory comes from
//! is for `memory` to say, what is sound and what a picture for `audio` and `video`.

use bytes::Bytes;
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyString};
use rm_core::{AudioFormat, AudioLayout, DataMetadata, RuntimeData, TensorType};

use crate::array;
use crate::audio::{self, PyAudio, channels_of, format_of};
use crate::errors::MarshalingError;
use crate::json;
use crate::memory::{self, Elements, Payload};
use crate::place::Place;
use crate::video::{self, Layout, PyVideoFrame};

/// An item as a Python object: audio as `Audio`, video as `VideoFrame`, a tensor as a read-only array,
/// text as `str`, JSON as plain objects, anything else as `bytes`.
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
            let text = PyBytes::new(py, &payload).call_method1("decode", (encoding,));
            let problem = format!("text in {encoding:?} has no form in Python");
            text.map_err(|cause| Place::Root("item").refuse_because(py, problem, cause))
        }
        DataMetadata::Json => json::from_json(py, &payload),
        DataMetadata::Binary => Ok(PyBytes::new(py, &payload).into_any()),
        DataMetadata::Video { width, height, format, fps } => {
            let layout = Layout { width: *width, height: *height, format: *format, fps: *fps };
            let pixels = array::view(py, payload, &layout.shape(), layout.dtype())?;
            Ok(Bound::new(py, PyVideoFrame::new(pixels, layout))?.into_any())
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

/// A Python object as an item.
pub(crate) struct Converted {
    pub(crate) data: RuntimeData,
    /// Bytes that were copied for it: those of arrays that do not lie as items do. The text of JSON,
    /// which is made anew, does not count.
    pub(crate) copied: u64,
}

/// A Python object as an item; the reverse of [`to_python`]. `root` is what errors call it.
///
/// | object | item |
/// |---|---|
/// | `Audio`, `{"audio": array, "sample_rate": hz}` | audio |
/// | `VideoFrame`, `{"frame": array, "format": name}`, with or without width, height and fps | video |
/// | an array of NumPy, an object of the buffer protocol or of DLPack | tensor |
/// | `bytes`, and buffers that are one row of bytes: `bytearray`, `mmap`, … | binary |
/// | `str` | text |
/// | `dict`, `list`, `int`, `float`, `bool`, numbers of NumPy | JSON |
///
/// # Errors
/// `MarshalingError` naming the place and the type of what cannot be sent.
pub(crate) fn from_python(value: &Bound<'_, PyAny>, root: &str) -> PyResult<Converted> {
    input_from_python(value, root, || None)
}

/// What an array that comes alone is to a node that takes audio.
#[derive(Clone, Copy)]
pub(crate) struct Bare {
    /// The rate of its samples, in Hz.
    pub(crate) rate: u32,
    /// Whether the node takes no other arrays.
    pub(crate) only: bool,
}

/// As [`from_python`]; a bare row of float32 or int16 is mono audio if `bare` says so.
///
/// # Errors
/// As [`from_python`].
pub(crate) fn input_from_python(
    value: &Bound<'_, PyAny>,
    root: &str,
    bare: impl FnOnce() -> Option<Bare>,
) -> PyResult<Converted> {
    let place = &Place::Root(root);
    if let Ok(array) = value.cast_exact::<PyUntypedArray>() {
        return numbers(array, place, bare);
    }
    if let Ok(audio) = value.cast::<PyAudio>() {
        let audio = audio.get();
        return sound(audio.samples.bind(value.py()), audio.sample_rate, place);
    }
    if let Ok(frame) = value.cast::<PyVideoFrame>() {
        let frame = frame.get();
        return picture(frame.pixels.bind(value.py()), frame.layout, place);
    }
    if let Ok(text) = value.cast::<PyString>() {
        let text = PyBackedStr::try_from(text.clone()).map_err(|cause| {
            let problem = "text with lone surrogates cannot be sent; encode it as bytes";
            place.refuse_because(value.py(), problem, cause)
        })?;
        return item(DataMetadata::utf8(), Bytes::from_owner(text), 0, place);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let bytes = Bytes::from_owner(PyBackedBytes::from(bytes.clone()));
        return item(DataMetadata::Binary, bytes, 0, place);
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        if let Some((samples, rate)) = audio::from_dict(dict, place)? {
            return sound(&samples, rate, place);
        }
        if let Some((pixels, layout)) = video::from_dict(dict, place)? {
            return picture(&pixels, layout, place);
        }
    }
    if json::is_json(value)? {
        return item(DataMetadata::Json, json::to_json(value, place)?, 0, place);
    }
    match memory::elements(value, place)? {
        Some(Elements { array, is_raw: false }) => numbers(&array, place, bare),
        Some(Elements { array, is_raw: true }) => {
            let Payload { bytes, copied, .. } = memory::payload(&array, place)?;
            item(DataMetadata::Binary, bytes, copied, place)
        }
        None => Err(refuse(value, place)),
    }
}

/// What a node would see of an object, and how many bytes were copied; for tests.
#[pyfunction]
#[pyo3(name = "_convert", signature = (value, sample_rate=None))]
pub(crate) fn convert<'py>(
    value: &Bound<'py, PyAny>,
    sample_rate: Option<u32>,
) -> PyResult<(Bound<'py, PyAny>, u64)> {
    let Converted { data, copied } =
        input_from_python(value, "input", || sample_rate.map(|rate| Bare { rate, only: false }))?;
    let (header, payload) = data.into_parts();
    Ok((to_python(value.py(), &header.metadata, payload)?, copied))
}

fn refuse(value: &Bound<'_, PyAny>, place: &Place<'_>) -> PyErr {
    let kind = value.get_type();
    let has = |name| kind.hasattr(name).unwrap_or(false);
    let advice = match has("__array__") || has("__array_interface__") {
        true => "send numpy.asarray(object)",
        false => {
            "expected Audio, VideoFrame, an array (of NumPy, of the buffer protocol or of DLPack), \
             str, bytes, dict, list or a number"
        }
    };
    match kind.fully_qualified_name() {
        Ok(kind) => place.refuse(format!("an object of type {kind} cannot be sent; {advice}")),
        Err(error) => error,
    }
}

fn item(
    metadata: DataMetadata,
    payload: impl Into<Bytes>,
    copied: u64,
    place: &Place<'_>,
) -> PyResult<Converted> {
    let data = RuntimeData::new(metadata, payload);
    let data = data.map_err(|error| place.refuse_data(&error))?;
    Ok(Converted { data, copied })
}

fn numbers(
    array: &Bound<'_, PyUntypedArray>,
    place: &Place<'_>,
    bare: impl FnOnce() -> Option<Bare>,
) -> PyResult<Converted> {
    let Payload { bytes, dtype, copied } = memory::payload(array, place)?;
    let shape = array.shape();
    let is_row = matches!((dtype, shape), (TensorType::F32 | TensorType::I16, [_]));
    let bare = bare();
    if bare.is_some_and(|bare| bare.only) && !is_row {
        return Err(place.refuse(format!(
            "an array of type {dtype} and shape {shape:?} alone is no audio; send Audio(array, \
             sample_rate) of float32, float64, int16, int32 or uint8 and shape (frames,) or (frames, \
             channels), or a row of float32 or int16"
        )));
    }
    let rate = bare.filter(|_| is_row).map(|bare| bare.rate);
    let metadata = match (rate, format_of(dtype)) {
        (Some(rate), Some(format)) => DataMetadata::audio(rate, 1, format),
        _ => DataMetadata::Tensor { shape: shape.to_vec(), dtype },
    };
    item(metadata, bytes, copied, place)
}

/// An array as audio.
fn sound(
    samples: &Bound<'_, PyUntypedArray>,
    sample_rate: u32,
    place: &Place<'_>,
) -> PyResult<Converted> {
    let Payload { bytes, dtype, copied } = memory::payload(samples, place)?;
    let (Some(channels), Some(format)) = (channels_of(samples.shape()), format_of(dtype)) else {
        // It was given another shape or type in place.
        return Err(match audio::check(samples) {
            Err(misfit) => place.refuse(misfit.problem),
            Ok(()) => place.refuse("the samples changed while they were sent"),
        });
    };
    item(DataMetadata::audio(sample_rate, channels, format), bytes, copied, place)
}

/// An array as a video frame.
fn picture(
    pixels: &Bound<'_, PyUntypedArray>,
    layout: Layout,
    place: &Place<'_>,
) -> PyResult<Converted> {
    let Payload { bytes, copied, .. } = memory::payload(pixels, place)?;
    item(layout.metadata(), bytes, copied, place)
}
