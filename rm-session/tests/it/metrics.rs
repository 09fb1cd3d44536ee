//! Figures of a whole process, as a scrape sees them.

use std::collections::BTreeMap;

use metrics_exporter_prometheus::PrometheusBuilder;
use rm_core::{RuntimeData, SessionId};
use rm_session::{CancelToken, Manifest, Plan, Runtime, RuntimeConfig, Session};
use serde_json::{Value, json};

use crate::native::registry;
use crate::support::interpreter;
use crate::workers::chain;

/// What a scrape shows: each series, as it is written there, with its value.
type Scrape = BTreeMap<String, f64>;

fn parse(text: &str) -> Scrape {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let series = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        (series.to_owned(), value.parse().expect("a number"))
    });
    series.collect()
}

async fn scrape(runtime: &Runtime) -> Scrape {
    parse(&runtime.prometheus().render().await)
}

fn check(scrape: &Scrape, expected: &[(&str, f64)]) {
    for (series, value) in expected {
        assert_eq!(scrape.get(*series), Some(value), "{series} in {scrape:#?}");
    }
}

/// Counters of `earlier` that are lower in `later`, or missing from it, apart from those of sessions.
fn gone_back(earlier: &Scrape, later: &Scrape) -> Vec<String> {
    let counters = earlier.iter().filter(|(series, _)| series.contains("_runtime_"));
    let counters = counters.filter(|(series, _)| series.contains("_total"));
    let back = counters.filter(|(series, value)| later.get(*series).is_none_or(|now| now < value));
    back.map(|(series, _)| series.clone()).collect()
}

async fn start(runtime: &Runtime, name: &str, manifest: &Value) -> Session {
    let manifest = Manifest::from_json(&manifest.to_string()).expect("a valid manifest");
    let plan = Plan::new(manifest, runtime.registry()).expect("a plan");
    let name = Some(SessionId::new(name).expect("a short name"));
    let session = Session::create_as(runtime, name, plan, CancelToken::new()).expect("a session");
    session.initialize(|_| {}).await.expect("it starts");
    session
}

/// Sends texts, and waits for as many items.
async fn exchange(session: &Session, texts: &[&str], outputs: usize) {
    for text in texts {
        let text = RuntimeData::text(*text).expect("short");
        session.send_all(text).await.expect("the session runs");
    }
    for _ in 0..outputs {
        session.recv().await.expect("the session runs").expect("an item");
    }
}

async fn finish(session: &Session) {
    session.finish();
    while session.recv().await.expect("it ends well").is_some() {}
    session.close().await;
}

fn runtime() -> Runtime {
    Runtime::new(RuntimeConfig::default(), registry())
}

