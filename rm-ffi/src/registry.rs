//! The node types that this process knows: native ones, and the Python classes that were declared.
//!
//! Main functions: [`current`], and [`prepare`], which has Python look for the classes of a manifest.
//! What a class declares is found out in Python (`remotemedia._registry`).

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple};
use rm_core::{Formats, NodeClass, NodeId, NodeMetadata, NodeRegistry};
use rm_session::Manifest;
use serde_json::Value;

use crate::errors::Error;

/// Names the nodes that wait for a debugger, as `node` or `node:port`, separated by commas.
const DEBUG_VARIABLE: &str = "REMOTEMEDIA_DEBUG";

struct Known {
    nodes: Arc<NodeRegistry>,
    /// Their names as Python has them; made when it asks.
    names: Option<Py<PyTuple>>,
}

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| {
    let nodes = Arc::new(rm_session::builtin_nodes());
    Mutex::new(Known { nodes, names: None })
});

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All node types as they are known now.
pub(crate) fn current() -> Arc<NodeRegistry> {
    Arc::clone(&known().nodes)
}

/// What a manifest is prepared for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its Python nodes are to run in workers, which have to find their classes.
    Run,
    /// It is to be looked at, for this installation or another; nothing is imported for that.
    Check,
    /// It is to be looked at as it would run here.
    Plan,
    /// Its Python nodes are to run in this process.
    InProcess,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Check => "check",
            Self::Plan => "plan",
            Self::InProcess => "in_process",
        }
    }
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "remotemedia._registry"))
}

/// Has Python load the modules of a manifest, look for the classes of its nodes, and check their
/// parameters as far as only Python can. Gives the manifest, and all that is known then.
///
/// # Errors
/// What Python raises: `ManifestError` for parameters that a class refuses.
pub(crate) fn prepare(
    py: Python<'_>,
    mut manifest: Manifest,
    purpose: Purpose,
) -> PyResult<(Manifest, Arc<NodeRegistry>)> {
    for (node, port) in debugged() {
        // The variable may be meant for another pipeline.
        if manifest.nodes().iter().any(|spec| spec.id == node) {
            manifest = manifest.with_debug(&node, port).map_err(Error::from)?;
        }
    }
    let registry = current();
    let native = |name: &str| registry.metadata(name).is_some() && registry.class(name).is_none();
    let nodes = manifest.nodes().iter().enumerate();
    let of_python: Vec<_> = nodes
        .filter(|(_, node)| !native(&node.node_type))
        .map(|(index, node)| (index, &node.node_type, node.params.to_string()))
        .collect();
    if of_python.is_empty() && manifest.modules().is_empty() {
        return Ok((manifest, registry));
    }
    let modules = PyList::new(py, manifest.modules())?;
    let arguments = (of_python, modules, manifest.base_dir(), purpose.name());
    module(py)?.call_method1(intern!(py, "prepare"), arguments)?;
    Ok((manifest, current()))
}

fn debugged() -> Vec<(NodeId, u16)> {
    let Ok(named) = std::env::var(DEBUG_VARIABLE) else { return Vec::new() };
    let nodes = named.split(',').map(str::trim).map(|node| {
        let with_port = node.rsplit_once(':');
        // Ids may have colons too.
        let with_port = with_port.and_then(|(id, port)| Some((id, port.parse().ok()?)));
        with_port.unwrap_or((node, 0))
    });
    nodes.filter_map(|(id, port)| Some((NodeId::new(id).ok()?, port))).collect()
}

/// Has Python find out what there is to know of a node type, whatever has to be imported for that.
pub(crate) fn describe(py: Python<'_>, node_type: &str) -> PyResult<Arc<NodeRegistry>> {
    let registry = current();
    if registry.metadata(node_type).is_some() && registry.class(node_type).is_none() {
        return Ok(registry);
    }
    module(py)?.call_method1(intern!(py, "describe"), (node_type,))?;
    Ok(current())
}

