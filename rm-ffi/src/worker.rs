//! The worker's loop: gives a Python node its items, and sends on what it makes.
//!
//! Main function: [`serve_worker`], which `python -m remotemedia_runtime.worker` calls on its main
//! thread and which returns the exit code. Whatever waits does so without the interpreter's lock.
//! Finding the node's class is Python's work (`remotemedia_runtime.worker.load_node`); the
//! connection to the session is [`WorkerRuntime`]'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use numpy::{PyArrayDescr, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use rm_bridge::{FailedIn, Next, WorkerFailure, WorkerRuntime, WorkerRuntimeError};
use rm_core::{AudioLayout, DataHeader, DataMetadata, TraceContext};
use rm_ipc::PublishError;
use rm_process::CallContext;
use rm_process::child::ChildHandle;

use crate::array;
use crate::audio::{PyAudio, channels_of, format_of};
use crate::callbacks::{self, PyCallContext};
use crate::convert;
use crate::errors::{MarshalingError, chain};
use crate::json;
use crate::python::{generator_type, numpy};

pub(crate) type Shared = Arc<Mutex<WorkerRuntime>>;

fn lock(runtime: &Shared) -> MutexGuard<'_, WorkerRuntime> {
    runtime.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// Why the loop ended before its end.
enum Broken {
    /// The session is over.
    Stopped,
    /// The node failed.
    Node(FailedIn, Option<u64>, PyErr),
    /// The worker cannot work.
    Worker(WorkerRuntimeError),
}

impl From<WorkerRuntimeError> for Broken {
    fn from(error: WorkerRuntimeError) -> Self {
        match error {
            WorkerRuntimeError::Publish(PublishError::ChannelClosed)
            | WorkerRuntimeError::Control(_) => Self::Stopped,
            error => Self::Worker(error),
        }
    }
}

/// During what the node runs, for its failures.
#[derive(Clone, Copy)]
struct Phase {
    during: FailedIn,
    item: Option<u64>,
}

impl Phase {
    fn failed(self) -> impl Fn(PyErr) -> Broken {
        move |error| Broken::Node(self.during, self.item, error)
    }
}

struct Worker<'py> {
    py: Python<'py>,
    runtime: Shared,
}

/// Runs the node of this worker process until its session lets it go. Returns the exit code.
///
/// # Errors
/// `RuntimeError` if the process was not started by a session.
#[pyfunction]
pub(crate) fn serve_worker(py: Python<'_>) -> PyResult<u8> {
    let runtime = py.detach(WorkerRuntime::connect);
    let runtime = runtime.map_err(|error| PyRuntimeError::new_err(chain(&error)))?;
    callbacks::install(py, runtime.handle())?;
    let worker = Worker { py, runtime: Arc::new(Mutex::new(runtime)) };
    let mut node = None;
    let ended = worker.work(&mut node);
    let code = match &ended {
        Ok(()) | Err(Broken::Stopped) => 0,
        Err(Broken::Worker(error)) => {
            // The session sees that this process ends, and shows its last output.
            eprintln!("error: {}", chain(error));
            1
        }
        Err(Broken::Node(during, item, error)) => {
            worker.report(*during, *item, error);
            1
        }
    };
    if let Some(node) = node
        && let Err(error) = node.call_method0(intern!(py, "cleanup"))
    {
        error.print(py);
    }
    if ended.is_err() {
        return Ok(code);
    }
    match worker.detached(WorkerRuntime::finish).map_err(Broken::from) {
        Ok(()) => worker.detached(|runtime| runtime.wait_for_stop()),
        Err(Broken::Worker(error)) => {
            eprintln!("error: {}", chain(&error));
            return Ok(1);
        }
        // The session ended meanwhile.
        Err(_) => {}
    }
    Ok(code)
}

impl<'py> Worker<'py> {
    /// Calls the runtime without the interpreter's lock.
    fn detached<T: Send>(&self, call: impl FnOnce(&mut WorkerRuntime) -> T + Send) -> T {
        let runtime = &self.runtime;
        self.py.detach(|| call(&mut lock(runtime)))
    }

