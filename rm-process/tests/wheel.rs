//! The contract's functions with the real interpreter and the real wheel.
//!
//! `REMOTEMEDIA_TEST_PYTHON` names an interpreter in whose environment the wheel is installed;
//! `cargo xtask test` sets it. Without it nothing is tested here, which is said on stderr. What needs
//! no Python is tested in `it`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use rm_process::{
    BASE_ENV, ExitReason, ExitStatus, FailureReport, Limit, NodeConfig, NodeProcess, ProcessError,
    ProcessStatus, Progress, kill_process, on_process_exit, python, spawn_node_process,
    terminate_process,
};
use tempfile::TempDir;

/// Names the interpreter.
const PYTHON: &str = "REMOTEMEDIA_TEST_PYTHON";

/// Against hangs only: an interpreter that imports its modules on a busy machine takes seconds.
const WATCHDOG: Duration = Duration::from_secs(120);

/// How long to be patient with a process that is to end by itself.
const PATIENCE: Duration = Duration::from_secs(3600);

/// `future`, or a panic if it hangs.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WATCHDOG, future).await.expect("it hangs")
}

/// Says why something is not tested, where the test runner hides what its tests print.
fn not_tested(why: &str) {
    let _ = writeln!(std::io::stderr(), "not tested: {PYTHON} {why}");
}

/// A folder with the module `nodes`, and the configuration of a process that starts in it.
struct Place {
    folder: TempDir,
    config: NodeConfig,
}

impl Place {
    /// `None`, and a line about it, where no interpreter is named.
    fn new() -> Option<Self> {
        let Some(python) = std::env::var_os(PYTHON) else {
            static SAID: Once = Once::new();
            SAID.call_once(|| not_tested("names no interpreter with the wheel"));
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("nodes.py"), include_str!("wheel/nodes.py"))
            .expect("a module");
        let config = NodeConfig {
            // Of each thread of a library the stack counts as memory, used or not.
            environment: HashMap::from([("OPENBLAS_NUM_THREADS".to_owned(), "1".to_owned())]),
            working_directory: folder.path().to_owned(),
            python_path: Some(python.into()),
            init_timeout: WATCHDOG,
            max_memory: None,
        };
        Some(Self { folder, config })
    }

    async fn spawn(&self, node_type: &str) -> Result<NodeProcess, ProcessError> {
        soon(spawn_node_process(node_type, "session-1", self.config.clone())).await
    }

    async fn ready(&self) -> NodeProcess {
        self.spawn("nodes:Tells").await.expect("a node that gets ready")
    }

    fn is_cleaned(&self) -> bool {
        self.folder.path().join("cleaned").exists()
    }

    /// What [`Place::ready`]'s node has seen.
    fn seen(&self) -> Seen {
        let text = std::fs::read_to_string(self.folder.path().join("seen.json"));
        serde_json::from_str(&text.expect("what it has seen")).expect("as it was written")
    }

    /// Of a node that says itself why it cannot get ready: what it says, and the report.
    async fn failed(&self, node_type: &str) -> (String, Box<FailureReport>) {
        match self.spawn(node_type).await {
            Err(ProcessError::InitFailed { message, report, .. }) => (message, report),
            other => panic!("{node_type} does not say why it cannot get ready: {other:?}"),
        }
    }

    /// Of a node that dies before it is ready: the report.
    async fn died(&self, node_type: &str) -> Box<FailureReport> {
        match self.spawn(node_type).await {
            Err(ProcessError::EarlyExit { report }) => report,
            other => panic!("{node_type} does not die before it is ready: {other:?}"),
        }
    }
}

/// What a node has seen.
#[derive(serde::Deserialize)]
struct Seen {
    environment: HashMap<String, String>,
    path: Vec<String>,
    prefix: PathBuf,
}

fn check_end(report: &FailureReport, end: &str, reason: ExitReason) {
    let exit = report.exit.as_ref().expect("it has ended");
    assert_eq!((exit.to_string().as_str(), exit.reason), (end, reason), "{report}");
}