/// The names of all node types, those of entry points included.
pub(crate) fn names(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    static SCANNED: PyOnceLock<()> = PyOnceLock::new();
    if SCANNED.get(py).is_none() {
        module(py)?.call_method0(intern!(py, "scan"))?;
        let _ = SCANNED.set(py, ());
    }
    let nodes = {
        let known = known();
        match &known.names {
            Some(names) => return Ok(names.bind(py).clone()),
            None => Arc::clone(&known.nodes),
        }
    };
    // Classes that are named by their import path alone are no names to be listed.
    let listed = nodes.names().filter(|name| !name.contains(':'));
    let names = PyTuple::new(py, listed.collect::<Vec<_>>())?;
    let mut known = known();
    if Arc::ptr_eq(&known.nodes, &nodes) {
        known.names = Some(names.clone().unbind());
    }
    Ok(names)
}

/// Make a node type known that a Python class implements; what was known of it is replaced.
///
/// Parameters
/// ----------
/// metadata_json : str
///     What `get_node_metadata` is to tell, as JSON.
/// class_path : str
///     Where the class is: ``package.module:Class``, or a file's path in place of the module.
/// folder : str or None
///     The folder from which its module was imported, if workers have to be told.
///
/// Raises
/// ------
/// ValueError
///     The name is that of a native node or of another class, or the JSON describes no node.
#[pyfunction]
#[pyo3(name = "_declare_node", signature = (metadata_json, class_path, folder=None))]
pub(crate) fn declare_node(
    metadata_json: &str,
    class_path: String,
    folder: Option<PathBuf>,
) -> PyResult<()> {
    let refused = |error: &dyn std::error::Error| PyValueError::new_err(error.to_string());
    let metadata: NodeMetadata =
        serde_json::from_str(metadata_json).map_err(|error| refused(&error))?;
    let mut known = known();
    let class = NodeClass { path: class_path, folder };
    if known.nodes.metadata(&metadata.name) == Some(&metadata)
        && known.nodes.class(&metadata.name) == Some(&class)
    {
        return Ok(());
    }
    Arc::make_mut(&mut known.nodes)
        .register_class(metadata, class)
        .map_err(|error| refused(&error))?;
    known.names = None;
    Ok(())
}

/// Tell of which types of data formats are, each type once.
///
/// Raises
/// ------
/// ValueError
///     They are no formats.
#[pyfunction]
#[pyo3(name = "_data_types")]
pub(crate) fn data_types(formats_json: &str) -> PyResult<Vec<&'static str>> {
    let formats: Vec<Value> = serde_json::from_str(formats_json)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let mut types = Vec::new();
    for formats in formats {
        let formats = Formats::try_from(formats).map_err(PyValueError::new_err)?;
        let name = formats.data_type().name();
        if !types.contains(&name) {
            types.push(name);
        }
    }
    Ok(types)
}

/// Check the parameters of a node type, also of one that is not declared.
///
/// Parameters
/// ----------
/// node : str
///     What the class declares, as JSON for `_declare_node`, or the name of a known node type.
/// params_json : str
///     The parameters, a JSON object.
///
/// Returns
/// -------
/// list[tuple[str, str]]
///     The name of each wrong parameter, and what is wrong with it.
#[pyfunction]
#[pyo3(name = "_check_params")]
pub(crate) fn check_params(node: &str, params_json: &str) -> PyResult<Vec<(String, String)>> {
    let refused = |error: serde_json::Error| PyValueError::new_err(error.to_string());
    let params = serde_json::from_str(params_json).map_err(refused)?;
    let problems = if let Some(metadata) = current().metadata(node) {
        metadata.check_params(&params)
    } else {
        let metadata: NodeMetadata = serde_json::from_str(node).map_err(refused)?;
        metadata.check_params(&params)
    };
    let told = problems
        .iter()
        .map(|problem| (problem.name().unwrap_or_default().to_owned(), problem.to_string()));
    Ok(told.collect())
}

static BARRED: Mutex<Option<String>> = Mutex::new(None);

/// The file that is loaded for a worker at this moment, and must not start a pipeline itself.
pub(crate) fn barred() -> Option<String> {
    BARRED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Have pipelines refused that are started from now on, while a file is loaded; or no more.
#[pyfunction]
#[pyo3(name = "_bar_runs", signature = (file=None))]
pub(crate) fn bar_runs(file: Option<String>) {
    *BARRED.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

/// The folder that a caller gives for relative paths, as an absolute one.
pub(crate) fn with_base_dir(manifest: Manifest, base_dir: Option<&Path>) -> PyResult<Manifest> {
    match base_dir {
        Some(folder) => Ok(manifest.with_base_dir(std::path::absolute(folder)?)),
        None => Ok(manifest),
    }
}
