//! Python nodes of a session that call what its process has registered.
//!
//! It needs an interpreter with the wheel, which `cargo xtask test --python` names.

use std::path::Path;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_node_calls_back_while_it_works_on_an_item() {
    let Some(python) = std::env::var_os("REMOTEMEDIA_TEST_PYTHON") else {
        eprintln!("not tested: REMOTEMEDIA_TEST_PYTHON names no interpreter with the wheel");
        return;
    };
    let stubs = tempfile::tempdir().unwrap();
    let mut callbacks = DynamicCallbackModule::new();
    callbacks.register_handler("trading", Prices).unwrap();
    let config = RuntimeConfig {
        python: Some(python.into()),
        callbacks: Arc::new(callbacks),
        callback_stubs: Some(stubs.path().to_owned()),
        ..RuntimeConfig::default()
    };
    let nodes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rm-ffi/tests/nodes");
    let folder = tempfile::tempdir().unwrap();
    let name = "sample_nodes.py";
    std::fs::copy(nodes.join(name), folder.path().join(name)).unwrap();
    let file = folder.path().join("pipeline.json");
    let manifest = json!({"version": "v1", "connections": [],
        "nodes": [{"id": "prices", "node_type": "sample_nodes:CallsBack"}]});
    std::fs::write(&file, manifest.to_string()).unwrap();

    let runtime = Runtime::new(config, NodeRegistry::new());
    let plan = Plan::new(Manifest::from_file(&file).unwrap(), runtime.registry()).unwrap();
    let input = ["AAPL", "X"].map(|text| RuntimeData::text(text).unwrap()).into();
    let mut outputs = Vec::new();
    let note = |event| {
        if let RunEvent::Output(output) = event {
            outputs.push(output.data.as_text().unwrap_or("?").to_owned());
        }
    };
    rm_session::run(&runtime, plan, input, note, CancelToken::new()).await.unwrap();
    let refused = "request: expected str, got int";
    assert_eq!(outputs, [format!("AAPL: [4, 8]; {refused}"), format!("X: [1, 2]; {refused}")]);
    assert!(stubs.path().join("current/kameo/trading/__init__.pyi").exists());
}
