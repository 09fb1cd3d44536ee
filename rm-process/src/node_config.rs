//! The contract's configuration of a Python node's process.
//!
//! Main type: [`NodeConfig`], with [`CommandSpec::python_node`] that makes a specification of it.
//! A [`CommandSpec`] can say more: CPU affinity, niceness, open files, an absolute limit to load.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::CommandSpec;
use crate::error::ProcessError;
use crate::python;

/// The module that a node's interpreter runs; it comes with the wheel `remotemedia_runtime`.
const WORKER_MODULE: &str = "remotemedia_runtime.worker";

/// How the process of a Python node is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Variables added to its environment. `PYTHONPATH` is added to the one that there is, in front;
    /// the others replace theirs. Beside these it gets [`BASE_ENV`](crate::BASE_ENV) and
    /// [`NODE_ENV`](crate::python::NODE_ENV) of this process, and nothing else.
    pub environment: HashMap<String, String>,
    /// Where it starts; its modules are looked for there too.
    pub working_directory: PathBuf,
    /// The interpreter, or the folder of a virtual environment; see
    /// [`find_interpreter`](crate::python::find_interpreter) for what `None` means.
    pub python_path: Option<PathBuf>,
    /// How long it may take until it tells of progress, and from one word of progress to the next.
    pub init_timeout: Duration,
    /// Most memory in bytes: for its data segment, and for it and its descendants together where a
    /// cgroup can be made.
    pub max_memory: Option<usize>,
}

impl Default for NodeConfig {
    /// This process's working directory, the interpreter that is found, 30 s, and no limit.
    fn default() -> Self {
        Self {
            environment: HashMap::new(),
            working_directory: PathBuf::from("."),
            python_path: None,
            init_timeout: Duration::from_secs(30),
            max_memory: None,
        }
    }
}

impl CommandSpec {
    /// The process of a Python node: an interpreter, with its fault handler and without buffers on
    /// its output, that runs the worker of the wheel, which loads the class `node_type`
    /// (`package.module:Class`).
    ///
    /// # Errors
    /// [`ProcessError::InvalidConfig`] for an empty node type or session or a `PYTHONPATH` that is none,
    /// [`ProcessError::Interpreter`] if there is no such interpreter.
    pub fn python_node(
        node_type: &str,
        session_id: &str,
        config: &NodeConfig,
    ) -> Result<Self, ProcessError> {
        for (name, value) in [("node type", node_type), ("session id", session_id)] {
            if value.is_empty() || value.starts_with('-') {
                let text = format!("{value:?} is no {name}");
                return Err(ProcessError::InvalidConfig(text));
            }
        }
        let interpreter = python::find_interpreter(config.python_path.as_deref())?;
        let mut modules: Vec<PathBuf> = vec![];
        if let Some(paths) = config.environment.get("PYTHONPATH") {
            modules
                .extend(std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()));
        }
        let inherited = |name: &str| match config.environment.get(name) {
            Some(value) if name != "PYTHONPATH" => Some(value.into()),
            _ => std::env::var_os(name),
        };
        let python_env = python::environment(&interpreter, &modules, inherited)?;
        let mut spec = Self::new(interpreter)
            .args(python::OPTIONS)
            .args(["-m", WORKER_MODULE, node_type, session_id])
            .label(node_type);
        spec.env_clear = true;
        spec.env.extend(std::env::vars_os().filter(|(name, _)| python::is_node_env(name)));
        let own = config.environment.iter().filter(|(name, _)| *name != "PYTHONPATH");
        spec.env.extend(own.map(|(name, value)| (name.into(), value.into())));
        spec.env.extend(python_env);
        spec.working_directory = Some(config.working_directory.clone());
        spec.node_type = node_type.to_owned();
        spec.session_id = session_id.to_owned();
        spec.init_timeout = config.init_timeout;
        spec.abort_at_deadline = true;
        spec.limits.max_memory = config.max_memory.map(|bytes| bytes as u64);
        Ok(spec)
    }
}
