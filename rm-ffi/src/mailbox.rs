//! Where a Python thread, or an asyncio loop, hears of what it waits for.
//!
//! Main type: [`PyMailbox`]. Whoever finds that something has come puts it in without the
//! interpreter's lock; the thread it is for takes it out. A loop is woken by a socket that it watches,
//! so that no other thread needs the lock. What is waited for is `calls`' and `callbacks`' matter.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Wake, Waker};

use pyo3::prelude::*;
use pyo3::types::PyList;
use rm_process::child::IncomingRequest;

use crate::calls::PyRequest;

/// What comes.
pub(crate) enum Letter {
    /// A request to be served; `None` when no more will come.
    Request(Option<Box<IncomingRequest<serde_json::Value>>>),
    /// What was waited for under this number can go on.
    Woken(u64),
}

/// What the letters' senders see of a mailbox.
#[derive(Default)]
pub(crate) struct Letters {
    letters: Mutex<VecDeque<Letter>>,
    arrived: Condvar,
    /// By which a loop is woken: the end that is written, then the one that is read. None as long as
    /// no loop has asked.
    bell: OnceLock<(UnixStream, UnixStream)>,
}

impl Letters {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Letter>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, letter: Letter) {
        let was_empty = {
            let mut letters = self.lock();
            letters.push_back(letter);
            letters.len() == 1
        };
        if was_empty {
            match self.bell.get() {
                // One that is full is heard all the same.
                Some((write, _)) => drop((&*write).write(&[0])),
                None => self.arrived.notify_one(),
            }
        }
    }
}

/// Puts a number into a mailbox when it is woken, once and as long as it is armed.
struct Bell {
    mailbox: Arc<Letters>,
    number: u64,
    is_armed: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_armed.swap(false, Ordering::AcqRel) {
            self.mailbox.put(Letter::Woken(self.number));
        }
    }
}

/// The place in a mailbox of somebody who waits. Nobody waits any more when it is dropped.
pub(crate) struct Waiting {
    bell: Arc<Bell>,
    waiters: Arc<Mutex<HashMap<u64, Py<PyAny>>>>,
}

impl Waiting {
    pub(crate) fn waker(&self) -> Waker {
        Arc::clone(&self.bell).into()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bell.is_armed.store(false, Ordering::Release);
        let waiter = waiters(&self.waiters).remove(&self.bell.number);
        // Not under the lock: its end may run Python.
        drop(waiter);
    }
}

fn waiters(waiters: &Mutex<HashMap<u64, Py<PyAny>>>) -> MutexGuard<'_, HashMap<u64, Py<PyAny>>> {
    waiters.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mailbox of one thread, or of one asyncio loop.
#[pyclass(frozen, weakref, module = "remotemedia_runtime._native", name = "_Mailbox")]
#[derive(Default)]
pub(crate) struct PyMailbox {
    pub(crate) inner: Arc<Letters>,
    waiters: Arc<Mutex<HashMap<u64, Py<PyAny>>>>,
    newest: AtomicU64,
}

impl PyMailbox {
    /// Has `waiter` given out when the waker of the place is woken.
    pub(crate) fn wait_for(&self, waiter: &Bound<'_, PyAny>) -> Waiting {
        let number = self.newest.fetch_add(1, Ordering::Relaxed);
        waiters(&self.waiters).insert(number, waiter.clone().unbind());
        let mailbox = Arc::clone(&self.inner);
        let bell = Arc::new(Bell { mailbox, number, is_armed: AtomicBool::new(true) });
        Waiting { bell, waiters: Arc::clone(&self.waiters) }
    }

    /// What the letters mean to Python.
    fn open<'py>(
        &self,
        py: Python<'py>,
        letters: VecDeque<Letter>,
    ) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for letter in letters {
            match letter {
                Letter::Request(Some(request)) => list.append(PyRequest::new(*request)?)?,
                Letter::Request(None) => list.append(py.None())?,
                Letter::Woken(number) => {
                    let waiter = waiters(&self.waiters).remove(&number);
                    // Who has lost interest is not there any more.
                    if let Some(waiter) = waiter {
                        list.append(waiter)?;
                    }
                }
            }
        }
        Ok(list)
    }
}

#[pymethods]
impl PyMailbox {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The descriptor that is readable when something has come.
    fn fileno(&self) -> io::Result<i32> {
        if self.inner.bell.get().is_none() {
            let (write, read) = UnixStream::pair()?;
            write.set_nonblocking(true)?;
            read.set_nonblocking(true)?;
            // Under the lock, so that what comes meanwhile rings the one or the other.
            let letters = self.inner.lock();
            let (write, _) = self.inner.bell.get_or_init(|| (write, read));
            if !letters.is_empty() {
                (&*write).write_all(&[0])?;
            }
        }
        let (_, read) = self.inner.bell.get().expect("it was made above");
        Ok(read.as_raw_fd())
    }

    /// All that has come.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if let Some((_, read)) = self.inner.bell.get() {
            // Nothing to read means that it was read before.
            let _ = (&*read).read(&mut [0; 64]);
        }
        let letters = std::mem::take(&mut *self.inner.lock());
        self.open(py, letters)
    }

    /// All that has come, after waiting until something has.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let letters = py.detach(|| {
            // To wake this thread takes longer than most requests.
            rm_core::spin_for(|| (!self.inner.lock().is_empty()).then_some(()));
            let mut letters = self.inner.lock();
            while letters.is_empty() {
                letters = self.inner.arrived.wait(letters).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::take(&mut *letters)
        });
        self.open(py, letters)
    }
}
