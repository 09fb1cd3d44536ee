//! What every bridge has to do, whatever executes its nodes.
//!
//! Each function checks one promise of [`ExecutorBridge`]; `conformance!` makes tests of all of them. A
//! further executor adds one line with its bridge, which runs the node types of `nodes.rs`.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::{StreamExt, future::join_all};
use rm_bridge::{ExecutorBridge, ServiceError};
use rm_core::{AudioFormat, Origin, RuntimeData, SessionId, TensorType, TraceContext, VideoFormat};
use serde_json::{Value, json};

use crate::support::{Subject, soon, text};

macro_rules! conformance {
    ($name:ident, $make:expr; $($check:ident)*) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $check() {
                    crate::support::soon(super::$check($make.into_any())).await;
                }
            )*
        }
    };
    ($($name:ident: $make:expr;)*) => {
        $(conformance! { $name, $make;
            every_type_of_data_comes_back_with_its_header
            items_that_were_made_of_the_same_are_both_answered
            concurrent_calls_get_their_own_answers
            answers_come_in_the_order_of_the_questions
            state_is_kept_for_each_id_by_itself
            several_outputs_are_a_stream_and_no_single_answer
            no_output_is_no_answer
            a_failure_names_node_and_message_and_the_node_goes_on
            what_was_made_before_a_failure_is_given
            an_unknown_type_is_refused_with_its_nearest
            wrong_parameters_are_refused_by_name
            a_node_that_cannot_load_is_named_with_its_message
            new_parameters_change_the_living_node
            another_type_for_a_living_node_is_refused
            a_node_that_was_cleaned_up_is_made_anew
            cleaning_up_lets_the_node_finish
            initialising_twice_keeps_the_node
            a_node_that_panics_is_not_used_until_it_is_initialised
            a_stream_that_is_dropped_disturbs_nobody
            large_items_are_written_at_most_once
            executions_are_counted
        })*
    };
}

conformance! {
    native: crate::support::native();
    multiprocess: crate::support::multiprocess();
}

fn none() -> Value {
    json!({})
}

async fn ask(
    bridge: &dyn ExecutorBridge,
    node: (&str, &str),
    question: &str,
) -> Result<String, ServiceError> {
    let answer = bridge.execute_node(node.0, node.1, text(question), &none()).await?;
    Ok(answer.as_text().expect("a text").to_owned())
}

fn items() -> Vec<RuntimeData> {
    let items = [
        RuntimeData::audio_f32(vec![0.25; 1024], 48_000, 2),
        RuntimeData::audio(vec![7; 6], 8_000, 1, AudioFormat::I24),
        RuntimeData::video(vec![9; 12], 4, 2, VideoFormat::Nv12, 30.0),
        RuntimeData::text_in("grüß dich", "de"),
        RuntimeData::tensor(vec![1; 24], vec![2, 3], TensorType::F32),
        RuntimeData::json(&json!({"a": [1, 2.5, null]})),
        RuntimeData::binary(vec![0, 255]),
        RuntimeData::binary(Vec::new()),
    ];
    items.into_iter().map(|item| item.expect("a valid item")).collect()
}

async fn every_type_of_data_comes_back_with_its_header(Subject { bridge, .. }: Subject) {
    for (place, item) in items().into_iter().enumerate() {
        let time = UNIX_EPOCH + Duration::from_secs(1_000_000 + place as u64);
        let session = SessionId::new("a-session").expect("a short name");
        let (mut header, payload) = item.into_parts();
        header.deadline = Some(time + Duration::from_secs(1));
        header.trace = TraceContext { trace_id: [3; 16], span_id: [4; 8], flags: 1 };
        let item = RuntimeData::from_parts(header, payload).expect("as before");
        let item = item.with_timestamp(time).with_session(session).with_correlation(42);
        let answer = bridge
            .execute_node("echo", "Echo", item.clone(), &none())
            .await
            .expect("the node answers");
        let ((mut header, payload), (expected, sent)) = (answer.into_parts(), item.into_parts());
        // It belongs to the channel that an item went through last.
        header.sequence = expected.sequence;
        assert_eq!(header, expected);
        assert_eq!(payload, sent);
    }
}

