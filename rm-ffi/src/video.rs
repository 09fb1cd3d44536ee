//! Pictures as Python sees them.
//!
//! Main types: [`PyVideoFrame`], `remotemedia.VideoFrame` in Python: an array of pixels and how they lie
//! in it; and [`Layout`], which knows the shapes that such an array can have. It does not convert
//! between formats.

use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySlice, PyString};
use rm_core::{DataMetadata, TensorType, VideoFormat, did_you_mean};

use crate::array;
use crate::memory;
use crate::place::{self, Misfit, Place, Shape, quoted};
use crate::python::numpy;

/// How the pixels of a frame lie in its bytes: the metadata of video.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: VideoFormat,
    pub(crate) fps: f32,
}

/// The type of the samples of a format.
fn samples_of(format: VideoFormat) -> TensorType {
    match format {
        VideoFormat::Gray16 | VideoFormat::P010 => TensorType::U16,
        _ => TensorType::U8,
    }
}

/// Samples of one pixel, where a format has them side by side.
fn channels_of(format: VideoFormat) -> Option<usize> {
    match *format.planes(2, 1)? {
        [plane] => Some(plane.row_bytes / 2 / samples_of(format).bytes_per_element()),
        _ => None,
    }
}

/// The format of this name.
fn format_of(name: &str) -> Result<VideoFormat, Misfit> {
    VideoFormat::from_name(name).ok_or_else(|| {
        let names: Vec<_> = VideoFormat::ALL.iter().map(|format| format.name()).collect();
        let hint = did_you_mean(name, names.iter().copied());
        let known = quoted(&names);
        let name: String = name.chars().take(40).collect();
        Misfit::of("format", format!("there is no format {name:?}{hint} (there are {known})"))
    })
}

/// Width and height of the frame that has this shape in this format, if that can be seen.
fn size_of(format: VideoFormat, shape: &[usize]) -> Option<(u32, u32)> {
    let (height, width) = match (channels_of(format), shape) {
        (Some(1), &[height, width]) => (height, width),
        (Some(channels), &[height, width, found]) if channels > 1 && found == channels => {
            (height, width)
        }
        // All planes below one another, as OpenCV has them.
        (None, &[rows, width]) => {
            let square = format.frame_bytes(2, 2)? / samples_of(format).bytes_per_element();
            (rows.checked_mul(4)? / square, width)
        }
        _ => return None,
    };
    Some((u32::try_from(width).ok()?, u32::try_from(height).ok()?))
}

impl Layout {
    /// The layout of the frame in an array. What is not given is seen from the shape.
    ///
    /// # Errors
    /// [`Misfit`] if the array cannot be such a frame.
    pub(crate) fn new(
        pixels: &Bound<'_, PyUntypedArray>,
        format: &str,
        width: Option<u32>,
        height: Option<u32>,
        fps: f32,
    ) -> Result<Self, Misfit> {
        let format = format_of(format)?;
        let seen = size_of(format, pixels.shape());
        let (Some(width), Some(height)) =
            (width.or(seen.map(|size| size.0)), height.or(seen.map(|size| size.1)))
        else {
            let expected = match channels_of(format) {
                Some(1) => "(height, width)".to_owned(),
                Some(channels) => format!("(height, width, {channels})"),
                None => "(rows of all planes, width)".to_owned(),
            };
            return Err(Misfit::value(format!(
                "the size of a frame in {format} cannot be seen from the shape {}; expected \
                 {expected}, or width and height beside it",
                Shape(pixels.shape())
            )));
        };
        for (key, value) in [("width", width), ("height", height)] {
            if value == 0 {
                return Err(Misfit::of(key, format!("the {key} of a frame is 0; expected pixels")));
            }
        }
        if !fps.is_finite() || fps < 0.0 {
            let expected = "expected frames per second, or 0 where unknown";
            return Err(Misfit::of("fps", format!("{fps} cannot be a rate; {expected}")));
        }
        let layout = Self { width, height, format, fps };
        if layout.bytes().is_none() {
            return Err(Misfit::value(format!(
                "no frame in {format} of {width} x {height} pixels fits into memory"
            )));
        }
        layout.check(pixels)?;
        Ok(layout)
    }

