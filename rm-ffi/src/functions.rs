//! The functions that Python calls, without those that run something.
//!
//! Main functions: [`validate_manifest`], [`get_available_nodes`], [`get_node_metadata`], and what
//! the command line needs beside them.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rm_core::{DataType, Formats, NodeContext, NodeRegistry, did_you_mean};
use rm_session::{Machine, Manifest, Plan, PlanError, ProblemKind, RuntimeConfig};

use crate::errors::{Error, NodeNotFound};
use crate::json;
use crate::registry::{self, Purpose};

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
    let manifest = py.detach(|| Manifest::from_json(manifest_json)).map_err(Error::from)?;
    let (manifest, nodes) = registry::prepare(py, manifest, Purpose::Check)?;
    py.detach(|| check(manifest, &nodes))?;
    Ok(true)
}

fn check(manifest: Manifest, nodes: &NodeRegistry) -> Result<(), Error> {
    let (config, machine) = (RuntimeConfig::default(), Machine::recent());
    if let Err(error) = Plan::with(manifest, nodes, &config, &machine) {
        let mut problems = error.problems().to_vec();
        problems.retain(|problem| problem.kind != ProblemKind::UnknownNodeType);
        if !problems.is_empty() {
            return Err(PlanError::Invalid(problems).into());
        }
    }
    Ok(())
}

/// List the names of all node types, in alphabetical order.
///
/// They are the native ones, those of installed packages (entry points of the group
/// ``remotemedia.nodes``), and those that this process has registered. A Python node needs no entry:
/// its import path, ``package.module:Class``, is its type too.
///
/// Returns
/// -------
/// list[str]
///     The names.
#[pyfunction]
pub(crate) fn get_available_nodes(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    Ok(registry::names(py)?.to_list())
}

/// Describe a node type. The module of a Python class is imported for that.
///
/// Parameters
/// ----------
/// node_type : str
///     Its name, or the import path of a Python class.
///
/// Returns
/// -------
/// dict
///     ``name``, ``version``, ``description``, ``capabilities``, ``accepts`` and ``produces``
///     (types of data), ``takes`` and ``gives`` (formats, with default parameters, in the words of
///     ``register_node``), ``source``, ``executor`` (``"native"`` or ``"python"``, with ``class``), and
///     ``parameters``: by name, a dict with ``type``, ``description``, where there is one
///     ``default``, ``min``, ``max``, ``unit``, ``choices``, ``items`` (the type of a list's
///     elements) and ``nullable``. Of a Python class empty lists mean that it does not say, and
///     ``open_params`` that it takes any parameters.
///
/// Raises
/// ------
/// NodeNotFound
///     A ``KeyError``, if there is no such type; the message names the nearest one.
/// Exception
///     What the module of a Python class raises when it is imported.
#[pyfunction]
pub(crate) fn get_node_metadata<'py>(
    py: Python<'py>,
    node_type: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let nodes = registry::describe(py, node_type)?;
    let Some(metadata) = nodes.metadata(node_type) else {
        let hint = did_you_mean(node_type, nodes.names());
        return Err(NodeNotFound::new_err(format!("no node type {node_type:?}{hint}")));
    };
    let described = json::to_python(py, metadata)?;
    let context = NodeContext { node_type: node_type.to_owned(), ..NodeContext::default() };
    let formats = nodes.formats(&context);
    // A node with parameters that must be given says only what its metadata does.
    let any = |types: &[DataType]| types.iter().copied().map(Formats::any).collect::<Vec<_>>();
    let taken = formats.as_ref().map(|formats| formats.taken().to_vec());
    let taken = taken.unwrap_or_else(|| any(&metadata.accepts));
    let given = formats.map(|formats| formats.given(&taken));
    let given = given.unwrap_or_else(|| any(&metadata.produces));
    let is_silent = nodes.class(node_type).is_some() && metadata.accepts.is_empty();
    described
        .set_item("takes", json::to_python(py, &if is_silent { Vec::new() } else { taken })?)?;
    described.set_item("gives", json::to_python(py, &given)?)?;
    let parameters = PyDict::new(py);
    for parameter in described.get_item("parameters")?.try_iter()? {
        let parameter = parameter?.cast_into::<PyDict>()?;
        let name = parameter.get_item("name")?;
        parameter.del_item("name")?;
        parameters.set_item(name, parameter)?;
    }
    described.set_item("parameters", parameters)?;
    let class = nodes.class_of(node_type);
    described.set_item("executor", if class.is_some() { "python" } else { "native" })?;
    if let Some(class) = class {
        described.set_item("class", class)?;
    }
    Ok(described)
}

/// Check the form of a manifest, without its node types and parameters.
///
/// Raises
/// ------
/// ManifestError
///     A ``ValueError``; it is no manifest.
#[pyfunction]
#[pyo3(name = "_check_manifest")]
pub(crate) fn check_manifest(py: Python<'_>, manifest_json: &str) -> PyResult<()> {
    py.detach(|| Manifest::from_json(manifest_json)).map_err(Error::from)?;
    Ok(())
}

/// Read a manifest's file, JSON or YAML, and check its form.
///
/// Parameters
/// ----------
/// path : str or os.PathLike
///     The file.
///
/// Returns
/// -------
/// str
///     The same manifest as JSON.
///
/// Raises
/// ------
/// ManifestError
///     A ``ValueError``; the file cannot be read, or is no manifest.
#[pyfunction]
#[pyo3(name = "_read_manifest")]
pub(crate) fn read_manifest(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let document = py.detach(|| Manifest::document(path)).map_err(Error::from)?;
    Ok(document.to_string())
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
