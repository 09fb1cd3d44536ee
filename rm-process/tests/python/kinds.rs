//! Functions of every kind: what they answer, how they fail, and how they are given up.

use std::time::Duration;

use rm_process::{PythonExecutionError, SubprocessIpcBackendError};
use serde_json::{Value, json};

use super::support::{Child, child, end, failure, soon};

async fn call(child: &Child, request: Value) -> Value {
    soon(child.call(&request)).await.unwrap_or_else(|error| panic!("{request}: {error}"))
}

/// All items, and the failure after them if there is one.
async fn collect(child: &Child, request: Value) -> (Vec<Value>, Option<PythonExecutionError>) {
    let mut replies = soon(child.stream(&request)).await.expect("a call");
    let mut items = Vec::new();
    while let Some(item) = soon(replies.next()).await {
        match item {
            Ok(item) => items.push(item),
            error => return (items, Some(failure(error))),
        }
    }
    (items, None)
}

/// Asks until so much is counted in the child.
async fn counted(child: &Child, name: &str, expected: u64) {
    let count = async {
        loop {
            let (items, _) = collect(child, json!("counts")).await;
            if items[0][name].as_u64() >= Some(expected) {
                break;
            }
        }
    };
    soon(count).await;
}

#[tokio::test]
async fn a_plain_function_answers_with_what_it_returns() {
    let Some(child) = child("echo").await else { return };
    for value in [json!(1), json!(null), json!({"a": [1, 2.5, "x", true, null]}), json!("x")] {
        assert_eq!(call(&child, value.clone()).await, value);
    }
    end(child).await;
}

#[tokio::test]
async fn nothing_returned_is_an_item_and_nothing_yielded_is_none() {
    let Some(plain) = child("nothing").await else { return };
    assert_eq!(collect(&plain, json!(1)).await, (vec![Value::Null], None));
    end(plain).await;
    for function in ["count", "count_async"] {
        let Some(child) = child(function).await else { return };
        assert_eq!(collect(&child, json!({"to": 0})).await, (vec![], None));
        end(child).await;
    }
}

#[tokio::test]
async fn functions_are_found_by_their_dotted_names() {
    let Some(child) = child("METHODS.twice").await else { return };
    assert_eq!(call(&child, json!(21)).await, json!(42));
    end(child).await;
}

#[tokio::test]
async fn an_exception_keeps_its_type_message_and_traceback_and_the_worker_goes_on() {
    for (function, kinds) in [
        ("one", &["value", "odd", "exit", "interrupt"][..]),
        ("one_async", &["value", "odd", "exit", "interrupt", "cancelled"]),
    ] {
        let Some(child) = child(function).await else { return };
        for kind in kinds {
            let request = json!({ "raise": kind });
            let raised = failure(soon(child.call(&request)).await);
            let PythonExecutionError::Raised { exception, message, traceback } = raised else {
                panic!("{raised:?}");
            };
            let expected = match *kind {
                "value" => "ValueError",
                "odd" => "served.OddError",
                "exit" => "SystemExit",
                "interrupt" => "KeyboardInterrupt",
                _ => "asyncio.exceptions.CancelledError",
            };
            assert_eq!((&*exception, &*message), (expected, &*format!("as told: {kind}")));
            assert!(traceback.starts_with("Traceback (most recent call last):\n"), "{traceback}");
            assert!(traceback.contains("served.py"), "{traceback}");
            assert!(!traceback.contains("remotemedia_runtime"), "{traceback}");
            assert_eq!(call(&child, json!("still there")).await, json!("still there"));
        }
        end(child).await;
    }
}

#[tokio::test]
async fn a_reply_that_cannot_be_sent_is_named_by_its_place() {
    let Some(child) = child("one").await else { return };
    let expected = PythonExecutionError::Serialization {
        message: "reply.items[1].price: cannot send an object of type object".to_owned(),
    };
    assert_eq!(failure(soon(child.call(&json!("unsendable"))).await), expected);
    let deep = failure(soon(child.call(&json!("deep"))).await);
    let PythonExecutionError::Raised { exception, traceback, .. } = &deep else {
        panic!("{deep:?}");
    };
    assert_eq!(exception, "RecursionError");
    assert!(traceback.ends_with("exceeded\n"), "{traceback}");
    end(child).await;
}

