//! Every error of the runtime as a Python exception. The one place where the two meet.
//!
//! Main type: [`Error`], into which the errors of the other crates convert, and which converts into
//! an exception of `remotemedia_runtime.errors`. The exceptions themselves are defined in Python.

use std::error::Error as StdError;

use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;
use rm_bridge::{
    ExitReason, FailedIn, FailureReport, ProcessError, StageError, WorkerError, WorkerFailure,
};
use rm_core::{DataError, NodeError, NodeId};
use rm_process::{PythonExecutionError, SubprocessIpcBackendError};
use rm_session::{
    InputError, ManifestError, OverrideError, ParamsError, PlanError, Problem, ProblemKind,
    SessionError,
};

import_exception!(remotemedia_runtime.errors, CycleError);
import_exception!(remotemedia_runtime.errors, MarshalingError);
import_exception!(remotemedia_runtime.errors, NodeNotFound);

mod python {
    use pyo3::import_exception;

    import_exception!(remotemedia_runtime.errors, CallbackError);
    import_exception!(remotemedia_runtime.errors, CallbackNotFound);
    import_exception!(remotemedia_runtime.errors, CallbackTimeout);
    import_exception!(remotemedia_runtime.errors, GraphError);
    import_exception!(remotemedia_runtime.errors, InitializationTimeout);
    import_exception!(remotemedia_runtime.errors, InputError);
    import_exception!(remotemedia_runtime.errors, ItemTimeout);
    import_exception!(remotemedia_runtime.errors, ManifestError);
    import_exception!(remotemedia_runtime.errors, NodeClassNotFound);
    import_exception!(remotemedia_runtime.errors, NodeExecutionError);
    import_exception!(remotemedia_runtime.errors, NodeParameterError);
    import_exception!(remotemedia_runtime.errors, ParameterError);
    import_exception!(remotemedia_runtime.errors, ParentGone);
    import_exception!(remotemedia_runtime.errors, ProcessCrashError);
    import_exception!(remotemedia_runtime.errors, ProcessLimitError);
    import_exception!(remotemedia_runtime.errors, ProcessSpawnError);
    import_exception!(remotemedia_runtime.errors, PythonError);
    import_exception!(remotemedia_runtime.errors, ResourceLimitError);
    import_exception!(remotemedia_runtime.errors, SessionError);
    import_exception!(remotemedia_runtime.errors, SessionNameError);
}

/// Whatever a call from Python can fail of.
#[derive(Debug)]
pub(crate) enum Error {
    /// There is no manifest.
    Manifest(ManifestError),
    /// It cannot be run.
    Plan(PlanError),
    /// A parameter given beside it is none.
    Override(OverrideError),
    /// It did not run to its end.
    Session(SessionError),
    /// An item did not get in.
    Input(InputError),
    /// A node does not have its new parameters.
    Params(ParamsError),
    /// An item is not what it should be.
    Data(DataError),
    /// The machine refused something that every run needs.
    Setup(Box<dyn StdError + Send + Sync>),
    /// Python itself raised.
    Python(PyErr),
}

macro_rules! from {
    ($($source:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$source> for Error {
            fn from(source: $source) -> Self {
                Self::$variant(source)
            }
        })+
    };
}

from! {
    ManifestError => Manifest,
    PlanError => Plan,
    OverrideError => Override,
    SessionError => Session,
    InputError => Input,
    ParamsError => Params,
    DataError => Data,
    PyErr => Python,
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            // Not the manifest's fault, but that of what was given beside it.
            Error::Manifest(error @ ManifestError::NoSuchNode { .. }) => {
                PyValueError::new_err(chain(&error))
            }
            Error::Manifest(error) => match &error {
                ManifestError::Invalid(problems) => of_problems(problems, chain(&error)),
                _ => python::ManifestError::new_err(chain(&error)),
            },
            Error::Plan(error) => of_problems(error.problems(), chain(&error)),
            Error::Override(error) => PyValueError::new_err(chain(&error)),
            Error::Session(error) => of_session(&error),
            Error::Input(error) => of_input(&error),
            Error::Params(error) => of_params(&error),
            Error::Data(error) => MarshalingError::new_err(chain(&error)),
            Error::Setup(error) => python::SessionError::new_err(chain(error.as_ref())),
            Error::Python(error) => error,
        }
    }
}