#[tokio::test]
async fn a_node_gets_ready_and_cleans_up_when_it_is_terminated() {
    let Some(place) = Place::new() else { return };
    let process = place.ready().await;
    assert_eq!(process.status(), ProcessStatus::Ready);
    assert_eq!((process.node_type(), process.session_id()), ("nodes:Tells", "session-1"));
    assert!(process.memory_usage() > 1 << 20);
    let told = Progress { fraction: 0.5, message: "half of the weights".to_owned() };
    assert_eq!(process.failure_report().last_progress, Some(told));
    assert!(!place.is_cleaned());

    let (told, mut ends) = tokio::sync::mpsc::unbounded_channel::<ExitStatus>();
    let pid = process.process_id();
    on_process_exit(pid, move |exit| drop(told.send(exit))).unwrap();
    soon(terminate_process(pid, PATIENCE)).await.unwrap();
    let exit = soon(ends.recv()).await.unwrap();
    assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Normal));
    assert_eq!(process.status(), ProcessStatus::Stopped);
    assert!(place.is_cleaned());
    assert_eq!(soon(ends.recv()).await, None);
    assert_eq!(process.stderr_tail(), "");
}

#[tokio::test]
async fn a_node_that_is_killed_does_not_clean_up() {
    let Some(place) = Place::new() else { return };
    let process = place.ready().await;
    soon(kill_process(process.process_id())).await.unwrap();
    let exit = process.try_exit_status().unwrap();
    assert_eq!((exit.signal_name(), exit.reason), (Some("SIGKILL"), ExitReason::Killed));
    assert!(!place.is_cleaned());
}

#[tokio::test]
async fn a_class_that_cannot_be_had_is_named_with_what_there_is() {
    let Some(place) = Place::new() else { return };
    let folder = place.folder.path().to_str().unwrap();
    for (node_type, expected) in [
        ("no_such_module:Node", vec!["LoadError: no module 'no_such_module'", folder]),
        ("nodes:Tels", vec!["module 'nodes'", "has no 'Tels'; it has: Tells, Raises"]),
        ("nodes:NotANode", vec!["'NotANode' in module 'nodes' is no subclass"]),
    ] {
        let (message, report) = place.failed(node_type).await;
        for text in expected {
            assert!(message.contains(text), "{message}");
        }
        assert_eq!((report.label.as_str(), report.node_type.as_str()), (node_type, node_type));
        check_end(&report, "exited with code 1", ExitReason::Crash);
    }
}

#[tokio::test]
async fn an_exception_in_initialize_is_told_with_its_traceback_and_cleaned_up_after() {
    let Some(place) = Place::new() else { return };
    let (message, report) = place.failed("nodes:Raises").await;
    assert_eq!(message, "FileNotFoundError: no weights at models/large");
    check_end(&report, "exited with code 1", ExitReason::Crash);
    let exception = report.end.exception.as_ref().expect("an exception");
    assert_eq!(exception.type_name, "FileNotFoundError");
    assert_eq!(exception.message, "no weights at models/large");
    assert!(exception.traceback.contains("nodes.py"), "{}", exception.traceback);
    assert!(exception.traceback.contains("in initialize"), "{}", exception.traceback);
    assert!(place.is_cleaned());
}

#[tokio::test]
async fn a_node_that_hangs_in_initialize_is_ended_in_its_time_and_shows_where() {
    let Some(mut place) = Place::new() else { return };
    // The same time is all that the interpreter has for its start.
    for seconds in [2, 8, 32] {
        place.config.init_timeout = Duration::from_secs(seconds);
        let report = match place.spawn("nodes:Hangs").await {
            Err(ProcessError::InitTimeout { report }) => report,
            other => panic!("it does not hang: {other:?}"),
        };
        let Some(last) = &report.last_progress else { continue };
        assert_eq!(last.message, "opening the device");
        assert_eq!(report.exit.as_ref().unwrap().reason, ExitReason::Timeout);
        assert!(report.uptime >= place.config.init_timeout, "{report}");
        let fatal = report.end.fatal.as_ref().expect("the fault handler's output");
        assert!(fatal.stacks.contains("in waits_for_the_device"), "{}", fatal.stacks);
        let text = report.to_string();
        for expected in ["nodes:Hangs", &format!("{seconds}s"), "opening the device", "nodes.py"] {
            assert!(text.contains(expected), "{text}");
        }
        return;
    }
    panic!("the interpreter does not start");
}

