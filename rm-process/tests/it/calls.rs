//! Calls, streams and callbacks between two Rust processes.

use std::sync::Arc;
use std::time::Duration;

use rm_process::callback::{CallbackStream, DynamicCallbackModule, TypedCallbackHandler};
use rm_process::{
    BackendOptions, IpcLimits, Liveness, PythonExecutionError, ReplyStream, SubprocessIpcBackend,
    SubprocessIpcBackendError,
};
use tokio::task::JoinSet;

use crate::ask::{Answer, Ask, Failure};
use crate::support::{child, manager, soon};

type Backend = SubprocessIpcBackend<Ask>;

async fn serve() -> Backend {
    serve_with(BackendOptions::new()).await
}

async fn serve_with(options: BackendOptions) -> Backend {
    let manager = manager();
    let spawned = Backend::spawn_ready(&manager, child("serve"), options);
    soon(spawned).await.expect("a child that serves")
}

async fn number(backend: &Backend, ask: Ask) -> u64 {
    match soon(backend.call(&ask)).await.expect("an answer") {
        Answer::Number(number) => number,
        other => panic!("{other:?} is no number"),
    }
}

/// All items, and the error at the end if there is one.
async fn all(mut replies: ReplyStream<Answer>) -> (Vec<Answer>, Option<SubprocessIpcBackendError>) {
    let mut items = Vec::new();
    while let Some(reply) = soon(replies.next()).await {
        match reply {
            Ok(item) => items.push(item),
            Err(error) => {
                assert!(soon(replies.next()).await.is_none(), "nothing follows an error");
                return (items, Some(error));
            }
        }
    }
    assert!(soon(replies.next()).await.is_none(), "nothing follows the end");
    (items, None)
}

fn numbers(to: u64) -> Vec<Answer> {
    (0..to).map(Answer::Number).collect()
}

fn remote(error: SubprocessIpcBackendError) -> PythonExecutionError {
    match error {
        SubprocessIpcBackendError::Remote(failure) => failure,
        other => panic!("{other}"),
    }
}

