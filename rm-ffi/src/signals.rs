//! Lets signals for Python end a wait in Rust.
//!
//! Main type: [`Signals`]. While it watches, the interpreter writes a byte into a socket for every
//! signal that it has a handler for (`signal.set_wakeup_fd`). Only the main thread runs handlers;
//! on other threads nothing is watched. What the handlers do is not decided here.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Error;

struct Watch {
    read: UnixStream,
    /// The interpreter's end, open until it is told otherwise.
    _write: UnixStream,
    /// Who was told of signals before; -1 for nobody.
    before: i32,
    /// What has been read, to be passed on to whoever was told before.
    heard: Mutex<Vec<u8>>,
}

/// The interpreter's signals, for as long as it is watched.
pub(crate) struct Signals {
    watch: Option<Watch>,
}

fn set_wakeup_fd(py: Python<'_>, fd: i32) -> PyResult<i32> {
    let options = PyDict::new(py);
    options.set_item("warn_on_full_buffer", false)?;
    py.import("signal")?.call_method("set_wakeup_fd", (fd,), Some(&options))?.extract()
}

fn socket_pair() -> io::Result<(UnixStream, UnixStream)> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    write.set_nonblocking(true)?;
    Ok((read, write))
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let (main, current) =
        (threading.call_method0("main_thread")?, threading.call_method0("current_thread")?);
    Ok(main.is(&current))
}

impl Signals {
    /// Begins to watch, and runs the handlers of signals that have come already.
    pub(crate) fn watch(py: Python<'_>) -> PyResult<Self> {
        if !is_main_thread(py)? {
            return Ok(Self { watch: None });
        }
        let (read, write) = socket_pair().map_err(|error| Error::Setup(error.into()))?;
        let before = set_wakeup_fd(py, write.as_raw_fd())?;
        let signals = Self {
            watch: Some(Watch { read, _write: write, before, heard: Mutex::new(Vec::new()) }),
        };
        match py.check_signals() {
            Ok(()) => Ok(signals),
            Err(error) => {
                signals.unwatch(py)?;
                Err(error)
            }
        }
    }

    /// Ends watching, and passes on what was heard meanwhile.
    pub(crate) fn unwatch(mut self, py: Python<'_>) -> PyResult<()> {
        let Some(watch) = self.watch.take() else { return Ok(()) };
        set_wakeup_fd(py, watch.before)?;
        let heard = watch.heard.into_inner().unwrap_or_else(PoisonError::into_inner);
        if watch.before >= 0 && !heard.is_empty() {
            // Whoever was told before may be gone or full, as with the interpreter's own writes.
            let _ = py.import("os")?.call_method1("write", (watch.before, &heard[..]));
        }
        Ok(())
    }

    /// Whether signals have come since this was last asked.
    pub(crate) fn have_come(&self) -> bool {
        let Some(watch) = &self.watch else { return false };
        let mut bytes = [0; 64];
        // Nothing to read is an error too.
        let Ok(count) = (&watch.read).read(&mut bytes) else { return false };
        let mut heard = watch.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.extend(&bytes[..count]);
        true
    }

    /// The signals as events. To be called in the context of a tokio runtime.
    pub(crate) fn events(&self) -> io::Result<SignalEvents<'_>> {
        let Some(watch) = &self.watch else {
            return Ok(SignalEvents { watch: None });
        };
        let read = tokio::net::UnixStream::from_std(watch.read.try_clone()?)?;
        Ok(SignalEvents { watch: Some((watch, read)) })
    }
}

impl Drop for Signals {
    /// What unwinds past [`unwatch`](Self::unwatch) must not leave the interpreter a closed descriptor.
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            let _ = Python::attach(|py| set_wakeup_fd(py, watch.before));
        }
    }
}

/// The events of [`Signals`].
pub(crate) struct SignalEvents<'a> {
    watch: Option<(&'a Watch, tokio::net::UnixStream)>,
}

impl SignalEvents<'_> {
    /// Waits until a signal has come.
    pub(crate) async fn next(&self) {
        let Some((watch, read)) = &self.watch else {
            return std::future::pending().await;
        };
        let mut bytes = [0; 64];
        loop {
            // The other end is open as long as this one, so neither waiting nor reading fails.
            if read.readable().await.is_ok()
                && let Ok(count) = read.try_read(&mut bytes)
            {
                let mut heard = watch.heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.extend(&bytes[..count]);
                return;
            }
        }
    }
}
