//! A session as Python sees it.
//!
//! Main type: [`PySession`], which `remotemedia.Session` and `remotemedia.AsyncSession` are made of.
//! Whatever may take a while gives a [`PyTask`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use rm_bridge::Output;
use rm_core::SessionId;
use rm_session::{
    CancelToken, InitProgress, InitStatus, Plan, Session, SessionError, SessionEvent, Warning,
};

use crate::convert::{self, Converted};
use crate::errors::Error;
use crate::host::{Host, call_python, files_of, host, input_item, plan, read_manifest};
use crate::json;
use crate::place::Place;
use crate::registry::{self, Purpose};
use crate::run::tell_of_debugger;
use crate::task::PyTask;
use crate::timeline::timeline_to_python;

/// A session, from its plan to its end.
#[pyclass(frozen, weakref, module = "remotemedia_runtime._native", name = "_Session")]
pub(crate) struct PySession {
    session: Session,
    host: &'static Host,
    times: Arc<Times>,
    /// Bytes that were copied to make items of objects.
    copied: AtomicU64,
}

/// When what has happened.
struct Times {
    began: Instant,
    ready: OnceLock<Instant>,
    /// When the last item was out, or it was known that there is none.
    done: OnceLock<Instant>,
    closed: OnceLock<Instant>,
}

/// What Python is told while nodes load.
struct Steps {
    on_step: Option<Py<PyAny>>,
    told: Mutex<Vec<String>>,
    raised: Mutex<Option<PyErr>>,
}

impl Steps {
    fn tell(&self, session: &Session, step: InitProgress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        tell_of_debugger(&step, &mut told);
        drop(told);
        let Some(on_step) = &self.on_step else { return };
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        if raised.is_some() {
            return;
        }
        let told = call_python(|py| on_step.call1(py, (progress_dict(py, step)?,)).map(drop));
        if let Err(error) = told {
            *raised = Some(error);
            session.cancel();
        }
    }
}

