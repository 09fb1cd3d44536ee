//! Python nodes of a session that call what its process has registered, and the traces of their items.
//!
//! It needs an interpreter with the wheel, which `cargo xtask test --python` names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rm_core::{NodeRegistry, RuntimeData};
use rm_session::callback::{
    CallbackStream, DynamicCallbackModule, PythonExecutionError, TypedCallbackHandler,
};
use rm_session::{CancelToken, Manifest, Plan, RunEvent, Runtime, RuntimeConfig};
use serde_json::json;

/// Answers a text with its length, and that doubled.
struct Prices;

#[async_trait::async_trait]
impl TypedCallbackHandler<String> for Prices {
    type Response = u64;

    async fn handle_callback(
        &self,
        symbol: String,
    ) -> Result<CallbackStream<u64>, PythonExecutionError> {
        let price = symbol.len() as u64;
        Ok(Box::pin(tokio_stream::iter([Ok(price), Ok(price * 2)])))
    }

    fn type_name(&self) -> &'static str {
        "Prices"
    }
}

/// A folder with the nodes of the tests and a pipeline of one of them.
fn pipeline(node: &str) -> (tempfile::TempDir, Manifest) {
    let nodes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rm-ffi/tests/nodes");
    let folder = tempfile::tempdir().expect("a folder");
    let name = "sample_nodes.py";
    std::fs::copy(nodes.join(name), folder.path().join(name)).expect("the nodes of the tests");
    let file = folder.path().join("pipeline.json");
    let node_type = format!("sample_nodes:{node}");
    let manifest = json!({"version": "v1", "connections": [],
        "nodes": [{"id": "node", "node_type": node_type}]});
    std::fs::write(&file, manifest.to_string()).expect("a manifest");
    let manifest = Manifest::from_file(&file).expect("a manifest");
    (folder, manifest)
}

/// What comes out of a pipeline.
async fn run(config: RuntimeConfig, node: &str, input: Vec<RuntimeData>) -> Vec<RuntimeData> {
    let (_folder, manifest) = pipeline(node);
    let runtime = Runtime::new(config, NodeRegistry::new());
    let plan = Plan::new(manifest, runtime.registry()).expect("a plan");
    let mut outputs = Vec::new();
    let note = |event| {
        if let RunEvent::Output(output) = event {
            outputs.push(output.data);
        }
    };
    let ran = rm_session::run(&runtime, plan, input, note, CancelToken::new()).await;
    ran.expect("it runs");
    outputs
}

fn texts(outputs: &[RuntimeData]) -> Vec<&str> {
    outputs.iter().map(|output| output.as_text().unwrap_or("?")).collect()
}

/// The interpreter with the wheel; `None`, and a line about it, where none is named.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("REMOTEMEDIA_TEST_PYTHON");
    if python.is_none() {
        eprintln!("not tested: REMOTEMEDIA_TEST_PYTHON names no interpreter with the wheel");
    }
    python.map(PathBuf::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_works_in_the_trace_of_its_item_and_gives_it_on() {
    let Some(python) = python() else { return };
    let config = RuntimeConfig { python: Some(python), ..RuntimeConfig::default() };
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = |text: &str, trace: &str| {
        let (mut header, payload) = RuntimeData::text(text).expect("short").into_parts();
        header.trace = trace.parse().expect("a trace");
        RuntimeData::from_parts(header, payload).expect("the same item")
    };
    let input = vec![traced("a", traceparent), RuntimeData::text("b").unwrap()];
    let outputs = run(config, "Traced", input).await;
    // The development environment has OpenTelemetry.
    let expected = [format!("a: {traceparent} {traceparent}"), "b: None None".to_owned()];
    assert_eq!(texts(&outputs), expected);
    assert_eq!(outputs[0].header().trace.to_string(), traceparent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_calls_back_while_it_works_on_an_item() {
    let Some(python) = python() else { return };
    let stubs = tempfile::tempdir().unwrap();
    let mut callbacks = DynamicCallbackModule::new();
    callbacks.register_handler("trading", Prices).unwrap();
    let config = RuntimeConfig {
        python: Some(python),
        callbacks: Arc::new(callbacks),
        callback_stubs: Some(stubs.path().to_owned()),
        ..RuntimeConfig::default()
    };
    let input = ["AAPL", "X"].map(|text| RuntimeData::text(text).unwrap()).into();
    let outputs = run(config, "CallsBack", input).await;
    let refused = "request: expected str, got int";
    let expected = [format!("AAPL: [4, 8]; {refused}"), format!("X: [1, 2]; {refused}")];
    assert_eq!(texts(&outputs), expected);
    assert!(stubs.path().join("current/kameo/trading/__init__.pyi").exists());
}
