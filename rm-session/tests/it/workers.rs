//! Pipelines with worker processes, and what happens when one of those fails.

use std::time::Duration;

use rm_session::{CancelToken, RunReport, RuntimeConfig, SessionError};
use serde_json::{Value, json};

use crate::native::run;
use crate::support::{files_of, interpreter};

struct Ran {
    result: Result<RunReport, SessionError>,
    outputs: Vec<String>,
    steps: Vec<String>,
}

async fn run_workers(manifest: Value, input: &[&str], cancel: CancelToken) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let config = RuntimeConfig {
        python: Some(interpreter(folder.path())),
        cleanup_grace_period: Duration::from_secs(2),
        ..RuntimeConfig::default()
    };
    let (result, outputs, steps) = run(config, manifest, input, cancel).await;
    Ran { result, outputs, steps }
}

pub fn chain(types: &[&str]) -> Value {
    let id = |place: usize| format!("n{place}");
    let nodes: Vec<_> = types
        .iter()
        .enumerate()
        .map(|(place, node_type)| json!({"id": id(place), "node_type": node_type}))
        .collect();
    let connections: Vec<_> =
        (1..types.len()).map(|to| json!({"from": id(to - 1), "to": id(to)})).collect();
    json!({"version": "v1", "nodes": nodes, "connections": connections})
}

