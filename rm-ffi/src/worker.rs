//! The worker's loop: gives a Python node its items, and sends on what it makes.
//!
//! Main function: [`serve_worker`], which `python -m remotemedia_runtime.worker` calls on its main
//! thread and which returns the exit code. Whatever waits does so without the interpreter's lock.
//! How a node is called is [`Node`]'s; the connection to the session, and what becomes of an item on
//! which the node fails, is [`WorkerRuntime`]'s.

mod hooks;
mod send;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use rm_bridge::{Decision, FailedIn, Next, Phase as Time, WorkerRuntime, WorkerRuntimeError};
use rm_core::{DataHeader, NodeId, RuntimeData, TraceContext};
use rm_ipc::PublishError;
use rm_process::CallContext;

use crate::callbacks::{self, PyCallContext};
use crate::convert;
use crate::errors::chain;
use crate::node::{Node, describe, ends_process, is_transient};
use crate::python::generator_type;

use self::hooks::Present;
pub(crate) use self::hooks::{Desk, PyHooks};

pub(crate) type Shared = Arc<Mutex<WorkerRuntime>>;

fn lock(runtime: &Shared) -> MutexGuard<'_, WorkerRuntime> {
    runtime.lock().unwrap_or_else(PoisonError::into_inner)
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

/// By which ways items can come: what nodes see as their `input`, and its port.
struct Ways {
    of: Vec<Vec<Way>>,
    none: Py<PyAny>,
}

struct Way {
    input: Py<PyAny>,
    port: Option<Arc<str>>,
}

impl Ways {
    fn new(py: Python<'_>, runtime: &WorkerRuntime) -> PyResult<Self> {
        let input = py.import("remotemedia")?.getattr("Input")?;
        let input_of = |from: Option<&str>, port: Option<&str>| -> PyResult<_> {
            Ok(input.call1((from, port))?.unbind())
        };
        let of = runtime.config().inputs.iter().map(|input| {
            let from = input.from.as_ref().map(NodeId::as_str);
            let none = [None];
            let ports = if input.ports.is_empty() { &none[..] } else { &input.ports };
            let way = |port: &Option<String>| {
                let port = port.as_deref();
                Ok::<_, PyErr>(Way { input: input_of(from, port)?, port: port.map(Arc::from) })
            };
            ports.iter().map(way).collect()
        });
        Ok(Self { of: of.collect::<PyResult<_>>()?, none: input_of(None, None)? })
    }

    fn of(&self, input: usize, port: usize) -> &Way {
        &self.of[input][port]
    }
}

struct Worker<'py> {
    py: Python<'py>,
    runtime: Shared,
    desk: Arc<Desk>,
    /// How long an item may take.
    timeout: Option<Duration>,
    /// Whether it is recorded on what the time of items goes.
    timed: bool,
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
    let desk = Arc::new(Desk::new(runtime.cancellation()));
    let (timeout, timed) = (runtime.config().policy.timeout, runtime.is_timed());
    let worker = Worker { py, runtime: Arc::new(Mutex::new(runtime)), desk, timeout, timed };
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
    // Before the node cleans up: for that it has no longer than the session waits for its process.
    let finished = ended.map(|()| worker.detached(WorkerRuntime::finish).map_err(Broken::from));
    if let Some(node) = node {
        node.cleanup();
    }
    match finished {
        Ok(Ok(())) => worker.detached(|runtime| runtime.wait_for_stop()),
        Ok(Err(Broken::Worker(error))) => {
            eprintln!("error: {}", chain(&error));
            return Ok(1);
        }
        // The session ended meanwhile, or the node failed.
        Ok(Err(_)) | Err(_) => {}
    }
    Ok(code)
}

impl<'py> Worker<'py> {
    /// Calls the runtime without the interpreter's lock.
    fn detached<T: Send>(&self, call: impl FnOnce(&mut WorkerRuntime) -> T + Send) -> T {
        let runtime = &self.runtime;
        self.py.detach(|| call(&mut lock(runtime)))
    }

    /// Notes what the time of the item in work went on until now.
    fn mark(&self, time: Time) {
        if self.timed {
            lock(&self.runtime).mark(time);
        }
    }

