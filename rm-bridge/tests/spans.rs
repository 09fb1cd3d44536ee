//! The spans of native nodes on items, by what an exporter holds. Each test has a trace of its own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::{Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rm_bridge::{
    Call, DataPlane, Destination, Feed, Inlet, ItemPolicy, OnError, RetryPolicy, Stage, StageEvent,
    StageHandle, StageNode, outlet, spawn_stage,
};
use rm_core::{Node, NodeError, NodeId, Output, RuntimeData, SessionId, TraceContext};
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

/// Fails so many times, for a reason that may pass, then makes an item of its own.
struct Hard {
    failures: u32,
}

impl Node for Hard {
    fn process(&mut self, _: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        tracing::info_span!("inside").in_scope(|| ());
        if self.failures > 0 {
            self.failures -= 1;
            let message = "too hard".to_owned();
            return Err(NodeError::Transient { message, source: None });
        }
        output.push(RuntimeData::binary(vec![1])?);
        Ok(())
    }
}

/// Everything that is recorded in this process.
fn exporter() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(LevelFilter::DEBUG).with(layer);
        tracing::subscriber::set_global_default(subscriber).expect("there is no other");
        exporter
    })
}

fn trace(id: u8, flags: u8) -> TraceContext {
    TraceContext { trace_id: [id; 16], span_id: [2; 8], flags }
}

/// The spans of a trace after one item of it has gone through nodes that fail so many times, one behind
/// the other. They end in this order.
async fn spans(trace: TraceContext, failures: &[u32]) -> Vec<SpanData> {
    let exporter = exporter();
    let plane = DataPlane::create().expect("shared memory");
    let bell = plane.doorbell().expect("a doorbell");
    let (output, _outputs) = outlet(1);
    let retry = RetryPolicy { max: 2, initial: Duration::ZERO, ..RetryPolicy::default() };
    let node = |(place, failures): (usize, &u32)| StageNode {
        id: NodeId::new(format!("n{place}")).expect("a short name"),
        node_type: "Hard".to_owned(),
        node: Box::new(Hard { failures: *failures }),
        source: false,
        policy: ItemPolicy { on_error: OnError::Skip, retry, ..ItemPolicy::default() },
    };
    let (feed, inside) = Feed::new(1, vec![Destination::Node(0)], &bell);
    let count = failures.len();
    let stage = Stage {
        name: "spans".to_owned(),
        session: Some(SessionId::new("session").expect("a short name")),
        nodes: failures.iter().enumerate().map(node).collect(),
        inlets: (0..count).map(|node| Inlet { node, from: None, port: None }).collect(),
        calls: (1..count).map(|to| Call { from: to - 1, port: None, to }).collect(),
        subscriptions: Vec::new(),
        publications: Vec::new(),
        outputs: Vec::new(),
        output,
        feed: Some(inside),
        epoch: Arc::default(),
        timeline: None,
        bell,
    };
    let (sender, mut events) = mpsc::unbounded_channel();
    let handle: StageHandle = spawn_stage(stage, (), sender).expect("a thread");
    handle.start();
    let item = RuntimeData::binary(vec![0; 8]).expect("short").with_trace(trace);
    feed.send(None, item).await.expect("the stage runs");
    drop(feed);
    loop {
        match events.recv().await.expect("the thread reports").1 {
            StageEvent::Finished { .. } => break,
            StageEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    handle.join();
    let spans = exporter.get_finished_spans().expect("the exporter is in memory");
    let is_of = |span: &SpanData| span.span_context.trace_id().to_bytes() == trace.trace_id;
    spans.into_iter().filter(is_of).collect()
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    attribute.map(|attribute| attribute.value.to_string())
}

#[tokio::test]
async fn an_item_has_one_span_for_all_tries_and_what_is_made_of_it_is_below() {
    let spans = spans(trace(1, 1), &[2, 0]).await;
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["inside", "inside", "inside", "process", "inside", "process"]);
    let [first, second] = [&spans[3], &spans[5]];
    assert_eq!(first.parent_span_id.to_bytes(), [2; 8]);
    assert_eq!(second.parent_span_id, first.span_context.span_id());
    assert!(spans[..3].iter().all(|span| span.parent_span_id == first.span_context.span_id()));
    assert_eq!(spans[4].parent_span_id, second.span_context.span_id());
    assert!(first.end_time <= second.start_time);
    assert_eq!((&first.status, &second.status), (&Status::Unset, &Status::Unset));
    for (span, node, tries) in [(first, "n0", Some("3")), (second, "n1", None)] {
        let facts = ["node", "node_type", "session", "sequence", "tries"];
        let facts = facts.map(|name| attribute(span, name));
        let expected = [Some(node), Some("Hard"), Some("session"), Some("0"), tries];
        assert_eq!(facts.each_ref().map(Option::as_deref), expected);
    }
}

#[tokio::test]
async fn the_span_of_an_item_that_is_left_out_says_why() {
    let spans = spans(trace(2, 1), &[3]).await;
    let process = spans.last().expect("it is recorded");
    assert_eq!(process.status, Status::error("too hard"));
}

#[tokio::test]
async fn an_item_without_a_sampled_trace_has_no_span() {
    assert!(spans(trace(3, 0), &[0]).await.is_empty());
    // What runs inside begins a trace of its own.
    assert!(spans(TraceContext::default(), &[0]).await.is_empty());
}