#[tokio::test(flavor = "multi_thread")]
async fn items_go_from_native_through_two_workers_and_back_in_order() {
    let manifest = chain(&["Twice", "test:Echo", "test:Progresses", "Hold"]);
    let input: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let ran = run_workers(manifest, &input, CancelToken::new()).await;
    let report = ran.result.unwrap();
    let expected: Vec<_> =
        input.iter().flat_map(|text| [format!("n3 {text}!!"), format!("n3 {text}!!")]).collect();
    assert_eq!(ran.outputs, expected);
    assert_eq!(report.nodes.len(), 4);
    assert!(report.connections.iter().all(|c| c.messages == 1_000 && c.missed == 0));
    assert!(ran.steps.iter().any(|step| step == "n2 LoadingModel half"), "{:?}", ran.steps);
    for node in ["n0", "n1", "n2", "n3"] {
        let ready = format!("{node} Ready ");
        assert_eq!(ran.steps.iter().filter(|step| **step == ready).count(), 1, "{:?}", ran.steps);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fan_out_and_fan_in_lose_nothing() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "a", "node_type": "Twice"}, {"id": "left", "node_type": "test:Echo"},
                  {"id": "right", "node_type": "test:Echo"}, {"id": "join", "node_type": "test:Echo"}],
        "connections": [{"from": "a", "to": "left"}, {"from": "a", "to": "right"},
                        {"from": "left", "to": "join"}, {"from": "right", "to": "join"},
                        {"from": "a", "to": "join"}]});
    let input: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let input: Vec<&str> = input.iter().map(String::as_str).collect();
    let ran = run_workers(manifest, &input, CancelToken::new()).await;
    ran.result.unwrap();
    for text in &input {
        let count = |wanted: &str| ran.outputs.iter().filter(|line| *line == wanted).count();
        assert_eq!(count(&format!("join {text}!!")), 4);
        assert_eq!(count(&format!("join {text}!")), 2);
    }
    assert_eq!(ran.outputs.len(), 1_200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_is_named_with_item_and_cause() {
    let ran =
        run_workers(chain(&["Twice", "test:Fails", "Hold"]), &["ok", "bad"], CancelToken::new());
    assert_eq!(
        ran.await.result.unwrap_err().to_string(),
        "node n1 (test:Fails) failed to process item 2: ValueError: a bad item"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_named_with_its_signal() {
    let ran = run_workers(chain(&["test:Dies", "test:Echo"]), &["bad"], CancelToken::new()).await;
    let error = ran.result.unwrap_err();
    let SessionError::Crashed { node, report, when, .. } = &error else { panic!("{error}") };
    assert_eq!((node.as_str(), *when), ("n0", "while running"));
    let signal = report.exit.as_ref().and_then(|exit| exit.signal_name());
    assert_eq!(signal, Some("SIGABRT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_exits_while_loading_is_named_with_code_and_output() {
    let ran = run_workers(chain(&["test:Exits"]), &[], CancelToken::new()).await;
    let error = ran.result.unwrap_err();
    let SessionError::Crashed { report, when, .. } = &error else { panic!("{error}") };
    assert_eq!(*when, "before it was ready");
    assert_eq!(report.exit.as_ref().and_then(|exit| exit.code), Some(3));
    assert!(report.stderr_tail.contains("the model is missing"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_never_gets_ready_is_named_with_its_last_progress() {
    let mut manifest = chain(&["test:NeverReady", "test:Echo"]);
    manifest["metadata"] = json!({"multiprocess": {"init_timeout_secs": 1}});
    let error = run_workers(manifest, &[], CancelToken::new()).await.result.unwrap_err();
    let SessionError::InitTimeout { node, timeout, last, .. } = &error else { panic!("{error}") };
    assert_eq!((node.as_str(), *timeout, last.as_str()), ("n0", Duration::from_secs(1), "loading"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_that_is_missing_is_named() {
    let config =
        RuntimeConfig { python: Some("/no/such/python".into()), ..RuntimeConfig::default() };
    let (result, ..) = run(config, chain(&["test:Echo"]), &[], CancelToken::new()).await;
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "cannot start the worker of node n0 with /no/such/python");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_workers_than_allowed_are_refused_before_any_is_started() {
    let config = RuntimeConfig { max_processes_per_session: Some(1), ..RuntimeConfig::default() };
    let (result, ..) =
        run(config, chain(&["test:Echo", "test:Echo"]), &[], CancelToken::new()).await;
    assert_eq!(
        result.unwrap_err().to_string(),
        "the pipeline needs 2 worker processes, 1 are allowed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_while_a_worker_sleeps_over_an_item_ends_the_session() {
    let cancel = CancelToken::new();
    let canceller = cancel.clone();
    let session = run_workers(chain(&["Twice", "test:Sleeps"]), &["x"], cancel);
    let cancels = async {
        // Long enough to be in mid-stream nearly always; before that it must work as well.
        tokio::time::sleep(Duration::from_millis(300)).await;
        canceller.cancel();
    };
    let (ran, ()) = tokio::join!(session, cancels);
    assert!(matches!(ran.result, Err(SessionError::Cancelled)));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_before_the_start_ends_the_session() {
    let cancel = CancelToken::new();
    cancel.cancel();
    let ran = run_workers(chain(&["test:Echo", "test:Echo"]), &["x"], cancel).await;
    assert!(matches!(ran.result, Err(SessionError::Cancelled)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_seen_while_another_branch_never_stops_giving() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "count", "node_type": "Count", "params": {"limit": 1_000_000_000}},
                  {"id": "in", "node_type": "Twice"}, {"id": "dies", "node_type": "test:Dies"}],
        "connections": [{"from": "in", "to": "dies"}]});
    let error = run_workers(manifest, &["bad"], CancelToken::new()).await.result.unwrap_err();
    assert!(
        matches!(&error, SessionError::Crashed { node, .. } if node.as_str() == "dies"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_dropped_at_any_moment_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let python = Some(interpreter(folder.path()));
    let runtime = rm_session::Runtime::new(
        RuntimeConfig { python, ..RuntimeConfig::default() },
        crate::native::registry(),
    );
    for delay in 0..12 {
        let manifest = chain(&["Twice", "test:Echo", "test:Echo"]).to_string();
        let manifest = rm_session::Manifest::from_json(&manifest).unwrap();
        let plan = rm_session::Plan::new(manifest, runtime.registry()).unwrap();
        let session = rm_session::Session::create(&runtime, plan, CancelToken::new()).unwrap();
        let id = session.id().to_string();
        assert!(!files_of(&id).is_empty());
        let delay = Duration::from_millis(delay * 2);
        let _ = tokio::time::timeout(delay, session.initialize(|_| {})).await;
        drop(session);
        // Nobody has waited for the workers, and one that is dying may make a file a moment after the
        // removal. Once they are dead any start sweeps that.
        let watchdog = std::time::Instant::now() + Duration::from_secs(10);
        while !files_of(&id).is_empty() {
            assert!(std::time::Instant::now() < watchdog, "{:?} after {delay:?}", files_of(&id));
            rm_session::Runtime::new(RuntimeConfig::default(), crate::native::registry());
            tokio::task::yield_now().await;
        }
    }
}