    fn work(&self, slot: &mut Option<Node<'py>>) -> Result<(), Broken> {
        let load = Phase { during: FailedIn::Load, item: None };
        let ways = Ways::new(self.py, &lock(&self.runtime)).map_err(load.failed())?;
        let node = slot.insert(self.load().map_err(load.failed())?);
        let initialize = Phase { during: FailedIn::Initialize, item: None };
        node.initialize().map_err(initialize.failed())?;
        self.detached(|runtime| runtime.ready())?;
        let mut is_done = false;
        loop {
            // Both at once: the lock may be long in coming back.
            let next = self.detached(|runtime| {
                if is_done {
                    runtime.done()?;
                }
                runtime.next_step()
            })?;
            is_done = false;
            self.mark(Time::Gil);
            match next {
                Next::Item { data, index, input, port } => {
                    is_done = self.work_on(node, data, index, ways.of(input, port))?;
                }
                Next::SetParams(change) => {
                    self.desk.put(None);
                    match node.change_params(change.params()) {
                        Ok(()) => change.accept(),
                        Err(error) => change.refuse(error.to_string()),
                    }
                }
                Next::Flush => {
                    self.desk.put(None);
                    let flush = Phase { during: FailedIn::Process, item: None };
                    node.flush().map_err(flush.failed())?;
                }
                Next::End => break,
                Next::Stop => return Err(Broken::Stopped),
            }
        }
        let finish = Phase { during: FailedIn::Finish, item: None };
        self.desk.put(None);
        node.set_input(&ways.none).map_err(finish.failed())?;
        self.call(finish, None, || node.finish())
    }

    /// Makes the node.
    fn load(&self) -> PyResult<Node<'py>> {
        let (config, own) = {
            let runtime = lock(&self.runtime);
            (runtime.config().clone(), runtime.handle().clone())
        };
        let class = config.class.unwrap_or_else(|| config.node_type.as_str().into());
        let (runtime, desk) = (Some(self.runtime.clone()), Arc::clone(&self.desk));
        let hooks = PyHooks { runtime, own, desk };
        // No lock is held: the class's own code may ask for a loan.
        if let Some(port) = config.debug {
            let module = self.py.import("remotemedia_runtime.worker.debug")?;
            module.call_method1("wait", (port, hooks.clone()))?;
        }
        Node::load(
            self.py,
            &class,
            &config.params,
            config.node_id.as_str(),
            config.session_id.as_str(),
            config.base_dir.as_deref(),
            hooks,
        )
    }

    /// Gives the node an item as often as it takes, until it is done or left out: `true` if it is done,
    /// which is still to be told.
    fn work_on(
        &self,
        node: &Node<'py>,
        data: RuntimeData,
        index: u64,
        way: &Way,
    ) -> Result<bool, Broken> {
        let phase = Phase { during: FailedIn::Process, item: Some(index) };
        let (header, payload) = data.into_parts();
        let give = || {
            let present = Present::new(&header, self.timeout, way.port.clone());
            self.desk.put(Some(present));
            node.set_input(&way.input)?;
            convert::to_python(self.py, &header.metadata, payload.clone())
        };
        loop {
            let outcome = give().map_err(phase.failed());
            self.mark(Time::Convert);
            let outcome =
                outcome.and_then(|item| self.call(phase, Some(&header), || node.process(item)));
            let (during, item, error) = match outcome {
                Ok(()) => return Ok(true),
                Err(Broken::Node(during, item, error)) if !ends_process(self.py, &error) => {
                    (during, item, error)
                }
                Err(broken) => return Err(broken),
            };
            let failure = describe(self.py, during, item, &error);
            let transient = is_transient(self.py, &error);
            match self.detached(|runtime| runtime.failed(&failure, transient))? {
                Decision::Retry => self.mark(Time::Gil),
                Decision::Next => return Ok(false),
                Decision::Fail => return Err(Broken::Node(during, item, error)),
            }
        }
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
        self.mark(Time::Compute);
        let result = result.map_err(phase.failed())?;
        let generators = generator_type(self.py).map_err(phase.failed())?;
        if result.get_type().is(generators) {
            let mut results = result.try_iter().map_err(phase.failed())?;
            loop {
                let began = Instant::now();
                let item = results.next();
                took += began.elapsed();
                self.mark(Time::Compute);
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

    /// Tells the session how the node failed, which says so itself; without one, whoever reads this
    /// process's output.
    fn report(&self, during: FailedIn, item: Option<u64>, error: &PyErr) {
        let failure = describe(self.py, during, item, error);
        let text = failure.to_string();
        if self.detached(|runtime| runtime.fail(failure)).is_err() {
            eprintln!("{text}");
        }
    }
}
