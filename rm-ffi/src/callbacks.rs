//! Callbacks: what Python code in a worker calls in the parent process.
//!
//! Main type: [`PyCall`], one call, which is polled for an asyncio loop or waited for on a thread. The
//! modules and functions that users see are made of it in Python (`remotemedia_runtime._callbacks`);
//! the connection is `rm_process`'s.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use rm_process::child::ChildHandle;
use rm_process::value::DEFAULT_MAX_DEPTH;
use rm_process::{CallContext, RawReplies, SubprocessIpcBackendError};
use tokio::sync::Notify;

use crate::errors;
use crate::mailbox::{PyMailbox, Waiting};
use crate::value;

/// What a request is called in errors.
const ROOT: &str = "request";

/// The connection to the parent of this worker.
static PARENT: OnceLock<ChildHandle> = OnceLock::new();

/// Lets the Python code of this worker call what its parent has told. Called once, before any code of
/// users is imported.
pub(crate) fn install(py: Python<'_>, own: &ChildHandle) -> PyResult<()> {
    let own = PARENT.get_or_init(|| own.clone());
    let (paths, stubs) = (own.callbacks().paths().to_vec(), own.callbacks().stubs());
    module(py)?.call_method1("install", (paths, stubs))?;
    Ok(())
}

/// Python's half.
pub(crate) fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "remotemedia_runtime._callbacks"))
}

/// The connection to the parent.
///
/// # Errors
/// `RuntimeError` where there is none.
pub(crate) fn parent() -> PyResult<&'static ChildHandle> {
    PARENT.get().ok_or_else(|| PyRuntimeError::new_err("this process is no worker"))
}

/// Until when, and in which trace, a request is served; what callbacks made meanwhile inherit.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_CallContext")]
#[derive(Clone, Copy)]
pub(crate) struct PyCallContext(pub(crate) CallContext);

#[pymethods]
impl PyCallContext {
    /// The trace as a `traceparent` header, if there is one.
    #[getter]
    fn traceparent(&self) -> Option<String> {
        self.0.trace.map(|trace| trace.to_string())
    }

    /// Seconds until the deadline, if there is one.
    #[getter]
    fn time_left(&self) -> Option<f64> {
        self.0.time_left().map(|left| left.as_secs_f64())
    }
}

type Begun = Pin<Box<dyn Future<Output = Result<RawReplies, SubprocessIpcBackendError>> + Send>>;

enum State {
    New { path: String, request: Bytes, context: CallContext },
    Beginning(Begun),
    Running(RawReplies),
    Over,
}

impl State {
    fn poll_next(
        &mut self,
        own: &'static ChildHandle,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, SubprocessIpcBackendError>>> {
        loop {
            match self {
                Self::New { .. } => {
                    let Self::New { path, request, context } = std::mem::replace(self, Self::Over)
                    else {
                        unreachable!("it was looked at");
                    };
                    let begin = async move { own.callbacks().raw(&path, request, context).await };
                    *self = Self::Beginning(Box::pin(begin));
                }
                Self::Beginning(begun) => match std::task::ready!(begun.as_mut().poll(context)) {
                    Ok(replies) => *self = Self::Running(replies),
                    Err(error) => {
                        *self = Self::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Self::Running(replies) => {
                    let item = std::task::ready!(replies.poll_next(context));
                    if !matches!(item, Some(Ok(_))) {
                        *self = Self::Over;
                    }
                    return Poll::Ready(item);
                }
                Self::Over => return Poll::Ready(None),
            }
        }
    }
}

/// A callback: not made before its first item is asked for, and cancelled when it is dropped.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Call")]
pub(crate) struct PyCall {
    own: &'static ChildHandle,
    /// `None` while a thread waits with it.
    state: Mutex<Option<State>>,
    /// Tells a thread that waits that the call is closed.
    closed: Notify,
    waiting: Mutex<Option<Waiting>>,
}

impl PyCall {
    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The item as an object; `...` at the end.
    fn item<'py>(
        py: Python<'py>,
        item: Option<Result<Bytes, SubprocessIpcBackendError>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match item {
            Some(Ok(item)) => value::decode(py, &item, DEFAULT_MAX_DEPTH),
            Some(Err(error)) => Err(errors::of_callback(&error)),
            None => Ok(py.Ellipsis().into_bound(py)),
        }
    }
}

fn busy() -> PyErr {
    PyRuntimeError::new_err("another thread waits for this call")
}

#[pymethods]
impl PyCall {
    #[new]
    #[pyo3(signature = (path, request, context, traceparent))]
    fn new(
        path: String,
        request: &Bound<'_, PyAny>,
        context: Option<PyRef<'_, PyCallContext>>,
        traceparent: Option<&str>,
    ) -> PyResult<Self> {
        let own = parent()?;
        let request = value::encode(request, ROOT, DEFAULT_MAX_DEPTH)?;
        let mut context = context.map_or_else(CallContext::default, |context| context.0);
        // One that is none begins a trace of its own, as the standard wants it.
        context.trace = traceparent.and_then(|text| text.parse().ok()).or(context.trace);
        let state = State::New { path, request: request.into(), context };
        Ok(Self {
            own,
            state: Mutex::new(Some(state)),
            closed: Notify::new(),
            waiting: Mutex::default(),
        })
    }

    /// The next item, `...` at the end, or `waiter`, which the mailbox gives out when it is worth
    /// while to ask again.
    fn poll<'py>(
        &self,
        mailbox: &Bound<'py, PyMailbox>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let waiting = mailbox.get().wait_for(waiter);
        let waker = waiting.waker();
        let item = {
            let _entered = self.own.enter();
            let mut state = self.state();
            let state = state.as_mut().ok_or_else(busy)?;
            state.poll_next(self.own, &mut Context::from_waker(&waker))
        };
        let is_pending = item.is_pending();
        let before = {
            let mut place = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, is_pending.then_some(waiting))
        };
        // Not under the lock: its end may run Python.
        drop(before);
        match item {
            Poll::Pending => Ok(waiter.clone()),
            Poll::Ready(item) => Self::item(waiter.py(), item),
        }
    }

    /// The next item, or `...` at the end, after waiting for it on this thread.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut state = self.state().take().ok_or_else(busy)?;
        let item = py.detach(|| {
            let next = std::future::poll_fn(|context| state.poll_next(self.own, context));
            let item = self.own.block_on(async {
                tokio::select! {
                    biased;
                    item = next => Some(item),
                    () = self.closed.notified() => None,
                }
            });
            let was_closed = item.is_none();
            *self.state() = Some(if was_closed { State::Over } else { state });
            item.flatten()
        });
        Self::item(py, item)
    }

    /// Gives the call up, here and in the parent.
    fn close(&self) {
        let mut state = self.state();
        let before = match &mut *state {
            Some(state) => Some(std::mem::replace(state, State::Over)),
            None => {
                self.closed.notify_one();
                None
            }
        };
        drop(state);
        drop(before);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(waiting);
    }
}
