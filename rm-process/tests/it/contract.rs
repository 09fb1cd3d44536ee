//! The contract's functions, types and promises under the contract's names.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rm_core::ChannelId;
use rm_process::{
    ExitReason, ExitStatus, NodeConfig, NodeProcess, ProcessError, ProcessStatus, kill_process,
    on_process_exit, spawn_node_process, terminate_process,
};

use crate::support::{Stranger, child, is_known, manager, sh, soon};

/// A script that stands where the interpreter stands: it runs the example child, which does what
/// the node type says.
fn interpreter(folder: &Path) -> PathBuf {
    let script = folder.join("python");
    let program = child("any").program;
    // What comes before the node type are the interpreter's options and the worker's module.
    let text = "#!/bin/sh\nwhile [ \"$1\" != -m ]; do shift; done\n";
    let text = format!("{text}exec {} \"$3\"\n", program.to_str().expect("a plain path"));
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("a script");
    script
}

async fn spawn(
    node_type: &str,
    change: impl Fn(&mut NodeConfig),
) -> Result<NodeProcess, ProcessError> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = NodeConfig {
        environment: HashMap::from([("MODEL".to_owned(), "large".to_owned())]),
        working_directory: folder.path().to_owned(),
        python_path: Some(interpreter(folder.path())),
        init_timeout: Duration::from_secs(30),
        max_memory: None,
    };
    change(&mut config);
    soon(spawn_node_process(node_type, "session-1", config)).await
}

#[tokio::test]
async fn a_node_process_is_what_the_data_model_says() {
    let process = spawn("gets-ready", |_| {}).await.unwrap();
    assert_eq!(process.node_type(), "gets-ready");
    assert_eq!(process.session_id(), "session-1");
    assert_eq!(process.status(), ProcessStatus::Ready);
    assert!(process.memory_usage() > 0);
    assert!(process.initialization_timestamp() <= std::time::SystemTime::now());
    let channel = ChannelId::new("out").unwrap();
    process.bind_channels(Vec::new(), vec![channel.clone()]);
    let snapshot = process.snapshot();
    assert_eq!(snapshot.process_id, process.process_id());
    assert_eq!(snapshot.output_channels, [channel]);
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["status"], "Ready");
    let handle = process.process_handle().unwrap();
    soon(process.kill()).await;
    assert_eq!(process.output_channels(), []);
    let error = rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::TERM);
    assert_eq!(error, Err(rustix::io::Errno::SRCH));
}

#[tokio::test]
async fn a_handler_by_number_runs_exactly_once_also_after_the_exit() {
    let process = spawn("gets-ready", |_| {}).await.unwrap();
    let (told, mut ends) = tokio::sync::mpsc::unbounded_channel::<ExitStatus>();
    let handler = |told: &tokio::sync::mpsc::UnboundedSender<ExitStatus>| {
        let told = told.clone();
        move |exit| drop(told.send(exit))
    };
    let pid = process.process_id();
    on_process_exit(pid, handler(&told)).unwrap();
    soon(terminate_process(pid, Duration::from_secs(3600))).await.unwrap();
    let exit = soon(ends.recv()).await.unwrap();
    assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Normal));
    assert!(!is_known(pid));
    // The record stays when the last handle has gone.
    drop(process);
    on_process_exit(pid, handler(&told)).unwrap();
    assert_eq!(ends.try_recv().unwrap(), exit);
    drop(told);
    assert_eq!(soon(ends.recv()).await, None);
    soon(kill_process(pid)).await.unwrap();
    soon(terminate_process(pid, Duration::ZERO)).await.unwrap();
}

#[tokio::test]
async fn a_process_can_be_killed_by_its_number() {
    let process = spawn("gets-ready", |_| {}).await.unwrap();
    soon(kill_process(process.process_id())).await.unwrap();
    let exit = process.try_exit_status().unwrap();
    assert_eq!((exit.signal_name(), exit.reason), (Some("SIGKILL"), ExitReason::Killed));
}

#[tokio::test]
async fn numbers_of_strangers_are_refused() {
    let own = std::process::id();
    let check = |result: Result<(), ProcessError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, ProcessError::NoSuchProcess { pid } if pid == own), "{error}");
        assert_eq!(error.to_string(), format!("no process {own} was started by this runtime"));
    };
    check(on_process_exit(own, |_| {}));
    check(terminate_process(own, Duration::ZERO).await);
    check(kill_process(own).await);
    // A process of another manager is a stranger too.
    let process = manager().spawn_plain(sh("exec sleep 1000")).await.unwrap();
    assert!(kill_process(process.process_id()).await.is_err());
    assert!(Stranger::new(process.process_id()).is_alive());
}

#[tokio::test]
async fn each_way_to_fail_is_an_error_of_its_own() {
    let error = spawn("gives-up", |_| {}).await.unwrap_err();
    assert!(matches!(error, ProcessError::InitFailed { .. }), "{error}");
    let error = spawn("deaf", |config| config.init_timeout = Duration::from_millis(300)).await;
    assert!(matches!(error, Err(ProcessError::InitTimeout { .. })));
    let error = spawn("no-such-behaviour", |_| {}).await.unwrap_err();
    assert!(matches!(error, ProcessError::EarlyExit { .. }), "{error}");
    let error = spawn("", |_| {}).await.unwrap_err();
    assert!(matches!(error, ProcessError::InvalidConfig(_)), "{error}");
    let error = spawn("gets-ready", |config| config.max_memory = Some(1)).await.unwrap_err();
    assert!(matches!(error, ProcessError::Unenforceable(_)), "{error}");
    let missing = |config: &mut NodeConfig| config.python_path = Some("/no/such/python".into());
    let error = spawn("gets-ready", missing).await.unwrap_err();
    assert!(matches!(error, ProcessError::Interpreter(_)), "{error}");
    let elsewhere = |config: &mut NodeConfig| config.working_directory = "/no/such/folder".into();
    let error = spawn("gets-ready", elsewhere).await.unwrap_err();
    assert!(matches!(error, ProcessError::InvalidConfig(_)), "{error}");
}
