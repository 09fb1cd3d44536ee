//! Pipelines without worker processes.

use rm_core::{
    DataType, Node, NodeContext, NodeError, NodeMetadata, NodeRegistry, Output, Produced,
    RuntimeData,
};
use rm_session::{
    CancelToken, Manifest, Plan, RunEvent, RunReport, Runtime, RuntimeConfig, SessionError,
};
use serde_json::{Value, json};

/// Says each text it gets twice; a native node that makes more than it takes.
struct Twice;

impl Node for Twice {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        output.push(input.clone());
        output.push(input);
        Ok(())
    }
}

/// Counts from 0 to its limit; a source that fails, or panics, where it is told to.
struct Count {
    next: u64,
    limit: u64,
    fail_at: Option<u64>,
    panic_at: Option<u64>,
}

impl Count {
    fn from_context(context: &NodeContext) -> Self {
        let number = |name: &str| context.params.get(name).and_then(Value::as_u64);
        let limit = number("limit").unwrap_or(3);
        Self { next: 0, limit, fail_at: number("fail_at"), panic_at: number("panic_at") }
    }
}

impl Node for Count {
    fn process(&mut self, _: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        unreachable!("a source is given nothing")
    }

    fn produce(&mut self, output: &mut Output) -> Result<Produced, NodeError> {
        if self.fail_at == Some(self.next) {
            let message = "no more numbers".to_owned();
            return Err(NodeError::Failed { message, source: None });
        }
        assert!(self.panic_at != Some(self.next), "counted too far");
        if self.next == self.limit {
            return Ok(Produced::End);
        }
        output.push(RuntimeData::text(self.next.to_string())?);
        self.next += 1;
        Ok(Produced::More)
    }
}

/// Holds everything back until the end.
#[derive(Default)]
struct Hold(Vec<RuntimeData>);

impl Node for Hold {
    fn process(&mut self, input: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        self.0.push(input);
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), NodeError> {
        self.0.drain(..).for_each(|item| output.push(item));
        Ok(())
    }
}

/// Fails on empty texts.
struct Picky;

impl Node for Picky {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        if input.payload().is_empty() {
            return Err(NodeError::Failed { message: "nothing in it".to_owned(), source: None });
        }
        output.push(input);
        Ok(())
    }
}

fn metadata(name: &str, source: bool) -> NodeMetadata {
    let number = |name| {
        let kind = rm_core::ParameterKind::Integer;
        rm_core::ParameterSpec::optional(name, kind, Value::Null, "a number")
    };
    NodeMetadata {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        description: String::new(),
        capabilities: Vec::new(),
        parameters: ["limit", "fail_at", "panic_at"].map(number).into(),
        accepts: if source { vec![] } else { vec![DataType::Text] },
        produces: vec![DataType::Text],
        source,
        ..NodeMetadata::default()
    }
}

pub fn registry() -> NodeRegistry {
    let mut registry = NodeRegistry::new();
    let names = "the names differ";
    registry.register(metadata("Twice", false), |_| Ok(Box::new(Twice))).expect(names);
    registry.register(metadata("Hold", false), |_| Ok(Box::new(Hold::default()))).expect(names);
    registry.register(metadata("Picky", false), |_| Ok(Box::new(Picky))).expect(names);
    let count = |context: &NodeContext| Ok(Box::new(Count::from_context(context)) as Box<dyn Node>);
    registry.register(metadata("Count", true), count).expect(names);
    registry
}

/// Runs a manifest and gives the texts that came out, each with the node that made it.
pub async fn run(
    config: RuntimeConfig,
    manifest: Value,
    input: &[&str],
    cancel: CancelToken,
) -> (Result<RunReport, SessionError>, Vec<String>, Vec<String>) {
    let runtime = Runtime::new(config, registry());
    let manifest = Manifest::from_json(&manifest.to_string()).expect("a valid manifest");
    let plan = Plan::new(manifest, runtime.registry()).expect("a plan");
    let input = input.iter().map(|text| RuntimeData::text(*text).expect("short")).collect();
    let (mut outputs, mut steps) = (Vec::new(), Vec::new());
    let note = |event| match event {
        RunEvent::Output(output) => {
            outputs.push(format!("{} {}", output.node, output.data.as_text().unwrap_or("?")));
        }
        RunEvent::Progress(step) => {
            steps.push(format!("{} {:?} {}", step.node, step.status, step.message));
        }
    };
    let report = rm_session::run(&runtime, plan, input, note, cancel).await;
    (report, outputs, steps)
}

/// Runs a manifest as a session and on this thread; both have to come to the same.
async fn run_native(
    manifest: Value,
    input: &[&str],
) -> (Result<RunReport, SessionError>, Vec<String>) {
    let (here, outputs_here) = run_here(&manifest, input, || true);
    let cancel = CancelToken::new();
    let (report, outputs, _) = run(RuntimeConfig::default(), manifest, input, cancel).await;
    let facts = |report: &Result<RunReport, SessionError>| match report {
        Ok(report) => {
            let nodes = report.nodes.iter();
            let nodes = nodes.map(|node| {
                let statistics = &node.statistics;
                let counts = (statistics.items_in, statistics.items_out, statistics.skipped);
                format!("{} {counts:?} {}", node.node, statistics.time.count)
            });
            let connections = report.connections.iter();
            let connections = connections.map(|connection| {
                let counts = (connection.messages, connection.bytes, connection.latency.count);
                format!("{} {} {counts:?}", connection.from, connection.to)
            });
            let all: Vec<_> = nodes.chain(connections).collect();
            (report.name.clone(), all, report.failures.clone())
        }
        Err(error) => (error.to_string(), Vec::new(), Vec::new()),
    };
    assert_eq!(facts(&here), facts(&report));
    if report.is_ok() {
        assert_eq!(outputs_here, outputs);
    }
    (report, outputs)
}

