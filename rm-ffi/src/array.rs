//! NumPy arrays over memory of others, and bytes over memory of NumPy's. The only file of the crate
//! that holds unsafe code.
//!
//! Main functions: [`view`] gives Python a read-only array over a payload, [`lend`] a writable one
//! over lent shared memory, [`take_loan`] takes that back if nobody else can reach it, and
//! [`bytes_of`] sees an array as a payload. None of them copies. What an array means, and what is
//! done with one that cannot be seen as bytes, is for `convert` to say.

#![expect(
    unsafe_code,
    reason = "NumPy takes foreign memory, and gives its own, only through its C interface"
)]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use numpy::npyffi::{
    self, _PyArray_GET_ITEM_DATA, NPY_ARRAY_WRITEABLE, NPY_TYPES, NpyTypes, PY_ARRAY_API,
    PyArrayObject_fields, npy_intp,
};
use numpy::{
    Complex32, Complex64, PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::PyType;
use rm_core::TensorType;
use rm_ipc::SampleMutUninit;

use crate::errors::MarshalingError;

/// From here on, NumPy numbers the types that other packages define (`NPY_USERDEF`).
const NPY_USERDEF: c_int = 256;

/// Owns the payload under a read-only array: shared memory lives as long as any view of it.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Payload")]
struct PyPayload {
    _bytes: Bytes,
}

/// Owns the lent memory under a writable array, until it is sent or given back.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Loan")]
struct PyLoan {
    sample: Mutex<Option<SampleMutUninit>>,
}

/// NumPy's type for elements of `dtype`.
pub(crate) fn descr(py: Python<'_>, dtype: TensorType) -> PyResult<Bound<'_, PyArrayDescr>> {
    Ok(match dtype {
        TensorType::Bool => numpy::dtype::<bool>(py),
        TensorType::I8 => numpy::dtype::<i8>(py),
        TensorType::I16 => numpy::dtype::<i16>(py),
        TensorType::I32 => numpy::dtype::<i32>(py),
        TensorType::I64 => numpy::dtype::<i64>(py),
        TensorType::U8 => numpy::dtype::<u8>(py),
        TensorType::U16 => numpy::dtype::<u16>(py),
        TensorType::U32 => numpy::dtype::<u32>(py),
        TensorType::U64 => numpy::dtype::<u64>(py),
        TensorType::F32 => numpy::dtype::<f32>(py),
        TensorType::F64 => numpy::dtype::<f64>(py),
        TensorType::Complex64 => numpy::dtype::<Complex32>(py),
        TensorType::Complex128 => numpy::dtype::<Complex64>(py),
        TensorType::F16 => half(py)?,
        TensorType::Bf16 => bfloat16(py)?,
        other => {
            let message = format!("NumPy has no type for elements of {other}");
            return Err(MarshalingError::new_err(message));
        }
    })
}

fn half(py: Python<'_>) -> PyResult<Bound<'_, PyArrayDescr>> {
    // SAFETY: NPY_HALF is a type that NumPy has; the call gives a new reference or null.
    let found = unsafe { PY_ARRAY_API.PyArray_DescrFromType(py, NPY_TYPES::NPY_HALF as c_int) };
    // SAFETY: the reference is ours, and null becomes the exception that NumPy has set.
    let found = unsafe { Bound::from_owned_ptr_or_err(py, found.cast()) };
    Ok(found?.cast_into()?)
}

/// The type of elements that a NumPy type stands for; `None` for those that are no plain numbers or
/// are not in this machine's byte order.
pub(crate) fn tensor_type(descr: &Bound<'_, PyArrayDescr>) -> Option<TensorType> {
    if descr.is_native_byteorder() == Some(false) {
        return None;
    }
    Some(match (descr.kind(), descr.itemsize()) {
        _ if is_bfloat16(descr) => TensorType::Bf16,
        (b'b', 1) => TensorType::Bool,
        (b'i', 1) => TensorType::I8,
        (b'i', 2) => TensorType::I16,
        (b'i', 4) => TensorType::I32,
        (b'i', 8) => TensorType::I64,
        (b'u', 1) => TensorType::U8,
        (b'u', 2) => TensorType::U16,
        (b'u', 4) => TensorType::U32,
        (b'u', 8) => TensorType::U64,
        (b'f', 2) => TensorType::F16,
        (b'f', 4) => TensorType::F32,
        (b'f', 8) => TensorType::F64,
        (b'c', 8) => TensorType::Complex64,
        (b'c', 16) => TensorType::Complex128,
        _ => return None,
    })
}

/// Whether it is the type of the package ml_dtypes, which is none of NumPy's own.
fn is_bfloat16(descr: &Bound<'_, PyArrayDescr>) -> bool {
    descr.num() >= NPY_USERDEF
        && descr.itemsize() == 2
        && descr.typeobj().name().is_ok_and(|name| name == "bfloat16")
}

fn bfloat16(py: Python<'_>) -> PyResult<Bound<'_, PyArrayDescr>> {
    let Ok(module) = py.import("ml_dtypes") else {
        return Err(MarshalingError::new_err(
            "elements of bfloat16 have a form in NumPy only with the package ml_dtypes, which is \
             not installed",
        ));
    };
    PyArrayDescr::new(py, module.getattr("bfloat16")?)
}

/// Bytes of a C-contiguous array; `None` where that exceeds the address space.
pub(crate) fn byte_len(shape: &[usize], dtype: TensorType) -> Option<usize> {
    let bytes = shape.iter().try_fold(dtype.bytes_per_element(), |len, dim| len.checked_mul(*dim));
    bytes.filter(|len| isize::try_from(*len).is_ok())
}

/// A read-only C-contiguous array over a payload, which it keeps alive.
pub(crate) fn view<'py>(
    py: Python<'py>,
    bytes: Bytes,
    shape: &[usize],
    dtype: TensorType,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let descr = descr(py, dtype)?;
    assert_eq!(byte_len(shape, dtype), Some(bytes.len()), "an item's payload fits its metadata");
    let memory = bytes.as_ptr().cast_mut();
    let owner = Bound::new(py, PyPayload { _bytes: bytes })?;
    // SAFETY: `Bytes` never moves or changes what it holds, the owner keeps it until the array is
    // gone, its length was checked, and the array is not writable.
    unsafe { array_over(descr, shape, memory, 0, owner.into_any()) }
}

/// A writable C-contiguous array over lent memory, which it owns.
pub(crate) fn lend<'py>(
    py: Python<'py>,
    mut sample: SampleMutUninit,
    shape: &[usize],
    dtype: TensorType,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let descr = descr(py, dtype)?;
    let bytes = sample.bytes_mut();
    assert_eq!(byte_len(shape, dtype), Some(bytes.len()), "a loan is as long as was asked");
    let memory = bytes.as_mut_ptr();
    let owner = Bound::new(py, PyLoan { sample: Mutex::new(Some(sample)) })?;
    // SAFETY: shared memory stays where it is while its sample lives, which the owner keeps until
    // the array is gone or nobody can reach it (`take_loan`); its length was checked; and nothing
    // else reaches it, because the sample is locked away.
    unsafe { array_over(descr, shape, memory, NPY_ARRAY_WRITEABLE, owner.into_any()) }
}

/// # Safety
/// `memory` must hold the array's bytes for as long as `owner` lives, and be written by nobody else
/// meanwhile; it must be writable if `flags` say so.
unsafe fn array_over<'py>(
    descr: Bound<'py, PyArrayDescr>,
    shape: &[usize],
    memory: *mut u8,
    flags: c_int,
    owner: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = descr.py();
    let mut dims: Vec<npy_intp> = shape.iter().map(|dim| *dim as npy_intp).collect();
    let rank = c_int::try_from(dims.len()).expect("a payload has at most eight dimensions");
    // SAFETY: NumPy's own type of arrays.
    let subtype = unsafe { npyffi::get_type_object(py, NpyTypes::PyArray_Type) };
    // SAFETY: the type, the element type (whose reference NumPy takes over) and the dimensions are
    // valid; without strides the array is C-contiguous; the memory is the caller's promise.
    let array = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            subtype,
            descr.into_dtype_ptr(),
            rank,
            dims.as_mut_ptr(),
            ptr::null_mut(),
            memory.cast::<c_void>(),
            flags,
            ptr::null_mut(),
        )
    };
    // SAFETY: a new reference, or null with an exception set.
    let array =
        unsafe { Bound::from_owned_ptr_or_err(py, array) }?.cast_into::<PyUntypedArray>()?;
    let owner = owner.into_ptr();
    // SAFETY: the array is new and has no base; NumPy takes over the reference, also in failure.
    let failed = unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_array_ptr(), owner) };
    if failed < 0 { Err(PyErr::fetch(py)) } else { Ok(array) }
}

