//! What everything that runs for Python shares in this process, and how its manifests and inputs are
//! read.
//!
//! Main function: [`host`]. Running is the matter of `run` and `session`.

use std::path::{Path, PathBuf};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use rm_core::DataType;
use rm_session::{Machine, Manifest, Plan, PlannedNode, Runtime, RuntimeConfig, parse_override};

use crate::convert::{self, Bare, Converted};
use crate::errors::Error;
use crate::logging;
use crate::registry::{self, Purpose};

/// Rate of a bare array of samples where nothing says another, in Hz.
const DEFAULT_RATE: u32 = 16_000;

/// What all runs of this process share.
pub(crate) struct Host {
    pub(crate) tokio: tokio::runtime::Runtime,
    pub(crate) runtime: Runtime,
    process: u32,
}

pub(crate) fn host(py: Python<'_>) -> PyResult<&'static Host> {
    static HOST: PyOnceLock<Host> = PyOnceLock::new();
    if let Some(file) = registry::barred() {
        return Err(PyRuntimeError::new_err(format!(
            "{file} starts a pipeline while a worker loads it for a class in it; put that under \
             `if __name__ == \"__main__\":`"
        )));
    }
    let host = HOST.get_or_try_init(py, || start(py))?;
    host.check()?;
    Ok(host)
}

impl Host {
    /// # Errors
    /// `RuntimeError` in a process that was forked from the one that this was made in.
    pub(crate) fn check(&self) -> PyResult<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let message = "this process was forked from one that had run pipelines, which cannot be carried \
             over; start it with multiprocessing's \"spawn\" or \"forkserver\"";
        Err(Error::Setup(message.into()).into())
    }
}

fn start(py: Python<'_>) -> PyResult<Host> {
    logging::start_from_environment().map_err(|error| Error::Setup(error.into()))?;
    let python: Option<PathBuf> = py.import("sys")?.getattr("executable")?.extract()?;
    let mut config = RuntimeConfig::load().map_err(|error| Error::Setup(error.into()))?;
    let own = python.filter(|path| !path.as_os_str().is_empty());
    config.python = config.python.or(own);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(2).thread_name("remotemedia").enable_all().build();
    let tokio = built.map_err(|error| Error::Setup(error.into()))?;
    let runtime = Runtime::new(config, registry::current().as_ref().clone());
    Ok(Host { tokio, runtime, process: std::process::id() })
}

/// Calls Python from within a future. It may wait for other futures: it is a handler of signals, or a
/// function of the caller's.
pub(crate) fn call_python<T>(call: impl for<'py> FnOnce(Python<'py>) -> T) -> T {
    tokio::task::block_in_place(|| Python::attach(call))
}

/// A manifest from its text, or from the file that a path object names.
pub(crate) fn read_manifest(
    manifest: &Bound<'_, PyAny>,
    overrides: &[String],
) -> PyResult<Manifest> {
    let mut read = match manifest.extract::<String>() {
        Ok(text) => Manifest::from_json(&text),
        Err(_) => Manifest::from_file(manifest.extract::<PathBuf>()?),
    }
    .map_err(Error::from)?;
    for text in overrides {
        let (node, param, value) = parse_override(text).map_err(Error::from)?;
        read = read.with_param(&node, param, value).map_err(Error::from)?;
    }
    Ok(read)
}

pub(crate) fn plan(py: Python<'_>, manifest: Manifest, purpose: Purpose) -> PyResult<Plan> {
    let host = host(py)?;
    let (manifest, nodes) = registry::prepare(py, manifest, purpose)?;
    let config = host.runtime.config();
    let plan = py.detach(|| Plan::with(manifest, &nodes, config, &Machine::recent()));
    Ok(plan.map_err(Error::from)?)
}

/// The input for the node or port `to`, or for all that take some, and how many bytes of it were copied.
pub(crate) fn input_item(
    plan: &Plan,
    input: &Bound<'_, PyAny>,
    to: Option<&str>,
) -> PyResult<Converted> {
    convert::input_from_python(input, "input", || bare_samples(plan, to))
}

/// What samples are that come without a rate; `None` if the first node meant takes no audio, or is a
/// Python node that does not say by a parameter that it does.
fn bare_samples(plan: &Plan, to: Option<&str>) -> Option<Bare> {
    const PARAMETER: &str = "sample_rate";
    let is_meant = |node: &&PlannedNode| match to.map(|to| to.strip_prefix(node.id.as_str())) {
        None => true,
        Some(rest) => rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
    };
    let node = plan.inputs.iter().map(|&node| &plan.nodes[node]).find(is_meant)?;
    let given = node.params.get(PARAMETER);
    let nodes = registry::current();
    let metadata = nodes.metadata(&node.node_type);
    let (takes_audio, default) = match metadata {
        Some(metadata) => {
            let spec = metadata.parameters.iter().find(|spec| spec.name == PARAMETER);
            // A class that does not say what it takes says so by the parameter.
            let says = node.class.is_some() && (given.is_some() || spec.is_some());
            let takes_audio = match &*metadata.accepts {
                [] => says,
                accepts => {
                    accepts.contains(&DataType::Audio) && !accepts.contains(&DataType::Tensor)
                }
            };
            (takes_audio, spec.and_then(|spec| spec.default.as_ref()))
        }
        None => (given.is_some(), None),
    };
    let rate = given.or(default).and_then(serde_json::Value::as_u64);
    let rate = rate.and_then(|rate| u32::try_from(rate).ok()).filter(|rate| *rate > 0);
    let only = metadata
        .is_some_and(|metadata| node.class.is_none() && metadata.accepts == [DataType::Audio]);
    takes_audio.then(|| Bare { rate: rate.unwrap_or(DEFAULT_RATE), only })
}

/// Where the pipeline's sinks write.
pub(crate) fn files_of(plan: &Plan) -> Vec<PathBuf> {
    let sinks = plan.nodes.iter().filter(|node| node.node_type == "AudioFileSinkNode");
    let paths = sinks.filter_map(|node| node.params.get("path").and_then(|path| path.as_str()));
    let base = plan.base_dir.as_deref().unwrap_or(Path::new(""));
    paths.map(|path| base.join(path)).collect()
}
