//! Memory of numbers that other packages own, as NumPy arrays.
//!
//! Main function: [`elements`], which sees arrays, objects of the buffer protocol and DLPack objects
//! alike, without a copy. What the numbers mean is for `convert` to say.

use bytes::Bytes;
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyMemoryView, PyString};
use rm_core::{DataError, RuntimeData, TensorType};

use crate::array;
use crate::audio::PyAudio;
use crate::json;
use crate::place::Place;
use crate::python::numpy;
use crate::video::PyVideoFrame;

/// DLPack's types of devices (`DLDeviceType`) whose memory the processor reaches: its own, pinned by
/// CUDA or by ROCm, and managed by CUDA.
const REACHED: [i32; 4] = [1, 3, 11, 13];

/// Numbers in memory.
pub(crate) struct Elements<'py> {
    pub(crate) array: Bound<'py, PyUntypedArray>,
    /// Whether they are one row of bytes of which nobody said that they are numbers.
    pub(crate) is_raw: bool,
}

/// The elements of an array as a payload.
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    pub(crate) dtype: TensorType,
    /// Bytes that were copied for it.
    pub(crate) copied: u64,
}

/// The numbers of an array, of a buffer or of a DLPack object; `None` for any other object, and for
/// those that JSON holds.
///
/// # Errors
/// `MarshalingError` for an array that means more than its numbers, for memory of another device,
/// and for what NumPy cannot see as an array.
pub(crate) fn elements<'py>(
    value: &Bound<'py, PyAny>,
    place: &Place<'_>,
) -> PyResult<Option<Elements<'py>>> {
    if let Ok(array) = value.cast::<PyUntypedArray>() {
        if !array::is_plain(array) {
            refuse_meaning(array, place)?;
        }
        return Ok(Some(Elements { array: array.clone(), is_raw: false }));
    }
    // What stands for an array in a special sense is an item of its own.
    if value.is_none()
        || value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyAudio>()
        || value.is_instance_of::<PyVideoFrame>()
        || json::is_json(value)?
    {
        return Ok(None);
    }
    match of_buffer(value, place)? {
        Some(elements) => Ok(Some(elements)),
        None => of_dlpack(value, place),
    }
}

/// Refuses arrays of which the numbers alone would be something else.
fn refuse_meaning(array: &Bound<'_, PyUntypedArray>, place: &Place<'_>) -> PyResult<()> {
    let numpy = numpy(array.py())?;
    let is = |module: &str, name: &str| array.is_instance(&numpy.getattr(module)?.getattr(name)?);
    if is("ma", "MaskedArray")? {
        return Err(place.refuse(
            "a masked array cannot be sent, because the mask would be lost; send \
             array.filled(value), or the data and the mask as two items",
        ));
    }
    if is("matrixlib", "matrix")? {
        return Err(place.refuse(
            "a numpy.matrix cannot be sent, because an array would come back; send \
             numpy.asarray(matrix)",
        ));
    }
    Ok(())
}

fn of_buffer<'py>(value: &Bound<'py, PyAny>, place: &Place<'_>) -> PyResult<Option<Elements<'py>>> {
    let py = value.py();
    let refuse = |cause| {
        let kind = value.get_type().fully_qualified_name()?;
        let problem = format!("the buffer of an object of type {kind} cannot be sent");
        Err(place.refuse_because(py, problem, cause))
    };
    let view = match PyMemoryView::from(value) {
        Ok(view) => view,
        // It has no buffer.
        Err(error) if error.is_instance_of::<PyTypeError>(py) => return Ok(None),
        Err(error) => return refuse(error),
    };
    let format = view.getattr(intern!(py, "format"))?;
    let format: &str = format.extract()?;
    let format = format.trim_start_matches(['@', '=', '<', '>']);
    let is_row = view.getattr(intern!(py, "ndim"))?.extract::<usize>()? == 1;
    let is_raw = is_row && matches!(format, "B" | "c");
    // The array keeps the view, and the view the object's memory, which is locked meanwhile: an
    // array.array or a bytearray then refuses to grow.
    let array = match numpy(py)?.call_method1(intern!(py, "asarray"), (view,)) {
        Ok(array) => array,
        Err(error) => return refuse(error),
    };
    let array = match format {
        // Characters are a type of their own in NumPy.
        "c" if is_raw => array.call_method1(intern!(py, "view"), (numpy::dtype::<u8>(py),))?,
        _ => array,
    };
    Ok(Some(Elements { array: array.cast_into()?, is_raw }))
}

fn of_dlpack<'py>(value: &Bound<'py, PyAny>, place: &Place<'_>) -> PyResult<Option<Elements<'py>>> {
    let py = value.py();
    let kind = value.get_type();
    let has = |name| kind.hasattr(name).unwrap_or(false);
    if !has(intern!(py, "__dlpack__")) || !has(intern!(py, "__dlpack_device__")) {
        return Ok(None);
    }
    let refuse = |cause| {
        let kind = kind.fully_qualified_name()?;
        let problem = format!("an object of type {kind} cannot be sent by DLPack");
        Err(place.refuse_because(py, problem, cause))
    };
    let device = value.call_method0(intern!(py, "__dlpack_device__"));
    let (device, index) = match device.and_then(|device| device.extract::<(i32, i32)>()) {
        Ok(device) => device,
        Err(error) => return refuse(error),
    };
    if !REACHED.contains(&device) {
        let kind = kind.fully_qualified_name()?;
        let name = device_name(device);
        return Err(place.refuse(format!(
            "an object of type {kind} on {name} (device {index}) cannot be sent; move it to the CPU \
             first"
        )));
    }
    match numpy(py)?.call_method1(intern!(py, "from_dlpack"), (value,)) {
        Ok(array) => Ok(Some(Elements { array: array.cast_into()?, is_raw: false })),
        Err(error) => refuse(error),
    }
}

