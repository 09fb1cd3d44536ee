//! One thing that a session is asked for, until it is there.
//!
//! Main type: [`PyTask`]. It is awaited on an asyncio loop, by [`poll`](PyTask::poll), or waited for on a
//! thread, by [`wait`](PyTask::wait); either way without the interpreter's lock. It does not begin
//! before that, and is given up when it is dropped. What can be asked for is `session`'s matter.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;

use crate::errors::Error;
use crate::host::{Host, call_python};
use crate::mailbox::{PyMailbox, Waiting};
use crate::signals::Signals;

/// What has come of it, as an object.
pub(crate) type Finish = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// What is worked on.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<Finish, Error>> + Send>>;

/// Something that is asked for.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Task")]
pub(crate) struct PyTask {
    host: &'static Host,
    /// `None` while a thread waits with it, and when it is done.
    work: Mutex<Option<Work>>,
    waiting: Mutex<Option<Waiting>>,
}

impl PyTask {
    pub(crate) fn new<T>(
        host: &'static Host,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
        finish: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
    ) -> Self
    where
        T: Send + 'static,
    {
        let work = async move {
            let outcome = work.await?;
            let finish = move |py: Python<'_>| finish(py, outcome).map(Bound::unbind);
            Ok(Box::new(finish) as Finish)
        };
        Self { host, work: Mutex::new(Some(Box::pin(work))), waiting: Mutex::default() }
    }

    fn work(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> PyResult<Work> {
        self.host.check()?;
        self.work().take().ok_or_else(|| {
            PyRuntimeError::new_err("this was waited for before, or another thread waits for it")
        })
    }
}

/// How waiting on a thread has ended.
enum Waited {
    Done(Result<Finish, Error>),
    Late,
    Raised(PyErr),
}

#[pymethods]
impl PyTask {
    /// What was asked for, or `waiter`, which the mailbox gives out when it is worth while to ask
    /// again.
    fn poll<'py>(
        &self,
        mailbox: &Bound<'py, PyMailbox>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = waiter.py();
        let mut work = self.take()?;
        let waiting = mailbox.get().wait_for(waiter);
        let waker = waiting.waker();
        let polled = {
            let _entered = self.host.tokio.enter();
            // Without a lock: it may call Python.
            work.as_mut().poll(&mut Context::from_waker(&waker))
        };
        let kept = if polled.is_pending() {
            *self.work() = Some(work);
            Some(waiting)
        } else {
            drop(work);
            None
        };
        let before = {
            let mut place = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, kept)
        };
        // Not under the lock: its end may run Python.
        drop(before);
        match polled {
            Poll::Pending => Ok(waiter.clone()),
            Poll::Ready(outcome) => Ok(outcome?(py)?.into_bound(py)),
        }
    }

    /// Gives it up. What it waits in line for goes to the next one.
    fn close(&self) {
        let work = self.work().take();
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Not under the locks: their end may run Python.
        drop((work, waiting));
    }

    /// What was asked for, after waiting for it on this thread, at most for `timeout` seconds: then it
    /// raises `TimeoutError`, and is given up. Handlers of signals run meanwhile; what they raise gives
    /// it up too.
    #[pyo3(signature = (timeout=None))]
    fn wait<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let mut work = self.take()?;
        let timeout = timeout.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)));
        let timeout = timeout.and_then(Result::ok);
        // Often it is there, or is soon, and waking this thread takes longer than that.
        let soon = py.detach(|| {
            let _entered = self.host.tokio.enter();
            let mut poll = || match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => Some(outcome),
                Poll::Pending => None,
            };
            poll().or_else(|| match timeout {
                Some(timeout) if timeout.is_zero() => None,
                _ => rm_core::spin_for(poll),
            })
        });
        if let Some(outcome) = soon {
            return Ok(outcome?(py)?.into_bound(py));
        }
        let signals = Signals::watch(py)?;
        let waited = py.detach(|| {
            self.host.tokio.block_on(async {
                let signals = match signals.events() {
                    Ok(signals) => signals,
                    Err(error) => return Waited::Done(Err(Error::Setup(error.into()))),
                };
                let late = async {
                    match timeout {
                        Some(timeout) => tokio::time::sleep(timeout).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::pin!(late);
                loop {
                    tokio::select! {
                        biased;
                        outcome = &mut work => break Waited::Done(outcome),
                        () = &mut late => break Waited::Late,
                        () = signals.next() => {
                            if let Err(error) = call_python(|py| py.check_signals()) {
                                break Waited::Raised(error);
                            }
                        }
                    }
                }
            })
        });
        signals.unwatch(py)?;
        match waited {
            Waited::Done(outcome) => Ok(outcome?(py)?.into_bound(py)),
            Waited::Raised(error) => Err(error),
            Waited::Late => Err(PyTimeoutError::new_err("it did not come in time")),
        }
    }
}
