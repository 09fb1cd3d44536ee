//! One trace from the code that sends an item through a native node, a worker and another native node,
//! by what the exporters of both processes hold.
//!
//! It has a main function of its own, because it is the worker's program, too. It needs the feature
//! `opentelemetry`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rm_bridge::{Next, WorkerRuntime};
use rm_core::{DataType, Node, NodeError, NodeMetadata, NodeRegistry, Output, RuntimeData};
use rm_session::{CancelToken, Manifest, Plan, Runtime, RuntimeConfig, Session};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use tracing::{Instrument, info_span};
use tracing_subscriber::layer::SubscriberExt;

/// Where the worker writes its spans at its end; that there is one makes this program a worker.
const SPANS: &str = "RM_SESSION_TRACE_SPANS";
const TEST: &str = "one_trace_goes_through_session_stages_and_worker";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(spans) = std::env::var_os(SPANS) {
        return work(Path::new(&spans));
    }
    // What a test runner asks of its tests.
    if std::env::args().any(|argument| argument == "--list") {
        println!("{TEST}: test");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(one_trace_goes_through_session_stages_and_worker())?;
    println!("test {TEST} ... ok");
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    Ok(())
}

/// Records every span from here on.
fn record() -> InMemorySpanExporter {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(LevelFilter::DEBUG).with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("there is no other");
    exporter
}

/// Each span as an object: its name, trace, id, parent, and attributes.
fn rows(exporter: &InMemorySpanExporter) -> Vec<Value> {
    let row = |span: SpanData| {
        let mut row = json!({
            "name": span.name, "trace": span.span_context.trace_id().to_string(),
            "id": span.span_context.span_id().to_string(),
            "parent": span.parent_span_id.to_string(),
        });
        for attribute in span.attributes {
            row[attribute.key.as_str()] = Value::from(attribute.value.to_string());
        }
        row
    };
    let spans = exporter.get_finished_spans().expect("the exporter is in memory");
    spans.into_iter().map(row).collect()
}

/// The worker: adds a `!` to each text, within a span of its own.
fn work(spans: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let exporter = record();
    let mut runtime = WorkerRuntime::connect()?;
    runtime.ready()?;
    loop {
        match runtime.next_step()? {
            Next::Item { data, .. } => {
                let made = runtime.span().in_scope(|| {
                    let _inside = info_span!("inside").entered();
                    RuntimeData::text(format!("{}!", data.as_text().unwrap_or_default()))
                })?;
                runtime.publish(None, made)?;
                runtime.done()?;
            }
            Next::End => {
                std::fs::write(spans, serde_json::to_vec(&rows(&exporter))?)?;
                runtime.finish()?;
                runtime.wait_for_stop();
                return Ok(());
            }
            Next::SetParams(change) => change.refuse("it has no parameters"),
            Next::Flush => {}
            Next::Stop => return Ok(()),
        }
    }
}

/// Adds a `?` to each text.
struct Ask;

impl Node for Ask {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        // Made without the input's header: the trace goes on all the same.
        output.push(RuntimeData::text(format!("{}?", input.as_text().unwrap_or_default()))?);
        Ok(())
    }
}

fn registry() -> NodeRegistry {
    let metadata = NodeMetadata {
        name: "Ask".to_owned(),
        version: "1.0.0".to_owned(),
        accepts: vec![DataType::Text],
        produces: vec![DataType::Text],
        ..NodeMetadata::default()
    };
    let mut registry = NodeRegistry::new();
    registry.register(metadata, |_| Ok(Box::new(Ask))).expect("there is no other");
    registry
}

async fn one_trace_goes_through_session_stages_and_worker() -> Result<(), Box<dyn std::error::Error>>
{
    let exporter = record();
    let folder = tempfile::tempdir()?;
    let (python, spans) = (folder.path().join("python"), folder.path().join("spans.json"));
    std::fs::write(&python, format!("#!/bin/sh\nexec '{}'\n", std::env::current_exe()?.display()))?;
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o700))?;
    let runtime = Runtime::new(RuntimeConfig::default(), registry());
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "first", "node_type": "Ask"},
                  {"id": "worker", "node_type": "test:Call", "python": python,
                   "env": {SPANS: spans}},
                  {"id": "last", "node_type": "Ask"}],
        "connections": [{"from": "first", "to": "worker"}, {"from": "worker", "to": "last"}]});
    let plan = Plan::new(Manifest::from_json(&manifest.to_string())?, runtime.registry())?;
    let session = Session::create(&runtime, plan, CancelToken::new())?;
    session.initialize(|_| {}).await?;
    // Nobody is in a trace here.
    session.send_all(RuntimeData::text("unseen")?).await?;
    session.send_all(RuntimeData::text("seen")?).instrument(info_span!("root")).await?;
    session.finish();
    let mut outputs = Vec::new();
    while let Some(output) = session.recv().await? {
        outputs.push(output.data);
    }
    session.close().await;
    let texts: Vec<_> = outputs.iter().filter_map(RuntimeData::as_text).collect();
    assert_eq!(texts, ["unseen?!?", "seen?!?"]);

    let ours = rows(&exporter);
    let theirs: Vec<Value> = serde_json::from_slice(&std::fs::read(&spans)?)?;
    let find = |rows: &[Value], name: &str, parent: &Value| -> Value {
        let found = rows.iter().find(|row| row["name"] == name && row["parent"] == *parent);
        found.unwrap_or_else(|| panic!("{name} below {parent} in {rows:#?}")).clone()
    };
    let root = ours.iter().find(|row| row["name"] == "root").expect("it was recorded").clone();
    let first = find(&ours, "process", &root["id"]);
    let worker = find(&theirs, "process", &first["id"]);
    let inside = find(&theirs, "inside", &worker["id"]);
    let last = find(&ours, "process", &worker["id"]);
    for (span, node, node_type) in
        [(&first, "first", "Ask"), (&worker, "worker", "test:Call"), (&last, "last", "Ask")]
    {
        assert_eq!((&span["node"], &span["node_type"]), (&node.into(), &node_type.into()));
        assert_eq!(span["session"], session.id().as_str());
    }
    // The worker and what follows it have their items from channels; those of the caller have no place.
    let sequences = [&worker, &last].map(|span| span["sequence"].clone());
    assert_eq!(sequences, ["1", "1"]);
    assert!([&first, &worker, &inside, &last].iter().all(|span| span["trace"] == root["trace"]));
    // What left the pipeline is below the last node's work, and the item without a trace has no span.
    let trace = outputs[1].header().trace.to_string();
    assert!(trace.contains(last["id"].as_str().expect("text")), "{trace} and {last}");
    assert!(!outputs[0].header().trace.is_valid());
    let items = ours.iter().chain(&theirs).filter(|row| row["name"] == "process").count();
    assert_eq!(items, 3);
    Ok(())
}