    /// Checks that an array can be a frame of this layout.
    ///
    /// # Errors
    /// [`Misfit`] with the types and shapes that can.
    pub(crate) fn check(&self, pixels: &Bound<'_, PyUntypedArray>) -> Result<(), Misfit> {
        let Self { width, height, format, .. } = *self;
        let samples = samples_of(format);
        let dtype = memory::native_type(&pixels.dtype());
        let shape = pixels.shape();
        // The bytes of a file or a pipe have no type of their own.
        let is_bytes = dtype == Some(TensorType::U8) && shape.len() == 1;
        if dtype != Some(samples) && !is_bytes {
            let found = pixels.dtype();
            return Err(Misfit::kind(format!(
                "pixels of type {found} cannot be a frame in {format}; expected {samples}"
            )));
        }
        let whole = self.shape();
        let fits = match *shape {
            _ if shape == whole => true,
            [_] => self.bytes() == dtype.and_then(|dtype| array::byte_len(shape, dtype)),
            [_, columns] if channels_of(format).is_none() => {
                columns == width as usize && self.bytes() == array::byte_len(shape, samples)
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let flat = self.bytes().map(|bytes| bytes / samples.bytes_per_element());
        let also = match flat {
            _ if channels_of(format).is_none() => format!(" or (rows of all planes, {width})"),
            Some(flat) if *whole != [flat] => format!(" or {}", Shape(&[flat])),
            _ => String::new(),
        };
        Err(Misfit::value(format!(
            "pixels of shape {} cannot be a frame in {format} of {width} x {height} pixels; expected \
             {}{also}",
            Shape(shape),
            Shape(&whole)
        )))
    }

    fn bytes(&self) -> Option<usize> {
        self.format.frame_bytes(self.width, self.height)
    }

    /// The shape under which Python sees a frame: `(height, width)` or `(height, width, channels)`,
    /// and all samples in a row where the format has planes, or pairs of pixels of which one is
    /// missing.
    pub(crate) fn shape(&self) -> Vec<usize> {
        let (width, height) = (self.width as usize, self.height as usize);
        let item = samples_of(self.format).bytes_per_element();
        let channels = channels_of(self.format).filter(|channels| {
            self.bytes() == width.checked_mul(height).and_then(|n| n.checked_mul(channels * item))
        });
        match channels {
            Some(1) => vec![height, width],
            Some(channels) => vec![height, width, channels],
            None => vec![self.bytes().unwrap_or_default() / item],
        }
    }

    pub(crate) fn dtype(&self) -> TensorType {
        samples_of(self.format)
    }

    pub(crate) fn metadata(&self) -> DataMetadata {
        let Self { width, height, format, fps } = *self;
        DataMetadata::Video { width, height, format, fps }
    }
}

/// The pixels and the layout of a dict `{"frame": pixels, "format": name}`; `None` if there is no array,
/// or what can be one, under "frame".
///
/// # Errors
/// `MarshalingError` if there is one, and the rest does not fit.
pub(crate) fn from_dict<'py>(
    dict: &Bound<'py, PyDict>,
    place: &Place<'_>,
) -> PyResult<Option<(Bound<'py, PyUntypedArray>, Layout)>> {
    let py = dict.py();
    let Some(value) = dict.get_item(intern!(py, "frame"))? else { return Ok(None) };
    let here = Place::Key(place, "frame");
    let Some(pixels) = memory::elements(&value, &here)? else { return Ok(None) };
    place::check_keys(dict, place, "frame", &["frame", "format", "width", "height", "fps"])?;
    let Some(format) = dict.get_item(intern!(py, "format"))? else {
        let example = r#"such as "rgb24" or "nv12""#;
        return Err(
            place.refuse(format!(r#"a frame needs a key "format" beside "frame", {example}"#))
        );
    };
    let Ok(format) = format.cast::<PyString>() else {
        let found = place::shown(&format);
        return Err(Place::Key(place, "format")
            .refuse(format!("{found} cannot be a format; expected a name such as \"rgb24\"")));
    };
    let size = |key: &'static str| match dict.get_item(key)? {
        None => Ok(None),
        Some(value) => {
            place::whole_number(&value, &Place::Key(place, key), "a number of pixels").map(Some)
        }
    };
    let fps = match dict.get_item(intern!(py, "fps"))? {
        None => 0.0,
        Some(value) => value.extract::<f32>().map_err(|cause| {
            let problem = "it cannot be a rate in frames per second";
            Place::Key(place, "fps").refuse_because(py, problem, cause)
        })?,
    };
    let format = format.to_string_lossy();
    let layout = Layout::new(&pixels.array, &format, size("width")?, size("height")?, fps);
    let layout = layout.map_err(|misfit| {
        Place::Key(place, misfit.key.unwrap_or("frame")).refuse(misfit.problem)
    })?;
    Ok(Some((pixels.array, layout)))
}

/// A video frame: an array of pixels and how they lie in it.
///
/// Parameters
/// ----------
/// data : array_like or bytes
///     Shape ``(height, width, channels)``, or ``(height, width)`` where a pixel is one number; for
///     formats of several planes ``(rows of all planes, width)``, as OpenCV has them; or flat. Of
///     type uint8, but uint16 for "gray16" and "p010"; flat bytes for any format. An array is kept as
///     it is, not copied; nor are objects of the buffer protocol and of DLPack.
/// format : str
///     How the pixels lie in memory: "rgb24", "bgr24", "rgba32", "bgra32", "argb32", "gray8",
///     "gray16", "yuv420p", "yuv422p", "yuv444p", "nv12", "nv21", "p010", "yuyv422" or "uyvy422".
/// width, height : int, optional
///     In pixels; to be given where `data` is flat.
/// fps : float
///     Frames per second of the video that it belongs to; 0 where unknown.
///
/// Notes
/// -----
/// ``numpy.asarray(frame)`` gives `data`, and so do ``numpy.from_dlpack(frame)`` and its like in other
/// packages; what is read-only needs NumPy 2.1 for DLPack. In a worker, the pixels of an item are a
/// read-only view of shared memory; keeping one is safe.
#[pyclass(frozen, module = "remotemedia_runtime", name = "VideoFrame")]
pub(crate) struct PyVideoFrame {
    pub(crate) pixels: Py<PyUntypedArray>,
    pub(crate) layout: Layout,
}

impl PyVideoFrame {
    pub(crate) fn new(pixels: Bound<'_, PyUntypedArray>, layout: Layout) -> Self {
        Self { pixels: pixels.unbind(), layout }
    }
}

#[pymethods]
impl PyVideoFrame {
    #[new]
    #[pyo3(signature = (data, format, width=None, height=None, fps=0.0))]
    fn from_python(
        data: &Bound<'_, PyAny>,
        format: &str,
        width: Option<u32>,
        height: Option<u32>,
        fps: f32,
    ) -> PyResult<Self> {
        let pixels = memory::array_like(data, &Place::Root("data"))?.array;
        let layout = Layout::new(&pixels, format, width, height, fps)?;
        Ok(Self::new(pixels, layout))
    }

    /// The pixels: an array of shape ``(height, width, channels)`` or ``(height, width)``; flat where
    /// the format has several planes, or pairs of pixels and the width is odd.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyUntypedArray>> {
        let (pixels, shape) = (self.pixels.bind(py), self.layout.shape());
        let is_typed = memory::native_type(&pixels.dtype()) == Some(self.layout.dtype());
        if is_typed && pixels.shape() == shape {
            return Ok(pixels.clone());
        }
        let mut pixels = pixels.clone().into_any();
        if !is_typed {
            let dtype = array::descr(py, self.layout.dtype())?;
            pixels = numpy(py)?.call_method1(intern!(py, "ascontiguousarray"), (pixels,))?;
            pixels = pixels.call_method1(intern!(py, "view"), (dtype,))?;
        }
        Ok(pixels.call_method1(intern!(py, "reshape"), (shape,))?.cast_into()?)
    }

    /// The planes, in the order in which they lie: an array of shape ``(rows, samples of a row)`` for
    /// each. Formats without planes have one.
    #[getter]
    fn planes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let Layout { width, height, format, .. } = self.layout;
        let item = self.layout.dtype().bytes_per_element();
        let flat = self.data(py)?.call_method1(intern!(py, "reshape"), (-1,))?;
        let list = PyList::empty(py);
        let planes = format.planes(width, height);
        for plane in planes.as_deref().unwrap_or_default() {
            let (start, end) = (plane.offset / item, (plane.offset + plane.bytes) / item);
            let slice = PySlice::new(py, start as isize, end as isize, 1);
            let shape = (plane.rows, plane.row_bytes / item);
            list.append(flat.get_item(slice)?.call_method1(intern!(py, "reshape"), (shape,))?)?;
        }
        Ok(list)
    }