/// The exception that says most about a list of problems.
fn of_problems(problems: &[Problem], message: String) -> PyErr {
    let any = |kind| problems.iter().any(|problem| problem.kind == kind);
    let is_of_graph = |problem: &Problem| {
        use ProblemKind::{
            Connection, DanglingConnection, DataType, DuplicateConnection, Port, SelfConnection,
        };
        matches!(
            problem.kind,
            Connection
                | DanglingConnection
                | DataType
                | DuplicateConnection
                | Port
                | SelfConnection
        )
    };
    if any(ProblemKind::UnknownNodeType) {
        NodeNotFound::new_err(message)
    } else if any(ProblemKind::Cycle) {
        CycleError::new_err(message)
    } else if problems.iter().all(|problem| problem.kind == ProblemKind::Parameter) {
        python::ParameterError::new_err(message)
    } else if problems.iter().all(is_of_graph) {
        python::GraphError::new_err(message)
    } else {
        python::ManifestError::new_err(message)
    }
}

/// The exception for an item that did not get in.
fn of_input(error: &InputError) -> PyErr {
    let message = chain(error);
    match error {
        InputError::NoInput => python::GraphError::new_err(message),
        InputError::NoSuchInput { .. } => NodeNotFound::new_err(message),
        InputError::TooLarge { .. } => MarshalingError::new_err(message),
        _ => python::SessionError::new_err(message),
    }
}

/// The exception for a node that does not have its new parameters.
fn of_params(error: &ParamsError) -> PyErr {
    let message = chain(error);
    match error {
        ParamsError::NoSuchNode { .. } => NodeNotFound::new_err(message),
        ParamsError::NotRunning { .. } => python::SessionError::new_err(message),
        _ => python::ParameterError::new_err(message),
    }
}

/// The exception for a run that failed, with the node that it failed of and all that is known.
fn of_session(error: &SessionError) -> PyErr {
    let message = chain(error);
    let exception = match error {
        SessionError::Stage(_) => python::NodeExecutionError::new_err(message),
        SessionError::Node { failure, .. } => {
            let exception = match (failure.during, &*failure.error_type) {
                (FailedIn::Load, "LoadError") => python::NodeClassNotFound::new_err(message),
                (FailedIn::Load, "ParameterError") => python::NodeParameterError::new_err(message),
                _ => python::PythonError::new_err(message),
            };
            with_failure(exception, failure)
        }
        SessionError::Crashed { report, .. } => {
            let exit = report.exit.as_ref();
            let limited =
                exit.is_some_and(|exit| matches!(exit.reason, ExitReason::ResourceLimit { .. }));
            let exception = match limited {
                true => python::ProcessLimitError::new_err(message),
                false => python::ProcessCrashError::new_err(message),
            };
            with_report(exception, report)
        }
        SessionError::TooManyProcesses { .. }
        | SessionError::RuntimeFull { .. }
        | SessionError::TooManySessions { .. } => python::ResourceLimitError::new_err(message),
        SessionError::InitTimeout { report, .. } => {
            with_report(python::InitializationTimeout::new_err(message), report)
        }
        SessionError::ItemTimeout { report, item, .. } => {
            let exception = with_report(python::ItemTimeout::new_err(message), report);
            with(with(exception, "item", *item), "reason", "timeout")
        }
        SessionError::Worker(WorkerError::Start { source, .. }) => {
            let exception = python::ProcessSpawnError::new_err(message);
            match &**source {
                ProcessError::EarlyExit { report } | ProcessError::InitTimeout { report } => {
                    with_report(exception, report)
                }
                _ => exception,
            }
        }
        SessionError::Worker(WorkerError::Control { .. }) => {
            python::ProcessCrashError::new_err(message)
        }
        SessionError::Id(_) | SessionError::Exists { .. } => {
            python::SessionNameError::new_err(message)
        }
        SessionError::NoInput => python::GraphError::new_err(message),
        _ => python::SessionError::new_err(message),
    };
    match node_of(error) {
        Some(node) => with(exception, "node_id", node),
        None => exception,
    }
}

