//! A Python node in a supervised process without channels: it is loaded, initialised, kept until its
//! parent lets it go, and cleaned up.
//!
//! Main function: [`serve_node`], for `rm_process::spawn_node_process`. Nodes of sessions get items,
//! and run in [`serve_worker`](crate::worker::serve_worker).

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rm_bridge::{FailedIn, WorkerRuntimeError};
use rm_process::child::{self, blocking};

use crate::callbacks;
use crate::errors::chain;
use crate::node::{Node, describe};
use crate::worker::PyHooks;

/// Runs one node without channels until the parent lets it go. Returns the exit code.
///
/// # Errors
/// `RuntimeError` if the process was not started by a parent that supervises it.
#[pyfunction]
pub(crate) fn serve_node(py: Python<'_>, node_type: &str, session_id: &str) -> PyResult<u8> {
    let connect = || -> Result<blocking::Requests<()>, WorkerRuntimeError> {
        child::die_with_parent()?;
        Ok(blocking::connect()?)
    };
    let connected = py.detach(connect);
    let mut requests = connected.map_err(|error| PyRuntimeError::new_err(chain(&error)))?;

    let own = requests.handle().clone();
    callbacks::install(py, &own)?;
    let hooks = PyHooks { runtime: None, own: own.clone(), desk: Arc::default() };
    let failed = |during, error: &PyErr| {
        let failure = describe(py, during, None, error);
        eprintln!("{failure}");
        // A parent that is gone needs no report.
        let message = format!("{}: {}", failure.error_type, failure.message);
        let _ = py.detach(|| own.failed(message));
        1
    };
    let node = match Node::load(py, &node_type.into(), "{}", node_type, session_id, None, hooks) {
        Ok(node) => node,
        Err(error) => return Ok(failed(FailedIn::Load, &error)),
    };
    let code = match node.initialize() {
        Err(error) => failed(FailedIn::Initialize, &error),
        Ok(()) => {
            py.detach(|| {
                if own.ready().is_ok() {
                    // Whoever calls it is told that nobody answers.
                    while requests.next().is_some() {}
                }
            });
            0
        }
    };
    node.cleanup();
    py.detach(|| drop(requests));
    Ok(code)
}