async fn items_that_were_made_of_the_same_are_both_answered(Subject { bridge, .. }: Subject) {
    let origin = Some(Origin { input: 0, sequence: 3, index: 0 });
    for question in ["x", "y"] {
        let item = text(question).with_origin(origin);
        let answer =
            bridge.execute_node("echo", "Echo", item, &none()).await.expect("the node answers");
        assert_eq!(answer.as_text(), Some(question));
    }
}

async fn concurrent_calls_get_their_own_answers(Subject { bridge, .. }: Subject) {
    let calls = (0..100).map(|number: u64| {
        let item = text(&number.to_string()).with_correlation(number % 3);
        let bridge = &bridge;
        async move {
            let answer = bridge
                .execute_node("echo", "Echo", item.clone(), &none())
                .await
                .expect("the node answers");
            assert_eq!(answer.as_text(), item.as_text());
            assert_eq!(answer.header().correlation_id, number % 3);
        }
    });
    join_all(calls).await;
}

async fn answers_come_in_the_order_of_the_questions(Subject { bridge, .. }: Subject) {
    bridge.initialize_node("count", "Count", &none()).await.expect("the node loads");
    let calls = (0..50).map(|_| ask(&*bridge, ("count", "Count"), "x"));
    let answers: Result<Vec<_>, _> = join_all(calls).await.into_iter().collect();
    let expected: Vec<_> = (1..=50).map(|number| number.to_string()).collect();
    assert_eq!(answers.expect("the node answers"), expected);
}

async fn state_is_kept_for_each_id_by_itself(Subject { bridge, .. }: Subject) {
    for (node, expected) in [("a", "1"), ("a", "2"), ("b", "1"), ("a", "3"), ("b", "2")] {
        assert_eq!(ask(&*bridge, (node, "Count"), "x").await.expect("the node answers"), expected);
    }
}

async fn stream(bridge: &dyn ExecutorBridge, question: &str) -> Vec<Result<String, ServiceError>> {
    let params = none();
    let answers = bridge.execute_node_stream("s", "Several", text(question), &params);
    let answers = answers.await.expect("the node takes the item");
    answers.map(|a| a.map(|a| a.as_text().expect("a text").to_owned())).collect().await
}

async fn several_outputs_are_a_stream_and_no_single_answer(Subject { bridge, .. }: Subject) {
    for count in [1, 5, 300] {
        let answers: Result<Vec<_>, _> =
            stream(&*bridge, &count.to_string()).await.into_iter().collect();
        let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        assert_eq!(answers.expect("the node answers"), expected);
    }
    let error = ask(&*bridge, ("s", "Several"), "40").await.expect_err("the call fails");
    assert!(matches!(&error, ServiceError::SeveralAnswers { node_id } if node_id == "s"));
    assert!(error.to_string().contains("execute_node_stream"), "{error}");
    assert_eq!(ask(&*bridge, ("s", "Several"), "1").await.expect("the node answers"), "0");
}

async fn no_output_is_no_answer(Subject { bridge, .. }: Subject) {
    let error = ask(&*bridge, ("s", "Several"), "0").await.expect_err("the call fails");
    assert!(matches!(&error, ServiceError::NoAnswer { node_id } if node_id == "s"));
    assert!(error.to_string().contains("execute_node_stream"), "{error}");
    assert!(stream(&*bridge, "0").await.is_empty());
}

async fn a_failure_names_node_and_message_and_the_node_goes_on(Subject { bridge, .. }: Subject) {
    for _ in 0..10 {
        let error = ask(&*bridge, ("moody", "Moody"), "bad").await.expect_err("the call fails");
        let ServiceError::NodeExecution { node_id, message } = &error else { panic!("{error}") };
        assert_eq!(node_id, "moody");
        assert!(message.contains("a bad text"), "{message}");
    }
    assert_eq!(ask(&*bridge, ("moody", "Moody"), "good").await.expect("the node answers"), "good");
}

async fn what_was_made_before_a_failure_is_given(Subject { bridge, .. }: Subject) {
    let answers = stream(&*bridge, "bad").await;
    assert_eq!(answers.len(), 4);
    let last = answers.last().expect("there are four").as_ref().expect_err("the call fails");
    assert!(last.to_string().contains("no more"), "{last}");
    assert!(answers[..3].iter().all(Result::is_ok));
}