/// DLPack's device types (`DLDeviceType` in its `dlpack.h`).
fn device_name(device: i32) -> String {
    let name = match device {
        2 => "CUDA",
        4 => "OpenCL",
        7 => "Vulkan",
        8 => "Metal",
        9 => "VPI",
        10 => "ROCm",
        14 => "oneAPI",
        15 => "WebGPU",
        16 => "Hexagon",
        17 => "MAIA",
        _ => return format!("a device of type {device}"),
    };
    name.to_owned()
}

/// The elements of an array in C order; copied, once, where they do not lie so, are not aligned, or
/// are not in this machine's byte order.
///
/// # Errors
/// `MarshalingError` if they are no plain numbers.
pub(crate) fn payload(array: &Bound<'_, PyUntypedArray>, place: &Place<'_>) -> PyResult<Payload> {
    if let Some((bytes, dtype)) = array::bytes_of(array) {
        return Ok(Payload { bytes, dtype, copied: 0 });
    }
    let py = array.py();
    let descr = native(&array.dtype()).ok().filter(|descr| array::tensor_type(descr).is_some());
    let Some(descr) = descr else {
        return Err(place.refuse(refused_type(&array.dtype())));
    };
    // An array can repeat a few bytes into more than there is memory.
    let (len, max) = (array.len().saturating_mul(descr.itemsize()), RuntimeData::MAX_PAYLOAD);
    if len > max {
        return Err(place.refuse_data(&DataError::TooLarge { len, max }));
    }
    let order = [("order", "C")].into_py_dict(py)?;
    let ordered = numpy(py)?.call_method("array", (array, descr), Some(&order))?.cast_into()?;
    let (bytes, dtype) =
        array::bytes_of(&ordered).expect("a new array of plain numbers in C order has bytes");
    Ok(Payload { copied: bytes.len() as u64, bytes, dtype })
}

/// The same type in this machine's byte order.
fn native<'py>(descr: &Bound<'py, PyArrayDescr>) -> PyResult<Bound<'py, PyArrayDescr>> {
    let py = descr.py();
    Ok(descr.call_method1(intern!(py, "newbyteorder"), (intern!(py, "="),))?.cast_into()?)
}

/// The type of elements of an array, also if it is of the other byte order.
pub(crate) fn native_type(descr: &Bound<'_, PyArrayDescr>) -> Option<TensorType> {
    array::tensor_type(descr).or_else(|| array::tensor_type(&native(descr).ok()?))
}

fn refused_type(descr: &Bound<'_, PyArrayDescr>) -> String {
    let advice = match descr.kind() {
        b'O' => "; a list of plain objects is sent as JSON",
        b'M' | b'm' => "; send array.astype(numpy.int64), or its text",
        b'f' => "; send array.astype(numpy.float64)",
        b'c' => "; send array.astype(numpy.complex128)",
        b'U' | b'S' | b'T' => "; send array.tolist()",
        b'V' if descr.has_fields() => "; send each field as an item of its own",
        _ => "",
    };
    format!(
        "an array of type {descr} cannot be sent; expected bool, int8 to int64, uint8 to uint64, \
         float16, bfloat16, float32, float64, complex64 or complex128{advice}"
    )
}

/// Elements, or else whatever NumPy makes an array of.
///
/// # Errors
/// `MarshalingError` if it is none.
pub(crate) fn array_like<'py>(
    value: &Bound<'py, PyAny>,
    place: &Place<'_>,
) -> PyResult<Elements<'py>> {
    if let Some(elements) = elements(value, place)? {
        return Ok(elements);
    }
    let py = value.py();
    let array = numpy(py)?.call_method1(intern!(py, "asarray"), (value,))?;
    Ok(Elements { array: array.cast_into()?, is_raw: false })
}

/// What `__array__` of an object gives that stands for an array.
pub(crate) fn to_array<'py>(
    array: &Bound<'py, PyUntypedArray>,
    dtype: Option<Bound<'py, PyAny>>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let numpy = numpy(array.py())?;
    let options = [("dtype", dtype)].into_py_dict(array.py())?;
    match copy {
        None => numpy.call_method("asarray", (array,), Some(&options)),
        Some(copy) => {
            options.set_item("copy", copy)?;
            numpy.call_method("array", (array,), Some(&options))
        }
    }
}

/// What `__dlpack__` of an object gives that stands for an array.
///
/// # Errors
/// `BufferError` if the array cannot be had so.
pub(crate) fn to_dlpack<'py>(
    array: &Bound<'py, PyUntypedArray>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let export = array.call_method("__dlpack__", (), options);
    export.map_err(|error| {
        // Old versions of NumPy raise a TypeError, which is also what unknown options are.
        let is_refused = error.is_instance_of::<PyBufferError>(py)
            || (options.is_none() && error.is_instance_of::<PyTypeError>(py));
        if !is_refused || is_writeable(array) {
            return error;
        }
        let advice = PyBufferError::new_err(
            "a read-only array can be had by DLPack only from NumPy 2.1 on, and by packages that \
             speak DLPack 1.0; elsewhere give them a copy (numpy.array(...))",
        );
        advice.set_cause(py, Some(error));
        advice
    })
}

fn is_writeable(array: &Bound<'_, PyUntypedArray>) -> bool {
    let py = array.py();
    let flags = array.getattr(intern!(py, "flags"));
    let writeable = flags.and_then(|flags| flags.getattr(intern!(py, "writeable")));
    writeable.and_then(|writeable| writeable.extract()).unwrap_or(true)
}
