//! Which Python interpreter runs a node, with which options and in which environment.
//!
//! Main functions: [`find_interpreter`] and [`environment`]; [`is_node_env`] says what a node
//! inherits beyond [`BASE_ENV`](crate::BASE_ENV). Nothing here starts a process, and no
//! interpreter is asked for its version.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};

use crate::child::{CGROUP_ENV, CONTROL_FD_ENV};
use crate::identity::RUNTIME_ENV;

/// The variable that names an interpreter where the configuration does not.
pub const PYTHON_ENV: &str = "REMOTEMEDIA_PYTHON";

/// The options of the interpreter of every supervised node.
///
/// - `-u`: what a node has printed is not lost in a buffer when it ends by `os._exit` or a signal.
/// - `-X faulthandler`: a fatal signal prints the stacks of all threads, which
///   [`diagnose`](crate::diagnosis::diagnose) reads.
///
/// Not among them: `-I` and `-E`, which would make the interpreter ignore the `PYTHONPATH` that
/// [`environment`] sets, and `-P`, which would hide modules in the working directory and does not
/// exist in Python 3.10.
pub const OPTIONS: &[&str] = &["-u", "-X", "faulthandler"];

/// Variables that a node inherits beyond [`BASE_ENV`](crate::BASE_ENV).
pub const NODE_ENV: &[&str] = &[
    // Which devices there are, and what they are taken for.
    "GPU_DEVICE_ORDINAL",
    "ONEAPI_DEVICE_SELECTOR",
    "ZE_AFFINITY_MASK",
    // Where models and settings lie, so that nothing is downloaded twice.
    "NLTK_DATA",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    // How many threads a library starts.
    "RAYON_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "VECLIB_MAXIMUM_THREADS",
    // How the network is reached, and whom to trust there.
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "FTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "all_proxy",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    // What the runtime inside the node logs.
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
];

/// Beginnings of the names of variables that a node inherits, except [`NOT_INHERITED`].
pub const NODE_ENV_PREFIXES: &[&str] = &[
    // Which devices there are, and how their libraries behave: NVIDIA, then AMD.
    "CUDA_",
    "CUDNN_",
    "CUBLAS_",
    "NCCL_",
    "NVIDIA_",
    "HIP_",
    "HSA_",
    "ROCR_",
    // Frameworks: where models lie, access to them, allocators, compiled kernels.
    "HF_",
    "HUGGINGFACE_",
    "HUGGING_FACE_",
    "JAX_",
    "ORT_",
    "PYTORCH_",
    "TF_",
    "TORCH_",
    "TORCHINDUCTOR_",
    "TRANSFORMERS_",
    "TRITON_",
    "XLA_",
    // How many threads a library starts and where they run; how much memory malloc holds for them.
    "BLIS_",
    "GOMP_",
    "GOTO_",
    "KMP_",
    "MALLOC_",
    "MKL_",
    "NUMEXPR_",
    "OMP_",
    "OPENBLAS_",
    // The interpreter's own settings.
    "PYTHON",
    // Where traces go.
    "OTEL_",
    // The runtime's own settings.
    "REMOTEMEDIA_",
];

/// Variables that no node inherits, although [`NODE_ENV_PREFIXES`] has the beginning of their names.
///
/// A caller drops them by clearing the child's environment and passing on what [`is_node_env`]
/// accepts. One that keeps its whole environment for the child has to remove these by name.
pub const NOT_INHERITED: &[&str] = &[
    // They describe one installation of Python, and another interpreter would not start with them.
    // A caller that has not chosen an interpreter, but takes the `python3` of its own environment,
    // may pass them on.
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONPLATLIBDIR",
    // They are meant for a person at a prompt. With the second, a node that has failed would not
    // end; the third colours tracebacks, which are read here.
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PYTHON_COLORS",
    // Each child has its own control channel, and its own place.
    CONTROL_FD_ENV,
    CGROUP_ENV,
    RUNTIME_ENV,
];

/// Whether a Python node inherits the variable `name` beyond [`BASE_ENV`](crate::BASE_ENV).
///
/// ```
/// # use std::ffi::OsStr;
/// use rm_process::python::is_node_env;
///
/// assert!(is_node_env(OsStr::new("CUDA_VISIBLE_DEVICES")));
/// assert!(!is_node_env(OsStr::new("PYTHONHOME")));
/// ```
pub fn is_node_env(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let has_prefix = NODE_ENV_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    NODE_ENV.contains(&name) || (has_prefix && !NOT_INHERITED.contains(&name))
}

