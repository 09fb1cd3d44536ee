//! Children that are functions in Python: `python -m remotemedia_runtime.worker calls`.
//!
//! Main type: [`PythonHandler`], which says what serves the calls. The interpreter is found and given
//! its environment by [`python`](crate::python); how a function is called is the wheel's matter.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backend::{BackendOptions, SubprocessIpcBackend};
use super::error::SubprocessIpcBackendError;
use super::message::KameoChildProcessMessage;
use crate::command::CommandSpec;
use crate::error::ProcessError;
use crate::limits::Limits;
use crate::python::{self, ModulePathError};
use crate::spawn::ProcessManager;

/// The module that the interpreter runs; it comes with the wheel `remotemedia_runtime`.
const WORKER_MODULE: &str = "remotemedia_runtime.worker";

/// A function in Python that serves calls, and the interpreter in which it runs.
///
/// A plain function gets one request at a time, on the main thread, and what it returns is the reply.
/// Of a generator function the items are the stream. Coroutine functions and asynchronous generator
/// functions serve all requests at once, on one asyncio loop. A function with a parameter `inputs` gets
/// by it the items that follow the request.
///
/// ```no_run
/// use rm_process::{BackendOptions, ProcessManager, PythonHandler, SubprocessIpcBackend};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ProcessManager::new()?;
/// let mut handler = PythonHandler::new("texts", "shout");
/// handler.python_path.push("models".into());
/// let options = BackendOptions::new();
/// let child = SubprocessIpcBackend::<String>::spawn_python(&manager, handler, options).await?;
/// println!("{}", child.call(&"hello".to_owned()).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PythonHandler {
    /// The module: `package.module`.
    pub module: String,
    /// The function in it; one of a class or an object is found by its dotted name.
    pub function: String,
    /// The interpreter, or the folder of a virtual environment; see
    /// [`find_interpreter`](python::find_interpreter) for what `None` means.
    pub python: Option<PathBuf>,
    /// Where modules are looked for before anywhere else.
    pub python_path: Vec<PathBuf>,
    /// Variables added to its environment. Beside these it gets [`BASE_ENV`](crate::BASE_ENV) and
    /// [`NODE_ENV`](python::NODE_ENV) of this process, and nothing else.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it starts; its modules are looked for there too. This process's working directory if not
    /// given.
    pub working_directory: Option<PathBuf>,
    /// How long the interpreter may take to start, and the module to be imported.
    pub init_timeout: Duration,
    /// What the process may use.
    pub limits: Limits,
}

/// Which function a worker is to serve, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedFunction {
    /// The module.
    pub module: String,
    /// The function in it.
    pub function: String,
}

impl PythonHandler {
    /// The function `function` of `module`, in the interpreter that is found, with 30 s to get ready
    /// and no limits.
    pub fn new(module: impl Into<String>, function: impl Into<String>) -> Self {
        Self {
            module: module.into(),
            function: function.into(),
            python: None,
            python_path: Vec::new(),
            environment: Vec::new(),
            working_directory: None,
            init_timeout: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }

    fn into_command(self) -> Result<(CommandSpec, ServedFunction), ProcessError> {
        if let Some(missing) = self.python_path.iter().find(|path| !path.exists()) {
            return Err(ModulePathError::Missing(missing.clone()).into());
        }
        let interpreter = python::find_interpreter(self.python.as_deref())?;
        let inherited = |name: &str| {
            let own = self.environment.iter().rfind(|(own, _)| own == name);
            own.map(|(_, value)| value.clone()).or_else(|| std::env::var_os(name))
        };
        let python_env = python::environment(&interpreter, &self.python_path, inherited)?;
        let mut spec = CommandSpec::new(interpreter)
            .args(python::OPTIONS)
            .args(["-m", WORKER_MODULE, "calls"])
            .label(format!("{}.{}", self.module, self.function));
        spec.env_clear = true;
        spec.env.extend(std::env::vars_os().filter(|(name, _)| python::is_node_env(name)));
        spec.env.extend(self.environment);
        spec.env.extend(python_env);
        spec.working_directory = self.working_directory;
        spec.init_timeout = self.init_timeout;
        spec.abort_at_deadline = true;
        spec.limits = self.limits;
        Ok((spec, ServedFunction { module: self.module, function: self.function }))
    }
}

impl<M: KameoChildProcessMessage> SubprocessIpcBackend<M> {
    /// Starts an interpreter that serves calls by a Python function, and waits until it is ready.
    /// [`BackendOptions::config`] is how it is told the function.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Process`], and no process is left then. If it is the module or the
    /// function that cannot be had, [`remote`](SubprocessIpcBackendError::remote) is a
    /// [`ModuleNotFound`](crate::PythonExecutionError::ModuleNotFound) or a
    /// [`FunctionNotFound`](crate::PythonExecutionError::FunctionNotFound), and the traceback is in the
    /// report.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub async fn spawn_python(
        manager: &ProcessManager,
        handler: PythonHandler,
        options: BackendOptions,
    ) -> Result<Self, SubprocessIpcBackendError> {
        let (spec, function) = handler.into_command()?;
        Self::spawn_ready(manager, spec, options.config(&function)?).await
    }
}
