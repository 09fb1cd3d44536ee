//! Nodes that die, and are not started again: the session ends, says why, and delivers what was
//! complete before.

use std::sync::atomic::{AtomicUsize, Ordering};

use rm_session::{CleanupError, SessionError, SessionEvent, SessionStatus};
use serde_json::{Value, json};

use crate::support::{
    BOTH, Bench, Items, NATIVE, WORKER, assert_nothing_is_left, chain, manifest, node, of,
    processes_of, run, text, until, within,
};

fn plain(id: &str, node_type: &str) -> Value {
    node(id, node_type, json!({}), json!({}))
}

fn mortal(bench: &Bench, at: usize, when: &str) -> Value {
    let marks = bench.marks();
    let params = json!({"die_at": at.to_string(), "die_when": when, "marks": marks});
    node("dies", WORKER, params, json!({}))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_has_sent_before_it_dies_is_delivered_before_the_error() {
    let behind: [&[&str]; 5] =
        [&[], &[NATIVE], &[WORKER], &[WORKER, NATIVE], &[NATIVE, WORKER, NATIVE]];
    for (when, sent) in [("before", 25), ("after", 26)] {
        for types in behind {
            let bench = Bench::new();
            let mut nodes = vec![plain("in", NATIVE), mortal(&bench, 25, when)];
            let ids = (0..).map(|place| format!("behind{place}"));
            nodes.extend(ids.zip(types).map(|(id, node_type)| plain(&id, node_type)));
            let items = Items::new(50, 30, 50);
            let mut next = 0;
            let ran = run(bench.create(&chain(nodes)), items.all(), |output| {
                assert_eq!(items.check(&output.data, 1), next);
                next += 1;
            });
            let ran = ran.await;
            let error = ran.end.as_ref().unwrap_err();
            let SessionError::Crashed { node, when: crashed, report, .. } = error else {
                panic!("{error}")
            };
            assert_eq!((node.as_str(), *crashed), ("dies", "while running"));
            let signal = report.exit.as_ref().and_then(|exit| exit.signal_name());
            assert_eq!(signal, Some("SIGABRT"));
            assert_eq!(next, sent, "{types:?}");
            let status = ran.statistics.status.clone();
            assert_eq!(status, SessionStatus::Error(error.to_string()));
            let is_last = |event: &SessionEvent| matches!(event, SessionEvent::Status(last) if *last == status);
            assert!(ran.events.iter().any(is_last) || ran.events.len() >= 4, "{:?}", ran.events);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_caller_gets_everything_that_was_complete_and_then_the_error() {
    let bench = Bench::new();
    let session = bench
        .start(&chain(vec![plain("in", NATIVE), mortal(&bench, 100, "after"), plain("b", NATIVE)]))
        .await;
    let processes = processes_of(&session);
    let items = Items::new(101, 31, 0);
    for item in items.all() {
        if session.send("in", item).await.is_err() {
            break;
        }
    }
    // Nothing is taken before the session has ended.
    let mut status = session.status_changes();
    within(status.wait_for(SessionStatus::is_final)).await.unwrap();
    assert_nothing_is_left(session.id().as_str(), &processes);
    for number in 0..101 {
        let output = session.recv().await.unwrap().expect("it was sent");
        assert_eq!(items.check(&output.data, 1), number);
    }
    let error = session.recv().await.unwrap_err();
    assert!(matches!(error, SessionError::Crashed { .. }), "{error}");
    assert!(matches!(session.recv().await, Err(SessionError::Ended { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_is_gone_when_the_crash_is_told() {
    let bench = Bench::new();
    let manifest = manifest(
        vec![
            plain("in", NATIVE),
            mortal(&bench, 0, "before"),
            plain("beside", WORKER),
            node("hangs", WORKER, json!({"hang_at": "0"}), json!({})),
            plain("behind", WORKER),
        ],
        &[("in", "dies"), ("in", "beside"), ("in", "hangs"), ("dies", "behind")],
    );
    let session = bench.start(&manifest).await;
    let processes = processes_of(&session);
    assert_eq!(processes.len(), 4);
    session.send("in", text(0)).await.unwrap();
    let error = loop {
        match within(session.recv()).await {
            Ok(Some(output)) => assert_eq!(output.node.as_str(), "beside"),
            Ok(None) => panic!("it did not fail"),
            Err(error) => break error,
        }
    };
    assert_nothing_is_left(session.id().as_str(), &processes);
    assert_eq!(error.node().map(|node| node.as_str()), Some("dies"));
    assert!(session.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_session_does_not_notice_a_crash() {
    let bench = Bench::new();
    let crashes = bench.start(&chain(vec![mortal(&bench, 0, "before")])).await;
    let other = bench.start(&chain(vec![plain("a", WORKER)])).await;
    crashes.send("dies", text(0)).await.unwrap();
    assert!(within(crashes.recv()).await.is_err());
    other.send("a", text(1)).await.unwrap();
    let output = within(other.recv()).await.unwrap().expect("an item");
    assert_eq!(output.data.as_text(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_named_with_the_signal() {
    let bench = Bench::new();
    let session = bench.start(&chain(vec![plain("a", WORKER), plain("b", WORKER)])).await;
    session.processes()[1].start_kill();
    let error = within(session.recv()).await.unwrap_err();
    let SessionError::Crashed { node, report, .. } = &error else { panic!("{error}") };
    assert_eq!(node.as_str(), "b");
    let signal = report.exit.as_ref().and_then(|exit| exit.signal_name());
    assert_eq!(signal, Some("SIGKILL"));
}

/// A native node cannot be interrupted: its thread stays, and whoever cleans up is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_native_node_that_never_returns_does_not_keep_the_session_from_ending() {
    let bench = Bench::new();
    let hangs = node("hangs", NATIVE, json!({"hang_at": "0"}), json!({}));
    let session = bench.start(&chain(vec![plain("in", WORKER), hangs])).await;
    let processes = processes_of(&session);
    session.send("in", text(0)).await.unwrap();
    until(&session, |now| of(now, "hangs").statistics.items_in == 1).await;
    let id = session.id().to_string();
    let cleaned = within(bench.runtime.cleanup_session(&id)).await;
    let Err(CleanupError::ResourceLeak(what)) = cleaned else { panic!("{cleaned:?}") };
    assert!(what.contains('1') && what.contains("thread"), "{what}");
    assert_nothing_is_left(&id, &processes);
    assert_eq!(session.status(), SessionStatus::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_takes_too_long_ends_the_session_with_its_number() {
    for node_type in BOTH {
        let bench = Bench::new();
        let params = json!({"hang_at": "3"});
        let slow = node("slow", node_type, params, json!({"timeout_secs": 0.2}));
        let took = AtomicUsize::new(0);
        let ran = run(bench.create(&chain(vec![slow])), (0..10).map(text), |_| {
            took.fetch_add(1, Ordering::Relaxed);
        });
        let ran = ran.await;
        let error = ran.end.unwrap_err();
        assert_eq!(error.node().map(|node| node.as_str()), Some("slow"));
        let item = match &error {
            SessionError::Stage(rm_bridge::StageError::TimedOut { item, .. }) => *item,
            SessionError::ItemTimeout { item, report, .. } => {
                let signal = report.exit.as_ref().and_then(|exit| exit.signal_name());
                assert_eq!(signal, Some("SIGABRT"));
                *item
            }
            _ => panic!("{error}"),
        };
        assert_eq!((item, took.into_inner()), (3, 3), "{node_type}");
    }
}
