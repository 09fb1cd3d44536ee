//! Ways for a Python process to end, and what the report says of each.

use rm_process::{CommandSpec, ExitReason, FailureReport};

use crate::support::{manager, python, soon, wrote};

async fn report_of(spec: CommandSpec) -> FailureReport {
    let process = manager().spawn_plain(spec).await.expect("python3 is there");
    soon(process.exited()).await;
    process.failure_report()
}

fn check(report: &FailureReport, end: &str, reason: ExitReason) {
    let exit = report.exit.as_ref().expect("it has ended");
    assert_eq!((exit.to_string().as_str(), exit.reason), (end, reason), "{report}");
    assert!(report.end.peak_memory.is_some_and(|peak| peak.bytes > 1 << 20));
    assert!(report.end.cpu_time.is_some_and(|time| !time.is_zero()));
}

#[tokio::test]
async fn a_segmentation_fault_comes_with_the_stacks_of_all_threads() {
    let script = "\
import ctypes, threading, time
def waits(): time.sleep(1000)
threading.Thread(target=waits, daemon=True).start()
def crashes(): ctypes.string_at(0)
crashes()";
    let report = report_of(python(script)).await;
    check(&report, "killed by signal SIGSEGV", ExitReason::Crash);
    let fatal = report.end.fatal.as_ref().expect("the fault handler's output");
    assert!(fatal.headline.contains("Segmentation fault"), "{}", fatal.headline);
    for function in ["in crashes", "in waits"] {
        assert!(fatal.stacks.contains(function), "{}", fatal.stacks);
    }
    assert!(report.to_string().contains("in crashes"), "{report}");
}

#[tokio::test]
async fn an_abort_is_named() {
    let report = report_of(python("import os; os.abort()")).await;
    check(&report, "killed by signal SIGABRT", ExitReason::Crash);
    assert!(report.end.fatal.is_some());
}

#[tokio::test]
async fn an_exit_without_a_word_is_named_by_its_code_and_nothing_that_was_printed_is_lost() {
    let report = report_of(python("import os; print('so far'); os._exit(9)")).await;
    check(&report, "exited with code 9", ExitReason::Crash);
    assert_eq!((report.end.exception.as_ref(), report.end.fatal.as_ref()), (None, None));
    assert_eq!(report.stdout_tail, "so far\n");
}

#[tokio::test]
async fn an_uncaught_exception_comes_with_its_type_message_and_traceback() {
    let script = "\
def outer(): inner()
def inner(): raise KeyError('no such voice')
outer()";
    let report = report_of(python(script)).await;
    check(&report, "exited with code 1", ExitReason::Crash);
    let exception = report.end.exception.as_ref().expect("an exception");
    assert_eq!(exception.type_name, "KeyError");
    assert_eq!(exception.message, "'no such voice'");
    assert!(exception.traceback.contains("in outer"), "{}", exception.traceback);
}

#[tokio::test]
async fn a_kill_from_outside_is_told_apart_from_a_crash() {
    let report = report_of(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")).await;
    check(&report, "killed by signal SIGKILL", ExitReason::Killed);
}

#[tokio::test]
async fn a_deadlock_past_its_deadline_comes_with_the_stacks_of_all_threads() {
    let script = "\
import threading
lock = threading.Lock()
def waits_for_the_lock():
    with lock:
        lock.acquire()
print('working', flush=True)
waits_for_the_lock()";
    let mut spec = python(script);
    spec.abort_at_deadline = true;
    let process = manager().spawn_plain(spec).await.unwrap();
    wrote(&process, "working").await;
    process.expire("item 3 took longer than 2s");
    let exit = soon(process.exited()).await;
    assert_eq!(exit.reason, ExitReason::Timeout);
    let report = process.failure_report();
    let fatal = report.end.fatal.as_ref().expect("the fault handler's output");
    assert!(fatal.stacks.contains("in waits_for_the_lock"), "{}", fatal.stacks);
    assert!(report.to_string().contains("item 3 took longer than 2s"), "{report}");
}

#[tokio::test]
async fn a_process_that_does_not_react_to_the_abort_is_killed_after_it() {
    let script = "\
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])
print('working', flush=True)
signal.pause()";
    let mut spec = python(script);
    spec.abort_at_deadline = true;
    let process = manager().spawn_plain(spec).await.unwrap();
    wrote(&process, "working").await;
    process.expire("too late");
    let exit = soon(process.exited()).await;
    assert_eq!((exit.signal_name(), exit.reason), (Some("SIGKILL"), ExitReason::Timeout));
}

#[tokio::test]
async fn a_report_survives_json_and_names_where_it_happened() {
    let mut spec = python("raise RuntimeError('x')").label("asr");
    spec.node_type = "my_nodes:Asr".to_owned();
    spec.session_id = "s1".to_owned();
    let process = manager().spawn_plain(spec).await.unwrap();
    soon(process.exited()).await;
    let report = process.failure_report();
    let json = serde_json::to_string(&report).unwrap();
    let back: FailureReport = serde_json::from_str(&json).unwrap();
    assert_eq!(back, report);
    assert_eq!((back.label.as_str(), back.node_type.as_str()), ("asr", "my_nodes:Asr"));
    assert_eq!(back.session_id, "s1");
}