async fn an_unknown_type_is_refused_with_its_nearest(Subject { bridge, .. }: Subject) {
    let error = ask(&*bridge, ("e", "Ehco"), "x").await.expect_err("the call fails");
    let ServiceError::Validation(message) = &error else { panic!("{error}") };
    assert!(message.contains("did you mean \"Echo\"?"), "{message}");
    assert_eq!(ask(&*bridge, ("e", "Echo"), "x").await.expect("the node answers"), "x");
}

async fn wrong_parameters_are_refused_by_name(Subject { bridge, .. }: Subject) {
    for (params, named) in
        [(json!({"stpe": 2}), "step"), (json!({"step": "two"}), "two"), (json!(5), "an object")]
    {
        let error =
            bridge.initialize_node("c", "Count", &params).await.expect_err("the call fails");
        let ServiceError::Validation(message) = &error else { panic!("{error}") };
        assert!(message.contains(named), "{message}");
    }
}

async fn a_node_that_cannot_load_is_named_with_its_message(Subject { bridge, .. }: Subject) {
    let error = bridge.initialize_node("b", "Broken", &none()).await.expect_err("the call fails");
    let ServiceError::NodeExecution { node_id, message } = &error else { panic!("{error}") };
    assert_eq!(node_id, "b");
    assert!(message.contains("the model is missing"), "{message}");
}

async fn new_parameters_change_the_living_node(Subject { bridge, .. }: Subject) {
    let count = async |params: Value| {
        let answer = bridge.execute_node("c", "Count", text("x"), &params).await?;
        Ok::<_, ServiceError>(answer.as_text().expect("a text").to_owned())
    };
    assert_eq!(count(json!({"step": 2})).await.expect("the node answers"), "2");
    assert_eq!(count(json!({"step": 10})).await.expect("the node answers"), "20");
    assert_eq!(count(Value::Null).await.expect("the node answers"), "30");
    let refused = count(json!({"step": 13})).await.expect_err("the call fails");
    assert!(matches!(&refused, ServiceError::ParamsRefused { node_id, .. } if node_id == "c"));
    let cause = std::error::Error::source(&refused).expect("a cause").to_string();
    assert!(cause.contains("13 brings bad luck"), "{cause}");
    assert_eq!(count(json!({"step": 10})).await.expect("the node answers"), "40");
}

async fn another_type_for_a_living_node_is_refused(Subject { bridge, .. }: Subject) {
    ask(&*bridge, ("n", "Count"), "x").await.expect("the node answers");
    let error = ask(&*bridge, ("n", "Echo"), "x").await.expect_err("the call fails");
    assert!(matches!(error, ServiceError::Validation(_)), "{error}");
    assert_eq!(ask(&*bridge, ("n", "Count"), "x").await.expect("the node answers"), "2");
}

async fn a_node_that_was_cleaned_up_is_made_anew(Subject { bridge, .. }: Subject) {
    assert_eq!(ask(&*bridge, ("c", "Count"), "x").await.expect("the node answers"), "1");
    bridge.cleanup_node("c").await.expect("the node ends");
    bridge.cleanup_node("c").await.expect("the node ends");
    bridge.cleanup_node("nobody").await.expect("the node ends");
    assert_eq!(ask(&*bridge, ("c", "Count"), "x").await.expect("the node answers"), "1");
}

async fn cleaning_up_lets_the_node_finish(Subject { bridge, folder, .. }: Subject) {
    let file = folder.path().join("finished");
    let params = json!({"path": file});
    let answers = bridge
        .execute_node_stream("sink", "Sink", text("x"), &params)
        .await
        .expect("the node takes the item");
    bridge.cleanup_node("sink").await.expect("the node ends");
    assert_eq!(std::fs::read_to_string(&file).expect("the node wrote it"), "finished");
    // What was asked before has been answered.
    assert_eq!(answers.count().await, 0);
}

async fn initialising_twice_keeps_the_node(Subject { bridge, .. }: Subject) {
    bridge.initialize_node("c", "Count", &none()).await.expect("the node loads");
    assert_eq!(ask(&*bridge, ("c", "Count"), "x").await.expect("the node answers"), "1");
    bridge.initialize_node("c", "Count", &none()).await.expect("the node loads");
    assert_eq!(ask(&*bridge, ("c", "Count"), "x").await.expect("the node answers"), "2");
}

