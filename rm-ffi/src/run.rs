//! Runs pipelines for Python, on the calling thread.
//!
//! Main functions: [`execute_pipeline`] and [`execute_pipeline_with_input`].
//! While a pipeline runs, the interpreter's lock is released; it is taken when a signal has come, so
//! that Ctrl-C ends a run at once and cleanly.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rm_bridge::Output;
use rm_core::{DataType, RuntimeData};
use rm_session::{CancelToken, InitProgress, Manifest, Plan, RunEvent, RunReport};

use crate::convert::{self, Converted};
use crate::errors::Error;
use crate::host::{call_python, host, input_item, plan, read_manifest};
use crate::json;
use crate::registry::{self, Purpose};
use crate::signals::Signals;

/// Runs a plan to its end, and gives what comes out to `take`. What a handler of signals raises ends the
/// run and is raised when all of it is cleaned up.
fn run(
    py: Python<'_>,
    plan: Plan,
    input: Vec<RuntimeData>,
    take: &mut (dyn FnMut(Output) + Send),
) -> PyResult<RunReport> {
    let host = host(py)?;
    let raised: Mutex<Option<PyErr>> = Mutex::new(None);
    let cancel = CancelToken::new();
    let mut told = Vec::new();
    let events = |event| match event {
        RunEvent::Progress(step) => tell_of_debugger(&step, &mut told),
        RunEvent::Output(output) => take(output),
    };
    let signals = Signals::watch(py)?;
    let check = |py: Python<'_>| {
        if let Err(error) = py.check_signals() {
            // Later ones are dropped: the first is why the run ends.
            raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            cancel.cancel();
        }
    };
    let result = if plan.runs_inline() {
        // Nobody has to be waited for, which would take longer than many pipelines need.
        let go_on = || {
            if signals.have_come() {
                Python::attach(check);
            }
            !cancel.is_cancelled()
        };
        py.detach(|| Ok(rm_session::run_inline(&host.runtime, plan, input, events, go_on)?))
    } else {
        py.detach(|| {
            host.tokio.block_on(async {
                let signals = signals.events().map_err(|error| Error::Setup(error.into()))?;
                let run = rm_session::run(&host.runtime, plan, input, events, cancel.clone());
                tokio::pin!(run);
                loop {
                    tokio::select! {
                        biased;
                        result = &mut run => break result.map_err(Error::from),
                        () = signals.next() => call_python(check),
                    }
                }
            })
        })
    };
    signals.unwatch(py)?;
    match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => result.map_err(Error::into),
    }
}

/// Says on stderr, once, where the process of a node waits for a debugger.
pub(crate) fn tell_of_debugger(step: &InitProgress, told: &mut Vec<String>) {
    if step.message.starts_with("waits for a debugger") && !told.contains(&step.message) {
        eprintln!("node {} {}", step.node, step.message);
        told.push(step.message.clone());
    }
}

