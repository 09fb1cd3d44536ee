//! Sound as Python sees it.
//!
//! Main type: [`PyAudio`], `remotemedia.Audio` in Python: an array of samples and their rate.

use numpy::{PyArrayDescr, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyString};
use rm_core::{AudioFormat, TensorType};

use crate::array;
use crate::errors::MarshalingError;
use crate::python::numpy;

/// Sampled sound: an array of samples and their rate.
///
/// Parameters
/// ----------
/// samples : array_like
///     Shape ``(frames,)`` for mono or ``(frames, channels)``; of type float32 or float64 (nominal
///     range -1 to 1), int16, int32 or uint8. An array is kept as it is, not copied.
/// sample_rate : int
///     Samples per second and channel, in Hz.
///
/// Notes
/// -----
/// ``numpy.asarray(audio)`` gives the samples. In a worker, the samples of an item are a read-only
/// view of shared memory; keeping one is safe. 24-bit samples arrive as int32, scaled to its full
/// range, because NumPy has no 24-bit type.
#[pyclass(frozen, module = "remotemedia_runtime", name = "Audio")]
pub(crate) struct PyAudio {
    pub(crate) samples: Py<PyUntypedArray>,
    #[pyo3(get)]
    pub(crate) sample_rate: u32,
}

/// How samples of a NumPy type are stored; `None` if audio cannot have them.
pub(crate) fn format_of(dtype: TensorType) -> Option<AudioFormat> {
    Some(match dtype {
        TensorType::F32 => AudioFormat::F32,
        TensorType::F64 => AudioFormat::F64,
        TensorType::I16 => AudioFormat::I16,
        TensorType::I32 => AudioFormat::I32,
        TensorType::U8 => AudioFormat::U8,
        _ => return None,
    })
}

/// The number of channels of samples of this shape; `None` if it is not that of sound.
pub(crate) fn channels_of(shape: &[usize]) -> Option<u16> {
    match *shape {
        [_] => Some(1),
        [_, channels] => u16::try_from(channels).ok().filter(|channels| *channels > 0),
        _ => None,
    }
}

fn check_type(descr: &Bound<'_, PyArrayDescr>) -> PyResult<()> {
    // An array of the other byte order is converted when it is sent.
    let native = descr.call_method1("newbyteorder", ("=",))?.cast_into::<PyArrayDescr>()?;
    match array::tensor_type(&native).and_then(format_of) {
        Some(_) => Ok(()),
        None => Err(MarshalingError::new_err(format!(
            "samples of type {descr} cannot be audio; expected float32, float64, int16, int32 or \
             uint8"
        ))),
    }
}

impl PyAudio {
    pub(crate) fn new(samples: Bound<'_, PyUntypedArray>, sample_rate: u32) -> Self {
        Self { samples: samples.unbind(), sample_rate }
    }
}

#[pymethods]
impl PyAudio {
    #[new]
    fn from_python(samples: &Bound<'_, PyAny>, sample_rate: u32) -> PyResult<Self> {
        let py = samples.py();
        let samples = match samples.cast::<PyUntypedArray>() {
            Ok(samples) => samples.clone(),
            Err(_) => numpy(py)?.call_method1("asarray", (samples,))?.cast_into()?,
        };
        if sample_rate == 0 {
            return Err(PyValueError::new_err("sample_rate is 0; expected a rate in Hz"));
        }
        if channels_of(samples.shape()).is_none() {
            let shape = samples.getattr("shape")?;
            return Err(PyValueError::new_err(format!(
                "samples of shape {shape} cannot be audio; expected (frames,) or (frames, channels)"
            )));
        }
        check_type(&samples.dtype())?;
        Ok(Self::new(samples, sample_rate))
    }

    /// The samples: an array of shape ``(frames,)`` or ``(frames, channels)``.
    #[getter]
    fn samples<'py>(&self, py: Python<'py>) -> Bound<'py, PyUntypedArray> {
        self.samples.bind(py).clone()
    }

    /// Number of samples per channel.
    #[getter]
    fn frames(&self, py: Python<'_>) -> usize {
        self.samples.bind(py).shape()[0]
    }

    /// Number of channels.
    #[getter]
    fn channels(&self, py: Python<'_>) -> usize {
        self.samples.bind(py).shape().get(1).copied().unwrap_or(1)
    }

    /// Length in seconds.
    #[getter]
    fn duration(&self, py: Python<'_>) -> f64 {
        self.frames(py) as f64 / f64::from(self.sample_rate)
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (samples, numpy) = (self.samples.bind(py), numpy(py)?);
        let options: Bound<'_, PyDict> = [("dtype", dtype)].into_py_dict(py)?;
        match copy {
            None => numpy.call_method("asarray", (samples,), Some(&options)),
            Some(copy) => {
                options.set_item("copy", copy)?;
                numpy.call_method("array", (samples,), Some(&options))
            }
        }
    }

    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("samples", "sample_rate")
    }

    fn __getnewargs__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyUntypedArray>, u32) {
        (self.samples(py), self.sample_rate)
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let (frames, channels, rate) = (self.frames(py), self.channels(py), self.sample_rate);
        let dtype = self.samples.bind(py).dtype();
        let text = format!("Audio({frames} frames, {channels} channels, {dtype}, {rate} Hz)");
        Ok(PyString::new(py, &text))
    }
}