/// Why there is no interpreter to start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpreterError {
    /// Nothing is at the path.
    #[error("the interpreter {path:?} ({named_by}) does not exist")]
    Missing {
        /// The path.
        path: PathBuf,
        /// Who named it.
        named_by: &'static str,
    },
    /// The path is that of a folder, but of no virtual environment.
    #[error(
        "{path:?} ({named_by}) is a folder without pyvenv.cfg; expected is a virtual environment's \
         folder or an interpreter"
    )]
    NotAnEnvironment {
        /// The folder.
        path: PathBuf,
        /// Who named it.
        named_by: &'static str,
    },
    /// A virtual environment has no interpreter, or a link to one that is gone.
    #[error(
        "the virtual environment {path:?} ({named_by}) has no usable bin/python; \
         it has to be made anew"
    )]
    BrokenEnvironment {
        /// The environment's folder.
        path: PathBuf,
        /// Who named it.
        named_by: &'static str,
    },
    /// The path is that of something that this user cannot execute.
    #[error("the interpreter {path:?} ({named_by}) is not an executable file")]
    NotExecutable {
        /// The path.
        path: PathBuf,
        /// Who named it.
        named_by: &'static str,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// No folder of `PATH` has a program of this name.
    #[error("the interpreter {name:?} ({named_by}) is in no folder of PATH ({searched:?})")]
    NotInPath {
        /// The name.
        name: PathBuf,
        /// Who named it.
        named_by: &'static str,
        /// The folders.
        searched: Vec<PathBuf>,
    },
    /// Nobody named an interpreter, and there is none by the usual name.
    #[error(
        "found no Python interpreter: none is configured, neither REMOTEMEDIA_PYTHON nor \
         VIRTUAL_ENV is set, and python3 is in no folder of PATH ({searched:?})"
    )]
    NoneFound {
        /// The folders.
        searched: Vec<PathBuf>,
    },
    /// The working directory, to which a path is relative, is gone.
    #[error("cannot make {path:?} an absolute path")]
    NoWorkingDirectory {
        /// The path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// The interpreter to start.
///
/// `configured` may be a path to an interpreter, the folder of a virtual environment, or a bare
/// name, which is looked up in `PATH` and then taken for such a folder. Without it, the same is
/// expected in the variable `REMOTEMEDIA_PYTHON`; then the active virtual environment counts,
/// `VIRTUAL_ENV`; then `python3` in `PATH`. A variable that is set to something unusable is an
/// error, not passed over: another interpreter would miss the modules that were meant.
///
/// The path is absolute, and symbolic links in it stay: a virtual environment's interpreter is a
/// link out of it, and behaves by the path by which it was started.
///
/// # Errors
/// What was named is not usable, or nothing was named and there is no `python3`.
pub fn find_interpreter(configured: Option<&Path>) -> Result<PathBuf, InterpreterError> {
    find_with(configured, |name| env::var_os(name))
}

fn find_with(
    configured: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, InterpreterError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let search: Vec<PathBuf> = set("PATH")
        .map(|path| env::split_paths(&path).filter(|dir| !dir.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    if let Some(path) = configured {
        return resolve(path, "configured", &search);
    }
    if let Some(path) = set(PYTHON_ENV) {
        return resolve(Path::new(&path), "from REMOTEMEDIA_PYTHON", &search);
    }
    if let Some(folder) = set("VIRTUAL_ENV") {
        return in_folder(Path::new(&folder), "from VIRTUAL_ENV");
    }
    match in_path(OsStr::new("python3"), &search) {
        Some(found) => absolute(&found),
        None => Err(InterpreterError::NoneFound { searched: search }),
    }
}

fn resolve(
    path: &Path,
    named_by: &'static str,
    search: &[PathBuf],
) -> Result<PathBuf, InterpreterError> {
    if let Some(name) = bare_name(path) {
        if let Some(found) = in_path(name, search) {
            return absolute(&found);
        }
        if !path.is_dir() {
            let (name, searched) = (path.to_owned(), search.to_vec());
            return Err(InterpreterError::NotInPath { name, named_by, searched });
        }
    }
    if path.is_dir() {
        return in_folder(path, named_by);
    }
    if !path.exists() {
        return Err(InterpreterError::Missing { path: path.to_owned(), named_by });
    }
    match executable(path) {
        Ok(()) => absolute(path),
        Err(source) => {
            Err(InterpreterError::NotExecutable { path: path.to_owned(), named_by, source })
        }
    }
}

fn in_folder(folder: &Path, named_by: &'static str) -> Result<PathBuf, InterpreterError> {
    let path = folder.to_owned();
    if !folder.exists() {
        return Err(InterpreterError::Missing { path, named_by });
    }
    if !folder.join("pyvenv.cfg").is_file() {
        return Err(InterpreterError::NotAnEnvironment { path, named_by });
    }
    let python = folder.join("bin/python");
    if executable(&python).is_err() {
        return Err(InterpreterError::BrokenEnvironment { path, named_by });
    }
    absolute(&python)
}

/// The name, if `path` is one without any folder.
fn bare_name(path: &Path) -> Option<&OsStr> {
    let mut components = path.components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(name)), None) if name == path.as_os_str() => Some(name),
        _ => None,
    }
}