/// The object that owns the memory of an array, if that is not the array itself.
fn base<'py>(array: &Bound<'py, PyUntypedArray>) -> Option<Bound<'py, PyAny>> {
    let fields = fields(array);
    // SAFETY: the fields are readable while the array lives and the interpreter's lock is held.
    let base = unsafe { (*fields).base };
    // SAFETY: null, or an object that the array keeps alive.
    unsafe { Bound::from_borrowed_ptr_or_opt(array.py(), base) }
}

/// How many references to an object there are.
fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: the object lives, and the interpreter's lock is held.
    unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) }
}

/// Whether the reference given is the only one to its object.
pub(crate) fn is_last_reference(object: &Bound<'_, PyAny>) -> bool {
    references(object) == 1
}

/// Whether this is an array that [`lend`] gave, and not a view of one.
pub(crate) fn is_lent(array: &Bound<'_, PyUntypedArray>) -> bool {
    base(array).is_some_and(|base| base.is_instance_of::<PyLoan>())
}

/// Takes the memory of a lent array back, if the reference given is the only one to it; else gives
/// the array back. An array whose shape or type was changed in place is given back too.
pub(crate) fn take_loan<'py>(
    array: Bound<'py, PyUntypedArray>,
    shape: &[usize],
    dtype: TensorType,
) -> Result<SampleMutUninit, Bound<'py, PyUntypedArray>> {
    let Some(Ok(loan)) = base(&array).map(Bound::cast_into::<PyLoan>) else {
        return Err(array);
    };
    // One reference to the array is ours; one to the loan is the array's, one is ours.
    if references(&array) != 1 || references(&loan) != 2 || !array.is_c_contiguous() {
        return Err(array);
    }
    let mut sample = loan.get().sample.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = sample.as_mut().is_some_and(|sample| {
        let bytes = sample.bytes_mut();
        bytes.as_ptr() == data(&array) && byte_len(shape, dtype) == Some(bytes.len())
    });
    match sample.take_if(|_| fits) {
        // The array goes here: from now on nobody can reach the memory through Python.
        Some(sample) => Ok(sample),
        None => {
            drop(sample);
            Err(array)
        }
    }
}