/// Run a pipeline that gets its data from its own sources.
///
/// Parameters
/// ----------
/// manifest_json : str
///     The manifest. Relative paths in it start from the current folder.
/// base_dir : str or os.PathLike or None
///     The folder from which relative paths in the manifest start, in place of the current one.
///
/// Returns
/// -------
/// dict
///     ``success``, ``error``, ``metrics`` and ``result``. Failures that end the run are raised. If
///     items were left out, because a node failed on them whose ``on_error`` is ``"skip"``,
///     ``success`` is False, ``error`` says how many and why the first, and ``result`` is what the
///     others gave; otherwise they are True and None.
///
///     ``result`` is what the output node gives, that is, the node without successors that is no
///     sink. If all of its items are JSON (dicts, lists, numbers), it is the list of them, however
///     many there are. Of other items it is the item if there is exactly one, else the list.
///     With several output nodes it is a dict of such results by node id; without any it is None.
///
///     ``metrics`` has ``total_time_ms``; ``init_time_us`` and ``run_time_us``; ``bytes``, given to
///     all nodes together, and ``copied_bytes``, copied to bring data in or into shared memory;
///     ``peak_memory_bytes``, the most that this process has had in RAM; ``nodes``, by id, a dict
///     with ``executor``; ``items_in`` and ``items_out``; ``bytes_in``, ``bytes_out`` and
///     ``copied_bytes``, of what it made; ``errors``, failures of which some may have been tried
///     again, ``retries``, tries after the first, and ``skipped``, items left out; ``flushed`` and
///     ``repeated``, items dropped because a flush was asked for or because they had come before;
///     ``time``, of the node's own work per item, ``total_us``, of all items together, and ``busy``,
///     its share of all time from 0 to 1; ``peak_memory_bytes``, of its process, or 0; and the list ``connections`` of dicts with ``from`` and ``to``,
///     ``from_port`` and ``to_port`` where the connection names them, ``messages``, ``bytes``,
///     ``copied_bytes``, ``dropped`` by the queue's policy, ``missed`` and ``latency``. A time is a
///     dict with ``count``, ``median_us`` and ``p99_us``.
///
/// Raises
/// ------
/// ManifestError, GraphError
///     ``ValueError``; the manifest cannot be run.
/// NodeNotFound
///     ``KeyError``; it names a node type that there is not.
/// NodeExecutionError, PythonError, ProcessCrashError, ProcessSpawnError, InitializationTimeout
///     ``RuntimeError``; the run failed.
/// ItemTimeout
///     ``TimeoutError`` and a `ProcessCrashError`; a Python node was at one item for too long.
#[pyfunction]
#[pyo3(signature = (manifest_json, *, base_dir=None))]
pub(crate) fn execute_pipeline<'py>(
    py: Python<'py>,
    manifest_json: &str,
    base_dir: Option<PathBuf>,
) -> PyResult<Bound<'py, PyDict>> {
    let plan = plan_text(py, manifest_json, base_dir.as_deref())?;
    execute(py, plan, Vec::new(), 0)
}

/// Run a pipeline on one item.
///
/// Parameters
/// ----------
/// manifest_json : str
///     The manifest. Relative paths in it start from the current folder.
/// input_data : Audio, VideoFrame, array, str, bytes, dict, list or number
///     The item, which every node without predecessors gets. An array of NumPy, or an object of the
///     buffer protocol or of DLPack, is a tensor, and is not copied if it is C-contiguous, aligned
///     and in this machine's byte order: do not write to it before the call has returned. Of a
///     buffer that is one row of bytes (``bytearray``, ``mmap``), the item is bytes.
///     ``{"audio": array, "sample_rate": hz}`` is audio, and ``{"frame": array, "format": name}``
///     video; other dicts, lists and numbers are JSON. A one-dimensional array of float32 or int16
///     for a node that takes audio is mono audio; its rate is the node's ``sample_rate`` parameter,
///     if it has one that is not 0, else 16000 Hz.
/// base_dir : str or os.PathLike or None
///     As for `execute_pipeline`.
///
/// Returns
/// -------
/// dict
///     As `execute_pipeline`.
///
/// Raises
/// ------
/// MarshalingError
///     ``TypeError``; the input, or something in it, cannot be sent.
/// Exception
///     As `execute_pipeline`.
#[pyfunction]
#[pyo3(signature = (manifest_json, input_data, *, base_dir=None))]
pub(crate) fn execute_pipeline_with_input<'py>(
    py: Python<'py>,
    manifest_json: &str,
    input_data: &Bound<'py, PyAny>,
    base_dir: Option<PathBuf>,
) -> PyResult<Bound<'py, PyDict>> {
    let plan = plan_text(py, manifest_json, base_dir.as_deref())?;
    let Converted { data, copied } = input_item(&plan, input_data, None)?;
    execute(py, plan, vec![data], copied)
}

fn plan_text(py: Python<'_>, manifest_json: &str, base_dir: Option<&Path>) -> PyResult<Plan> {
    let manifest = py.detach(|| Manifest::from_json(manifest_json)).map_err(Error::from)?;
    plan(py, registry::with_base_dir(manifest, base_dir)?, Purpose::Run)
}

/// What one output node has given.
struct Collected {
    node: String,
    items: Vec<RuntimeData>,
}

impl Collected {
    fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let is_json = self.items.iter().all(|item| item.data_type() == DataType::Json);
        let list = PyList::empty(py);
        for item in self.items {
            let (header, payload) = item.into_parts();
            list.append(convert::to_python(py, &header.metadata, payload)?)?;
        }
        if !is_json && list.len() == 1 { list.get_item(0) } else { Ok(list.into_any()) }
    }
}

