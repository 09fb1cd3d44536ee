//! Ends and what they mean, as a table.

use super::*;
use crate::diagnosis::diagnose;

const MEMORY: ExitReason = ExitReason::ResourceLimit { limit: Limit::Memory };
const FILES: ExitReason = ExitReason::ResourceLimit { limit: Limit::OpenFiles };

/// One end: what the operating system gave back, and whatever else is known.
struct Case {
    status: ExitStatus,
    deadline_passed: bool,
    was_told_to_end: bool,
    max_memory: Option<u64>,
    open_files: Option<u64>,
    oom_kills: u64,
    peak: PeakMemory,
    tree_peak: Option<u64>,
    stderr: &'static str,
}

fn exited(code: i32) -> Case {
    Case {
        status: ExitStatus::from_raw(code << 8),
        deadline_passed: false,
        was_told_to_end: false,
        max_memory: None,
        open_files: None,
        oom_kills: 0,
        peak: PeakMemory::default(),
        tree_peak: None,
        stderr: "",
    }
}

fn killed(signal: Signal) -> Case {
    Case { status: ExitStatus::from_raw(signal as i32), ..exited(0) }
}

fn check(case: Case, reason: ExitReason, possibly_memory: bool) {
    let said = diagnose(case.stderr);
    let limits =
        Limits { max_memory: case.max_memory, open_files: case.open_files, ..Limits::default() };
    let verdict = Verdict::of(&Evidence {
        status: Some(case.status),
        deadline_passed: case.deadline_passed,
        was_told_to_end: case.was_told_to_end,
        limits: &limits,
        oom_kills: case.oom_kills,
        peak_memory: case.peak,
        peak_tree_memory: case.tree_peak,
        exception: said.cause(),
        said: &said,
    });
    assert_eq!(verdict, Verdict { reason, possibly_memory });
}

const GIB: u64 = 1 << 30;

const VALUE_ERROR: &str = "Traceback (most recent call last):\n  \
    File \"node.py\", line 1, in <module>\nValueError: bad\n";
const MEMORY_ERROR: &str = "Traceback (most recent call last):\n  \
    File \"node.py\", line 1, in <module>\nMemoryError\n";
const DEVICE_MEMORY: &str = "Traceback (most recent call last):\n  \
    File \"node.py\", line 1, in <module>\ntorch.OutOfMemoryError: CUDA out of memory.\n";
const TOO_MANY_FILES: &str = "Traceback (most recent call last):\n  \
    File \"node.py\", line 1, in <module>\n\
    OSError: [Errno 24] Too many open files: 'x'\n";
const IN_A_THREAD: &str = "Exception in thread Thread-1:\nTraceback (most recent call last):\n  \
    File \"node.py\", line 1, in run\nMemoryError\n";
const BAD_ALLOC: &str = "terminate called after throwing an instance of 'std::bad_alloc'\n  \
    what():  std::bad_alloc\n";

#[test]
fn ends_without_limits_are_told_apart_by_code_and_signal() {
    use ExitReason::{Crash, Killed, Normal};
    check(exited(0), Normal, false);
    check(exited(3), Crash, false);
    for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGILL] {
        check(killed(signal), Crash, false);
    }
    for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        check(killed(signal), Killed, false);
    }
    let cpu_time = ExitReason::ResourceLimit { limit: Limit::CpuTime };
    check(killed(Signal::SIGXCPU), cpu_time, false);
    let file_size = ExitReason::ResourceLimit { limit: Limit::FileSize };
    check(killed(Signal::SIGXFSZ), file_size, false);
}

#[test]
fn only_a_signal_of_this_runtime_makes_a_passed_deadline_the_reason() {
    let late = |case: Case| Case { deadline_passed: true, ..case };
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGTERM] {
        check(late(killed(signal)), ExitReason::Timeout, false);
    }
    check(late(exited(0)), ExitReason::Normal, false);
    check(late(exited(3)), ExitReason::Crash, false);
    check(late(killed(Signal::SIGSEGV)), ExitReason::Crash, false);
}

#[test]
fn memory_is_the_reason_where_there_is_proof_and_a_limit() {
    let limited = |case: Case| Case { max_memory: Some(GIB), ..case };
    let peak = |bytes| PeakMemory { bytes, is_bound: false };
    check(limited(Case { oom_kills: 1, ..killed(Signal::SIGKILL) }), MEMORY, false);
    // The kernel killed a descendant, and the process ended because of that.
    check(limited(Case { oom_kills: 1, ..exited(1) }), MEMORY, false);
    check(limited(Case { stderr: MEMORY_ERROR, ..exited(1) }), MEMORY, false);
    check(limited(Case { stderr: BAD_ALLOC, ..killed(Signal::SIGABRT) }), MEMORY, false);
    check(limited(Case { peak: peak(GIB / 100 * 96), ..killed(Signal::SIGSEGV) }), MEMORY, false);
    // Files that were mapped do not count in what the tree has used.
    let mapped = Case { peak: peak(GIB), tree_peak: Some(GIB / 8), ..killed(Signal::SIGSEGV) };
    check(limited(mapped), ExitReason::Crash, true);
    // A peak that may be another process's is no proof.
    let bound = PeakMemory { bytes: GIB, is_bound: true };
    check(limited(Case { peak: bound, ..killed(Signal::SIGSEGV) }), ExitReason::Crash, true);
    check(
        limited(Case { peak: peak(GIB / 2), ..killed(Signal::SIGSEGV) }),
        ExitReason::Crash,
        true,
    );
    check(limited(killed(Signal::SIGKILL)), ExitReason::Killed, true);
    // Without a limit of its own it was the machine's, or a device's.
    check(Case { oom_kills: 1, ..killed(Signal::SIGKILL) }, ExitReason::Killed, true);
    check(Case { stderr: MEMORY_ERROR, ..exited(1) }, ExitReason::Crash, false);
    check(Case { stderr: BAD_ALLOC, ..killed(Signal::SIGABRT) }, ExitReason::Crash, true);
    check(limited(Case { stderr: DEVICE_MEMORY, ..exited(1) }), ExitReason::Crash, false);
}

#[test]
fn memory_is_not_the_reason_where_another_is_known() {
    let limited = |case: Case| Case { max_memory: Some(GIB), ..case };
    let full = PeakMemory { bytes: GIB, is_bound: false };
    check(limited(exited(0)), ExitReason::Normal, false);
    check(limited(Case { stderr: VALUE_ERROR, peak: full, ..exited(1) }), ExitReason::Crash, false);
    let told = Case { was_told_to_end: true, peak: full, ..killed(Signal::SIGKILL) };
    check(limited(told), ExitReason::Killed, false);
    // A thread's exception, after which the process went on until it was told to end.
    let thread = Case { was_told_to_end: true, stderr: IN_A_THREAD, ..killed(Signal::SIGTERM) };
    check(limited(thread), ExitReason::Killed, false);
    check(limited(Case { stderr: IN_A_THREAD, ..exited(3) }), ExitReason::Crash, true);
}

#[test]
fn too_many_open_files_are_the_reason_only_under_a_limit() {
    let stderr = TOO_MANY_FILES;
    check(Case { open_files: Some(64), stderr, ..exited(1) }, FILES, false);
    check(Case { stderr, ..exited(1) }, ExitReason::Crash, false);
}
