//! Starting what is served, and watching that nothing hangs.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use rm_process::callback::DynamicCallbackModule;
use rm_process::{
    BackendOptions, KameoChildProcessMessage, ProcessManager, PythonExecutionError, PythonHandler,
    SubprocessIpcBackend, SubprocessIpcBackendError,
};
use serde_json::Value;

/// Names the interpreter.
const PYTHON: &str = "REMOTEMEDIA_TEST_PYTHON";

/// Against hangs only: an interpreter that imports its modules on a busy machine takes seconds.
pub const WATCHDOG: Duration = Duration::from_secs(120);

/// A child that takes any value.
pub type Child = SubprocessIpcBackend<Value>;

/// `future`, or a panic if it hangs.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WATCHDOG, future).await.expect("it hangs")
}

/// The handler of a function, for the interpreter that is named; `None`, and a line about it, where
/// none is.
pub fn handler(module: &str, function: &str) -> Option<PythonHandler> {
    let Some(python) = std::env::var_os(PYTHON) else {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            // Past the test runner, which hides what its tests print.
            let why = "names no interpreter with the wheel";
            let _ = writeln!(std::io::stderr(), "not tested: {PYTHON} {why}");
        });
        return None;
    };
    let mut handler = PythonHandler::new(module, function);
    handler.python = Some(python.into());
    handler.python_path = vec![modules()];
    handler.init_timeout = WATCHDOG;
    // Of each thread of a library the stack counts as memory, used or not.
    handler.environment = vec![("OPENBLAS_NUM_THREADS".into(), "1".into())];
    Some(handler)
}

/// Where the modules of these tests lie.
pub fn modules() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../rm-ffi/tests/calls")
}

/// A child that serves by a function of `served.py`, and may call what `callbacks` holds.
pub async fn child_with<M: KameoChildProcessMessage>(
    function: &str,
    callbacks: DynamicCallbackModule,
) -> Option<SubprocessIpcBackend<M>> {
    let handler = handler("served", function)?;
    let manager = ProcessManager::new().expect("a manager");
    let options = BackendOptions::new().callbacks(callbacks);
    let child = soon(SubprocessIpcBackend::spawn_python(&manager, handler, options)).await;
    Some(child.unwrap_or_else(|error| panic!("{function}: {error}")))
}

/// A child that serves by a function of `served.py`.
pub async fn child(function: &str) -> Option<Child> {
    child_with(function, DynamicCallbackModule::new()).await
}

/// Lets a child end, which has to do so by itself and to say nothing.
pub async fn end<M: KameoChildProcessMessage>(child: SubprocessIpcBackend<M>) {
    let exit = soon(child.shutdown(Duration::from_secs(60))).await.expect("it was started here");
    let process = child.process().expect("it was started here");
    assert_eq!((exit.code, process.stderr_tail().as_str()), (Some(0), ""));
}

/// What a call failed with in the child.
pub fn failure<T: std::fmt::Debug>(
    result: Result<T, SubprocessIpcBackendError>,
) -> PythonExecutionError {
    match result {
        Err(SubprocessIpcBackendError::Remote(failure)) => failure,
        other => panic!("no failure of the child: {other:?}"),
    }
}