#[tokio::test]
async fn an_error_at_any_item_comes_after_the_items_before_it_and_the_worker_goes_on() {
    for function in ["count", "count_async"] {
        let Some(child) = child(function).await else { return };
        for at in [0, 1, 500, 999] {
            let (items, failed) = collect(&child, json!({"to": 1000, "fail_at": at})).await;
            assert_eq!(items, (0..at).map(Value::from).collect::<Vec<_>>());
            let Some(PythonExecutionError::Raised { exception, message, .. }) = failed else {
                panic!("{failed:?}");
            };
            assert_eq!((&*exception, message), ("served.OddError", format!("at {at}")));
            let (items, failed) = collect(&child, json!({"to": 3})).await;
            assert_eq!((items, failed), (vec![json!(0), json!(1), json!(2)], None));
        }
        end(child).await;
    }
}

#[tokio::test]
async fn a_stream_dropped_anywhere_closes_the_generator() {
    for function in ["count_or_tell", "count_async"] {
        let Some(child) = child(function).await else { return };
        // More than fits the windows, so that none can end by itself.
        let request = json!({"to": 1_000_000, "ballast": 1000});
        // One that is dropped before it has begun need not begin.
        drop(soon(child.stream(&request)).await.unwrap());
        for (before, taken) in [1, 2, 100, 300].into_iter().enumerate() {
            let mut replies = soon(child.stream(&request)).await.unwrap();
            for number in 0..taken {
                let item = soon(replies.next()).await.unwrap().unwrap();
                assert_eq!(item[0], json!(number));
            }
            drop(replies);
            counted(&child, "closed", before as u64 + 1).await;
        }
        end(child).await;
    }
}

#[tokio::test]
async fn a_consumer_that_does_not_consume_holds_up_nobody_else() {
    for function in ["count", "count_async"] {
        let Some(child) = child(function).await else { return };
        let request = json!({"to": 10_000, "ballast": 1000});
        let mut idle = soon(child.stream(&request)).await.unwrap();
        assert!(soon(idle.next()).await.unwrap().is_ok());
        for _ in 0..10 {
            assert_eq!(collect(&child, json!({"to": 3})).await.0.len(), 3);
        }
        let mut number = 1;
        while let Some(item) = soon(idle.next()).await {
            assert_eq!(item.unwrap()[0], json!(number));
            number += 1;
        }
        assert_eq!(number, 10_000);
        end(child).await;
    }
}

#[tokio::test]
async fn a_coroutine_that_is_given_up_is_cancelled() {
    let Some(child) = child("one_async").await else { return };
    for times in 1..=3 {
        let hanging = soon(child.stream(&json!("hang"))).await.unwrap();
        // It has begun when a later one is answered.
        assert_eq!(call(&child, json!(1)).await, json!(1));
        drop(hanging);
        counted(&child, "cancelled", times).await;
    }
    end(child).await;
}

#[tokio::test]
async fn a_deadline_cancels_coroutines_and_closes_generators() {
    let late = |error: Option<Result<Value, SubprocessIpcBackendError>>| {
        assert!(
            matches!(error, Some(Err(SubprocessIpcBackendError::DeadlineExceeded { .. }))),
            "{error:?}"
        );
    };
    let timeout = Duration::from_millis(50);
    let Some(coroutine) = child("one_async").await else { return };
    let hang = json!("hang");
    late(Some(soon(coroutine.request(&hang).timeout(timeout).send()).await));
    counted(&coroutine, "cancelled", 1).await;
    end(coroutine).await;

    let Some(items) = child("count_async").await else { return };
    let hang = json!({"to": 10, "hang_at": 1});
    let mut replies = soon(items.request(&hang).timeout(timeout).stream()).await.unwrap();
    // On a machine that is busy enough the first item is late already.
    let mut next = soon(replies.next()).await;
    if matches!(next, Some(Ok(_))) {
        next = soon(replies.next()).await;
    }
    late(next);
    end(items).await;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("closed");
    let Some(plain) = child("touch").await else { return };
    let request = json!(file);
    let mut replies = soon(plain.request(&request).timeout(timeout).stream()).await.unwrap();
    loop {
        match soon(replies.next()).await {
            Some(Ok(_)) => {}
            other => break late(other),
        }
    }
    end(plain).await;
    assert!(file.exists());
}