/// Runs a manifest on this thread.
fn run_here(
    manifest: &Value,
    input: &[&str],
    go_on: impl FnMut() -> bool,
) -> (Result<RunReport, SessionError>, Vec<String>) {
    let runtime = Runtime::new(RuntimeConfig::default(), registry());
    let manifest = Manifest::from_json(&manifest.to_string()).expect("a valid manifest");
    let plan = Plan::new(manifest, runtime.registry()).expect("a plan");
    assert!(plan.runs_inline());
    let input = input.iter().map(|text| RuntimeData::text(*text).expect("short")).collect();
    let mut outputs = Vec::new();
    let note = |event| {
        if let RunEvent::Output(output) = event {
            outputs.push(format!("{} {}", output.node, output.data.as_text().unwrap_or("?")));
        }
    };
    let report = rm_session::run_inline(&runtime, plan, input, note, go_on);
    (report, outputs)
}

#[test]
fn a_run_on_this_thread_ends_when_it_is_not_to_go_on() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "numbers", "node_type": "Count", "params": {"limit": 1_000_000}}]});
    let mut turns = 0;
    let (report, outputs) = run_here(&manifest, &[], || {
        turns += 1;
        turns < 10
    });
    assert!(matches!(report, Err(SessionError::Cancelled)));
    assert_eq!(outputs.len(), 9);
}

#[tokio::test]
async fn many_items_of_input_are_taken_in_their_order() {
    let manifest = json!({"version": "v1", "nodes": [{"id": "hold", "node_type": "Hold"}]});
    let input: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let texts: Vec<_> = input.iter().map(String::as_str).collect();
    let (report, outputs) = run_native(manifest, &texts).await;
    assert_eq!(report.unwrap().nodes[0].statistics.items_out, 100);
    assert_eq!(outputs, input.iter().map(|text| format!("hold {text}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn items_left_out_are_told() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "picky", "node_type": "Picky", "on_error": "skip"}]});
    let (report, outputs) = run_native(manifest, &["a", "", "b"]).await;
    assert_eq!(report.unwrap().failures.len(), 1);
    assert_eq!(outputs, ["picky a", "picky b"]);
}

#[tokio::test]
async fn items_go_through_a_stage_in_order_and_are_counted() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "twice", "node_type": "Twice"}, {"id": "hold", "node_type": "Hold"}],
        "connections": [{"from": "twice", "to": "hold"}]});
    let (report, outputs) = run_native(manifest, &["a", "b"]).await;
    assert_eq!(outputs, ["hold a", "hold a", "hold b", "hold b"]);
    let report = report.unwrap();
    let counts: Vec<_> = report
        .nodes
        .iter()
        .map(|node| (&*node.node, node.statistics.items_in, node.statistics.items_out))
        .collect();
    assert_eq!(counts, [("twice", 2, 4), ("hold", 4, 4)]);
    let connection = &report.connections[0];
    assert_eq!((connection.messages, connection.bytes, connection.copied_bytes), (4, 4, 0));
    assert_eq!(connection.latency.count, 4);
}

#[tokio::test]
async fn a_source_runs_to_its_end_into_two_branches() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "count", "node_type": "Count"}, {"id": "left", "node_type": "Hold"},
                  {"id": "right", "node_type": "Twice"}],
        "connections": [{"from": "count", "to": "left"}, {"from": "count", "to": "right"}]});
    let (report, outputs) = run_native(manifest, &[]).await;
    report.unwrap();
    let of = |node: &str| -> Vec<&str> {
        let lines = outputs.iter().filter_map(|line| line.split_once(' '));
        lines.filter(|(id, _)| *id == node).map(|(_, text)| text).collect()
    };
    assert_eq!(of("left"), ["0", "1", "2"]);
    assert_eq!(of("right"), ["0", "0", "1", "1", "2", "2"]);
}

#[tokio::test]
async fn a_failing_node_is_named_and_ends_the_session() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "numbers", "node_type": "Count", "params": {"fail_at": 1}}]});
    let (report, outputs) = run_native(manifest, &[]).await;
    let error = report.unwrap_err();
    assert_eq!(error.to_string(), "node numbers failed to produce");
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(cause.as_deref(), Some("no more numbers"));
    assert!(outputs.len() <= 1);
}

#[tokio::test]
async fn a_panicking_node_ends_the_session_with_what_it_said() {
    let manifest = json!({"version": "v1",
        "nodes": [{"id": "numbers", "node_type": "Count", "params": {"panic_at": 0}}]});
    let (report, _) = run_native(manifest, &[]).await;
    let error = report.unwrap_err().to_string();
    assert_eq!(error, "node numbers panicked: counted too far");
}

#[tokio::test]
async fn input_that_nobody_takes_is_refused() {
    let manifest = json!({"version": "v1", "nodes": [{"id": "count", "node_type": "Count"}]});
    let (report, _) = run_native(manifest, &["x"]).await;
    assert!(matches!(report, Err(SessionError::NoInput)));
}
