//! The functions that Python calls, without those that run something.
//!
//! Main functions: [`validate_manifest`], [`get_available_nodes`], [`get_node_metadata`], and what
//! the command line needs beside them.

use std::sync::LazyLock;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rm_core::{NodeRegistry, did_you_mean};
use rm_session::{Machine, Manifest, Plan, PlanError, ProblemKind, RuntimeConfig};

use crate::errors::{Error, NodeNotFound};
use crate::json;

/// The native node types of this wheel.
pub(crate) static REGISTRY: LazyLock<NodeRegistry> = LazyLock::new(rm_session::builtin_nodes);

/// Check a manifest without running it.
///
/// Node types that this installation does not have are no failure: the manifest may be meant for
/// another.
///
/// Parameters
/// ----------
/// manifest_json : str
///     The manifest.
///
/// Returns
/// -------
/// bool
///     True: what is wrong is raised.
///
/// Raises
/// ------
/// ManifestError, GraphError, CycleError
///     All of them are ``ValueError``; the message lists everything that is wrong.
#[pyfunction]
pub(crate) fn validate_manifest(py: Python<'_>, manifest_json: &str) -> PyResult<bool> {
    py.detach(|| check(manifest_json))?;
    Ok(true)
}

fn check(manifest_json: &str) -> Result<(), Error> {
    let manifest = Manifest::from_json(manifest_json)?;
    if let Err(error) =
        Plan::with(manifest, &REGISTRY, &RuntimeConfig::default(), &Machine::recent())
    {
        let mut problems = error.problems().to_vec();
        problems.retain(|problem| problem.kind != ProblemKind::UnknownNodeType);
        if !problems.is_empty() {
            return Err(PlanError::Invalid(problems).into());
        }
    }
    Ok(())
}

/// List the names of all native node types, in alphabetical order.
///
/// A Python node needs no entry: its type is its import path, ``package.module:Class``.
///
/// Returns
/// -------
/// list[str]
///     The names.
#[pyfunction]
pub(crate) fn get_available_nodes(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    PyList::new(py, REGISTRY.names().collect::<Vec<_>>())
}

/// Describe a native node type.
///
/// Parameters
/// ----------
/// node_type : str
///     Its name.
///
/// Returns
/// -------
/// dict
///     ``name``, ``version``, ``description``, ``capabilities``, ``accepts`` and ``produces``
///     (types of data), ``source``, and ``parameters``: by name, a dict with ``type``,
///     ``description``, where there is one ``default``, ``min``, ``max``, ``unit`` and ``choices``.
///
/// Raises
/// ------
/// NodeNotFound
///     A ``KeyError``, if there is no such type; the message names the nearest one.
#[pyfunction]
pub(crate) fn get_node_metadata<'py>(
    py: Python<'py>,
    node_type: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(metadata) = REGISTRY.metadata(node_type) else {
        let hint = did_you_mean(node_type, REGISTRY.names());
        return Err(NodeNotFound::new_err(format!("no node type {node_type:?}{hint}")));
    };
    let described = json::to_python(py, metadata)?;
    let parameters = PyDict::new(py);
    for parameter in described.get_item("parameters")?.try_iter()? {
        let parameter = parameter?.cast_into::<PyDict>()?;
        let name = parameter.get_item("name")?;
        parameter.del_item("name")?;
        parameters.set_item(name, parameter)?;
    }
    described.set_item("parameters", parameters)?;
    Ok(described)
}

/// Remove what killed runtimes of this user have left: processes, shared memory.
///
/// Returns
/// -------
/// tuple[list[str], list[str]]
///     What was removed, and what was left alone and why.
#[pyfunction]
pub(crate) fn sweep(py: Python<'_>) -> PyResult<(Vec<String>, Vec<String>)> {
    let swept = py.detach(rm_bridge::sweep)?;
    Ok((swept.removed(), swept.skipped()))
}
