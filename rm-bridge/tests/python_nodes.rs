//! Python nodes behind a bridge, with the real wheel.
//!
//! It needs an interpreter with the wheel, which `cargo xtask test --python` names.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use rm_bridge::{
    ExecutorBridge, MultiprocessBridgeOptions, MultiprocessExecutor, MultiprocessExecutorBridge,
    ServiceError,
};
use rm_core::RuntimeData;
use serde_json::{Value, json};

const NODES: &str = r#"
from remotemedia import Node


class Echo(Node):
    def process(self, item):
        return item


class Count(Node):
    def initialize(self):
        self.count = self.params.get("from", 0)

    def process(self, item):
        if item == "bad":
            raise ValueError("a bad item")
        self.count += 1
        return f"{item} {self.count}"


class Each(Node):
    async def process(self, item):
        for letter in item:
            yield letter
"#;

struct Subject {
    bridge: MultiprocessExecutorBridge,
    _folder: tempfile::TempDir,
}

fn subject() -> Option<Subject> {
    let Some(python) = std::env::var_os("REMOTEMEDIA_TEST_PYTHON") else {
        eprintln!("no interpreter is named; `cargo xtask test --python` does");
        return None;
    };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bridge_nodes.py"), NODES).expect("the nodes");
    let options = MultiprocessBridgeOptions {
        python: Some(PathBuf::from(python)),
        base_dir: Some(folder.path().to_owned()),
        ..MultiprocessBridgeOptions::default()
    };
    let executor = Arc::new(MultiprocessExecutor::new().expect("a spawner"));
    let bridge = MultiprocessExecutorBridge::new(executor, "python-nodes", options);
    Some(Subject { bridge: bridge.expect("shared memory"), _folder: folder })
}

fn text(text: impl Into<String>) -> RuntimeData {
    RuntimeData::text(text).expect("short")
}

async fn ask(subject: &Subject, id: &str, node: &str, item: &str) -> Result<String, ServiceError> {
    let node_type = format!("bridge_nodes:{node}");
    let answer = subject.bridge.execute_node(id, &node_type, text(item), &json!({})).await?;
    Ok(answer.as_text().expect("a text").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_calls_of_a_python_node_get_their_own_answers() {
    let Some(subject) = subject() else { return };
    let calls = (0..200).map(|n| {
        let subject = &subject;
        async move { (n, ask(subject, "echo", "Echo", &n.to_string()).await) }
    });
    for (n, answer) in join_all(calls).await {
        assert_eq!(answer.expect("an answer"), n.to_string());
    }
    let array = RuntimeData::tensor_of(vec![1.0_f32, -2.5], vec![2]).expect("two numbers");
    let node_type = "bridge_nodes:Echo";
    let back = subject.bridge.execute_node("echo", node_type, array.clone(), &json!({})).await;
    assert_eq!(back.expect("an answer").payload(), array.payload());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_keeps_its_state_also_after_a_failure() {
    let Some(subject) = subject() else { return };
    let params = json!({"from": 10});
    let first = subject.bridge.initialize_node("count", "bridge_nodes:Count", &params).await;
    first.expect("it loads");
    let ask_with = async |item: &str, params: &Value| {
        subject.bridge.execute_node("count", "bridge_nodes:Count", text(item), params).await
    };
    let first = ask_with("a", &params).await.expect("an answer");
    assert_eq!(first.as_text(), Some("a 11"));
    let failed = ask_with("bad", &params).await.expect_err("it raises");
    let ServiceError::NodeExecution { node_id, message } = &failed else { panic!("{failed:?}") };
    assert_eq!(node_id, "count");
    assert!(
        message.contains("ValueError: a bad item") && message.contains("Traceback"),
        "{message}"
    );
    let second = ask_with("b", &params).await.expect("an answer");
    assert_eq!(second.as_text(), Some("b 12"));
    subject.bridge.cleanup_node("count").await.expect("it ends");
    assert_eq!(ask(&subject, "count", "Count", "c").await.expect("it is made anew"), "c 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_answers_of_a_python_node_are_a_stream() {
    let Some(subject) = subject() else { return };
    let node_type = "bridge_nodes:Each";
    let params = json!({});
    let answers = subject.bridge.execute_node_stream("each", node_type, text("abc"), &params);
    let answers: Vec<_> = answers.await.expect("it starts").collect().await;
    let letters: Vec<_> = answers
        .into_iter()
        .map(|item| item.expect("a letter").as_text().map(str::to_owned))
        .collect();
    assert_eq!(letters, ["a", "b", "c"].map(|letter| Some(letter.to_owned())));
    assert!(matches!(
        ask(&subject, "each", "Each", "ab").await,
        Err(ServiceError::SeveralAnswers { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_type_that_there_is_not_is_refused() {
    let Some(subject) = subject() else { return };
    let refused = ask(&subject, "none", "Ecko", "x").await.expect_err("there is none");
    assert!(
        matches!(&refused, ServiceError::Validation(message) if message.contains("Echo")),
        "{refused}"
    );
}