/// Asks for what the child has seen given up, until it is so many.
async fn dropped(backend: &Backend, expected: u64) {
    soon(async {
        while number(backend, Ask::Dropped).await != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_gets_its_one_item_and_a_stream_all_of_its_items_in_order() {
    let backend = serve().await;
    assert_eq!(number(&backend, Ask::Echo(7)).await, 7);
    for to in [0, 1, 2, 1000] {
        let replies = backend.stream(&Ask::Count { to, ballast: 0 }).await.unwrap();
        let (items, error) = all(replies).await;
        assert_eq!(items, numbers(to));
        assert!(error.is_none(), "{error:?}");
    }
    let error = soon(backend.call(&Ask::Count { to: 0, ballast: 0 })).await.unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::NoReply), "{error}");
    let error = soon(backend.call(&Ask::Count { to: 2, ballast: 0 })).await.unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::ManyReplies), "{error}");
    let exit = soon(backend.shutdown(Duration::from_secs(30))).await.unwrap();
    assert_eq!(exit.code, Some(0));
    let metrics = backend.request_metrics();
    assert_eq!((metrics.total, metrics.in_flight), (7, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_at_once_each_get_their_own_answer() {
    let backend = serve().await;
    let mut calls = JoinSet::new();
    for given in 0..10_000 {
        let backend = backend.clone();
        calls.spawn(async move { (given, backend.call(&Ask::Echo(given)).await) });
    }
    let mut answered = 0;
    while let Some(call) = soon(calls.join_next()).await {
        let (given, answer) = call.unwrap();
        assert_eq!(answer.unwrap(), Answer::Number(given));
        answered += 1;
    }
    assert_eq!(answered, 10_000);
    let metrics = backend.request_metrics();
    assert_eq!((metrics.total, metrics.succeeded, metrics.in_flight), (10_000, 10_000, 0));
    assert_eq!(metrics.latency.count, 10_000);
}

#[tokio::test]
async fn a_thousand_streams_at_once_do_not_mix() {
    let backend = serve().await;
    let mut streams = Vec::new();
    for _ in 0..1000 {
        streams.push(backend.stream(&Ask::Count { to: 10, ballast: 0 }).await.unwrap());
    }
    for replies in streams {
        let (items, error) = all(replies).await;
        assert_eq!(items, numbers(10));
        assert!(error.is_none());
    }
}

#[tokio::test]
async fn an_error_at_the_first_a_middle_or_the_last_item_ends_that_call_alone() {
    let backend = serve().await;
    for after in [0, 3, 100] {
        for how in [Failure::Error, Failure::Panic, Failure::Unspeakable] {
            let replies = backend.stream(&Ask::Fail { after, how }).await.unwrap();
            let (items, error) = all(replies).await;
            assert_eq!(items, numbers(after));
            let failure = remote(error.expect("it fails"));
            match how {
                Failure::Error => {
                    let PythonExecutionError::Handler { error_type, message } = failure else {
                        panic!("{failure}")
                    };
                    assert_eq!(error_type, "core::fmt::Error");
                    assert_eq!(message, std::fmt::Error.to_string());
                }
                Failure::Unspeakable => {
                    let text = failure.to_string();
                    assert!(text.ends_with("it is unspeakable"), "{text}");
                }
                Failure::Panic | Failure::PanicAtOnce => {
                    let message = "as it was told to".to_owned();
                    assert_eq!(failure, PythonExecutionError::Panicked { message });
                }
            }
            assert_eq!(number(&backend, Ask::Echo(after)).await, after);
        }
    }
    let at_once = Ask::Fail { after: 0, how: Failure::PanicAtOnce };
    let failure = remote(soon(backend.call(&at_once)).await.unwrap_err());
    assert!(matches!(failure, PythonExecutionError::Panicked { .. }), "{failure}");
    let failure = remote(soon(backend.call(&Ask::Unspeakable)).await.unwrap_err());
    assert!(matches!(failure, PythonExecutionError::Serialization { .. }), "{failure}");
    assert_eq!(number(&backend, Ask::Echo(1)).await, 1);
}

#[tokio::test]
async fn a_stream_can_be_dropped_at_every_point_and_the_child_lets_go_of_it() {
    let backend = serve().await;
    for taken in 1..=20 {
        let mut replies = backend.stream(&Ask::Count { to: 1 << 40, ballast: 1000 }).await.unwrap();
        for _ in 0..taken {
            soon(replies.next()).await.unwrap().unwrap();
        }
        drop(replies);
        dropped(&backend, taken).await;
    }
    let hung = backend.stream(&Ask::Hang).await.unwrap();
    assert_eq!(number(&backend, Ask::Echo(1)).await, 1);
    drop(hung);
    dropped(&backend, 21).await;
    assert_eq!(backend.in_flight(), 0);
    // Before it began, maybe.
    drop(backend.stream(&Ask::Count { to: 1 << 40, ballast: 1000 }).await.unwrap());
    assert_eq!(number(&backend, Ask::Echo(1)).await, 1);
    assert_eq!(backend.request_metrics().failed.cancelled, 22);
}

#[tokio::test]
async fn a_slow_consumer_bounds_memory_and_holds_up_nobody_else() {
    let limits = IpcLimits::default();
    let window = limits.stream_window;
    let backend = serve_with(BackendOptions::new().limits(limits)).await;
    // More than the connection's window in all, if each were to send what it has.
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(backend.stream(&Ask::Count { to: 1 << 40, ballast: 60_000 }).await.unwrap());
    }
    for round in 0..100 {
        assert_eq!(number(&backend, Ask::Echo(round)).await, round);
    }
    let quick = backend.stream(&Ask::Count { to: 300, ballast: 60_000 }).await.unwrap();
    let (items, error) = all(quick).await;
    assert_eq!((items.len(), error.is_none()), (300, true));
    for replies in &mut slow {
        let first = soon(replies.next()).await.unwrap().unwrap();
        assert_eq!(first, Answer::Bytes(vec![0; 60_000]));
    }
    let came = backend.request_metrics();
    // What nobody has taken is at most the connection's window, and one item of each stream.
    let most = limits.connection_window + 101 * (60_100 + window) + 301 * 60_100;
    assert!(came.bytes_in < most, "{came:?}");
}

#[tokio::test]
async fn a_deadline_ends_a_call_at_both_ends_and_goes_with_it() {
    let backend = serve().await;
    let short = Duration::from_millis(50);
    let error = soon(backend.request(&Ask::Hang).timeout(short).send()).await.unwrap_err();
    let SubprocessIpcBackendError::DeadlineExceeded { waited } = error else { panic!("{error}") };
    assert!(waited <= short);
    dropped(&backend, 1).await;
    assert_eq!(number(&backend, Ask::TimeLeft).await, 0);
    let hour = Duration::from_secs(3600);
    let answer = soon(backend.request(&Ask::TimeLeft).timeout(hour).send()).await.unwrap();
    let Answer::Number(left) = answer else { panic!("{answer:?}") };
    assert!((1..=3_600_000_000).contains(&left), "{left}");
    let passed = std::time::Instant::now();
    let error = soon(backend.request(&Ask::Hang).deadline(passed).send()).await.unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::DeadlineExceeded { .. }), "{error}");
    assert_eq!(backend.request_metrics().failed.deadline, 2);
}

