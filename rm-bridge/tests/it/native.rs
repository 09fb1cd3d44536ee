//! What only native nodes do.

use std::sync::{Arc, Barrier};

use rm_bridge::{ExecutorBridge, ExecutorType, NativeExecutorBridge, ServiceError};
use rm_core::{Node, NodeContext, NodeError, NodeMetadata, NodeRegistry, Output, RuntimeData};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{native, soon, text};

#[tokio::test]
async fn a_source_takes_no_items() {
    let bridge = native().bridge;
    let error = bridge.initialize_node("s", "Source", &json!({})).await.unwrap_err();
    assert!(matches!(&error, ServiceError::Validation(m) if m.contains("is a source")), "{error}");
    assert_eq!(bridge.executor_type(), ExecutorType::Native);
}

/// Waits in `process` until as many nodes do as the barrier asks for.
struct Meets(Arc<Barrier>);

impl Node for Meets {
    fn process(&mut self, input: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
        self.0.wait();
        output.push(input);
        Ok(())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn nodes_do_not_hold_up_the_thread_of_their_caller_nor_each_other() {
    let barrier = Arc::new(Barrier::new(2));
    let mut registry = NodeRegistry::new();
    let metadata = NodeMetadata { name: "Meets".to_owned(), ..NodeMetadata::default() };
    registry.register(metadata, move |_| Ok(Box::new(Meets(barrier.clone())))).unwrap();
    let bridge = NativeExecutorBridge::new(Arc::new(registry));
    let params = json!({});
    let meets = |node| bridge.execute_node(node, "Meets", text("x"), &params);
    let (one, other) = soon(async { tokio::join!(meets("one"), meets("other")) }).await;
    assert_eq!((one.unwrap().as_text(), other.unwrap().as_text()), (Some("x"), Some("x")));
}

#[tokio::test]
async fn messages_about_a_stream_are_no_questions() {
    let bridge = native().bridge;
    let end = RuntimeData::end_of_stream();
    let error = bridge.execute_node("e", "Echo", end, &json!({})).await.unwrap_err();
    let expected = "node e is given a message of kind end_of_stream, expected data";
    assert_eq!(error.to_string(), expected);
}

/// Lets go of its sender when it is dropped.
struct Held(#[expect(dead_code, reason = "its drop is what is waited for")] mpsc::Sender<()>);

impl Node for Held {
    fn process(&mut self, _: RuntimeData, _: &mut Output) -> Result<(), NodeError> {
        Ok(())
    }
}

#[tokio::test]
async fn dropping_the_bridge_drops_its_nodes() {
    let (sender, mut dropped) = mpsc::channel::<()>(1);
    let mut registry = NodeRegistry::new();
    let metadata = NodeMetadata { name: "Held".to_owned(), ..NodeMetadata::default() };
    let factory = move |_: &NodeContext| Ok(Box::new(Held(sender.clone())) as Box<dyn Node>);
    registry.register(metadata, factory).unwrap();
    let bridge = NativeExecutorBridge::new(Arc::new(registry));
    let answers = bridge.execute_node_stream("h", "Held", text("x"), &json!({})).await.unwrap();
    drop(bridge);
    // The one in the registry is gone too.
    assert!(soon(dropped.recv()).await.is_none());
    drop(answers);
}
