//! Many sessions, and sessions that are let go at any point: nothing is ever left.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rm_session::{Session, SessionError, SessionStatus};
use serde_json::{Value, json};

use crate::support::{
    Bench, Items, NATIVE, WORKER, assert_nothing_is_left, chain, files_of, lives, manifest, node,
    of, processes_of, run, text, until, within,
};

fn plain(id: &str, node_type: &str) -> Value {
    node(id, node_type, json!({}), json!({}))
}

fn five_nodes() -> Value {
    let types = [NATIVE, WORKER, NATIVE, WORKER, NATIVE];
    let ids = (0..).map(|place| format!("n{place}"));
    chain(ids.zip(types).map(|(id, node_type)| plain(&id, node_type)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_sessions_of_three_workers_at_once_do_not_interfere() {
    let bench = std::sync::Arc::new(Bench::frugal());
    let mut sessions = tokio::task::JoinSet::new();
    for seed in 0..10 {
        let bench = std::sync::Arc::clone(&bench);
        sessions.spawn(async move {
            let ids = ["a", "b", "c"];
            let session = bench.create(&chain(ids.map(|id| plain(id, WORKER)).into()));
            let items = Items::new(300, 50 + seed, 0);
            let mut next = 0;
            let ran = run(session, items.all(), |output| {
                assert_eq!(items.check(&output.data, 1), next);
                next += 1;
            });
            ran.await.end.unwrap();
            assert_eq!(next, 300);
        });
    }
    within(sessions.join_all()).await;
    assert!(bench.runtime.sessions().is_empty());
}

/// Descriptors and threads of this process.
fn held() -> [usize; 2] {
    ["fd", "task"].map(|held| {
        let held = std::fs::read_dir(format!("/proc/self/{held}"));
        held.expect("the kernel tells").count()
    })
}

/// Its descriptors and threads are counted, so that it has a process to itself.
#[test]
fn a_hundred_sessions_one_after_another_are_complete_and_leave_nothing() {
    let binary = std::env::current_exe().expect("a test binary");
    let test = "many::a_hundred_sessions_in_a_process_of_their_own";
    let ran = Command::new(binary).args(["--exact", test, "--ignored"]).output();
    let ran = ran.expect("the binary of this test");
    let told = [ran.stdout, ran.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
    assert!(ran.status.success() && told[0].contains("1 passed"), "{}", told.concat());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above"]
async fn a_hundred_sessions_in_a_process_of_their_own() {
    let bench = Bench::frugal();
    let items = Items::new(100, 60, 50);
    let mut before = [0; 2];
    for round in 0..100 {
        let mut next = 0;
        let ran = run(bench.create(&five_nodes()), items.all(), |output| {
            assert_eq!(items.check(&output.data, 1), next);
            next += 1;
        });
        ran.await.end.unwrap();
        assert_eq!(next, 100);
        // What the first ones open stays open for the others.
        if round == 4 {
            before = held();
        }
    }
    // The last session's task may just be ending.
    within(async {
        while held().iter().zip(&before).any(|(now, before)| now > before) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until nobody lives and no file is there: whoever lets go of a session waits for nothing.
async fn nothing_is_left(session: &str, processes: &BTreeSet<u32>) {
    let watchdog = Instant::now() + Duration::from_secs(60);
    while processes.iter().any(|process| lives(*process)) || !files_of(session).is_empty() {
        assert!(Instant::now() < watchdog, "{processes:?} {:?}", files_of(session));
        tokio::task::yield_now().await;
    }
}

/// The points of a session's life at which it is let go, the last one included.
const POINTS: usize = 7;

/// Brings a session to a point of its life.
async fn bring(bench: &Bench, session: &Session, point: usize) {
    if point == 0 {
        return;
    }
    within(session.initialize(|_| {})).await.expect("the nodes get ready");
    for number in 0..point {
        session.send("n0", text(number)).await.expect("it takes items");
    }
    match point {
        // Items are everywhere, and a worker is at one.
        2 => until(session, |now| of(now, "n1").statistics.items_in >= 1).await,
        // Some wait for the caller.
        3 => {
            bench.open_gate();
            until(session, |now| now.waiting_outputs == 3).await;
        }
        4 => {
            bench.open_gate();
            session.finish();
        }
        // All is done, and nobody has taken it.
        5 => {
            bench.open_gate();
            session.finish();
            let mut status = session.status_changes();
            within(status.wait_for(|status| *status != SessionStatus::Running))
                .await
                .expect("it goes on");
        }
        6 => within(session.flush()).await.expect("the workers are there"),
        _ => {}
    }
}

fn gated(bench: &Bench) -> Value {
    let mut manifest = five_nodes();
    manifest["nodes"][1]["params"] = json!({"gate": bench.gate()});
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_last_handle_is_dropped_at_any_point_leaves_nothing() {
    for point in 0..POINTS {
        let bench = Bench::new();
        let session = bench.create(&gated(&bench));
        bring(&bench, &session, point).await;
        let (id, processes) = (session.id().to_string(), processes_of(&session));
        drop(session);
        nothing_is_left(&id, &processes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_cancelled_at_any_point_leaves_nothing() {
    for point in 0..POINTS {
        let bench = Bench::new();
        let session = bench.create(&gated(&bench));
        bring(&bench, &session, point).await;
        let processes = processes_of(&session);
        session.cancel();
        let end = within(async {
            loop {
                match session.recv().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        });
        let end = end.await;
        // At the last points it may have come to its end before.
        let is_over = matches!(end, Err(SessionError::Cancelled)) || end.is_ok() && point >= 4;
        assert!(is_over, "{point}: {end:?}");
        assert_nothing_is_left(session.id().as_str(), &processes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_closed_at_any_point_leaves_nothing() {
    for point in 0..POINTS {
        let bench = Bench::new();
        let session = bench.create(&gated(&bench));
        bring(&bench, &session, point).await;
        let processes = processes_of(&session);
        within(session.close()).await;
        assert_eq!(session.status(), SessionStatus::Stopped, "{point}");
        assert_nothing_is_left(session.id().as_str(), &processes);
        assert!(bench.runtime.sessions().is_empty(), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_as_long_as_one_of_its_handles() {
    let bench = Bench::new();
    let session = bench.start(&five_nodes()).await;
    let other = session.clone();
    drop(session);
    other.send("n0", text(1)).await.unwrap();
    assert!(within(other.recv()).await.unwrap().is_some());
    let stream = other.outputs();
    let found = bench.runtime.session(other.id()).expect("it is there");
    let (id, processes) = (other.id().to_string(), processes_of(&other));
    drop(other);
    found.send("n0", text(2)).await.unwrap();
    assert!(within(found.recv()).await.unwrap().is_some());
    drop(found);
    assert!(processes.iter().all(|process| lives(*process)), "the stream is a handle too");
    drop(stream);
    nothing_is_left(&id, &processes).await;
}

#[test]
fn a_session_whose_tokio_runtime_is_dropped_leaves_nothing() {
    for point in 0..POINTS {
        let tokio = || tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let first = tokio().expect("a runtime");
        let bench = Bench::new();
        let (session, processes) = first.block_on(async {
            let session = bench.create(&gated(&bench));
            bring(&bench, &session, point).await;
            let processes = processes_of(&session);
            (session, processes)
        });
        drop(first);
        let second = tokio().expect("a runtime");
        second.block_on(nothing_is_left(session.id().as_str(), &processes));
        drop(session);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_while_items_flow_ends_everything() {
    let bench = Bench::new();
    let count = node("count", "Count", json!({"limit": 1_000_000_000}), json!({}));
    let nodes = vec![count, plain("a", WORKER), plain("b", WORKER), plain("c", NATIVE)];
    let session =
        bench.start(&manifest(nodes, &[("count", "a"), ("a", "b"), ("count", "c")])).await;
    let processes = processes_of(&session);
    for _ in 0..100 {
        assert!(within(session.recv()).await.unwrap().is_some());
    }
    within(session.close()).await;
    assert_nothing_is_left(session.id().as_str(), &processes);
}
