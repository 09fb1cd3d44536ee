//! Limits: they hold, and what goes beyond one is told apart from a crash.

use std::collections::BTreeSet;

use rm_process::{ExitReason, Limit, ManagerOptions, NodeProcess, ProcessError, ProcessManager};

use crate::support::{manager, python, sh, soon};

fn reason_of(process: &NodeProcess) -> ExitReason {
    let exit = process.failure_report().exit.expect("it has ended");
    exit.reason
}

const MEMORY: ExitReason = ExitReason::ResourceLimit { limit: Limit::Memory };

#[tokio::test]
async fn a_python_process_beyond_its_memory_limit_is_told_apart_from_a_crash() {
    let mut spec = python("block = bytearray(1 << 30)");
    spec.limits.max_memory = Some(256 << 20);
    let process = manager().spawn_plain(spec).await.unwrap();
    let exit = soon(process.exited()).await;
    assert_eq!((exit.code, exit.reason), (Some(1), MEMORY));
    let report = process.failure_report();
    let exception = report.end.exception.as_ref().expect("a MemoryError");
    assert_eq!(exception.type_name, "MemoryError");
    assert!(report.to_string().contains("resource limit (memory)"), "{report}");
}

#[tokio::test]
async fn a_tree_beyond_its_memory_limit_is_killed_by_the_kernel_and_the_report_says_so() {
    // Each is below the limit, all together are not.
    let script = "\
import os, subprocess, sys
hog = \"import time; block = bytearray(b'x') * (90 << 20); time.sleep(1000)\"
hogs = [subprocess.Popen([sys.executable, '-c', hog]) for _ in range(2)]
os.wait()
os._exit(1)";
    let mut spec = python(script);
    spec.limits.max_memory = Some(128 << 20);
    let process = manager().spawn_plain(spec).await.unwrap();
    if let [reason] = process.unenforced() {
        eprintln!("not tested here: {reason}");
        return;
    }
    soon(process.exited()).await;
    assert_eq!(reason_of(&process), MEMORY, "{}", process.failure_report());
    assert!(process.failure_report().end.peak_tree_memory.is_some_and(|peak| peak > 90 << 20));
}

#[tokio::test]
async fn a_crash_under_a_memory_limit_without_proof_is_possibly_memory() {
    let mut spec = sh("kill -SEGV $$");
    spec.limits.max_memory = Some(256 << 20);
    let process = manager().spawn_plain(spec).await.unwrap();
    soon(process.exited()).await;
    assert_eq!(reason_of(&process), ExitReason::Crash);
    let report = process.failure_report();
    assert!(report.end.possibly_memory);
    assert!(report.to_string().contains(": crash, possibly memory\n"), "{report}");
}

#[tokio::test]
async fn an_exception_under_a_memory_limit_is_no_matter_of_memory() {
    let mut spec = python("raise ValueError('bad')");
    spec.limits.max_memory = Some(512 << 20);
    let process = manager().spawn_plain(spec).await.unwrap();
    soon(process.exited()).await;
    assert_eq!(reason_of(&process), ExitReason::Crash);
    assert!(!process.failure_report().end.possibly_memory);
}

#[tokio::test]
async fn a_process_without_open_files_left_has_exceeded_that_limit() {
    let mut spec = python("files = [open('/dev/null') for _ in range(100)]");
    spec.limits.open_files = Some(50);
    let process = manager().spawn_plain(spec).await.unwrap();
    soon(process.exited()).await;
    assert_eq!(reason_of(&process), ExitReason::ResourceLimit { limit: Limit::OpenFiles });
}

#[tokio::test]
async fn cpus_and_niceness_are_what_the_child_sees() {
    let show = "grep Cpus_allowed_list /proc/self/status; cut -d' ' -f19 /proc/self/stat";
    let mut spec = sh(show);
    spec.limits.cpus = Some(BTreeSet::from([0]));
    spec.limits.niceness = Some(7);
    let process = match manager().spawn_plain(spec).await {
        Err(ProcessError::Unenforceable(reason)) => {
            eprintln!("not tested here: {reason}");
            return;
        }
        started => started.unwrap(),
    };
    soon(process.exited()).await;
    assert_eq!(process.stdout_tail(), "Cpus_allowed_list:\t0\n7\n");
}

#[tokio::test]
async fn a_limit_that_cannot_be_enforced_here_is_refused_and_starts_nothing() {
    let mut spec = sh("exec sleep 1000");
    spec.limits.cpus = Some(BTreeSet::from([100_000]));
    let error = manager().spawn_plain(spec).await.unwrap_err();
    assert!(matches!(error, ProcessError::Unenforceable(_)), "{error}");
    assert!(error.to_string().contains("100000"), "{error}");
}

#[tokio::test]
async fn more_processes_than_allowed_are_refused_until_one_has_ended() {
    let options = ManagerOptions { max_processes: Some(3), max_processes_per_session: Some(2) };
    let manager = ProcessManager::with_options(options).unwrap();
    let spec = |session: &str| {
        let mut spec = sh("exec sleep 1000");
        spec.session_id = session.to_owned();
        spec
    };
    let first = manager.spawn_plain(spec("a")).await.unwrap();
    let _second = manager.spawn_plain(spec("a")).await.unwrap();
    let check = |error: ProcessError, expected: Limit, words: &str| {
        assert!(error.to_string().ends_with(words), "{error}");
        let ProcessError::ResourceLimit { limit, .. } = error else { panic!("{error}") };
        assert_eq!(limit, expected);
    };
    let error = manager.spawn_plain(spec("a")).await.unwrap_err();
    check(error, Limit::SessionProcesses, "session \"a\" may have 2");
    let _third = manager.spawn_plain(spec("b")).await.unwrap();
    let error = manager.spawn_plain(spec("c")).await.unwrap_err();
    check(error, Limit::Processes, "this runtime may have 3");
    soon(first.kill()).await;
    let _fourth = manager.spawn_plain(spec("a")).await.unwrap();
}