fn execute<'py>(
    py: Python<'py>,
    plan: Plan,
    input: Vec<RuntimeData>,
    copied: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let outputs = plan.outputs.iter().map(|&node| plan.nodes[node].id.to_string());
    let mut outputs: Vec<_> = outputs.map(|node| Collected { node, items: Vec::new() }).collect();
    let mut take = |output: Output| {
        let of = outputs.iter_mut().find(|of| of.node == output.node.as_str());
        of.expect("items come from output nodes").items.push(output.data);
    };
    let report = run(py, plan, input, &mut take)?;
    let result = match outputs.len() {
        0 => py.None().into_bound(py),
        1 => outputs.remove(0).into_python(py)?,
        _ => {
            let all = PyDict::new(py);
            for output in outputs {
                all.set_item(output.node.clone(), output.into_python(py)?)?;
            }
            all.into_any()
        }
    };
    let dict = PyDict::new(py);
    let error = left_out(&report);
    dict.set_item("success", error.is_none())?;
    dict.set_item("result", result)?;
    dict.set_item("metrics", metrics(py, &report, copied)?)?;
    dict.set_item("error", error)?;
    Ok(dict)
}

/// What went wrong in a run that came to its end: nothing, or items that were left out.
fn left_out(report: &RunReport) -> Option<String> {
    if let (None, Some((node, item))) = (report.failures.first(), report.set_aside.first()) {
        let count = report.set_aside.len();
        let first = format!("the first: item {item} has ended the process of node {node} twice");
        return Some(format!("{count} items were set aside; {first}"));
    }
    let first = report.failures.first()?;
    let skipped = report.nodes.iter().map(|node| node.statistics.skipped);
    let count = skipped.sum::<u64>().max(1);
    Some(format!("{count} items were left out; the first: node {} {}", first.node, first.failure))
}

fn metrics<'py>(py: Python<'py>, report: &RunReport, copied: u64) -> PyResult<Bound<'py, PyDict>> {
    let nodes = PyDict::new(py);
    for node in &report.nodes {
        let described = json::to_python(py, node)?;
        described.del_item("node")?;
        nodes.set_item(&node.node, described)?;
    }
    let metrics = PyDict::new(py);
    metrics.set_item("total_time_ms", report.total_time_us as f64 / 1_000.0)?;
    metrics.set_item("init_time_us", report.init_time_us)?;
    metrics.set_item("run_time_us", report.run_time_us)?;
    let bytes: u64 = report.nodes.iter().map(|node| node.statistics.bytes_in).sum();
    metrics.set_item("bytes", bytes)?;
    metrics.set_item("copied_bytes", report.copied_bytes + copied)?;
    metrics.set_item("peak_memory_bytes", rm_bridge::peak_memory())?;
    metrics.set_item("nodes", nodes)?;
    metrics.set_item("connections", json::to_python(py, &report.connections)?)?;
    Ok(metrics)
}

/// Check a manifest against this installation, unknown node types included.
///
/// Parameters
/// ----------
/// manifest : str or os.PathLike
///     The manifest's text, or the path of its file.
/// overrides : list[str]
///     Parameters as ``node.param=value``, which go before those of the manifest.
/// base_dir : str or os.PathLike or None
///     As for `execute_pipeline`.
///
/// Returns
/// -------
/// dict
///     ``plan`` (how it would run, as text), ``details`` (the same as plain objects) and
///     ``warnings``.
#[pyfunction]
#[pyo3(signature = (manifest, overrides=vec![], *, base_dir=None))]
pub(crate) fn plan_manifest<'py>(
    py: Python<'py>,
    manifest: &Bound<'py, PyAny>,
    overrides: Vec<String>,
    base_dir: Option<PathBuf>,
) -> PyResult<Bound<'py, PyDict>> {
    let manifest = read_manifest(manifest, &overrides)?;
    let manifest = registry::with_base_dir(manifest, base_dir.as_deref())?;
    let plan = plan(py, manifest, Purpose::Plan)?;
    let dict = PyDict::new(py);
    dict.set_item("details", json::to_python(py, &plan)?)?;
    dict.set_item("plan", plan.to_string())?;
    dict.set_item("warnings", json::to_python(py, &plan.warnings)?)?;
    Ok(dict)
}