#[tokio::test]
async fn items_go_both_ways_at_once() {
    let backend = serve().await;
    let (mut sink, mut replies) = backend.request(&Ask::Add(10)).exchange::<u64>().await.unwrap();
    for item in 0..1000 {
        soon(sink.send(&item)).await.unwrap();
        let reply = soon(replies.next()).await.unwrap().unwrap();
        assert_eq!(reply, Answer::Number(item + 10));
    }
    sink.end();
    assert_eq!(soon(replies.next()).await.unwrap().unwrap(), Answer::Number(1000));
    assert!(soon(replies.next()).await.is_none());

    // The called may end first.
    let (mut sink, mut replies) =
        backend.request(&Ask::TakeFirst(3)).exchange::<u64>().await.unwrap();
    for item in 1..=3 {
        soon(sink.send(&item)).await.unwrap();
    }
    assert_eq!(soon(replies.next()).await.unwrap().unwrap(), Answer::Number(6));
    assert!(soon(replies.next()).await.is_none());
    soon(sink.closed()).await;
    let error = soon(sink.send(&4)).await.unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::Closed), "{error}");

    // An input that is let go is not taken for a complete one.
    let (sink, mut replies) = backend.request(&Ask::Add(1)).exchange::<u64>().await.unwrap();
    drop(sink);
    let failure = remote(soon(replies.next()).await.unwrap().unwrap_err());
    assert!(failure.to_string().contains("cancelled"), "{failure}");
    assert_eq!(number(&backend, Ask::Echo(1)).await, 1);
}

#[tokio::test]
async fn large_payloads_travel_beside_the_socket_and_are_let_go() {
    let backend = serve().await;
    let before = number(&backend, Ask::Descriptors).await;
    for len in [65_000, 65_536, 66_000, 1 << 20, 64 << 20] {
        let sum = number(&backend, Ask::Sum(vec![3; len])).await;
        assert_eq!(sum, 3 * len as u64);
        let answer = soon(backend.call(&Ask::Fill { len, value: 9 })).await.unwrap();
        assert!(answer == Answer::Bytes(vec![9; len]), "{len}");
    }
    assert_eq!(number(&backend, Ask::Descriptors).await, before);
    // Given up half-way, too.
    let mut replies = backend.stream(&Ask::Count { to: 1 << 40, ballast: 1 << 20 }).await.unwrap();
    soon(replies.next()).await.unwrap().unwrap();
    drop(replies);
    dropped(&backend, 1).await;
    assert_eq!(number(&backend, Ask::Descriptors).await, before);
}

#[tokio::test]
async fn a_payload_above_the_limit_is_refused_and_the_next_one_is_taken() {
    let limits = IpcLimits { max_payload: 1 << 20, ..IpcLimits::default() };
    let backend = serve_with(BackendOptions::new().limits(limits)).await;
    let answer = soon(backend.call(&Ask::Fill { len: 1 << 19, value: 1 })).await.unwrap();
    assert!(answer == Answer::Bytes(vec![1; 1 << 19]));
    let failure =
        remote(soon(backend.call(&Ask::Fill { len: 1 << 20, value: 1 })).await.unwrap_err());
    assert!(failure.to_string().contains("1048576 bytes"), "{failure}");
    assert_eq!(number(&backend, Ask::Echo(1)).await, 1);
}

#[tokio::test]
async fn a_child_that_dies_gives_every_call_its_one_error_and_says_how_it_ended() {
    let backend = serve().await;
    let mut hung = Vec::new();
    for _ in 0..10 {
        hung.push(backend.stream(&Ask::Hang).await.unwrap());
    }
    let mut counting = backend.stream(&Ask::Count { to: 1 << 40, ballast: 100 }).await.unwrap();
    soon(counting.next()).await.unwrap().unwrap();
    let error = soon(backend.call(&Ask::Abort)).await.unwrap_err();
    let SubprocessIpcBackendError::ProcessEnded { report } = error else { panic!("{error}") };
    assert!(report.to_string().contains("SIGABRT"), "{report}");
    for replies in hung {
        let (items, error) = all(replies).await;
        assert!(items.is_empty());
        let error = error.expect("it ended");
        assert!(matches!(error, SubprocessIpcBackendError::ProcessEnded { .. }), "{error}");
    }
    let (_, error) = all(counting).await;
    let error = error.expect("it ended");
    assert!(matches!(error, SubprocessIpcBackendError::ProcessEnded { .. }), "{error}");
    let error = soon(backend.call(&Ask::Echo(1))).await.unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::ProcessEnded { .. }), "{error}");
    assert!(!backend.is_open());
    assert_eq!(backend.in_flight(), 0);
    assert_eq!(soon(backend.ping(Duration::from_secs(30))).await, Liveness::Gone);
}

