//! Processes that load, and tell of it.

use std::time::Duration;

use rm_process::{
    ChildStatus, ExitReason, NodeProcess, ProcessError, ProcessStatus, Progress,
    SubprocessIpcBackend, SubprocessIpcBackendError,
};

use crate::support::{child, manager, sh, soon, start};

type Puppet = SubprocessIpcBackend<String>;

async fn puppet() -> (NodeProcess, Puppet) {
    let mut spec = child("puppet");
    spec.init_timeout = Duration::from_secs(3600);
    start(spec).await
}

async fn order(puppet: &Puppet, order: &str) {
    let answer = soon(puppet.call(&order.to_owned())).await.expect("a child that answers");
    assert_eq!(answer, order);
}

fn progress(message: &str) -> ChildStatus {
    ChildStatus::Progress(Progress { fraction: 0.5, message: message.to_owned() })
}

/// What was told and is here already.
async fn told_by_now(puppet: &Puppet) -> Option<ChildStatus> {
    let told = tokio::time::timeout(Duration::ZERO, puppet.told()).await;
    told.expect("it is here before the answer")
}

#[tokio::test]
async fn what_a_child_tells_of_itself_becomes_its_status() {
    let (process, puppet) = puppet().await;
    assert_eq!(process.status(), ProcessStatus::Idle);
    order(&puppet, "progress half").await;
    assert_eq!(process.status(), ProcessStatus::Initializing);
    let expected = Progress { fraction: 0.5, message: "half".to_owned() };
    assert_eq!(process.failure_report().last_progress, Some(expected));
    order(&puppet, "ready").await;
    assert_eq!(process.status(), ProcessStatus::Ready);
    order(&puppet, "begin 7").await;
    assert_eq!(process.status(), ProcessStatus::Processing);
    assert_eq!(process.failure_report().end.item.map(|item| item.item), Some(7));
    order(&puppet, "end").await;
    assert_eq!(process.status(), ProcessStatus::Ready);
    order(&puppet, "fail no memory left on the device").await;
    let status = ProcessStatus::Error("no memory left on the device".to_owned());
    assert_eq!(process.status(), status);
    soon(process.terminate(Duration::from_secs(3600))).await;
    assert_eq!(process.status(), ProcessStatus::Stopped);
}

#[tokio::test]
async fn a_backend_gives_what_a_child_tells_of_itself_in_order_with_its_answers() {
    let (_process, puppet) = puppet().await;
    for (word, expected) in [
        ("progress one", progress("one")),
        ("ready", ChildStatus::Ready),
        ("progress two", progress("two")),
        ("fail three", ChildStatus::Failed("three".into())),
    ] {
        order(&puppet, word).await;
        assert_eq!(told_by_now(&puppet).await, Some(expected));
    }
}

#[tokio::test]
async fn words_that_nobody_heard_wait_in_order_and_of_progress_only_the_latest() {
    let (process, puppet) = puppet().await;
    for word in ["progress one", "progress two", "ready", "fail three"] {
        order(&puppet, word).await;
    }
    soon(process.kill()).await;
    let failed = ChildStatus::Failed("three".into());
    for expected in [Some(progress("two")), Some(ChildStatus::Ready), Some(failed), None, None] {
        assert_eq!(soon(puppet.told()).await, expected);
    }
}

#[tokio::test]
async fn the_item_in_work_at_a_crash_is_in_the_report() {
    let (process, puppet) = puppet().await;
    order(&puppet, "begin 41").await;
    order(&puppet, "end").await;
    order(&puppet, "begin 42").await;
    let error = soon(puppet.call(&"abort".to_owned())).await.unwrap_err();
    let SubprocessIpcBackendError::ProcessEnded { report } = error else { panic!("{error}") };
    assert_eq!(report.end.item.as_ref().map(|item| item.item), Some(42));
    let exit = soon(process.exited()).await;
    assert_eq!(exit.signal_name(), Some("SIGABRT"));
    let report = process.failure_report();
    assert_eq!(report.end.item.map(|item| item.item), Some(42));
    assert!(report.to_string().contains("; item 42 was in work for "), "{report}");
}