#[tokio::test]
async fn figures_of_a_native_pipeline_are_right_and_its_sums_outlive_it() {
    let runtime = runtime();
    let session = start(&runtime, "native", &chain(&["Twice", "Twice"])).await;
    exchange(&session, &["a", "b", "c"], 12).await;
    let during = scrape(&runtime).await;
    let of = |name: &str, node: &str| {
        format!("remotemedia_{name}{{session=\"native\",node=\"{node}\",node_type=\"Twice\"}}")
    };
    check(
        &during,
        &[
            (&of("node_items_in_total", "n0"), 3.0),
            (&of("node_items_out_total", "n0"), 6.0),
            (&of("node_items_in_total", "n1"), 6.0),
            (&of("node_items_out_total", "n1"), 12.0),
            (&of("node_errors_total", "n1"), 0.0),
            (&of("node_memory_bytes", "n1"), 0.0),
            ("remotemedia_session_processes{session=\"native\"}", 0.0),
            ("remotemedia_runtime_node_items_in_total", 9.0),
            ("remotemedia_runtime_node_items_out_total", 18.0),
            ("remotemedia_runtime_sessions", 1.0),
            ("remotemedia_runtime_sessions_started_total", 1.0),
        ],
    );
    let busy = during[&of("node_busy_ratio", "n0")];
    assert!((0.0..=1.0).contains(&busy), "{busy}");
    finish(&session).await;
    let after = scrape(&runtime).await;
    check(
        &after,
        &[
            ("remotemedia_runtime_node_items_in_total", 9.0),
            ("remotemedia_runtime_node_items_out_total", 18.0),
            ("remotemedia_runtime_sessions", 0.0),
            ("remotemedia_runtime_sessions_started_total", 1.0),
            ("remotemedia_runtime_sessions_ended_total{outcome=\"stopped\"}", 1.0),
            ("remotemedia_runtime_sessions_ended_total{outcome=\"failed\"}", 0.0),
        ],
    );
    assert_eq!(gone_back(&during, &after), Vec::<String>::new());
    assert!(after.keys().all(|series| !series.contains("session=")), "{after:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_worker_and_its_channels_are_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let python = Some(interpreter(folder.path()));
    let runtime = Runtime::new(RuntimeConfig { python, ..RuntimeConfig::default() }, registry());
    let session = start(&runtime, "worker", &chain(&["Twice", "test:Echo", "Twice"])).await;
    exchange(&session, &["a", "bc"], 8).await;
    let during = scrape(&runtime).await;
    let worker = "session=\"worker\",node=\"n1\",node_type=\"test:Echo\"";
    check(
        &during,
        &[
            (&format!("remotemedia_node_items_in_total{{{worker}}}"), 4.0),
            (&format!("remotemedia_node_restarts_total{{{worker}}}"), 0.0),
            ("remotemedia_session_processes{session=\"worker\"}", 1.0),
            ("remotemedia_runtime_processes", 1.0),
            // Twice "a" and "bc", and the same with a "!".
            ("remotemedia_runtime_channel_messages_total", 8.0),
            ("remotemedia_runtime_channel_sent_bytes_total", 6.0 + 10.0),
        ],
    );
    assert!(during[&format!("remotemedia_node_memory_bytes{{{worker}}}")] > 0.0);
    let channels =
        during.keys().filter(|series| series.starts_with("remotemedia_channel_capacity"));
    assert_eq!(channels.count(), 2);
    finish(&session).await;
    let after = scrape(&runtime).await;
    check(
        &after,
        &[
            ("remotemedia_runtime_node_items_in_total", 2.0 + 4.0 + 4.0),
            ("remotemedia_runtime_node_items_out_total", 4.0 + 4.0 + 8.0),
            ("remotemedia_runtime_processes", 0.0),
        ],
    );
    assert_eq!(gone_back(&during, &after), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_go_on_where_a_worker_is_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let python = Some(interpreter(folder.path()));
    let runtime = Runtime::new(RuntimeConfig { python, ..RuntimeConfig::default() }, registry());
    let manifest = json!({"version": "v1", "nodes": [{"id": "dies", "node_type": "test:Dies",
        "restart": {"on_failure": {"max": 3, "backoff": {"initial_ms": 1}}}}]});
    let session = start(&runtime, "again", &manifest).await;
    exchange(&session, &["a", "b", "c"], 3).await;
    let before = scrape(&runtime).await;
    let node = "session=\"again\",node=\"dies\",node_type=\"test:Dies\"";
    let items_in = format!("remotemedia_node_items_in_total{{{node}}}");
    check(&before, &[(&items_in, 3.0)]);
    // It ends its worker twice, and is set aside by the third.
    exchange(&session, &["bad", "d"], 1).await;
    let after = scrape(&runtime).await;
    let restarts = format!("remotemedia_node_restarts_total{{{node}}}");
    check(&after, &[(&restarts, 2.0), (&items_in, 3.0 + 2.0)]);
    assert_eq!(gone_back(&before, &after), Vec::<String>::new());
    finish(&session).await;
    let ended = scrape(&runtime).await;
    check(&ended, &[("remotemedia_runtime_node_restarts_total", 2.0)]);
    assert_eq!(gone_back(&after, &ended), Vec::<String>::new());
}

#[tokio::test]
async fn sums_grow_and_series_do_not_however_many_sessions_there_are() {
    let runtime = runtime();
    let mut last = scrape(&runtime).await;
    let series = last.len();
    for number in 1..=10_u32 {
        let session = start(&runtime, &format!("s{number}"), &chain(&["Twice"])).await;
        exchange(&session, &["a"], 2).await;
        let during = scrape(&runtime).await;
        assert_eq!(gone_back(&last, &during), Vec::<String>::new());
        if number % 2 == 0 {
            finish(&session).await;
        } else {
            session.cancel();
            session.close().await;
        }
        last = scrape(&runtime).await;
        assert_eq!(gone_back(&during, &last), Vec::<String>::new());
        let sum = f64::from(number);
        check(&last, &[("remotemedia_runtime_node_items_in_total", sum)]);
        assert_eq!(last.len(), series);
    }
    check(
        &last,
        &[
            ("remotemedia_runtime_sessions_ended_total{outcome=\"stopped\"}", 5.0),
            ("remotemedia_runtime_sessions_ended_total{outcome=\"failed\"}", 5.0),
        ],
    );
}

#[tokio::test]
async fn two_runtimes_do_not_mix_and_an_installed_recorder_gets_what_is_rendered() {
    let (one, other) = (runtime(), runtime());
    let session = start(&one, "one", &chain(&["Twice"])).await;
    exchange(&session, &["a"], 2).await;
    check(&scrape(&other).await, &[("remotemedia_runtime_node_items_in_total", 0.0)]);
    let recorder = PrometheusBuilder::new().build_recorder();
    let installed = metrics::set_default_local_recorder(&recorder);
    one.record_metrics().await;
    let rendered = scrape(&one).await;
    drop(installed);
    let text = recorder.handle().render();
    let recorded = parse(&text);
    let names = |scrape: &Scrape| scrape.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&recorded), names(&rendered));
    check(&recorded, &[("remotemedia_runtime_node_items_in_total", 1.0)]);
    // Each figure says what it means, and what it is.
    for series in recorded.keys() {
        let name = series.split('{').next().unwrap_or_default();
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
    }
    finish(&session).await;
}
