//! What a runtime does not allow is refused before anything is started, and places are given back.

use rm_session::{CancelToken, Machine, Manifest, Plan, RuntimeConfig, Session, SessionError};
use serde_json::{Value, json};

use crate::support::{Bench, WORKER, chain, files_of, node, text, within};

fn workers(count: usize) -> Value {
    let worker = |place| node(&format!("w{place}"), WORKER, json!({}), json!({}));
    chain((0..count).map(worker).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_too_many_processes_is_refused_with_both_numbers() {
    let config = RuntimeConfig { max_processes_per_session: Some(2), ..RuntimeConfig::default() };
    let bench = Bench::with(config);
    let manifest = Manifest::from_json(&workers(3).to_string()).unwrap();
    let refused = Plan::with(
        manifest.clone(),
        bench.runtime.registry(),
        bench.runtime.config(),
        &Machine::probe(),
    );
    let shown = refused.unwrap_err().to_string();
    assert!(shown.contains('3') && shown.contains('2'), "{shown}");
    // A plan that was made for another runtime is refused as well.
    let plan = Plan::new(manifest, bench.runtime.registry()).unwrap();
    let refused = Session::create(&bench.runtime, plan, CancelToken::new()).unwrap_err();
    let SessionError::TooManyProcesses { needed: 3, limit: 2 } = refused else {
        panic!("{refused}")
    };
    assert!(bench.runtime.sessions().is_empty());
    within(bench.start(&workers(2)).await.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_together_have_no_more_processes_than_the_runtime_allows() {
    let config = RuntimeConfig { max_processes: Some(3), ..RuntimeConfig::default() };
    let bench = Bench::with(config);
    let first = bench.start(&workers(2)).await;
    let refused = bench.try_create(&workers(2)).unwrap_err();
    let shown = refused.to_string();
    let SessionError::RuntimeFull { needed: 2, running: 2, limit: 3 } = refused else {
        panic!("{shown}")
    };
    assert!(shown.contains("2 of the 3"), "{shown}");
    let second = bench.start(&workers(1)).await;
    within(first.close()).await;
    // Its places are given back with its end.
    let third = within(async {
        loop {
            match bench.try_create(&workers(2)) {
                Ok(session) => return session,
                Err(SessionError::RuntimeFull { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let third = third.await;
    within(third.initialize(|_| {})).await.unwrap();
    third.send("w0", text(1)).await.unwrap();
    assert!(within(third.recv()).await.unwrap().is_some());
    within(async { tokio::join!(second.close(), third.close()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_free_as_soon_as_a_close_has_returned() {
    let config =
        RuntimeConfig { max_processes: Some(1), max_sessions: Some(1), ..RuntimeConfig::default() };
    let bench = Bench::with(config);
    for _ in 0..20 {
        let session = bench.create(&workers(1));
        within(session.close()).await;
    }
    for _ in 0..3 {
        within(bench.start(&workers(1)).await.close()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_sessions_than_the_runtime_allows() {
    let config = RuntimeConfig { max_sessions: Some(2), ..RuntimeConfig::default() };
    let bench = Bench::with(config);
    let sessions = [bench.create(&workers(1)), bench.create(&workers(1))];
    assert_eq!(bench.runtime.sessions().len(), 2);
    let before: Vec<_> = sessions.iter().map(|session| session.id().clone()).collect();
    let refused = bench.try_create(&workers(1)).unwrap_err();
    let SessionError::TooManySessions { running: 2, limit: 2 } = refused else {
        panic!("{refused}")
    };
    let mut names = bench.runtime.sessions();
    names.sort();
    let mut expected = before;
    expected.sort();
    assert_eq!(names, expected);
    for session in &sessions {
        assert!(bench.runtime.session(session.id()).is_some());
        within(session.close()).await;
        assert!(files_of(session.id().as_str()).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_of_more_bytes_than_a_session_may_have_are_refused_with_both_numbers() {
    let config = RuntimeConfig { shm_segment_size: 1 << 20, ..RuntimeConfig::default() };
    let bench = Bench::with(config);
    let mut manifest = workers(3);
    manifest["metadata"] = json!({"multiprocess": {"channel_capacity": 1 << 20}});
    let manifest = Manifest::from_json(&manifest.to_string()).unwrap();
    let refused =
        Plan::with(manifest, bench.runtime.registry(), bench.runtime.config(), &Machine::probe());
    let shown = refused.unwrap_err().to_string();
    assert!(shown.contains("4 MiB"), "{shown}");
    assert!(shown.contains("1 MiB"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_need_more_memory_than_a_session_may_have_are_refused_with_both_numbers() {
    let config =
        RuntimeConfig { max_memory_per_session: Some(1 << 30), ..RuntimeConfig::default() };
    let bench = Bench::with(config);
    let mut manifest = workers(2);
    for place in 0..2 {
        manifest["nodes"][place]["capabilities"] = json!({"memory_gb": 1});
    }
    let manifest = Manifest::from_json(&manifest.to_string()).unwrap();
    let machine = Machine { memory: Some(64 << 30), ..Machine::probe() };
    let config = bench.runtime.config();
    let refused = Plan::with(manifest, bench.runtime.registry(), config, &machine);
    let shown = refused.unwrap_err().to_string();
    assert!(shown.contains("1.9 GiB") && shown.contains("limit is 1 GiB"), "{shown}");
}
