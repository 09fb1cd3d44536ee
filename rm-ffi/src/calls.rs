//! A Python function that serves the calls of this worker's parent.
//!
//! Main function: [`serve_calls`], which `python -m remotemedia_runtime.worker calls` runs on its main
//! thread. Main type: [`PyRequest`], a call that came. How functions of each kind are called is decided
//! in Python (`remotemedia_runtime.worker.calls`); whatever way that goes, a call has exactly one end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rm_process::child::{self, ChildHandle, IncomingRequest, Responder, blocking};
use rm_process::value::DEFAULT_MAX_DEPTH;
use rm_process::{CallContext, PythonExecutionError, ServedFunction};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::callbacks::{self, PyCallContext};
use crate::errors::{MarshalingError, chain};
use crate::inputs::PyInputs;
use crate::mailbox::{Letter, PyMailbox, Waiting};
use crate::value;

/// Serves calls by the function that the parent names, until it lets this process go. Returns the exit
/// code.
///
/// # Errors
/// `RuntimeError` if the process was not started by a parent that calls it.
#[pyfunction]
pub(crate) fn serve_calls(py: Python<'_>) -> PyResult<u8> {
    let mailbox = Bound::new(py, PyMailbox::default())?;
    let letters = Arc::clone(&mailbox.get().inner);
    let connect = move || -> Result<blocking::Carrier, child::ChildError> {
        // One that was started by somebody else, such as a debugger, is that one's to end.
        if std::env::var_os(child::REQUEST_SOCKET_ENV).is_none()
            || std::env::var_os(child::CONTROL_FD_ENV).is_some()
        {
            child::die_with_parent()?;
        }
        blocking::carry::<Value>(move |request| {
            letters.put(Letter::Request(request.map(Box::new)));
        })
    };
    let connected = py.detach(connect);
    let carrier = connected.map_err(|error| PyRuntimeError::new_err(chain(&error)))?;
    let own = carrier.handle().clone();
    let served = serve(py, &carrier, &mailbox);
    if let Err(error) = &served {
        let failure = describe(py, error);
        // A parent that is gone needs no report.
        let _ = py.detach(|| own.failed_with(failure));
    }
    py.detach(|| drop(carrier));
    Ok(u8::from(served.is_err()))
}

fn serve(
    py: Python<'_>,
    carrier: &blocking::Carrier,
    mailbox: &Bound<'_, PyMailbox>,
) -> PyResult<()> {
    let own = carrier.handle();
    callbacks::install(py, own)?;
    let calls = py.import("remotemedia_runtime.worker.calls")?;
    let function = carrier.config::<ServedFunction>();
    let function = function.map_err(|error| PyRuntimeError::new_err(chain(&error)))?;
    let ServedFunction { module, function } = function.ok_or_else(|| {
        PyRuntimeError::new_err("the parent does not say which function to serve")
    })?;
    let served = calls.call_method1("load", (&module, &function))?;
    py.detach(|| own.ready()).map_err(|error| PyRuntimeError::new_err(chain(&error)))?;
    calls.call_method1("serve", (mailbox, served))?;
    Ok(())
}

/// Why this process does not get ready.
fn describe(py: Python<'_>, error: &PyErr) -> PythonExecutionError {
    let value = error.value(py);
    let field = |name| value.getattr(name).and_then(|field| field.extract::<String>());
    let (message, module) = (value.to_string(), field("module"));
    match (field("reason"), module, field("function")) {
        (Ok(message), Ok(module), Ok(function)) => {
            PythonExecutionError::FunctionNotFound { module, function, message }
        }
        (Ok(message), Ok(module), Err(_)) => {
            PythonExecutionError::ModuleNotFound { module, message }
        }
        _ => {
            error.print(py);
            let name = error.get_type(py).name();
            let exception = name.map_or_else(|_| String::new(), |name| name.to_string());
            PythonExecutionError::Raised { exception, message, traceback: String::new() }
        }
    }
}

type Sending =
    Pin<Box<dyn Future<Output = (Responder<Value>, Result<(), PythonExecutionError>)> + Send>>;