/// A step of a node that loads.
fn progress_dict(py: Python<'_>, step: InitProgress) -> PyResult<Bound<'_, PyDict>> {
    let InitProgress { node, node_type, status, progress, message } = step;
    let (status, message) = match status {
        InitStatus::Starting => ("starting", message),
        InitStatus::LoadingModel => ("loading_model", message),
        InitStatus::Ready => ("ready", message),
        InitStatus::Failed(error) => ("failed", error),
        _ => ("loading", message),
    };
    let dict = PyDict::new(py);
    dict.set_item("node", node.as_str())?;
    dict.set_item("node_type", node_type)?;
    dict.set_item("status", status)?;
    dict.set_item("fraction", progress)?;
    dict.set_item("message", message)?;
    Ok(dict)
}

/// The node and the item; nothing at the end.
fn received(py: Python<'_>, output: Option<Output>) -> PyResult<Bound<'_, PyAny>> {
    let Some(output) = output else { return Ok(py.None().into_bound(py)) };
    let (header, payload) = output.data.into_parts();
    let item = convert::to_python(py, &header.metadata, payload)?;
    Ok((output.node.as_str(), item).into_pyobject(py)?.into_any())
}

fn event_dict(py: Python<'_>, event: SessionEvent) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    match event {
        SessionEvent::Status(status) => {
            dict.set_item("event", "status")?;
            dict.set_item("status", status.to_string())?;
        }
        SessionEvent::Progress(step) => {
            let dict = progress_dict(py, step)?;
            dict.set_item("event", "progress")?;
            return Ok(dict);
        }
        SessionEvent::ItemSkipped(failure) => {
            dict.set_item("event", "item_skipped")?;
            dict.set_item("node", failure.node.as_str())?;
            dict.set_item("item", failure.item)?;
            dict.set_item("message", failure.failure.to_string())?;
        }
        SessionEvent::NodeRestarts { node, attempt, delay, report } => {
            dict.set_item("event", "node_restarts")?;
            dict.set_item("node", node.as_str())?;
            dict.set_item("attempt", attempt)?;
            dict.set_item("delay", delay.as_secs_f64())?;
            dict.set_item("message", report.to_string())?;
        }
        SessionEvent::NodeRestarted { node, process_id } => {
            dict.set_item("event", "node_restarted")?;
            dict.set_item("node", node.as_str())?;
            dict.set_item("process_id", process_id)?;
        }
        SessionEvent::DeadLetter(letter) => {
            dict.set_item("event", "dead_letter")?;
            dict.set_item("node", letter.node.as_str())?;
            dict.set_item("sequence", letter.sequence)?;
            dict.set_item("from", letter.from.as_ref().map(|node| node.as_str()))?;
            let (header, payload) = letter.data.into_parts();
            dict.set_item("data", convert::to_python(py, &header.metadata, payload)?)?;
        }
        SessionEvent::Missed(count) => {
            dict.set_item("event", "missed")?;
            dict.set_item("count", count)?;
        }
        _ => dict.set_item("event", "other")?,
    }
    Ok(dict)
}

fn nothing(py: Python<'_>, (): ()) -> PyResult<Bound<'_, PyAny>> {
    Ok(py.None().into_bound(py))
}

impl PySession {
    fn micros(&self, until: Option<&Instant>) -> u64 {
        let until = until.copied().unwrap_or_else(Instant::now);
        u64::try_from(until.duration_since(self.times.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// A task, if this process may have one.
    fn task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
        finish: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
    ) -> PyResult<PyTask> {
        self.host.check()?;
        Ok(PyTask::new(self.host, work, finish))
    }
}

#[pymethods]
impl PySession {
    /// Plans, and makes what this process needs. `manifest` is a text, or the path of a file.
    #[new]
    #[pyo3(signature = (manifest, overrides=vec![], session_id=None, timeline=false, base_dir=None))]
    fn new(
        py: Python<'_>,
        manifest: &Bound<'_, PyAny>,
        overrides: Vec<String>,
        session_id: Option<String>,
        timeline: bool,
        base_dir: Option<PathBuf>,
    ) -> PyResult<Self> {
        let began = Instant::now();
        let host = host(py)?;
        let manifest = read_manifest(manifest, &overrides)?;
        let manifest = registry::with_base_dir(manifest, base_dir.as_deref())?;
        let mut plan = plan(py, manifest, Purpose::Run)?;
        plan.timeline |= timeline;
        let made = py.detach(|| {
            let id = session_id.map(SessionId::new).transpose();
            let id = id.map_err(SessionError::Id)?;
            let _entered = host.tokio.enter();
            Ok::<_, Error>(Session::create_as(&host.runtime, id, plan, CancelToken::new())?)
        });
        let (ready, done, closed) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let times = Arc::new(Times { began, ready, done, closed });
        Ok(Self { session: made?, host, times, copied: AtomicU64::new(0) })
    }

    #[getter]
    fn id(&self) -> &str {
        self.session.id().as_str()
    }

    #[getter]
    fn status(&self) -> String {
        self.session.status().to_string()
    }

    /// Whether nothing comes after this status.
    #[getter]
    fn is_over(&self) -> bool {
        self.session.status().is_final()
    }

    /// How it runs, as text.
    #[getter]
    fn plan(&self) -> String {
        self.session.plan().to_string()
    }

    fn plan_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, self.session.plan())
    }

    /// Starts all nodes; `on_step` is called with a dict for each step of a node that loads.
    #[pyo3(signature = (on_step=None))]
    fn initialize(&self, on_step: Option<Py<PyAny>>) -> PyResult<PyTask> {
        let (session, times) = (self.session.clone(), Arc::clone(&self.times));
        let steps = Steps { on_step, told: Mutex::default(), raised: Mutex::default() };
        let work = async move {
            let initialized = session.initialize(|step| steps.tell(&session, step)).await;
            let raised = steps.raised.into_inner().unwrap_or_else(PoisonError::into_inner);
            match raised {
                Some(error) => Err(Error::Python(error)),
                None => {
                    initialized?;
                    let _ = times.ready.set(Instant::now());
                    Ok(())
                }
            }
        };
        self.task(work, nothing)
    }

    /// Gives an item to the node or port `to`, or to all that take items from outside.
    #[pyo3(signature = (item, to=None))]
    fn send(&self, item: &Bound<'_, PyAny>, to: Option<String>) -> PyResult<PyTask> {
        let Converted { data, copied } = input_item(self.session.plan(), item, to.as_deref())?;
        self.copied.fetch_add(copied, Ordering::Relaxed);
        let session = self.session.clone();
        let work = async move {
            let sent = match to {
                Some(to) => session.send(&to, data).await,
                None => session.send_all(data).await,
            };
            Ok(sent?)
        };
        self.task(work, nothing)
    }

    /// Ends the input.
    fn finish(&self) {
        self.session.finish();
    }

    /// The next item that comes out, with its node; None at the end.
    fn receive(&self) -> PyResult<PyTask> {
        let (session, times) = (self.session.clone(), Arc::clone(&self.times));
        let work = async move {
            let output = session.recv().await;
            if !matches!(output, Ok(Some(_))) {
                let _ = times.done.set(Instant::now());
            }
            Ok(output?)
        };
        self.task(work, received)
    }

    /// Drops everything that is queued.
    fn flush(&self) -> PyResult<PyTask> {
        let session = self.session.clone();
        self.task(async move { Ok(session.flush().await?) }, nothing)
    }

    /// Gives a node new values of parameters, a dict.
    fn set_params(&self, node: String, params: &Bound<'_, PyAny>) -> PyResult<PyTask> {
        let params = json::to_json(params, &Place::Root("params"))?;
        let params = serde_json::from_slice(&params).map_err(|error| Error::Setup(error.into()))?;
        let session = self.session.clone();
        self.task(async move { Ok(session.set_params(&node, params).await?) }, nothing)
    }

    /// What it has done so far, as a dict.
    fn statistics(&self) -> PyResult<PyTask> {
        let session = self.session.clone();
        self.task(async move { Ok(session.statistics().await) }, |py, statistics| {
            json::to_python(py, &statistics)
        })
    }

    /// What happens from now on.
    fn events(&self) -> PyEvents {
        let events = Arc::new(tokio::sync::Mutex::new(self.session.events()));
        PyEvents { events, host: self.host }
    }

    /// Makes it end without waiting.
    fn cancel(&self) {
        self.session.cancel();
    }

    /// Ends it, and waits until nothing is left.
    fn close(&self) -> PyResult<PyTask> {
        let (session, times) = (self.session.clone(), Arc::clone(&self.times));
        let work = async move {
            session.close().await;
            let now = Instant::now();
            let _ = times.done.set(now);
            let _ = times.closed.set(now);
            Ok(())
        };
        self.task(work, nothing)
    }

    /// What its nodes and connections did, once it has ended.
    fn report<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let plan: &Plan = self.session.plan();
        let (nodes, connections) = self.session.reports();
        let warnings: &[Warning] = &plan.warnings;
        let letters = self.session.dead_letters().into_iter();
        let set_aside: Vec<_> =
            letters.map(|letter| (letter.node.to_string(), letter.sequence)).collect();
        let ready = self.times.ready.get();
        let init_time_us = ready.map_or(0, |ready| self.micros(Some(ready)));
        let done_us = self.micros(self.times.done.get());
        // Who is told of the last step may take until after the end.
        let run_time_us = ready.map_or(0, |_| done_us.saturating_sub(init_time_us));
        let files: Vec<_> =
            files_of(plan).iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let dict = PyDict::new(py);
        dict.set_item("name", &plan.name)?;
        dict.set_item("nodes", json::to_python(py, &nodes)?)?;
        dict.set_item("connections", json::to_python(py, &connections)?)?;
        dict.set_item("failures", json::to_python(py, &self.session.skipped())?)?;
        dict.set_item("set_aside", json::to_python(py, &set_aside)?)?;
        let copied = self.session.copied_bytes() + self.copied.load(Ordering::Relaxed);
        dict.set_item("copied_bytes", copied)?;
        dict.set_item("init_time_us", init_time_us)?;
        dict.set_item("run_time_us", run_time_us)?;
        dict.set_item("total_time_us", self.micros(self.times.closed.get()))?;
        dict.set_item("warnings", json::to_python(py, &warnings)?)?;
        dict.set_item("files", files)?;
        if let Some(timeline) = self.session.timeline() {
            dict.set_item("timeline", timeline_to_python(py, &timeline)?)?;
        }
        Ok(dict)
    }
}

/// Reads the events of a session.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Events")]
pub(crate) struct PyEvents {
    events: Arc<tokio::sync::Mutex<rm_session::SessionEvents>>,
    host: &'static Host,
}

#[pymethods]
impl PyEvents {
    /// The next event as a dict; None when the session has ended.
    fn next(&self) -> PyTask {
        let events = Arc::clone(&self.events);
        PyTask::new(self.host, async move { Ok(events.lock().await.next().await) }, |py, event| {
            match event {
                Some(event) => Ok(event_dict(py, event)?.into_any()),
                None => Ok(py.None().into_bound(py)),
            }
        })
    }
}