fn in_path(name: &OsStr, search: &[PathBuf]) -> Option<PathBuf> {
    search.iter().map(|folder| folder.join(name)).find(|path| executable(path).is_ok())
}

fn executable(path: &Path) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(access(path, Access::EXEC_OK)?)
}

/// Relative to this process's working directory; the child's may be another.
fn absolute(path: &Path) -> Result<PathBuf, InterpreterError> {
    std::path::absolute(path)
        .map_err(|source| InterpreterError::NoWorkingDirectory { path: path.to_owned(), source })
}

/// Why a path cannot be one in which modules are looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModulePathError {
    /// `PYTHONPATH` separates paths by colons and has no way to write one.
    #[error("the module path {0:?} has a ':' in it, which PYTHONPATH cannot express")]
    Colon(PathBuf),
    /// Nothing is at the path.
    #[error("the module path {0:?} does not exist")]
    Missing(PathBuf),
    /// The path is empty, or relative to a working directory that is gone.
    #[error("cannot make the module path {path:?} an absolute path")]
    NotAbsolute {
        /// The path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// The variables to set for `interpreter`: `PYTHONPATH` with `extra_modules` before what is there,
/// and for the interpreter of a virtual environment `VIRTUAL_ENV` and `PATH` with the
/// environment's programs first. `inherited` looks a variable up, usually by [`std::env::var_os`].
///
/// A path that is there twice counts once, where it came first. Extra paths become absolute. A
/// variable that needs no change is not given; [`NOT_INHERITED`] says which ones are to be removed.
///
/// # Errors
/// A path of `extra_modules` is empty or has a colon in it.
pub fn environment(
    interpreter: &Path,
    extra_modules: &[PathBuf],
    inherited: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(OsString, OsString)>, ModulePathError> {
    let mut variables = Vec::new();
    if !extra_modules.is_empty() {
        let mut modules = Vec::new();
        for path in extra_modules {
            let absolute = std::path::absolute(path)
                .map_err(|source| ModulePathError::NotAbsolute { path: path.clone(), source })?;
            modules.push(absolute);
        }
        let joined = put_first(modules, inherited("PYTHONPATH"))?;
        variables.push(("PYTHONPATH".into(), joined));
    }
    if let Some((folder, programs)) = environment_of(interpreter) {
        variables.push(("VIRTUAL_ENV".into(), folder.into()));
        // A folder of programs that no list of paths can name is started from all the same.
        if let Ok(joined) = put_first(vec![programs.to_owned()], inherited("PATH")) {
            variables.push(("PATH".into(), joined));
        }
    }
    Ok(variables)
}

/// The folder of the virtual environment whose interpreter this is, and that of its programs.
fn environment_of(interpreter: &Path) -> Option<(&Path, &Path)> {
    let programs = interpreter.parent()?;
    let folder = programs.parent()?;
    folder.join("pyvenv.cfg").is_file().then_some((folder, programs))
}

fn put_first(
    mut paths: Vec<PathBuf>,
    inherited: Option<OsString>,
) -> Result<OsString, ModulePathError> {
    if let Some(inherited) = inherited.filter(|value| !value.is_empty()) {
        paths.extend(env::split_paths(&inherited));
    }
    let mut once: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        if !once.contains(&path) {
            once.push(path);
        }
    }
    env::join_paths(&once).map_err(|_| {
        let mut paths = once.into_iter();
        let colon = |path: &PathBuf| path.as_os_str().as_encoded_bytes().contains(&b':');
        ModulePathError::Colon(paths.find(colon).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests;
