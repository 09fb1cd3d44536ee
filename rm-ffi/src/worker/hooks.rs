//! What a node can ask of its worker.
//!
//! Main type: [`PyHooks`], which `remotemedia.Node` keeps and calls. It serves nodes without channels
//! too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use numpy::PyArrayDescr;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use rm_bridge::Cancellation;
use rm_core::{DataHeader, DataMetadata};
use rm_process::child::ChildHandle;

use super::Shared;
use crate::array;
use crate::errors::{MarshalingError, chain};
use crate::python::numpy;

/// The item in work, as a node may ask for it.
#[derive(Clone)]
pub(super) struct Present {
    sequence: u64,
    epoch: u32,
    deadline: Option<SystemTime>,
    port: Option<Arc<str>>,
}

impl Present {
    /// An item, on which work begins now and may take as long as `timeout`.
    pub(super) fn new(
        header: &DataHeader,
        timeout: Option<Duration>,
        port: Option<Arc<str>>,
    ) -> Self {
        let own = timeout.map(|timeout| SystemTime::now() + timeout);
        let deadline = [header.deadline, own].into_iter().flatten().min();
        Self { sequence: header.sequence, epoch: header.epoch, deadline, port }
    }
}

/// What the worker's loop and its node share.
#[derive(Default)]
pub(crate) struct Desk {
    present: Mutex<Option<Present>>,
    /// `None` for a node without channels.
    cancellation: Option<Cancellation>,
}

impl Desk {
    pub(super) fn new(cancellation: Cancellation) -> Self {
        Self { present: Mutex::default(), cancellation: Some(cancellation) }
    }

    pub(super) fn put(&self, present: Option<Present>) {
        *self.present() = present;
    }

    fn present(&self) -> MutexGuard<'_, Option<Present>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node can ask of its worker.
#[derive(Clone)]
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Hooks")]
pub(crate) struct PyHooks {
    /// `None` for a node without channels.
    pub(crate) runtime: Option<Shared>,
    pub(crate) own: ChildHandle,
    pub(crate) desk: Arc<Desk>,
}

#[pymethods]
impl PyHooks {
    /// The position of the item in work in the channel by which it came.
    fn sequence(&self) -> Option<u64> {
        self.desk.present().as_ref().map(|present| present.sequence)
    }

    /// The port of the node that the item in work is for.
    fn port(&self) -> Option<String> {
        self.desk.present().as_ref()?.port.as_deref().map(str::to_owned)
    }

    /// Until when the item in work is of use, in seconds since 1970.
    fn deadline(&self) -> Option<f64> {
        let deadline = self.desk.present().as_ref()?.deadline?;
        deadline.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
    }

    fn is_cancelled(&self) -> bool {
        let epoch = self.desk.present().as_ref().map_or(u32::MAX, |present| present.epoch);
        let cancellation = self.desk.cancellation.as_ref();
        cancellation.is_some_and(|cancellation| cancellation.is_cancelled(epoch))
    }

    fn progress(&self, py: Python<'_>, fraction: f32, message: String) -> PyResult<()> {
        let sent = py.detach(|| self.own.progress(fraction, message));
        sent.map_err(|error| PyRuntimeError::new_err(chain(&error)))
    }

    fn loan<'py>(
        &self,
        shape: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = shape.py();
        let dims = shape.extract::<usize>().map(|len| vec![len]);
        let dims = dims.or_else(|_| shape.extract::<Vec<usize>>())?;
        // By NumPy's own rules, of which one is what None means.
        let descr = numpy(py)?.call_method1(intern!(py, "dtype"), (dtype,))?;
        let descr = descr.cast_into::<PyArrayDescr>()?;
        let Some(dtype) = array::tensor_type(&descr) else {
            let message = format!("no loan for elements of type {descr}; expected plain numbers");
            return Err(MarshalingError::new_err(message));
        };
        let len = array::byte_len(&dims, dtype).filter(|_| dims.len() <= DataMetadata::MAX_RANK);
        let Some(len) = len else {
            return Err(MarshalingError::new_err(format!("no loan of shape {dims:?}")));
        };
        let loan = match self.runtime.as_ref().map(|runtime| runtime.try_lock()) {
            None => None,
            Some(Ok(runtime)) => runtime.loan(len),
            Some(Err(TryLockError::Poisoned(runtime))) => runtime.into_inner().loan(len),
            Some(Err(TryLockError::WouldBlock)) => {
                return Err(PyRuntimeError::new_err(
                    "a loan can be had only while process() or finish() runs",
                ));
            }
        };
        match loan {
            Some(Ok(sample)) => Ok(array::lend(py, sample, &dims, dtype)?.into_any()),
            Some(Err(error)) => Err(PyRuntimeError::new_err(chain(&error))),
            // Nobody takes what the node makes, so ordinary memory is as good.
            None => numpy(py)?.call_method1("empty", (shape, descr)),
        }
    }
}
