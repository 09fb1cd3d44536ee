//! What a node can ask of its worker.
//!
//! Main type: [`PyHooks`], which `remotemedia.Node` keeps and calls. It serves nodes without channels
//! too.

use std::sync::TryLockError;

use numpy::PyArrayDescr;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rm_core::DataMetadata;
use rm_process::child::ChildHandle;

use super::Shared;
use crate::array;
use crate::errors::{MarshalingError, chain};
use crate::python::numpy;

/// What a node can ask of its worker.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Hooks")]
pub(crate) struct PyHooks {
    /// `None` for a node without channels.
    pub(crate) runtime: Option<Shared>,
    pub(crate) own: ChildHandle,
}

#[pymethods]
impl PyHooks {
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
        let descr = PyArrayDescr::new(py, dtype)?;
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
