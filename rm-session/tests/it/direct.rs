//! The functions of the contract, on the default runtime.

use std::sync::{Arc, Mutex};

use rm_session::{
    CleanupError, InitError, InitProgress, InitStatus, PipelineConfig, SessionError, SessionStatus,
    cleanup_session, create_session, initialize_pipeline,
};
use serde_json::{Value, json};

use crate::support::{
    assert_nothing_is_left, interpreter, lives, node, processes_of, text, within,
};

/// A pipeline whose workers are found without a runtime of the test's own.
fn pipeline(folder: &tempfile::TempDir) -> PipelineConfig {
    let mut nodes: Vec<Value> =
        ["a", "b"].map(|id| node(id, "test:Node", json!({}), json!({}))).into();
    for node in &mut nodes {
        node["python"] = json!(interpreter(folder.path()).display().to_string());
    }
    let manifest = json!({"version": "v1", "nodes": nodes,
        "connections": [{"from": "a", "to": "b"}]});
    PipelineConfig::from_json(&manifest.to_string()).expect("a valid manifest")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_created_initialised_used_and_cleaned_up_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = create_session("direct-used", pipeline(&folder)).await.unwrap();
    assert_eq!(session.id().as_str(), "direct-used");
    assert_eq!(session.status(), SessionStatus::Initializing);
    let steps: Arc<Mutex<Vec<InitProgress>>> = Arc::default();
    let told = Arc::clone(&steps);
    let handler = move |step: InitProgress| told.lock().expect("no panic").push(step);
    within(initialize_pipeline(&mut session, handler)).await.unwrap();
    let steps = std::mem::take(&mut *steps.lock().unwrap());
    for id in ["a", "b"] {
        let of_node: Vec<_> = steps.iter().filter(|step| step.node.as_str() == id).collect();
        assert_eq!(of_node.first().map(|step| &step.status), Some(&InitStatus::Starting));
        assert_eq!(of_node.last().map(|step| &step.status), Some(&InitStatus::Ready));
        assert!(of_node.iter().all(|step| step.node_type == "test:Node"));
        assert!(of_node.iter().all(|step| (0.0..=1.0).contains(&step.progress)));
    }
    assert_eq!((session.status(), session.channels().len()), (SessionStatus::Ready, 3));
    let processes = processes_of(&session);
    assert!(processes.len() == 2 && processes.iter().all(|process| lives(*process)));
    session.send("a", text(1)).await.unwrap();
    let output = within(session.recv()).await.unwrap().expect("an item");
    assert_eq!(output.data.as_text(), Some("1"));
    within(cleanup_session("direct-used")).await.unwrap();
    assert_eq!(session.status(), SessionStatus::Stopped);
    assert_nothing_is_left("direct-used", &processes);
    assert!(session.processes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_wrong_taken_or_unknown_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let refused = create_session("no name", pipeline(&folder)).await.unwrap_err();
    assert!(matches!(refused, SessionError::Id(_)), "{refused}");
    let session = create_session("direct-names", pipeline(&folder)).await.unwrap();
    let refused = create_session("direct-names", pipeline(&folder)).await.unwrap_err();
    assert!(matches!(refused, SessionError::Exists { .. }), "{refused}");
    let refused = within(cleanup_session("direct-name")).await.unwrap_err();
    let CleanupError::NoSuchSession { .. } = &refused else { panic!("{refused}") };
    let expected = "no session \"direct-name\"; did you mean \"direct-names\"?";
    assert_eq!(refused.to_string(), expected);
    within(cleanup_session("direct-names")).await.unwrap();
    let refused = within(cleanup_session("direct-names")).await.unwrap_err();
    assert!(matches!(refused, CleanupError::NoSuchSession { .. }), "{refused}");
    // The name is free, though a handle on the old session is still there.
    let again = create_session("direct-names", pipeline(&folder)).await.unwrap();
    assert_eq!(session.status(), SessionStatus::Stopped);
    assert_eq!(again.status(), SessionStatus::Initializing);
    within(cleanup_session("direct-names")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_initialised_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut session = create_session("direct-twice", pipeline(&folder)).await.unwrap();
    within(initialize_pipeline(&mut session, drop)).await.unwrap();
    let refused = within(initialize_pipeline(&mut session, drop)).await.unwrap_err();
    let InitError::AlreadyInitialized { id, status } = &refused else { panic!("{refused}") };
    assert_eq!((id.as_str(), status), ("direct-twice", &SessionStatus::Ready));
    within(cleanup_session("direct-twice")).await.unwrap();
    let refused = within(initialize_pipeline(&mut session, drop)).await.unwrap_err();
    assert!(matches!(refused, InitError::AlreadyInitialized { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_load_fails_the_initialisation_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut exits = node("exits", "test:Exits", json!({}), json!({}));
    exits["python"] = json!(interpreter(folder.path()).display().to_string());
    let manifest = json!({"version": "v1", "nodes": [exits]}).to_string();
    let manifest = PipelineConfig::from_json(&manifest).unwrap();
    let mut session = create_session("direct-fails", manifest).await.unwrap();
    let failed: Arc<Mutex<Vec<InitStatus>>> = Arc::default();
    let told = Arc::clone(&failed);
    let handler = move |step: InitProgress| told.lock().expect("no panic").push(step.status);
    let error = within(initialize_pipeline(&mut session, handler)).await.unwrap_err();
    assert!(matches!(error, InitError::Failed(SessionError::Crashed { .. })), "{error}");
    let last = failed.lock().unwrap().last().cloned();
    assert!(matches!(last, Some(InitStatus::Failed(_))), "{last:?}");
    assert!(matches!(session.status(), SessionStatus::Error(_)));
    assert_nothing_is_left("direct-fails", &processes_of(&session));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_cannot_be_run_is_refused_with_its_problems() {
    let manifest = json!({"version": "v1", "nodes": [{"id": "n", "node_type": "NoSuchNode"}]});
    let manifest = PipelineConfig::from_json(&manifest.to_string()).unwrap();
    let refused = create_session("direct-refused", manifest).await.unwrap_err();
    let SessionError::Plan(error) = &refused else { panic!("{refused}") };
    assert!(error.unknown_node_type().is_some());
}
