//! What only nodes in workers do: start, die, and leave nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rm_bridge::{
    ExecutorBridge, ExecutorType, ItemPolicy, MultiprocessBridgeOptions, MultiprocessExecutor,
    MultiprocessExecutorBridge, ServiceError, WorkerError,
};
use serde_json::json;

use crate::support::{multiprocess, multiprocess_with, options, soon, text};

fn is_alive(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_worker_fails_every_call_that_waits_with_its_report() {
    let subject = multiprocess();
    let bridge = &subject.bridge;
    let params = json!({});
    bridge.initialize_node("m", "Moody", &params).await.unwrap();
    let ask = |place: usize| {
        let item = text(if place == 20 { "fatal" } else { "x" });
        bridge.execute_node("m", "Moody", item, &params)
    };
    let answers = soon(join_all((0..300).map(ask))).await;
    let mut died = 0;
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(answer) => assert!(place < 20 && answer.as_text() == Some("x")),
            Err(ServiceError::Died { node_id, report, .. }) => {
                assert!(place >= 20 && node_id == "m", "{place}");
                assert_eq!(report.exit.as_ref().and_then(|exit| exit.code), Some(101));
                assert!(report.stderr_tail.contains("a fatal text"), "{report}");
                died += 1;
            }
            // One that had not got to the node before its end.
            Err(ServiceError::NotInitialized { node_id, reason }) => {
                assert!(
                    place > 20 && node_id == "m" && reason.contains("101"),
                    "{place}: {reason}"
                );
            }
            Err(error) => panic!("call {place}: {error:?}"),
        }
    }
    assert!(died > 0, "the one that asked for it has waited");
    assert_eq!(bridge.executor_type(), ExecutorType::Multiprocess);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_does_not_end_is_killed_after_its_grace() {
    let subject = multiprocess_with(|options| MultiprocessBridgeOptions {
        grace: Duration::from_millis(400),
        ..options
    });
    let bridge = &subject.bridge;
    let answers = bridge.execute_node_stream("h", "Hangs", text("x"), &json!({})).await.unwrap();
    let process = bridge.processes().await.process_ids[0];
    soon(bridge.cleanup_node("h")).await.unwrap();
    assert!(!is_alive(process));
    let rest: Vec<_> = soon(futures_util::StreamExt::collect::<Vec<_>>(answers)).await;
    assert!(matches!(&rest[..], [Err(ServiceError::CleanedUp { node_id })] if node_id == "h"));
    assert!(bridge.channels().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_takes_longer_than_it_may_ends_the_worker_and_says_so() {
    let subject = multiprocess_with(|options| {
        let timeout = Some(Duration::from_millis(50));
        let policy = ItemPolicy { timeout, ..options.policy };
        MultiprocessBridgeOptions { policy, ..options }
    });
    let params = json!({});
    let answer = subject.bridge.execute_node("h", "Hangs", text("x"), &params);
    let error = soon(answer).await.unwrap_err();
    assert!(matches!(&error, ServiceError::Died { node_id, .. } if node_id == "h"), "{error}");
    let source = std::error::Error::source(&error).expect("what the worker said last").to_string();
    assert!(source.contains("TimedOut"), "{source}");
    assert!(subject.bridge.processes().await.process_ids.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_bridge_leaves_no_process_and_no_shared_memory() {
    for close in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let executor = Arc::new(MultiprocessExecutor::new().unwrap());
        let options = options(folder.path());
        let bridge = MultiprocessExecutorBridge::new(executor.clone(), "s", options).unwrap();
        let params = json!({});
        let ask = |node| bridge.execute_node(node, "Echo", text("x"), &params);
        let (one, other) = tokio::join!(ask("one"), ask("other"));
        let kept = [one.unwrap(), other.unwrap()];
        let unread = bridge.execute_node_stream("three", "Several", text("400"), &params).await;
        let processes = bridge.processes().await.process_ids;
        assert_eq!(processes.len(), 3);
        let namespace = bridge.channels().folder().to_owned();
        let name = namespace.file_name().unwrap().to_string_lossy().into_owned();
        if close {
            drop(unread);
            soon(bridge.close()).await.unwrap();
            assert!(processes.iter().all(|process| !is_alive(*process)));
            let error = ask("four").await.unwrap_err();
            assert_eq!(error.to_string(), "executor not initialized: multiprocess");
        }
        drop(bridge);
        let executor = Arc::into_inner(executor).expect("the bridge is gone");
        soon(executor.finished()).await;
        assert!(processes.iter().all(|process| !is_alive(*process)));
        assert!(!namespace.exists());
        let shared = std::fs::read_dir("/dev/shm").unwrap();
        let left = shared.filter_map(Result::ok).map(|entry| entry.file_name());
        let left: Vec<_> = left.filter(|file| file.to_string_lossy().contains(&name)).collect();
        assert!(left.is_empty(), "{left:?}");
        // What was kept is still readable.
        assert!(kept.iter().all(|item| item.as_text() == Some("x")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_a_start_or_a_call_leaves_the_bridge_usable() {
    let subject = multiprocess();
    let bridge = &subject.bridge;
    let params = json!({});
    let ask = || bridge.execute_node("c", "Count", text("x"), &params);
    for _ in 0..3 {
        let mut given_up = std::pin::pin!(ask());
        // Polled once: the worker is being started.
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(given_up.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await);
    }
    assert_eq!(soon(ask()).await.unwrap().as_text(), Some("1"));
    assert_eq!(bridge.channels().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_processes_than_allowed_are_refused_until_one_has_gone() {
    let subject = multiprocess_with(|options| MultiprocessBridgeOptions {
        max_processes: Some(1),
        ..options
    });
    let bridge = &subject.bridge;
    let params = json!({});
    bridge.initialize_node("a", "Echo", &params).await.unwrap();
    let error = bridge.initialize_node("b", "Echo", &params).await.unwrap_err();
    assert_eq!(error.to_string(), "node b would be process 2 of a session that may have 1");
    bridge.cleanup_node("a").await.unwrap();
    bridge.initialize_node("b", "Echo", &params).await.unwrap();
    let map = bridge.processes().await;
    assert_eq!((map.session_id.as_str(), map.process_ids.len()), ("test-session", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_that_is_missing_or_ends_is_named() {
    let with = |python: &str| {
        let python = Some(python.into());
        multiprocess_with(|options| MultiprocessBridgeOptions { python, ..options }).bridge
    };
    let error = with("/no/such/python").initialize_node("n", "T", &json!({})).await.unwrap_err();
    assert!(matches!(error, ServiceError::Worker(WorkerError::Start { .. })), "{error}");
    assert!(error.to_string().contains("/no/such/python"), "{error}");
    let error = with("/bin/false").initialize_node("n", "T", &json!({})).await.unwrap_err();
    assert!(error.to_string().contains("node n"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_copied_once_and_an_answer_not_at_all_by_its_reader() {
    let subject = multiprocess();
    let bridge = &subject.bridge;
    let item = rm_core::RuntimeData::binary(vec![1; 8 << 20]).unwrap();
    for _ in 0..4 {
        let answer = bridge.execute_node("e", "Echo", item.clone(), &json!({})).await.unwrap();
        assert_eq!(answer.payload(), item.payload());
    }
    let input = bridge.channels().get_publisher("node-0-in").unwrap();
    let output = bridge.channels().get_publisher("node-0-out").unwrap();
    let written = 4 * item.payload().len() as u64;
    assert_eq!(input.copied_bytes(), written);
    // The worker passes on what it got, which copies it into its own channel; nobody else does.
    assert_eq!((output.bytes_copied_in(), output.copied_bytes()), (written, written));
}

#[tokio::test(flavor = "multi_thread")]
async fn bridges_at_the_same_time_do_not_meet() {
    let bridges = [multiprocess(), multiprocess(), multiprocess()];
    let params = json!({});
    let (params, bridges) = (&params, &bridges);
    let work = |place: usize| async move {
        for number in 1..=20 {
            let answer = bridges[place].bridge.execute_node("c", "Count", text("x"), params);
            assert_eq!(answer.await.unwrap().as_text(), Some(&*number.to_string()));
        }
    };
    soon(join_all((0..3).map(work))).await;
}