fn data(array: &Bound<'_, PyUntypedArray>) -> *const u8 {
    let fields = fields(array);
    // SAFETY: the fields are readable while the array lives and the interpreter's lock is held.
    unsafe { (*fields).data.cast::<u8>().cast_const() }
}

fn fields(array: &Bound<'_, PyUntypedArray>) -> *mut PyArrayObject_fields {
    // SAFETY: the pointer is that of a live array.
    unsafe { _PyArray_GET_ITEM_DATA(array.as_array_ptr()) }
}

/// Keeps an array alive while its memory is seen as bytes.
struct ArrayBytes {
    _array: Py<PyUntypedArray>,
    memory: *const u8,
    len: usize,
}

// SAFETY: the memory is plain bytes, and a reference to a Python object may be dropped anywhere.
unsafe impl Send for ArrayBytes {}
// SAFETY: as above; nothing is written through it.
unsafe impl Sync for ArrayBytes {}

impl AsRef<[u8]> for ArrayBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the memory is the array's, which lives as long as this, and NumPy refuses to
        // resize an array to which there are references. As with every library that reads an array
        // without the interpreter's lock, the caller of the wheel is told not to write to it
        // before the call has returned.
        unsafe { std::slice::from_raw_parts(self.memory, self.len) }
    }
}

/// The elements of an array, which is kept alive; `None` if they are no plain numbers or do not lie
/// in C order, each at an address that fits its type.
pub(crate) fn bytes_of(array: &Bound<'_, PyUntypedArray>) -> Option<(Bytes, TensorType)> {
    let dtype = tensor_type(&array.dtype())?;
    let len = byte_len(array.shape(), dtype)?;
    if !array.is_c_contiguous() || !array.is_aligned() {
        return None;
    }
    if len == 0 {
        return Some((Bytes::new(), dtype));
    }
    let memory = data(array);
    let owner = ArrayBytes { _array: array.clone().unbind(), memory, len };
    Some((Bytes::from_owner(owner), dtype))
}

/// Whether an object is an array and of no subclass, which could behave otherwise.
pub(crate) fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    object.get_type().is(PyType::new::<PyUntypedArray>(object.py()))
}