#[tokio::test]
async fn a_child_killed_at_any_message_leaves_no_call_without_its_one_end() {
    for messages in 0..40_usize {
        let backend = serve_with(BackendOptions::new().callbacks(module())).await;
        let ask = |ask: Ask| {
            let backend = backend.clone();
            async move { backend.stream(&ask).await.expect("it is sent") }
        };
        let callback = Ask::Callback { path: "test.Three".to_owned(), value: 1.into() };
        let (mut sink, adding) = backend.request(&Ask::Add(1)).exchange::<u64>().await.unwrap();
        let mut calls = vec![
            ask(Ask::Count { to: 1 << 40, ballast: 0 }).await,
            ask(Ask::Hang).await,
            ask(callback).await,
            ask(Ask::Fill { len: 1 << 20, value: 1 }).await,
            ask(Ask::Count { to: 1 << 40, ballast: 100_000 }).await,
            adding,
        ];
        // Whatever comes first, so many messages are taken; then the child is killed.
        let mut ended = [false; 6];
        for message in 0..messages {
            let _ = sink.send(&1).await;
            let turn = message % calls.len();
            // What hangs has no message to take.
            if turn != 1 && !ended[turn] {
                ended[turn] = soon(calls[turn].next()).await.is_none_or(|item| item.is_err());
            }
        }
        backend.process().unwrap().start_kill();
        for (turn, call) in calls.into_iter().enumerate() {
            let (_, error) = all(call).await;
            match error {
                Some(SubprocessIpcBackendError::ProcessEnded { report }) => {
                    assert!(report.to_string().contains("SIGKILL"), "{report}");
                }
                // It was complete before.
                None => assert!(turn == 2 || turn == 3, "call {turn} after {messages}"),
                Some(other) => panic!("{other} for call {turn} after {messages}"),
            }
        }
        soon(sink.closed()).await;
        assert_eq!(backend.in_flight(), 0);
        let metrics = backend.request_metrics();
        assert_eq!((metrics.total, metrics.in_flight), (6, 0), "after {messages}");
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_begun_and_takes_nothing_new() {
    let backend = serve().await;
    let mut replies = backend.stream(&Ask::Count { to: 5000, ballast: 1000 }).await.unwrap();
    soon(replies.next()).await.unwrap().unwrap();
    let stopping = tokio::spawn({
        let backend = backend.clone();
        async move { backend.shutdown(Duration::from_secs(3600)).await }
    });
    soon(async {
        loop {
            match backend.call(&Ask::Echo(1)).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(SubprocessIpcBackendError::ShuttingDown) => break,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    let (items, error) = all(replies).await;
    assert_eq!((items.len(), error.is_none()), (4999, true));
    let exit = soon(stopping).await.unwrap().unwrap();
    assert_eq!(exit.code, Some(0));
}

#[tokio::test]
async fn a_ping_tells_a_stopped_child_from_a_busy_one() {
    let backend = serve().await;
    let hour = Duration::from_secs(3600);
    let alive = soon(backend.ping(hour)).await;
    assert!(matches!(alive, Liveness::Alive { in_flight: 0, .. }), "{alive:?}");
    let hung = backend.stream(&Ask::Hang).await.unwrap();
    let busy = soon(backend.ping(hour)).await;
    assert!(matches!(busy, Liveness::Alive { in_flight: 1, .. }), "{busy:?}");
    drop(hung);
    let pid = nix::unistd::Pid::from_raw(backend.process_id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let instant = Duration::from_millis(100);
    assert_eq!(soon(backend.ping(instant)).await, Liveness::Stopped);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert!(matches!(soon(backend.ping(hour)).await, Liveness::Alive { .. }));
    let blocking = backend.stream(&Ask::Block(2000)).await.unwrap();
    // It answers until it begins.
    let asked = async {
        loop {
            match backend.ping(instant).await {
                Liveness::Alive { .. } => {}
                other => break other,
            }
        }
    };
    assert_eq!(soon(asked).await, Liveness::Silent);
    drop(blocking);
}

/// Answers with so many numbers from the one that came.
struct Many(&'static str, u64);

#[async_trait::async_trait]
impl TypedCallbackHandler<u64> for Many {
    type Response = u64;

    async fn handle_callback(
        &self,
        request: u64,
    ) -> Result<CallbackStream<u64>, PythonExecutionError> {
        let numbers = (request..request + self.1).map(Ok);
        Ok(Box::pin(tokio_stream::iter(numbers)))
    }

    fn type_name(&self) -> &'static str {
        self.0
    }
}

/// Fails in a way of its own: at once, in its stream, or by a panic.
struct Fails;

#[derive(Debug, thiserror::Error)]
#[error("no such symbol")]
struct NoSymbol;

#[async_trait::async_trait]
impl TypedCallbackHandler<String> for Fails {
    type Response = u64;

    async fn handle_callback(
        &self,
        request: String,
    ) -> Result<CallbackStream<u64>, PythonExecutionError> {
        match request.as_str() {
            "at once" => Err(PythonExecutionError::handler(&NoSymbol)),
            "in its stream" => {
                let items = [Ok(1), Ok(2), Err(PythonExecutionError::handler(&NoSymbol))];
                Ok(Box::pin(tokio_stream::iter(items)))
            }
            _ => panic!("a handler's own"),
        }
    }

    fn type_name(&self) -> &'static str {
        "Fails"
    }
}

fn module() -> Arc<DynamicCallbackModule> {
    let mut module = DynamicCallbackModule::new();
    for (name, count) in [("One", 1), ("Three", 3), ("Nothing", 0)] {
        module.register_handler("test", Many(name, count)).expect("a path that is free");
    }
    module.register_handler("test", Fails).expect("a path that is free");
    module.into()
}

#[tokio::test]
async fn three_hundred_callbacks_of_three_kinds_at_once_each_get_their_answers_in_order() {
    let backend = serve_with(BackendOptions::new().callbacks(module())).await;
    let answer = soon(backend.call(&Ask::Storm(100))).await.unwrap();
    assert_eq!(answer, Answer::Value(serde_json::json!([100, 100, 100])));
    let metrics = backend.callback_metrics();
    assert_eq!((metrics.total, metrics.succeeded, metrics.in_flight), (300, 300, 0));
    let answer = soon(backend.call(&Ask::Context)).await.unwrap();
    let paths = ["test.Fails", "test.Nothing", "test.One", "test.Three"];
    assert_eq!(answer, Answer::Value(serde_json::json!({ "trace": null, "paths": paths })));
}

#[tokio::test]
async fn what_goes_wrong_in_a_callback_arrives_with_its_type_and_message() {
    let backend = serve_with(BackendOptions::new().callbacks(module())).await;
    let call = |path: &str, value: serde_json::Value| {
        let ask = Ask::Callback { path: path.to_owned(), value };
        let backend = backend.clone();
        async move { all(backend.stream(&ask).await.expect("it is called")).await }
    };
    for (how, count) in [("at once", 0), ("in its stream", 2)] {
        let (items, error) = call("test.Fails", how.into()).await;
        assert_eq!(items.len(), count);
        let PythonExecutionError::Handler { error_type, message } = remote(error.unwrap()) else {
            panic!("it is a handler's error");
        };
        assert!(error_type.ends_with("calls::NoSymbol"), "{error_type}");
        assert_eq!(message, "no such symbol");
    }
    let (_, error) = call("test.Fails", "by a panic".into()).await;
    let message = "a handler's own".to_owned();
    assert_eq!(remote(error.unwrap()), PythonExecutionError::Panicked { message });

    let (_, error) = call("test.One", "seven".into()).await;
    assert_eq!(remote(error.unwrap()).to_string(), "request: expected int, got str");
    let (_, error) = call("test.Two", 1.into()).await;
    let text = remote(error.unwrap()).to_string();
    let known = "test.Fails, test.Nothing, test.One, test.Three";
    assert_eq!(text, format!("no callback \"test.Two\"; there are: {known}"));
    let (items, error) = call("test.Three", 5.into()).await;
    let expected = [5, 6, 7].map(|number| Answer::Value(number.into()));
    assert_eq!((items, error.is_none()), (expected.to_vec(), true));
}