    fn work(&self, slot: &mut Option<Bound<'py, PyAny>>) -> Result<(), Broken> {
        let load = Phase { during: FailedIn::Load, item: None };
        let node = self.load().map_err(load.failed())?;
        *slot = Some(node.clone());
        let initialize = Phase { during: FailedIn::Initialize, item: None };
        node.call_method0(intern!(self.py, "initialize")).map_err(initialize.failed())?;
        self.detached(|runtime| runtime.ready())?;

        let load = Phase { during: FailedIn::Process, item: None };
        let process = node.getattr(intern!(self.py, "process")).map_err(load.failed())?;
        loop {
            match self.detached(WorkerRuntime::next_step)? {
                Next::Item { data, index, .. } => {
                    let phase = Phase { during: FailedIn::Process, item: Some(index) };
                    let (header, payload) = data.into_parts();
                    let item = convert::to_python(self.py, &header.metadata, payload);
                    let item = item.map_err(phase.failed())?;
                    self.call(phase, Some(&header), || process.call1((item,)))?;
                }
                Next::End => break,
                Next::Stop => return Err(Broken::Stopped),
            }
        }
        let finish = Phase { during: FailedIn::Finish, item: None };
        self.call(finish, None, || node.call_method0(intern!(self.py, "finish")))
    }

    /// Makes the node, with everything that it may use.
    fn load(&self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let runtime = lock(&self.runtime);
        let config = runtime.config();
        let params = json::from_json(py, config.params.as_bytes())?;
        let hooks = PyHooks { runtime: Some(self.runtime.clone()), own: runtime.handle().clone() };
        let arguments = (
            config.node_type.clone(),
            params,
            config.node_id.to_string(),
            config.session_id.to_string(),
            config.base_dir.clone(),
            hooks,
        );
        // The class's own code may ask for a loan.
        drop(runtime);
        py.import("remotemedia_runtime.worker")?.call_method1("load_node", arguments)
    }

