//! How processes end, and how the end is known.

use std::time::Duration;

use rm_process::{ExitReason, ProcessStatus};

use crate::support::{
    Stranger, child, gone, is_known, manager, sh, soon, start, unique_argument, wrote,
};

#[tokio::test]
async fn an_exit_is_known_to_every_waiter_and_the_child_is_reaped() {
    let process = manager().spawn_plain(sh("exit 7")).await.unwrap();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let process = process.clone();
            tokio::spawn(async move { process.exited().await })
        })
        .collect();
    let exit = soon(process.exited()).await;
    for waiter in waiters {
        assert_eq!(soon(waiter).await.unwrap(), exit);
    }
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    assert_eq!(exit.reason, ExitReason::Crash);
    assert_eq!(process.try_exit_status(), Some(exit));
    assert!(!is_known(process.process_id()));
    let status = ProcessStatus::Error("exited with code 7".to_owned());
    assert_eq!(process.status(), status);
}

#[tokio::test]
async fn a_fault_is_a_crash_and_is_named_in_the_report() {
    let script = "echo 'about to fail' >&2; kill -SEGV $$";
    let process = manager().spawn_plain(sh(script).label("asr")).await.unwrap();
    let exit = soon(process.exited()).await;
    assert_eq!(exit.signal_name(), Some("SIGSEGV"));
    assert_eq!(exit.reason, ExitReason::Crash);
    let report = process.failure_report();
    assert_eq!(report.exit, Some(exit));
    let text = report.to_string();
    assert!(text.starts_with("asr (pid "), "{text}");
    assert!(text.contains("killed by signal SIGSEGV after "), "{text}");
    assert!(text.contains("\nlast output:\n  about to fail\n"), "{text}");
}

#[tokio::test]
async fn a_status_change_that_makes_no_sense_is_refused() {
    let process = manager().spawn_plain(sh("exec sleep 1000")).await.unwrap();
    assert!(process.set_status(ProcessStatus::Ready).is_err());
    process.set_status(ProcessStatus::Initializing).unwrap();
    process.set_status(ProcessStatus::Ready).unwrap();
    soon(process.kill()).await;
    assert_eq!(process.status(), ProcessStatus::Stopped);
    assert!(process.set_status(ProcessStatus::Ready).is_err());
}

#[tokio::test]
async fn an_error_of_a_process_that_is_gone_can_be_cleaned_up() {
    let process = manager().spawn_plain(sh("exit 1")).await.unwrap();
    let exit = soon(process.exited()).await;
    assert!(matches!(process.status(), ProcessStatus::Error(_)));
    assert_eq!(soon(process.terminate(Duration::ZERO)).await, exit);
    assert_eq!(process.status(), ProcessStatus::Stopped);
}

#[tokio::test]
async fn nobody_can_decree_that_a_process_stops() {
    let process = manager().spawn_plain(sh("exec sleep 1000")).await.unwrap();
    for status in [ProcessStatus::Idle, ProcessStatus::Stopping, ProcessStatus::Stopped] {
        let error = process.set_status(status.clone()).unwrap_err();
        assert_eq!((error.from, error.to), (ProcessStatus::Idle, status));
    }
}

#[tokio::test]
async fn a_termination_goes_on_when_nobody_waits_for_it() {
    let script = "trap '' TERM; echo ready; while :; do sleep 1000; done";
    let process = manager().spawn_plain(sh(script)).await.unwrap();
    wrote(&process, "ready").await;
    let given_up =
        tokio::time::timeout(Duration::ZERO, process.terminate(Duration::from_millis(300)));
    assert!(given_up.await.is_err());
    assert_eq!(process.status(), ProcessStatus::Stopping);
    assert_eq!(soon(process.exited()).await.reason, ExitReason::Timeout);
}

#[tokio::test]
async fn exit_handlers_run_once_each_also_after_the_end_and_after_one_that_panics() {
    let process = manager().spawn_plain(sh("read line; exit 4")).await.unwrap();
    let (told, mut codes) = tokio::sync::mpsc::unbounded_channel();
    let handler = |name: &'static str| {
        let told = told.clone();
        move |exit: rm_process::ExitStatus| {
            // The test may have seen enough.
            let _ = told.send((name, exit.code));
        }
    };
    process.on_exit(handler("early"));
    process.on_exit(|_| panic!("a handler that fails"));
    process.on_exit(handler("after a panic"));
    soon(process.exited()).await;
    for name in ["early", "after a panic"] {
        assert_eq!(soon(codes.recv()).await, Some((name, Some(4))));
    }
    process.on_exit(handler("late"));
    assert_eq!(codes.try_recv().ok(), Some(("late", Some(4))));
    drop((process, told));
    assert_eq!(soon(codes.recv()).await, None);
}