#[tokio::test]
async fn streams_go_in_both_directions() {
    for function in ["add", "add_async"] {
        let Some(child) = child(function).await else { return };
        let (mut inputs, mut sums) =
            soon(child.request(&json!(100)).exchange::<u64>()).await.unwrap();
        for number in 0..50 {
            inputs.send(&number).await.unwrap();
            assert_eq!(soon(sums.next()).await.unwrap().unwrap(), json!(number + 100));
        }
        inputs.end();
        assert_eq!(soon(sums.next()).await.unwrap().unwrap(), json!(49 * 50 / 2));
        assert!(soon(sums.next()).await.is_none());

        let (inputs, mut sums) = soon(child.request(&json!(1)).exchange::<u64>()).await.unwrap();
        drop(inputs);
        let given_up = failure(soon(sums.next()).await.unwrap());
        let PythonExecutionError::Raised { exception, .. } = given_up else {
            panic!("{given_up:?}");
        };
        assert_eq!(exception, "remotemedia_runtime.errors.InputError");
        assert_eq!(collect(&child, json!(1)).await, (vec![json!(0)], None));
        end(child).await;
    }
    let Some(child) = child("total").await else { return };
    let (mut inputs, mut total) = soon(child.request(&json!(1)).exchange::<u64>()).await.unwrap();
    for number in 0..10 {
        inputs.send(&number).await.unwrap();
    }
    inputs.end();
    assert_eq!(soon(total.next()).await.unwrap().unwrap(), json!(46));
    end(child).await;
}

#[tokio::test]
async fn ten_thousand_calls_are_served_at_once() {
    const ALL: usize = 10_000;
    let Some(child) = child("meet").await else { return };
    let calls = (0..ALL).map(|number| {
        let child = child.clone();
        tokio::spawn(async move {
            let request = json!({"number": number, "all": ALL});
            (number, child.call(&request).await)
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (number, answer) = soon(call).await.unwrap();
        assert_eq!(answer.unwrap(), json!(number));
    }
    assert_eq!(child.in_flight(), 0);
    end(child).await;
}

#[tokio::test]
async fn what_was_begun_is_finished_when_the_worker_is_to_end() {
    for function in ["count", "count_async"] {
        let Some(child) = child(function).await else { return };
        let mut replies = soon(child.stream(&json!({"to": 2000, "ballast": 1000}))).await.unwrap();
        assert!(soon(replies.next()).await.unwrap().is_ok());
        let ending = tokio::spawn(end(child));
        let mut number = 1;
        while let Some(item) = soon(replies.next()).await {
            assert_eq!(item.unwrap()[0], json!(number));
            number += 1;
        }
        assert_eq!(number, 2000);
        drop(replies);
        soon(ending).await.unwrap();
    }
}

#[tokio::test]
async fn a_worker_killed_within_a_stream_ends_every_call_once() {
    for function in ["count", "count_async"] {
        let Some(child) = child(function).await else { return };
        let request = json!({"to": 1_000_000, "ballast": 1000});
        let mut streams = Vec::new();
        for _ in 0..10 {
            streams.push(soon(child.stream(&request)).await.unwrap());
        }
        assert!(soon(streams[0].next()).await.unwrap().is_ok());
        child.process().unwrap().start_kill();
        for stream in &mut streams {
            let mut ends = 0;
            while let Some(item) = soon(stream.next()).await {
                if let Err(error) = item {
                    assert!(
                        matches!(error, SubprocessIpcBackendError::ProcessEnded { .. }),
                        "{error:?}"
                    );
                    ends += 1;
                }
            }
            assert_eq!(ends, 1);
        }
    }
}
