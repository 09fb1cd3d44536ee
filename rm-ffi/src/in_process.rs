//! What `remotemedia.run_in_process` needs of Rust: the plan, and native nodes one call at a time.
//!
//! Main type: [`PyNativeNode`]. Python walks the graph, and runs its own nodes itself.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use pyo3::prelude::*;
use rm_core::{InputSite, Node, NodeContext, NodeError, NodeId, Output, Produced, RuntimeData};
use rm_session::{Manifest, Plan, RuntimeConfig};
use serde_json::Value;

use crate::convert;
use crate::errors::{Error, of_native_node};
use crate::host::input_item;
use crate::json;
use crate::registry::{self, Purpose};

/// Plan a manifest whose Python nodes are to run in this process.
///
/// Returns
/// -------
/// tuple[dict, object]
///     The plan, and the input as its nodes get it.
#[pyfunction]
#[pyo3(name = "_plan_in_process", signature = (manifest_json, base_dir=None, input=None))]
pub(crate) fn plan_in_process<'py>(
    py: Python<'py>,
    manifest_json: &str,
    base_dir: Option<PathBuf>,
    input: Option<Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
    let manifest = Manifest::from_json(manifest_json).map_err(Error::from)?;
    let manifest = registry::with_base_dir(manifest, base_dir.as_deref())?;
    let (manifest, nodes) = registry::prepare(py, manifest, Purpose::InProcess)?;
    let config = RuntimeConfig::load().map_err(|error| Error::Setup(error.into()))?;
    let plan = Plan::with(manifest, &nodes, &config, &rm_session::Machine::recent());
    let plan = plan.map_err(Error::from)?;
    let input =
        input.map(|input| to_python(py, input_item(&plan, &input, None)?.data)).transpose()?;
    Ok((json::to_python(py, &plan)?, input))
}

/// Give an item as the next node gets it: what cannot be sent is refused, and arrays are read-only.
#[pyfunction]
#[pyo3(name = "_as_sent")]
pub(crate) fn as_sent<'py>(
    py: Python<'py>,
    item: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, convert::from_python(item, "item")?.data)
}

fn to_python(py: Python<'_>, item: RuntimeData) -> PyResult<Bound<'_, PyAny>> {
    let (header, payload) = item.into_parts();
    convert::to_python(py, &header.metadata, payload)
}

type Made<'py> = Vec<(Option<&'static str>, Bound<'py, PyAny>)>;

/// A native node that is called from Python.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_NativeNode")]
pub(crate) struct PyNativeNode {
    id: NodeId,
    node: Mutex<Box<dyn Node>>,
    #[pyo3(get)]
    is_source: bool,
}

impl PyNativeNode {
    fn lock(&self) -> MutexGuard<'_, Box<dyn Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<'py, T: Send>(
        &self,
        py: Python<'py>,
        action: &str,
        call: impl FnOnce(&mut dyn Node, &mut Output) -> Result<T, NodeError> + Send,
    ) -> PyResult<(T, Made<'py>)> {
        let mut output = Output::default();
        let result = py.detach(|| call(self.lock().as_mut(), &mut output));
        let result = result.map_err(|error| of_native_node(&self.id, action, &error))?;
        let made = output.drain_ports().map(|(port, item)| Ok((port, to_python(py, item)?)));
        Ok((result, made.collect::<PyResult<_>>()?))
    }
}

#[pymethods]
impl PyNativeNode {
    #[new]
    #[pyo3(signature = (node_type, node_id, params_json, base_dir=None))]
    fn new(
        node_type: &str,
        node_id: &str,
        params_json: &str,
        base_dir: Option<&str>,
    ) -> PyResult<Self> {
        let value_error = |error: &dyn std::error::Error| {
            pyo3::exceptions::PyValueError::new_err(error.to_string())
        };
        let id = NodeId::new(node_id).map_err(|error| value_error(&error))?;
        let params: Value =
            serde_json::from_str(params_json).map_err(|error| value_error(&error))?;
        let nodes = registry::current();
        let (Some(factory), Some(metadata)) = (nodes.factory(node_type), nodes.metadata(node_type))
        else {
            let message = format!("no native node type {node_type:?}");
            return Err(crate::errors::NodeNotFound::new_err(message));
        };
        let base_dir =
            base_dir.map(|folder| (NodeContext::BASE_DIR.to_owned(), Value::from(folder)));
        let context = NodeContext {
            node_id: node_id.to_owned(),
            node_type: node_type.to_owned(),
            params,
            session_id: None,
            metadata: base_dir.into_iter().collect(),
        };
        let node = factory(&context).map_err(|error| of_native_node(&id, "be made", &error))?;
        Ok(Self { id, node: Mutex::new(node), is_source: metadata.source })
    }

    fn initialize(&self, py: Python<'_>) -> PyResult<()> {
        self.call(py, "initialize", |node, _| node.initialize()).map(drop)
    }

    #[pyo3(signature = (item, from_node=None, port=None))]
    fn process<'py>(
        &self,
        py: Python<'py>,
        item: &Bound<'py, PyAny>,
        from_node: Option<&str>,
        port: Option<&str>,
    ) -> PyResult<Made<'py>> {
        let item = convert::from_python(item, "item")?.data;
        let from = from_node.and_then(|id| NodeId::new(id).ok());
        let made = self.call(py, "process an item", |node, output| {
            node.process_from(InputSite { from: from.as_ref(), port }, item, output)
        })?;
        Ok(made.1)
    }

    /// The next items of a source, and whether there are more.
    fn produce<'py>(&self, py: Python<'py>) -> PyResult<(Made<'py>, bool)> {
        let (produced, made) = self.call(py, "produce", |node, output| node.produce(output))?;
        if let Produced::At(time) = produced {
            py.detach(|| thread::sleep(time.saturating_duration_since(Instant::now())));
        }
        Ok((made, produced != Produced::End))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Made<'py>> {
        Ok(self.call(py, "finish", |node, output| node.finish(output))?.1)
    }
}
