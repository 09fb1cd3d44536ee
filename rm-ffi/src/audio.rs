//! Sound as Python sees it.
//!
//! Main type: [`PyAudio`], `remotemedia.Audio` in Python: an array of samples and their rate.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use rm_core::{AudioFormat, TensorType};

use crate::errors::MarshalingError;
use crate::memory::{self, Elements};
use crate::place::{self, Misfit, Place, Shape};

const RAW: &str = "bytes cannot be audio, because nothing says of which type the samples are; give \
                   numpy.frombuffer(data, dtype=...)";

/// Sampled sound: an array of samples and their rate.
///
/// Parameters
/// ----------
/// samples : array_like
///     Shape ``(frames,)`` for mono or ``(frames, channels)``; of type float32 or float64 (nominal
///     range -1 to 1), int16, int32 or uint8. An array is kept as it is, not copied; nor are objects
///     of the buffer protocol and of DLPack.
/// sample_rate : int
///     Samples per second and channel, in Hz.
///
/// Notes
/// -----
/// ``numpy.asarray(audio)`` gives the samples, and so do ``numpy.from_dlpack(audio)`` and its like in
/// other packages; those that are read-only need NumPy 2.1 for DLPack. In a worker, the samples of an item are a read-only
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

/// Checks that an array can be samples. One of the other byte order is converted when it is sent.
pub(crate) fn check(samples: &Bound<'_, PyUntypedArray>) -> Result<(), Misfit> {
    if channels_of(samples.shape()).is_none() {
        let shape = Shape(samples.shape());
        return Err(Misfit::value(format!(
            "samples of shape {shape} cannot be audio; expected (frames,) or (frames, channels)"
        )));
    }
    let descr = samples.dtype();
    let dtype = memory::native_type(&descr);
    if dtype.and_then(format_of).is_some() {
        return Ok(());
    }
    let advice = match dtype {
        Some(TensorType::F16 | TensorType::Bf16) => "; convert with samples.astype(numpy.float32)",
        Some(TensorType::I64) => "; convert with samples.astype(numpy.int32), if they fit",
        _ => "",
    };
    Err(Misfit::kind(format!(
        "samples of type {descr} cannot be audio; expected float32, float64, int16, int32 or \
         uint8{advice}"
    )))
}

/// The samples and the rate of a dict `{"audio": samples, "sample_rate": hz}`; `None` if there is no
/// array, or what can be one, under "audio".
///
/// # Errors
/// `MarshalingError` if there is one, and the rest does not fit.
pub(crate) fn from_dict<'py>(
    dict: &Bound<'py, PyDict>,
    place: &Place<'_>,
) -> PyResult<Option<(Bound<'py, PyUntypedArray>, u32)>> {
    let py = dict.py();
    let Some(value) = dict.get_item(intern!(py, "audio"))? else { return Ok(None) };
    let here = Place::Key(place, "audio");
    let Some(samples) = memory::elements(&value, &here)? else { return Ok(None) };
    place::check_keys(dict, place, "audio", &["audio", "sample_rate"])?;
    if samples.is_raw {
        return Err(here.refuse(RAW));
    }
    check(&samples.array).map_err(|misfit| here.refuse(misfit.problem))?;
    let Some(rate) = dict.get_item(intern!(py, "sample_rate"))? else {
        return Err(place.refuse("audio needs a key \"sample_rate\" beside \"audio\", in Hz"));
    };
    let here = Place::Key(place, "sample_rate");
    let rate = place::whole_number(&rate, &here, "a rate in Hz")?;
    Ok(Some((samples.array, rate)))
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
        let Elements { array: samples, is_raw } =
            memory::array_like(samples, &Place::Root("samples"))?;
        if is_raw {
            return Err(MarshalingError::new_err(RAW));
        }
        if sample_rate == 0 {
            return Err(PyValueError::new_err("sample_rate is 0; expected a rate in Hz"));
        }
        check(&samples)?;
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
        // An array can be given another shape in place.
        self.samples.bind(py).shape().first().copied().unwrap_or(1)
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
        memory::to_array(self.samples.bind(py), dtype, copy)
    }

    /// For `numpy.from_dlpack` and its like.
    #[pyo3(signature = (**options))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        memory::to_dlpack(self.samples.bind(py), options)
    }

    fn __dlpack_device__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.samples.bind(py).call_method0(intern!(py, "__dlpack_device__"))
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