/// The exception for a native node that failed outside of a session.
pub(crate) fn of_native_node(node: &NodeId, action: &str, error: &NodeError) -> PyErr {
    let message = format!("node {node} failed to {action}: {}", chain(error));
    let exception = with(python::NodeExecutionError::new_err(message), "node_id", node.as_str());
    with(exception, "transient", error.is_transient())
}

/// The exception for a callback that failed.
pub(crate) fn of_callback(error: &SubprocessIpcBackendError) -> PyErr {
    use SubprocessIpcBackendError as Error;
    let message = chain(error);
    let exception = match error {
        Error::Remote(PythonExecutionError::NoSuchCallback { .. }) => {
            python::CallbackNotFound::new_err(message)
        }
        Error::DeadlineExceeded { .. } | Error::Remote(PythonExecutionError::DeadlineExceeded) => {
            python::CallbackTimeout::new_err(message)
        }
        Error::ProcessEnded { .. } | Error::Closed | Error::ShuttingDown | Error::Protocol(_) => {
            python::ParentGone::new_err(message)
        }
        _ => python::CallbackError::new_err(message),
    };
    with_remote(exception, error)
}

/// The exception for inputs that end before they are complete.
pub(crate) fn of_inputs(error: &SubprocessIpcBackendError) -> PyErr {
    with_remote(python::InputError::new_err(chain(error)), error)
}

/// The exception with what the other process said.
fn with_remote(exception: PyErr, error: &SubprocessIpcBackendError) -> PyErr {
    use PythonExecutionError as Failure;
    let Some(failure) = error.remote() else { return exception };
    let (error_type, message, traceback) = match failure {
        Failure::Raised { exception, message, traceback } => {
            let traceback = Some(traceback.trim_end()).filter(|text| !text.is_empty());
            (&**exception, message.clone(), traceback)
        }
        Failure::Handler { error_type, message } => (&**error_type, message.clone(), None),
        failure => (failure.name(), failure.to_string(), None),
    };
    let exception = with(exception, "error_type", error_type);
    let exception = with(exception, "message", message);
    with(exception, "traceback", traceback)
}

fn node_of(error: &SessionError) -> Option<&str> {
    match error {
        SessionError::Stage(StageError::Publish { node, .. })
        | SessionError::Worker(
            WorkerError::Start { node, .. } | WorkerError::Control { node, .. },
        ) => Some(node),
        error => error.node().map(NodeId::as_str),
    }
}

/// The exception with how the node failed.
fn with_failure(exception: PyErr, failure: &WorkerFailure) -> PyErr {
    let exception = with(exception, "during", failure.during.name());
    let exception = with(exception, "item", failure.item);
    let exception = with(exception, "error_type", &*failure.error_type);
    let traceback = Some(failure.traceback.trim_end()).filter(|text| !text.is_empty());
    with(exception, "traceback", traceback)
}

/// The exception with how the process ended and what was found out about that.
fn with_report(exception: PyErr, report: &FailureReport) -> PyErr {
    let exit = report.exit.as_ref();
    let mut exception = with(exception, "exit_code", exit.and_then(|exit| exit.code));
    exception = with(exception, "signal", exit.and_then(|exit| exit.signal));
    exception = with(exception, "reason", exit.map(|exit| exit.reason.to_string()));
    exception = with(exception, "item", report.end.item.map(|item| item.item));
    exception = with(exception, "traceback", report.traceback());
    exception = with(exception, "stdout", &*report.stdout_tail);
    exception = with(exception, "stderr", &*report.stderr_tail);
    with(exception, "report", report.to_string())
}

/// The exception with an attribute set.
fn with<'a, T>(exception: PyErr, name: &str, value: T) -> PyErr
where
    T: for<'py> IntoPyObject<'py> + 'a,
{
    let set = Python::attach(|py| exception.value(py).setattr(name, value));
    // Attributes of our own exceptions can be set; should Python refuse, that is what is raised.
    set.err().unwrap_or(exception)
}

/// An error's message with those of its causes, each said once.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}