#[tokio::test]
async fn a_child_that_stops_telling_of_progress_is_killed_and_its_last_word_is_told() {
    let mut spec = child("puppet");
    spec.init_timeout = Duration::from_millis(300);
    let (process, puppet) = start(spec).await;
    order(&puppet, "progress loading the weights").await;
    let exit = soon(process.exited()).await;
    assert_eq!(exit.reason, ExitReason::Timeout);
    let report = process.failure_report().to_string();
    assert!(report.contains("300ms"), "{report}");
    assert!(report.contains("loading the weights"), "{report}");
}

#[tokio::test]
async fn a_child_that_never_gets_ready_is_killed_at_the_absolute_limit_whatever_it_tells() {
    let mut spec = child("puppet");
    spec.init_timeout = Duration::from_secs(3600);
    spec.init_limit = Duration::from_millis(500);
    let (process, puppet) = start::<String>(spec).await;
    let more = "progress more".to_owned();
    let tells = async {
        loop {
            if let Err(error) = puppet.call(&more).await {
                break error;
            }
        }
    };
    let error = soon(tells).await;
    let SubprocessIpcBackendError::ProcessEnded { report } = error else { panic!("{error}") };
    assert_eq!(report.exit.map(|exit| exit.reason), Some(ExitReason::Timeout));
    assert_eq!(soon(process.exited()).await.reason, ExitReason::Timeout);
}

#[tokio::test]
async fn who_waits_for_readiness_learns_of_each_way_to_miss_it() {
    let manager = manager();
    let mut silent = child("deaf");
    silent.init_timeout = Duration::from_millis(300);
    let error = soon(manager.spawn_ready(silent)).await.unwrap_err();
    assert!(matches!(error, ProcessError::InitTimeout { .. }), "{error}");

    let error = soon(manager.spawn_ready(child("gives-up"))).await.unwrap_err();
    assert!(matches!(error, ProcessError::InitFailed { .. }), "{error}");
    assert_eq!(error.to_string(), "gives-up cannot get ready: no model at models/large");

    let error = soon(manager.spawn_ready(sh("exit 3"))).await.unwrap_err();
    assert!(matches!(error, ProcessError::EarlyExit { .. }), "{error}");

    let process = soon(manager.spawn_ready(child("gets-ready"))).await.unwrap();
    assert_eq!(process.status(), ProcessStatus::Ready);
    let exit = soon(process.terminate(Duration::from_secs(3600))).await;
    assert_eq!(exit.code, Some(0));
}

#[tokio::test]
async fn what_a_child_tells_of_itself_is_kept_in_bounds() {
    let (process, puppet) = puppet().await;
    let long = "x".repeat(100_000);
    order(&puppet, &format!("progress {long}")).await;
    let told = process.failure_report().last_progress.expect("progress was told");
    assert_eq!(told.message.len(), 8 * 1024);
    order(&puppet, "fraction NaN").await;
    let told = process.failure_report().last_progress.expect("progress was told");
    assert_eq!(told.fraction, 0.0);
    order(&puppet, &format!("fail {long}")).await;
    let ProcessStatus::Error(text) = process.status() else { panic!("{}", process.status()) };
    assert_eq!(text.len(), 8 * 1024);
}

#[tokio::test]
async fn a_stop_while_loading_is_no_missed_deadline() {
    let manager = manager();
    let mut spec = child("deaf");
    spec.session_id = "s".to_owned();
    let started = manager.spawn_ready(spec);
    let stopped = async {
        // Until it is there to be stopped.
        while manager.terminate_session("s", Duration::from_millis(300)).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let (started, ()) = soon(async { tokio::join!(started, stopped) }).await;
    let error = started.unwrap_err();
    assert!(matches!(error, ProcessError::EarlyExit { .. }), "{error}");
}

#[tokio::test]
async fn a_child_that_closes_its_channel_while_it_loads_and_lives_on_is_foreign() {
    let error = soon(manager().spawn_ready(child("hangs-up"))).await.unwrap_err();
    let ProcessError::ForeignPeer { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source, rm_process::HandshakeError::Closed), "{error}");
}