#[tokio::test]
async fn all_processes_of_a_session_are_told_to_end_together() {
    let manager = manager();
    let stubborn = |session: &str| {
        let mut spec = sh("trap '' TERM; echo ready; while :; do sleep 1000; done");
        spec.session_id = session.to_owned();
        spec
    };
    let mut processes = Vec::new();
    for session in ["a", "a", "a", "b"] {
        let process = manager.spawn_plain(stubborn(session)).await.unwrap();
        wrote(&process, "ready").await;
        processes.push(process);
    }
    let ends = soon(manager.terminate_session("a", Duration::from_millis(300))).await;
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().all(|(_, exit)| exit.reason == ExitReason::Timeout));
    assert_eq!(processes[3].try_exit_status(), None);
    assert_eq!(soon(manager.terminate_all(Duration::ZERO)).await.len(), 1);
}

#[tokio::test]
async fn terminate_is_honoured_by_a_child_that_exits_on_sigterm() {
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let process = manager().spawn_plain(sh(script)).await.unwrap();
    wrote(&process, "ready").await;
    let exit = soon(process.terminate(Duration::from_secs(3600))).await;
    assert_eq!(exit.code, Some(5));
    assert_eq!(process.status(), ProcessStatus::Stopped);
    assert!(!is_known(process.process_id()));
}

#[tokio::test]
async fn terminate_asks_a_child_over_its_channel_and_waits_for_it() {
    let (process, _backend) = start::<String>(child("echo")).await;
    let exit = soon(process.terminate(Duration::from_secs(3600))).await;
    assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Normal));
}

#[tokio::test]
async fn terminate_kills_a_child_that_ignores_sigterm_before_the_grace_ends() {
    let script = "trap '' TERM; echo ready; while :; do sleep 1000; done";
    let process = manager().spawn_plain(sh(script)).await.unwrap();
    wrote(&process, "ready").await;
    let exit = soon(process.terminate(Duration::from_millis(400))).await;
    assert_eq!(exit.signal_name(), Some("SIGKILL"));
    assert_eq!(exit.reason, ExitReason::Timeout);
    assert_eq!(process.status(), ProcessStatus::Stopped);
}

#[tokio::test]
async fn terminate_without_a_grace_kills_at_once_also_a_stopped_child() {
    let process = manager().spawn_plain(sh("kill -STOP $$")).await.unwrap();
    let stranger = Stranger::new(process.process_id());
    stranger.wait_stopped();
    let exit = soon(process.terminate(Duration::ZERO)).await;
    assert_eq!(exit.signal_name(), Some("SIGKILL"));
}

#[tokio::test]
async fn stopping_a_process_that_is_gone_tells_how_it_ended() {
    let process = manager().spawn_plain(sh("exit 0")).await.unwrap();
    let exit = soon(process.exited()).await;
    assert_eq!(soon(process.kill()).await, exit);
    assert_eq!(soon(process.terminate(Duration::from_secs(1))).await, exit);
}

#[tokio::test]
async fn grandchildren_are_killed_with_the_group() {
    let (process, backend) = start::<u64>(child("family")).await;
    let grandchild = soon(backend.call(&0)).await.unwrap();
    let grandchild = Stranger::new(u32::try_from(grandchild).unwrap());
    assert!(grandchild.is_alive());
    let exit = soon(process.kill()).await;
    assert_eq!(exit.reason, ExitReason::Killed);
    grandchild.wait_dead();
}

#[tokio::test]
async fn grandchildren_do_not_outlive_a_child_that_exits_by_itself() {
    let script = "trap '' HUP TERM; sleep 1000 & echo $!; read line; exit 0";
    let spec = sh(&format!("({script}) 2>/dev/null; exit 0"));
    let process = manager().spawn_plain(spec).await.unwrap();
    let exit = soon(process.exited()).await;
    assert_eq!(exit.code, Some(0));
    let grandchild: u32 = process.stdout_tail().trim().parse().unwrap();
    Stranger::find(grandchild).inspect(Stranger::wait_dead);
}

#[tokio::test]
async fn a_stopped_process_can_end_when_it_is_asked_to() {
    let script = "trap 'exit 5' TERM; echo ready; kill -STOP $$; while :; do sleep 0.01; done";
    let process = manager().spawn_plain(sh(script)).await.unwrap();
    wrote(&process, "ready").await;
    let stranger = Stranger::new(process.process_id());
    stranger.wait_stopped();
    let exit = soon(process.terminate(Duration::from_secs(3600))).await;
    assert_eq!(exit.code, Some(5), "{}", process.failure_report());
}

#[tokio::test]
async fn a_start_that_fails_leaves_no_record_and_the_manager_can_go_on() {
    let manager = manager();
    let missing = rm_process::CommandSpec::new("/no/such/program");
    assert!(manager.spawn_plain(missing).await.is_err());
    let mark = unique_argument();
    let process = manager.spawn_plain(sh(&format!("exec sleep {mark}"))).await.unwrap();
    soon(process.kill()).await;
    drop(process);
    soon(manager.finished()).await;
    gone(&mark).await;
}