/// The answer to a call.
enum Answering {
    /// Nothing is on its way.
    Free(Responder<Value>),
    /// An item waits until it can be sent, or until that is given up.
    Sending(Sending, oneshot::Sender<()>),
    Over,
}

/// A call that came, and its answer.
#[pyclass(frozen, module = "remotemedia_runtime._native", name = "_Request")]
pub(crate) struct PyRequest {
    request: bytes::Bytes,
    context: CallContext,
    own: &'static ChildHandle,
    input: Mutex<Option<PyInputs>>,
    answering: Mutex<Answering>,
    /// Who waits for room for an item, and who for the end of interest.
    waiting: Mutex<[Option<Waiting>; 2]>,
    watch: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

const FOR_ROOM: usize = 0;
const FOR_THE_END: usize = 1;

impl PyRequest {
    pub(crate) fn new(mut request: IncomingRequest<Value>) -> PyResult<Self> {
        let own = callbacks::parent()?;
        let context = request.context();
        let input = request.take_input();
        let input = input.map(|input| PyInputs::new(input, context.deadline, own));
        Ok(Self {
            request: request.raw().clone(),
            context,
            own,
            input: Mutex::new(input),
            answering: Mutex::new(Answering::Free(request.into_responder())),
            waiting: Mutex::default(),
            watch: Mutex::default(),
        })
    }

