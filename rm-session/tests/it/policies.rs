//! What becomes of items on which a node fails, the same in a stage and in a worker.

use rm_session::{CancelToken, RunEvent, RunReport, Session, SessionError, SessionEvent};
use serde_json::{Value, json};

use crate::support::{
    BOTH, Bench, NATIVE, Ran, WORKER, all, as_text, chain, node, of, restarts, run, text, until,
    within,
};

/// Gives so many items to `in` and a node that fails; what came out.
async fn give(node_type: &str, params: Value, extra: Value, items: usize) -> (Ran, Vec<String>) {
    let bench = Bench::new();
    let nodes = vec![node("in", NATIVE, json!({}), json!({})), node("n", node_type, params, extra)];
    let mut texts = Vec::new();
    let session = bench.create(&chain(nodes));
    let ran = run(session, (0..items).map(text), |output| texts.push(as_text(&output))).await;
    (ran, texts)
}

fn fast(mut extra: Value) -> Value {
    extra["retry"] = json!({"initial_ms": 1});
    extra
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_failure_is_tried_again_three_times() {
    for node_type in BOTH {
        let params = json!({"fail_at": "1", "fails": 3, "transient": true});
        let (ran, texts) = give(node_type, params, fast(json!({})), 3).await;
        ran.end.unwrap();
        assert_eq!(texts, ["0", "1 at try 4", "2"], "{node_type}");
        let done = &of(&ran.statistics, "n").statistics;
        assert_eq!((done.errors, done.retries, done.skipped), (3, 3, 0), "{node_type}");
        assert_eq!((done.items_in, done.items_out), (3, 3), "{node_type}");
        assert!(!ran.events.iter().any(|event| matches!(event, SessionEvent::ItemSkipped(_))));

        let params = json!({"fail_at": "1", "fails": 4, "transient": true});
        let (ran, texts) = give(node_type, params, fast(json!({})), 3).await;
        let error = ran.end.unwrap_err();
        assert_eq!(error.node().map(|node| node.as_str()), Some("n"), "{node_type}");
        let shown = error.to_string();
        assert!(shown.contains("failed to process item 1"), "{node_type}: {shown}");
        assert_eq!(texts, ["0"], "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_delays_before_a_retry_are_those_of_the_contract() {
    for node_type in BOTH {
        let began = std::time::Instant::now();
        let params = json!({"fail_at": "0", "fails": 3, "transient": true});
        let (ran, texts) = give(node_type, params, json!({}), 1).await;
        ran.end.unwrap();
        assert_eq!(texts, ["0 at try 4"], "{node_type}");
        assert!(began.elapsed() >= std::time::Duration::from_millis(700), "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_not_transient_is_not_tried_again_unless_asked_for() {
    for node_type in BOTH {
        let params = json!({"fail_at": "1", "fails": 1});
        let (ran, texts) = give(node_type, params.clone(), fast(json!({})), 3).await;
        let error = ran.end.unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let shown = format!("{error}: {}", cause.unwrap_or_default());
        assert!(shown.contains("n") && shown.contains("item 1"), "{shown}");
        assert!(shown.contains("item 1 is bad"), "{node_type}: {shown}");
        assert_eq!(texts, ["0"], "{node_type}");
        let (ran, texts) = give(node_type, params, fast(json!({"on_error": "retry"})), 3).await;
        ran.end.unwrap();
        assert_eq!(texts, ["0", "1 at try 2", "2"], "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_fail_are_left_out_and_reported_where_the_policy_is_to_skip() {
    for node_type in BOTH {
        let params = json!({"fail_at": "1,3"});
        let (ran, texts) = give(node_type, params, json!({"on_error": "skip"}), 5).await;
        ran.end.unwrap();
        assert_eq!(texts.len(), 3, "{node_type}");
        let done = &of(&ran.statistics, "n").statistics;
        assert_eq!((done.errors, done.retries, done.skipped), (2, 0, 2), "{node_type}");
        let skipped = ran.events.iter().filter_map(|event| match event {
            SessionEvent::ItemSkipped(failure) => {
                Some((failure.node.as_str(), failure.item, failure.tries))
            }
            _ => None,
        });
        assert!(skipped.eq([("n", 1, 1), ("n", 3, 1)]), "{node_type}: {:?}", ran.events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_has_its_tries_and_is_left_out_after_the_last() {
    for node_type in BOTH {
        let params = json!({"fail_at": "all", "transient": true});
        let extra = json!({"on_error": "skip", "retry": {"max": 2, "initial_ms": 1},
            "circuit_breaker": {"failures": 0}});
        let (ran, texts) = give(node_type, params, extra, 20).await;
        ran.end.unwrap();
        assert!(texts.is_empty());
        let done = &of(&ran.statistics, "n").statistics;
        assert_eq!((done.errors, done.retries, done.skipped), (60, 40, 20), "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_rejected_untried_after_five_failures_in_a_row() {
    for node_type in BOTH {
        let params = json!({"fail_at": "1,2,3,4,5"});
        let (ran, texts) = give(node_type, params, json!({"on_error": "skip"}), 12).await;
        ran.end.unwrap();
        assert_eq!(texts, ["0"], "{node_type}");
        let done = &of(&ran.statistics, "n").statistics;
        assert_eq!((done.items_in, done.errors, done.skipped), (12, 5, 11), "{node_type}");
        let rejected: Vec<_> = ran
            .events
            .iter()
            .filter_map(|event| match event {
                SessionEvent::ItemSkipped(failure) if failure.tries == 0 => Some(failure),
                _ => None,
            })
            .collect();
        assert_eq!(
            rejected.iter().map(|failure| failure.item).collect::<Vec<_>>(),
            [6, 7, 8, 9, 10, 11]
        );
        let message = "not tried: the node has failed on 5 items in a row";
        assert!(rejected.iter().all(|failure| failure.failure.message == message));
        assert!(rejected.iter().all(|failure| failure.failure.error_type == "CircuitOpen"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_closes_when_a_later_item_succeeds() {
    for node_type in BOTH {
        let bench = Bench::new();
        let extra = json!({"on_error": "skip",
            "circuit_breaker": {"failures": 2, "reset_after_secs": 0.05}});
        let nodes = vec![node("n", node_type, json!({"fail_at": "0,1"}), extra)];
        let session = bench.start(&chain(nodes)).await;
        let mut number = 0;
        // Items are given until one is tried and succeeds.
        let first = within(async {
            loop {
                session.send("n", text(number)).await.unwrap();
                number += 1;
                let next = std::time::Duration::from_millis(5);
                if let Ok(output) = tokio::time::timeout(next, session.recv()).await {
                    return as_text(&output.unwrap().expect("the session goes on"));
                }
            }
        });
        assert!(!first.await.is_empty());
        session.send("n", text(9_999)).await.unwrap();
        session.finish();
        let mut last = None;
        while let Some(output) = within(session.recv()).await.unwrap() {
            last = Some(as_text(&output));
        }
        assert_eq!(last.as_deref().and_then(|text| text.split(' ').next()), Some("9999"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_reports_the_items_that_were_left_out() {
    for node_type in BOTH {
        let bench = Bench::new();
        let params = json!({"fail_at": "2"});
        let manifest = chain(vec![node("n", node_type, params, json!({"on_error": "skip"}))]);
        let mut outputs = 0;
        let note = |event| outputs += usize::from(matches!(event, RunEvent::Output(_)));
        let (plan, input) = (bench.plan(&manifest), (0..4).map(text).collect());
        let cancel = CancelToken::new();
        let report = within(rm_session::run(&bench.runtime, plan, input, note, cancel)).await;
        let RunReport { failures, nodes, .. } = report.unwrap();
        assert_eq!((failures.len(), outputs), (1, 3), "{node_type}");
        assert_eq!((failures[0].node.as_str(), failures[0].item), ("n", 2), "{node_type}");
        assert!(failures[0].failure.message.contains("item 2 is bad"), "{:?}", failures[0]);
        assert_eq!(nodes[0].statistics.skipped, 1, "{node_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_takes_too_long_twice_becomes_a_dead_letter() {
    let bench = Bench::new();
    let mut extra = restarts(10);
    extra["timeout_secs"] = json!(0.2);
    let nodes = vec![
        node("in", NATIVE, json!({}), json!({})),
        node("n", WORKER, json!({"hang_at": "3"}), extra),
    ];
    let mut texts = Vec::new();
    let session = bench.create(&chain(nodes));
    let ran = run(session, (0..6).map(text), |output| texts.push(as_text(&output))).await;
    ran.end.as_ref().unwrap();
    assert_eq!(texts, ["0", "1", "2", "4", "5"]);
    assert_eq!(ran.restarts(), 2);
    let letters = ran.events.iter().filter_map(|event| match event {
        SessionEvent::DeadLetter(letter) => Some(letter.data.as_text()),
        _ => None,
    });
    assert!(letters.eq([Some("3")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_ends_the_session_while_a_node_waits_to_try_again() {
    for node_type in BOTH {
        let bench = Bench::new();
        let params = json!({"fail_at": "0", "transient": true});
        let extra = json!({"retry": {"initial_ms": 60_000, "max_ms": 60_000}});
        let session: Session = bench.start(&chain(vec![node("n", node_type, params, extra)])).await;
        let mut events = session.events();
        session.send("n", text(0)).await.unwrap();
        until(&session, |now| of(now, "n").statistics.errors == 1).await;
        session.cancel();
        assert!(matches!(within(session.recv()).await, Err(SessionError::Cancelled)));
        assert!(!all(&mut events).await.is_empty());
    }
}