    /// Calls the node, notes the time that it took, and sends what it gives.
    fn call(
        &self,
        phase: Phase,
        input: Option<&DataHeader>,
        call: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> Result<(), Broken> {
        let entered = self.enter(input).map_err(phase.failed())?;
        let outcome = self.call_within(phase, input, call);
        match entered {
            Some(entered) => {
                let left = callbacks::module(self.py)
                    .and_then(|module| module.call_method1(intern!(self.py, "leave"), (entered,)));
                outcome.and(left.map(drop).map_err(phase.failed()))
            }
            None => outcome,
        }
    }

    /// Makes the trace of an item, if it has one, that of the code that works on it.
    fn enter(&self, input: Option<&DataHeader>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(trace) = input.map(|input| input.trace).filter(TraceContext::is_valid) else {
            return Ok(None);
        };
        let context = PyCallContext(CallContext { deadline: None, trace: Some(trace) });
        let module = callbacks::module(self.py)?;
        module.call_method1(intern!(self.py, "enter"), (context,)).map(Some)
    }

    fn call_within(
        &self,
        phase: Phase,
        input: Option<&DataHeader>,
        call: impl FnOnce() -> PyResult<Bound<'py, PyAny>>,
    ) -> Result<(), Broken> {
        let began = Instant::now();
        let result = call();
        let mut took = began.elapsed();
        let result = result.map_err(phase.failed())?;
        let generators = generator_type(self.py).map_err(phase.failed())?;
        if result.get_type().is(generators) {
            let mut results = result.try_iter().map_err(phase.failed())?;
            loop {
                let began = Instant::now();
                let item = results.next();
                took += began.elapsed();
                match item {
                    None => break,
                    Some(item) => self.send(phase, item.map_err(phase.failed())?, input)?,
                }
            }
        } else {
            self.send(phase, result, input)?;
        }
        if phase.item.is_some() {
            lock(&self.runtime).record(took);
        }
        Ok(())
    }

    /// Sends what the node gave; nothing for `None`.
    fn send(
        &self,
        phase: Phase,
        value: Bound<'py, PyAny>,
        input: Option<&DataHeader>,
    ) -> Result<(), Broken> {
        if value.is_none() {
            return Ok(());
        }
        let Some(value) = self.send_loan(phase, value, input)? else {
            return Ok(());
        };
        let data = convert::from_python(&value).map_err(phase.failed())?;
        let data = match input {
            Some(input) => data.made_from(input),
            None => data,
        };
        let sent = self.detached(|runtime| {
            let data = data.with_session(runtime.session_id().clone());
            runtime.publish(&data)
        });
        self.sent(phase, sent)
    }

    /// Sends a lent array where it lies; gives back what is none, or what somebody else may reach.
    fn send_loan(
        &self,
        phase: Phase,
        value: Bound<'py, PyAny>,
        input: Option<&DataHeader>,
    ) -> Result<Option<Bound<'py, PyAny>>, Broken> {
        let (array, sample_rate) = if array::is_plain(&value) {
            let array = value.cast_into().map_err(|error| phase.failed()(error.into()))?;
            (array, None)
        } else if let Ok(audio) = value.cast::<PyAudio>() {
            let array = audio.get().samples.bind(self.py).clone();
            let rate = audio.get().sample_rate;
            if !array::is_lent(&array) || !array::is_last_reference(&value) {
                return Ok(Some(value));
            }
            drop(value);
            (array, Some(rate))
        } else {
            return Ok(Some(value));
        };
        let back = |array: Bound<'py, PyUntypedArray>| match sample_rate {
            None => Ok(Some(array.into_any())),
            Some(rate) => {
                let audio = Bound::new(self.py, PyAudio::new(array, rate));
                audio.map(|audio| Some(audio.into_any())).map_err(phase.failed())
            }
        };
        if !array::is_lent(&array) {
            return back(array);
        }
        let (shape, Some(dtype)) = (array.shape().to_vec(), array::tensor_type(&array.dtype()))
        else {
            return back(array);
        };
        let metadata = match sample_rate {
            None => DataMetadata::Tensor { shape: shape.clone(), dtype },
            Some(sample_rate) => match (channels_of(&shape), format_of(dtype)) {
                (Some(channels), Some(format)) => {
                    let layout = AudioLayout::Interleaved;
                    DataMetadata::Audio { sample_rate, channels, format, layout }
                }
                _ => return back(array),
            },
        };
        let sample = match array::take_loan(array, &shape, dtype) {
            Ok(sample) => sample,
            Err(array) => return back(array),
        };
        let sent = self.detached(|runtime| {
            let mut header = DataHeader::new(metadata, 0);
            runtime.stamp(&mut header, input);
            runtime.send(sample.written(&header).map_err(PublishError::from)?)
        });
        self.sent(phase, sent).map(|()| None)
    }

    fn sent(&self, phase: Phase, sent: Result<(), WorkerRuntimeError>) -> Result<(), Broken> {
        match sent {
            // What the node made cannot be sent; that is the node's failure.
            Err(WorkerRuntimeError::Publish(
                error @ (PublishError::InvalidData { .. } | PublishError::SystemLimit { .. }),
            )) => Err(phase.failed()(MarshalingError::new_err(chain(&error)))),
            sent => Ok(sent?),
        }
    }

    /// Tells the session, and whoever reads this process's output, how the node failed.
    fn report(&self, during: FailedIn, item: Option<u64>, error: &PyErr) {
        let failure = describe(self.py, during, item, error);
        eprintln!("{failure}");
        // A session that is gone needs no report.
        let _ = self.detached(|runtime| runtime.fail(failure));
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
        let module = py.import("remotemedia_runtime.worker")?;
        let described =
            module.call_method1("describe_failure", (error.clone_ref(py).into_value(py),))?;
        described.extract::<(String, String, String)>()
    };
    let (error_type, message, traceback) = describe().unwrap_or_else(|_| {
        let name = error.get_type(py).name().map_or("an exception".into(), |name| name.to_string());
        (name, "it cannot be described".to_owned(), String::new())
    });
    WorkerFailure { during, item, error_type, message, traceback }
}