    fn answering(&self) -> MutexGuard<'_, Answering> {
        self.answering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, which: usize, waiting: Option<Waiting>) {
        let before = {
            let mut places = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut places[which], waiting)
        };
        // Not under the lock: its end may run Python.
        drop(before);
    }

    /// Takes the answer, to end it. An item that is not sent by then is not sent any more.
    fn end(&self) -> Option<Responder<Value>> {
        // First, so that nobody is woken by the end itself.
        self.wait(FOR_THE_END, None);
        self.wait(FOR_ROOM, None);
        drop(self.watch.lock().unwrap_or_else(PoisonError::into_inner).take());
        match std::mem::replace(&mut *self.answering(), Answering::Over) {
            Answering::Free(responder) => Some(responder),
            Answering::Sending(mut sending, give_up) => {
                let _ = give_up.send(());
                match sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready((responder, _)) => Some(responder),
                    Poll::Pending => None,
                }
            }
            Answering::Over => None,
        }
    }

    fn fail(&self, failure: PythonExecutionError) {
        if let Some(responder) = self.end() {
            responder.finish(Some(failure));
        }
    }

    fn is_late(&self) -> bool {
        self.context.time_left().is_some_and(|left| left.is_zero())
    }

    /// An object as bytes; the call has failed where it has none.
    fn encode(&self, value: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
        match value::encode(value, "reply", DEFAULT_MAX_DEPTH) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_instance_of::<MarshalingError>(value.py()) => {
                let message = error.value(value.py()).to_string();
                self.fail(PythonExecutionError::Serialization { message });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

#[pymethods]
impl PyRequest {
    /// The request; `...` if it cannot be read, and the call has failed.
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match value::decode(py, &self.request, DEFAULT_MAX_DEPTH) {
            Ok(value) => value,
            Err(error) => {
                let message = format!("request: {}", error.value(py));
                self.fail(PythonExecutionError::Deserialization { message });
                py.Ellipsis().into_bound(py)
            }
        }
    }

    /// Until when, and in which trace; None where there is neither.
    #[getter]
    fn context(&self) -> Option<PyCallContext> {
        (self.context != CallContext::default()).then_some(PyCallContext(self.context))
    }

    /// Takes the items that follow the request, if there are such.
    fn take_inputs(&self) -> Option<PyInputs> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether nobody wants the answer any more.
    #[getter]
    fn is_over(&self) -> bool {
        self.is_late()
            || match &*self.answering() {
                Answering::Free(responder) => responder.is_cancelled(),
                Answering::Sending(..) => false,
                Answering::Over => true,
            }
    }

    /// Whether the call has no end yet.
    #[getter]
    fn is_open(&self) -> bool {
        !matches!(&*self.answering(), Answering::Over)
    }

    /// Has the mailbox give out `waiter` once nobody wants the answer any more.
    fn watch(&self, mailbox: &Bound<'_, PyMailbox>, waiter: &Bound<'_, PyAny>) {
        let cancelled = match &*self.answering() {
            Answering::Free(responder) => responder.cancelled(),
            _ => return,
        };
        let deadline = self.context.deadline;
        let mut watch: Pin<Box<dyn Future<Output = ()> + Send>> = match deadline {
            None => Box::pin(cancelled),
            Some(deadline) => {
                let _entered = self.own.enter();
                let late = tokio::time::sleep_until(deadline.into());
                Box::pin(async move {
                    tokio::select! {
                        () = cancelled => {}
                        () = late => {}
                    }
                })
            }
        };
        let waiting = mailbox.get().wait_for(waiter);
        let waker = waiting.waker();
        if watch.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = Some(watch);
        self.wait(FOR_THE_END, Some(waiting));
    }

    /// Answers with the one item, which ends the call.
    fn reply(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Some(item) = self.encode(value)?
            && let Some(responder) = self.end()
        {
            // What cannot be sent has failed the call.
            let _ = responder.reply_raw(item);
        }
        Ok(())
    }

    /// Sends an item of the answer. True if it is sent, False if the call is over, and `waiter` if there
    /// is no room yet: the mailbox gives that out when it is worth while to ask by `sent`.
    fn send<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        mailbox: &Bound<'py, PyMailbox>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.is_late() {
            self.fail(PythonExecutionError::DeadlineExceeded);
        }
        if let Some(item) = self.encode(value)? {
            let mut answering = self.answering();
            *answering = match std::mem::replace(&mut *answering, Answering::Over) {
                Answering::Free(responder) => {
                    let (give_up, given_up) = oneshot::channel();
                    let deadline = self.context.deadline;
                    Answering::Sending(Box::pin(send(responder, item, deadline, given_up)), give_up)
                }
                other => other,
            };
        }
        self.sent(mailbox, waiter)
    }

    /// Whether the item is sent, as `send` tells it.
    fn sent<'py>(
        &self,
        mailbox: &Bound<'py, PyMailbox>,
        waiter: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = waiter.py();
        let told = |truth: bool| Ok(truth.into_pyobject(py)?.to_owned().into_any());
        let mut waiting = None;
        let sent = {
            let mut answering = self.answering();
            let Answering::Sending(sending, _) = &mut *answering else {
                return told(matches!(&*answering, Answering::Free(_)));
            };
            let _entered = self.own.enter();
            let mut polled = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_pending() {
                let place = waiting.insert(mailbox.get().wait_for(waiter));
                polled = sending.as_mut().poll(&mut Context::from_waker(&place.waker()));
            }
            polled.map(|(responder, sent)| {
                *answering = Answering::Free(responder);
                sent
            })
        };
        self.wait(FOR_ROOM, waiting.filter(|_| sent.is_pending()));
        match sent {
            Poll::Pending => Ok(waiter.clone()),
            Poll::Ready(Ok(())) => told(true),
            Poll::Ready(Err(failure)) => {
                self.fail(failure);
                told(false)
            }
        }
    }

    /// Ends the call as complete.
    fn finish(&self) {
        if let Some(responder) = self.end() {
            responder.finish(None);
        }
    }

    /// Ends the call as given up: by its caller, or because its time is over.
    fn give_up(&self) {
        self.fail(match self.is_late() {
            true => PythonExecutionError::DeadlineExceeded,
            false => PythonExecutionError::Cancelled,
        });
    }

    /// Ends the call with an exception.
    fn raised(&self, exception: String, message: String, traceback: String) {
        self.fail(PythonExecutionError::Raised { exception, message, traceback });
    }
}

/// Sends an item, for as long as somebody wants it.
async fn send(
    mut responder: Responder<Value>,
    item: Vec<u8>,
    deadline: Option<std::time::Instant>,
    given_up: oneshot::Receiver<()>,
) -> (Responder<Value>, Result<(), PythonExecutionError>) {
    let late = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let sent = tokio::select! {
        biased;
        _ = given_up => Err(PythonExecutionError::Cancelled),
        sent = responder.send_raw(item) => sent,
        () = late => Err(PythonExecutionError::DeadlineExceeded),
    };
    (responder, sent)
}