    /// How the pixels lie in memory.
    #[getter]
    fn format(&self) -> &'static str {
        self.layout.format.name()
    }

    /// Width in pixels.
    #[getter]
    fn width(&self) -> u32 {
        self.layout.width
    }

    /// Height in pixels.
    #[getter]
    fn height(&self) -> u32 {
        self.layout.height
    }

    /// Frames per second; 0 where unknown.
    #[getter]
    fn fps(&self) -> f64 {
        // The shortest decimal number that is this one of 32 bits: 29.97 stays 29.97.
        let fps = self.layout.fps.to_string();
        fps.parse().expect("a finite number prints as one")
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        memory::to_array(&self.data(py)?, dtype, copy)
    }

    /// For `numpy.from_dlpack` and its like.
    #[pyo3(signature = (**options))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        memory::to_dlpack(&self.data(py)?, options)
    }

    fn __dlpack_device__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.pixels.bind(py).call_method0(intern!(py, "__dlpack_device__"))
    }

    #[classattr]
    fn __match_args__() -> (&'static str, &'static str, &'static str, &'static str, &'static str) {
        ("data", "format", "width", "height", "fps")
    }

    fn __getnewargs__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyUntypedArray>, &'static str, u32, u32, f64)> {
        Ok((self.data(py)?, self.format(), self.width(), self.height(), self.fps()))
    }

    fn __repr__(&self) -> String {
        let Layout { width, height, format, .. } = self.layout;
        match self.fps() {
            0.0 => format!("VideoFrame({width} x {height}, {format})"),
            fps => format!("VideoFrame({width} x {height}, {format}, {fps} fps)"),
        }
    }
}