#[tokio::test]
async fn a_segmentation_fault_in_initialize_shows_where() {
    let Some(place) = Place::new() else { return };
    let report = place.died("nodes:Faults").await;
    check_end(&report, "killed by signal SIGSEGV", ExitReason::Crash);
    let fatal = report.end.fatal.as_ref().expect("the fault handler's output");
    assert!(fatal.stacks.contains("in reads_nowhere"), "{}", fatal.stacks);
}

#[tokio::test]
async fn an_exit_past_python_in_initialize_is_told_with_its_code_and_last_words() {
    let Some(place) = Place::new() else { return };
    let report = place.died("nodes:Exits").await;
    check_end(&report, "exited with code 7", ExitReason::Crash);
    assert_eq!(report.stderr_tail, "no licence for this model\n");
    assert!(report.to_string().contains("no licence for this model"), "{report}");
}

#[tokio::test]
async fn too_little_memory_for_initialize_is_the_limit_and_no_crash() {
    let Some(mut place) = Place::new() else { return };
    place.config.max_memory = Some(1 << 30);
    let (message, report) = place.failed("nodes:Swells").await;
    assert!(message.starts_with("MemoryError"), "{message}");
    let reason = ExitReason::ResourceLimit { limit: Limit::Memory };
    check_end(&report, "exited with code 1", reason);
}

#[tokio::test]
async fn the_folder_of_a_virtual_environment_stands_for_its_interpreter() {
    let Some(mut place) = Place::new() else { return };
    let python = place.config.python_path.take().expect("an interpreter");
    let folder = python.parent().and_then(Path::parent).expect("a folder with programs");
    if !folder.join("pyvenv.cfg").exists() {
        return not_tested("names an interpreter of no virtual environment");
    }
    place.config.python_path = Some(folder.to_owned());
    let process = place.ready().await;
    let seen = place.seen();
    assert_eq!(seen.prefix, folder);
    assert_eq!(Path::new(&seen.environment["VIRTUAL_ENV"]), folder);
    let first = std::env::split_paths(&seen.environment["PATH"]).next();
    assert_eq!(first.as_deref(), python.parent());
    soon(process.kill()).await;
}

/// Runs another test of this program with variables of which a node gets some.
#[test]
fn a_node_sees_the_documented_variables_and_no_others() {
    if Place::new().is_none() {
        return;
    }
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "a_node_of_a_parent_with_secrets_sees_none", "--ignored", "--nocapture"]);
    test.env("AWS_SECRET_ACCESS_KEY", "secret").env("CUDA_VISIBLE_DEVICES", "0");
    test.env("PYTHONPATH", "/of/the/parent").env("PYTHONSTARTUP", "/of/a/prompt.py");
    let output = test.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
#[ignore = "run by another test, with variables that it needs"]
async fn a_node_of_a_parent_with_secrets_sees_none() {
    let Some(mut place) = Place::new() else { return };
    if std::env::var_os("AWS_SECRET_ACCESS_KEY").is_none() {
        return;
    }
    for (name, value) in [("MODEL", "large"), ("PYTHONPATH", "/of/the/node"), ("LANG", "C.UTF-8")] {
        place.config.environment.insert(name.to_owned(), value.to_owned());
    }
    let process = place.ready().await;
    let Seen { environment, path, .. } = place.seen();
    // Which of its own the runtime sets depends on the machine.
    let of_the_runtime =
        ["REMOTEMEDIA_CONTROL_FD", "REMOTEMEDIA_RUNTIME", "REMOTEMEDIA_CGROUP", "VIRTUAL_ENV"];
    for name in environment.keys() {
        let is_documented = BASE_ENV.contains(&name.as_str())
            || name.starts_with("LC_")
            || python::is_node_env(OsStr::new(name))
            || of_the_runtime.contains(&name.as_str())
            || place.config.environment.contains_key(name);
        assert!(is_documented, "{name}");
    }
    for (name, value) in [
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("MODEL", "large"),
        ("LANG", "C.UTF-8"),
        ("PYTHONPATH", "/of/the/node:/of/the/parent"),
    ] {
        assert_eq!(environment.get(name).map(String::as_str), Some(value), "{name}");
    }
    let position = |wanted: &str| path.iter().position(|path| path == wanted);
    let (own, parents) = (position("/of/the/node"), position("/of/the/parent"));
    assert!(own.is_some() && own < parents, "{path:?}");
    soon(process.kill()).await;
}