async fn a_node_that_panics_is_not_used_until_it_is_initialised(Subject { bridge, .. }: Subject) {
    let moody = ("moody", "Moody");
    bridge.initialize_node(moody.0, moody.1, &none()).await.expect("the node loads");
    let (fatal, next) = tokio::join!(ask(&*bridge, moody, "fatal"), ask(&*bridge, moody, "x"));
    let named = |error: &ServiceError| match error {
        ServiceError::Panicked { node_id, message } => {
            node_id == "moody" && message.contains("a fatal text")
        }
        ServiceError::Died { node_id, report, .. } => {
            node_id == "moody" && report.stderr_tail.contains("a fatal text")
        }
        _ => false,
    };
    let fatal = fatal.expect_err("the call fails");
    assert!(named(&fatal), "{fatal}");
    // It may have come to the node only after its end.
    let next = next.expect_err("the call fails");
    assert!(named(&next) || matches!(next, ServiceError::NotInitialized { .. }), "{next}");
    let error = ask(&*bridge, moody, "x").await.expect_err("the call fails");
    assert!(matches!(&error, ServiceError::NotInitialized { .. }), "{error}");
    bridge.initialize_node(moody.0, moody.1, &none()).await.expect("the node loads");
    assert_eq!(ask(&*bridge, moody, "x").await.expect("the node answers"), "x");
}

async fn a_stream_that_is_dropped_disturbs_nobody(Subject { bridge, .. }: Subject) {
    let mut unread = bridge
        .execute_node_stream("s", "Several", text("500"), &none())
        .await
        .expect("the node takes the item");
    assert!(unread.next().await.is_some());
    let other = ask(&*bridge, ("s", "Several"), "1");
    drop(unread);
    assert_eq!(other.await.expect("the node answers"), "0");
}

async fn large_items_are_written_at_most_once(Subject { bridge, metrics, .. }: Subject) {
    const LEN: usize = 8 << 20;
    let item = RuntimeData::binary(vec![5; LEN]).expect("below the limit");
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(
            bridge
                .execute_node("echo", "Echo", item.clone(), &none())
                .await
                .expect("the node answers"),
        );
    }
    assert!(answers.iter().all(|answer| answer.payload() == item.payload()));
    // A native node is given the item itself.
    let written = metrics.get_stats().total_bytes;
    assert!(written == 0 || written == 4 * LEN as u64, "{written}");
}

async fn executions_are_counted(Subject { bridge, metrics, .. }: Subject) {
    for _ in 0..3 {
        ask(&*bridge, ("a", "Echo"), "x").await.expect("the node answers");
    }
    ask(&*bridge, ("b", "Echo"), "x").await.expect("the node answers");
    ask(&*bridge, ("m", "Moody"), "bad").await.expect_err("the call fails");
    assert_eq!(metrics.get_stats().total_executions, 4);
    assert_eq!(metrics.executions("a").count, 3);
    assert_eq!(metrics.executions("m").count, 0);
}

#[tokio::test]
async fn a_bridge_that_makes_one_item_of_each_needs_no_stream_of_its_own() {
    struct Same;

    #[async_trait::async_trait]
    impl ExecutorBridge for Same {
        async fn execute_node(
            &self,
            _: &str,
            _: &str,
            input_data: RuntimeData,
            _: &Value,
        ) -> Result<RuntimeData, ServiceError> {
            Ok(input_data)
        }

        async fn initialize_node(&self, _: &str, _: &str, _: &Value) -> Result<(), ServiceError> {
            Ok(())
        }

        async fn cleanup_node(&self, _: &str) -> Result<(), ServiceError> {
            Ok(())
        }

        fn executor_type(&self) -> rm_bridge::ExecutorType {
            rm_bridge::ExecutorType::Native
        }
    }

    let bridge: Arc<dyn ExecutorBridge> = Arc::new(Same);
    let answers = bridge
        .execute_node_stream("n", "T", text("x"), &none())
        .await
        .expect("the node takes the item");
    let answers: Vec<_> = soon(answers.collect::<Vec<_>>()).await;
    assert_eq!(answers[0].as_ref().expect("the node answers").as_text(), Some("x"));
    assert_eq!(answers.len(), 1);
}
