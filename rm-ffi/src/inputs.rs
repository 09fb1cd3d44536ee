//! The items that follow a request, as a Python function sees them.
//!
//! Main type: [`PyInputs`], a plain and an asynchronous iterator at once; for the latter it is wrapped
//! in Python (`remotemedia_runtime.worker.calls`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rm_process::child::{ChildHandle, InputStream};
use rm_process::value::DEFAULT_MAX_DEPTH;
use rm_process::{PythonExecutionError, SubprocessIpcBackendError};

use crate::errors;
use crate::mailbox::{PyMailbox, Waiting};
use crate::value;

type Item = Option<Result<Bytes, SubprocessIpcBackendError>>;

/// The items that follow a request.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Inputs")]
pub(crate) struct PyInputs {
    /// `None` while a thread waits with it.
    stream: Mutex<Option<InputStream>>,
    deadline: Option<Instant>,
    own: &'static ChildHandle,
    waiting: Mutex<Option<Waiting>>,
}

impl PyInputs {
    pub(crate) fn new(
        stream: InputStream,
        deadline: Option<Instant>,
        own: &'static ChildHandle,
    ) -> Self {
        Self { stream: Mutex::new(Some(stream)), deadline, own, waiting: Mutex::default() }
    }

    fn stream(&self) -> MutexGuard<'_, Option<InputStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The item as an object, if there is one.
    fn item(py: Python<'_>, item: Item) -> PyResult<Option<Bound<'_, PyAny>>> {
        match item {
            Some(Ok(item)) => value::decode(py, &item, DEFAULT_MAX_DEPTH).map(Some),
            Some(Err(error)) => Err(errors::of_inputs(&error)),
            None => Ok(None),
        }
    }
}

fn busy() -> PyErr {
    PyRuntimeError::new_err("another thread waits for these inputs")
}

#[pymethods]
impl PyInputs {
    fn __iter__(own: PyRef<'_, Self>) -> PyRef<'_, Self> {
        own
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut stream = self.stream().take().ok_or_else(busy)?;
        let item = py.detach(|| {
            let item = self.own.block_on(async {
                match self.deadline {
                    Some(deadline) => {
                        let next = tokio::time::timeout_at(deadline.into(), stream.next_raw());
                        let late = PythonExecutionError::DeadlineExceeded;
                        let late = Some(Err(SubprocessIpcBackendError::Remote(late)));
                        next.await.unwrap_or(late)
                    }
                    None => stream.next_raw().await,
                }
            });
            *self.stream() = Some(stream);
            item
        });
        Self::item(py, item)
    }

    /// The next item, `...` at the end, or `waiter`, which the mailbox gives out when it is worth
    /// while to ask again. A deadline is for who awaits this.
    fn poll<'py>(
        &self,
        mailbox: &Bound<'py, PyMailbox>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = waiter.py();
        let waiting = mailbox.get().wait_for(waiter);
        let waker = waiting.waker();
        let item = {
            let mut stream = self.stream();
            let stream = stream.as_mut().ok_or_else(busy)?;
            let next = std::pin::pin!(stream.next_raw());
            next.poll(&mut Context::from_waker(&waker))
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
            Poll::Ready(item) => {
                Ok(Self::item(py, item)?.unwrap_or_else(|| py.Ellipsis().into_bound(py)))
            }
        }
    }
}
