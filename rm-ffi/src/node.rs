//! A Python node, as its process calls it.
//!
//! Main type: [`Node`]. What is asynchronous is run to its end here, so that callers need not know.
//! Finding the node's class is Python's work (`remotemedia_runtime.worker.load_node`); when which
//! method is called is for `worker` and `standalone` to say.

use std::path::Path;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;
use rm_bridge::{FailedIn, WorkerFailure};
use rm_core::NodeClass;

use crate::json;
use crate::python::{async_generator_type, coroutine_type};
use crate::worker::PyHooks;

/// A node that is loaded.
pub(crate) struct Node<'py> {
    object: Bound<'py, PyAny>,
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "remotemedia_runtime.worker"))
}

fn loop_module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "remotemedia_runtime.worker.loop"))
}

/// What a method gave, once it is there: awaited, and as a plain generator where it was an
/// asynchronous one.
fn settle(result: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let (py, kind) = (result.py(), result.get_type());
    if kind.is(coroutine_type(py)?) || kind.is(async_generator_type(py)?) {
        return loop_module(py)?.call_method1(intern!(py, "settle"), (result,));
    }
    Ok(result)
}

impl<'py> Node<'py> {
    /// Makes the node, with everything that it may use. `params` are a JSON object.
    pub(crate) fn load(
        py: Python<'py>,
        class: &NodeClass,
        params: &str,
        node_id: &str,
        session_id: &str,
        base_dir: Option<&Path>,
        hooks: PyHooks,
    ) -> PyResult<Self> {
        let params = json::from_json(py, params.as_bytes())?;
        let folder = class.folder.as_deref();
        let arguments = (&class.path, params, node_id, session_id, base_dir, hooks, folder);
        let object = module(py)?.call_method1(intern!(py, "load_node"), arguments)?;
        Ok(Self { object })
    }

    fn py(&self) -> Python<'py> {
        self.object.py()
    }

    fn call(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        settle(self.object.call_method0(name)?)
    }

    pub(crate) fn initialize(&self) -> PyResult<()> {
        self.call(intern!(self.py(), "initialize")).map(drop)
    }

    /// Says by which way the next item comes.
    pub(crate) fn set_input(&self, input: &Py<PyAny>) -> PyResult<()> {
        self.object.setattr(intern!(self.py(), "input"), input)
    }

    pub(crate) fn process(&self, item: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        settle(self.object.call_method1(intern!(self.py(), "process"), (item,))?)
    }

    pub(crate) fn finish(&self) -> PyResult<Bound<'py, PyAny>> {
        self.call(intern!(self.py(), "finish"))
    }

    pub(crate) fn flush(&self) -> PyResult<()> {
        self.call(intern!(self.py(), "flush")).map(drop)
    }

    /// Gives it new values of parameters, a JSON object.
    ///
    /// # Errors
    /// What it raises; the parameters are then as they were.
    pub(crate) fn change_params(&self, params: &str) -> PyResult<()> {
        let py = self.py();
        let params = json::from_json(py, params.as_bytes())?;
        let arguments = (&self.object, params);
        module(py)?.call_method1(intern!(py, "change_params"), arguments).map(drop)
    }

    /// Lets it free what it has. What it raises is only printed: the node is over.
    pub(crate) fn cleanup(self) {
        let py = self.py();
        let close = || loop_module(py)?.call_method0(intern!(py, "close"));
        for outcome in [self.call(intern!(py, "cleanup")), close()] {
            if let Err(error) = outcome {
                error.print(py);
            }
        }
    }
}

/// How a node failed, by the exception that it raised.
pub(crate) fn describe(
    py: Python<'_>,
    during: FailedIn,
    item: Option<u64>,
    error: &PyErr,
) -> WorkerFailure {
    let describe = || {
        // With its traceback.
        let error = error.clone_ref(py).into_value(py);
        let described = module(py)?.call_method1(intern!(py, "describe_failure"), (error,))?;
        described.extract::<(String, String, String)>()
    };
    let (error_type, message, traceback) = describe().unwrap_or_else(|_| {
        let name = error.get_type(py).name().map_or("an exception".into(), |name| name.to_string());
        (name, "it cannot be described".to_owned(), String::new())
    });
    WorkerFailure { during, item, error_type, message, traceback }
}

/// Whether the same work may succeed when it is tried again.
pub(crate) fn is_transient(py: Python<'_>, error: &PyErr) -> bool {
    let ask =
        || module(py)?.call_method1(intern!(py, "is_transient"), (error.value(py),))?.extract();
    ask().unwrap_or(false)
}

/// Whether a node wants its process to end: that is not the failure of an item.
pub(crate) fn ends_process(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py)
}
