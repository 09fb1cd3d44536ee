//! The handshake and the control channels.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rm_process::callback::{CallbackStream, DynamicCallbackModule, TypedCallbackHandler};
use rm_process::{
    BackendOptions, CommandSpec, ExitReason, HandshakeError, ProcessError, ProcessStatus,
    PythonExecutionError, SubprocessIpcBackend, SubprocessIpcBackendError,
};
use tokio::sync::mpsc;

use crate::ask::{Answer, Ask};
use crate::support::{child, gone, manager, refused, sh, soon, start, unique_argument};

#[tokio::test]
async fn values_come_back_from_a_child_that_introduced_itself() {
    let (process, backend) = start::<String>(child("echo")).await;
    assert_eq!(process.status(), ProcessStatus::Idle);
    assert_eq!(process.label(), "echo");
    for text in ["hello".to_owned(), String::new(), "x".repeat(3_000_000)] {
        assert!(soon(backend.call(&text)).await.unwrap() == text);
    }
    drop(backend);
    let exit = soon(process.exited()).await;
    assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Normal));
    assert_eq!(process.status(), ProcessStatus::Stopped);
}

/// Lets `future` make a step, and gives it up unless it is done.
fn step<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn nothing_is_lost_when_calls_are_given_up_half_way() {
    let (process, backend) = start::<String>(child("echo")).await;
    let text = |letter: &str| letter.repeat(60_000);
    // More than both sockets hold, so that some are given up with a part of them on its way.
    for _ in 0..50 {
        assert!(step(backend.call(&text("x"))).is_none());
    }
    let last = backend.clone();
    let last = tokio::spawn(async move { last.call(&text("c")).await });
    for letter in ["a", "b"] {
        assert!(soon(backend.call(&text(letter))).await.unwrap() == text(letter));
    }
    assert!(soon(last).await.unwrap().unwrap() == text("c"));
    // The child has let go of each before it answered the last.
    assert_eq!(backend.in_flight(), 0);
    drop(backend);
    assert_eq!(soon(process.exited()).await.code, Some(0));
}

#[tokio::test]
async fn nothing_is_lost_when_receives_are_given_up_half_way() {
    let (_process, backend) = start::<Ask>(child("serve")).await;
    let ask = Ask::Count { to: 200, ballast: 60_000 };
    let mut replies = soon(backend.stream(&ask)).await.unwrap();
    let expect = |number: u64| Answer::Bytes(vec![number as u8; 60_000]);
    for number in 0..200 {
        let reply = soon(async {
            loop {
                if let Some(reply) = step(replies.next()) {
                    break reply;
                }
                tokio::task::yield_now().await;
            }
        });
        assert!(reply.await.unwrap().unwrap() == expect(number), "{number}");
    }
    assert!(soon(replies.next()).await.is_none());
}

#[tokio::test]
async fn nothing_but_the_item_itself_is_lost_when_sends_are_given_up_half_way() {
    let (_process, backend) = start::<Ask>(child("serve")).await;
    let exchange = backend.request(&Ask::Add(0)).exchange::<u64>();
    let (mut input, mut replies) = soon(exchange).await.unwrap();
    // Nobody consumes the sums, so that the child stops taking numbers at some point.
    let mut sent = Vec::new();
    for number in 0..100_000 {
        match step(input.send(&number)) {
            Some(done) => {
                done.unwrap();
                sent.push(number);
            }
            // Given up while it waited for credit: it is not sent.
            None if sent.len() > 2_000 => break,
            None => tokio::task::yield_now().await,
        }
    }
    input.end();
    for number in &sent {
        assert_eq!(soon(replies.next()).await.unwrap().unwrap(), Answer::Number(*number));
    }
    let count = Answer::Number(sent.len() as u64);
    assert_eq!(soon(replies.next()).await.unwrap().unwrap(), count);
    assert!(soon(replies.next()).await.is_none());
}

#[tokio::test]
async fn each_call_to_a_killed_child_has_its_one_error_and_so_has_each_later_one() {
    let (process, backend) = start::<String>(child("deaf")).await;
    let texts = ["x".repeat(4_000_000), "x".repeat(60_000), String::new()];
    let mut streams = Vec::new();
    for text in texts.iter().cycle().take(12) {
        streams.push(soon(backend.stream(text)).await.unwrap());
    }
    let texts_sent = texts.iter().cycle().take(60).cloned();
    let calls: Vec<_> = texts_sent.map(|text| call(&backend, text)).collect();
    soon(process.kill()).await;
    for call in calls {
        check_killed(soon(call).await.unwrap().unwrap_err());
    }
    for mut stream in streams {
        check_killed(soon(stream.next()).await.unwrap().unwrap_err());
        assert!(soon(stream.next()).await.is_none());
    }
    check_killed(soon(backend.call(&texts[0])).await.unwrap_err());
    check_killed(soon(backend.stream(&texts[2])).await.unwrap_err());
    assert_eq!(soon(backend.told()).await, None);
    assert!(!backend.is_open());
    assert_eq!(backend.in_flight(), 0);
}

#[test]
fn a_call_from_another_runtime_ends_with_the_runtime_that_watches_the_child() {
    let [watching, calling] = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
    let (_process, backend) = watching.block_on(start::<String>(child("deaf")));
    let pending = {
        let _within = calling.enter();
        call(&backend, String::new())
    };
    calling.block_on(soon(async {
        while backend.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    }));
    drop(watching);
    let error = calling.block_on(soon(pending)).unwrap().unwrap_err();
    let is_known = matches!(
        error,
        SubprocessIpcBackendError::ShuttingDown | SubprocessIpcBackendError::ProcessEnded { .. }
    );
    assert!(is_known, "{error:?}");
    assert!(calling.block_on(soon(backend.call(&String::new()))).is_err());
}

/// A callback that is never answered, and tells that it came.
struct Never(mpsc::UnboundedSender<()>);

#[async_trait::async_trait]
impl TypedCallbackHandler<()> for Never {
    type Response = ();

    async fn handle_callback(&self, (): ()) -> Result<CallbackStream<()>, PythonExecutionError> {
        // The test may have seen enough.
        let _ = self.0.send(());
        std::future::pending().await
    }

    fn type_name(&self) -> &'static str {
        "Never"
    }
}

#[tokio::test]
async fn a_callback_ends_when_its_child_closes_its_connections_under_it() {
    let (came, mut coming) = mpsc::unbounded_channel();
    let mut callbacks = DynamicCallbackModule::new();
    callbacks.register_handler("test", Never(came)).unwrap();
    let options = BackendOptions::new().callbacks(callbacks);
    let (manager, spec) = (manager(), child("closes-under-a-callback"));
    let spawned = SubprocessIpcBackend::<()>::spawn(&manager, spec, options);
    let backend = soon(spawned).await.unwrap();
    soon(coming.recv()).await.unwrap();
    soon(backend.call(&())).await.unwrap();
    let process = backend.process().unwrap();
    assert_eq!(soon(process.exited()).await.code, Some(0), "{}", process.failure_report());
}

fn call(
    backend: &SubprocessIpcBackend<String>,
    text: String,
) -> tokio::task::JoinHandle<Result<String, SubprocessIpcBackendError>> {
    let backend = backend.clone();
    tokio::spawn(async move { backend.call(&text).await })
}

fn check_killed(error: SubprocessIpcBackendError) {
    let SubprocessIpcBackendError::ProcessEnded { report } = error else { panic!("{error:?}") };
    let exit = report.exit.expect("it has ended");
    assert_eq!((exit.signal_name(), exit.reason), (Some("SIGKILL"), ExitReason::Killed));
}

#[tokio::test]
async fn a_wrapper_that_stays_between_is_refused_and_is_killed_with_its_child() {
    let program = child("descriptors").program;
    let mark = unique_argument();
    let script = format!("{} descriptors; sleep {mark}", program.to_str().unwrap());
    let spec = sh(&script).label("wrapper");
    let error = refused(spec).await;
    let text = error.to_string();
    assert!(text.starts_with("wrapper is not a usable peer: process "), "{text}");
    assert!(text.contains("must exec its program"), "{text}");
    match error {
        ProcessError::ForeignPeer { source, .. } => {
            assert!(matches!(source, HandshakeError::Pid { .. }));
        }
        other => panic!("{other}"),
    }
    gone(&mark).await;
}

#[tokio::test]
async fn a_silent_child_is_killed_when_its_time_is_over() {
    let mark = unique_argument();
    let mut spec = sh(&format!("exec sleep {mark}")).label("silent");
    spec.init_timeout = Duration::from_millis(200);
    let error = refused(spec).await;
    let text = error.to_string();
    assert!(text.starts_with("silent (pid "), "{text}");
    assert!(text.contains("no introduction over the control channel within 200ms"), "{text}");
    let ProcessError::InitTimeout { report } = error else { panic!("{error}") };
    assert_eq!(report.exit.map(|exit| exit.reason), Some(ExitReason::Timeout));
    gone(&mark).await;
}

#[tokio::test]
async fn an_early_exit_is_reported_at_once_with_its_code_and_its_last_words() {
    let mut spec = sh("echo loading >&2; echo 'no such model: large' >&2; exit 3").label("asr");
    // "At once" means before this: the watchdog is shorter.
    spec.init_timeout = Duration::from_secs(3600);
    let error = refused(spec).await;
    let text = error.to_string();
    assert!(text.starts_with("not ready: asr (pid "), "{text}");
    assert!(text.contains(" exited with code 3 after "), "{text}");
    assert!(text.contains("\nlast output:\n  loading\n  no such model: large\n"), "{text}");
    let ProcessError::EarlyExit { report } = error else { panic!("{error}") };
    assert_eq!(report.exit.and_then(|exit| exit.code), Some(3));
}

#[tokio::test]
async fn a_spawn_that_is_given_up_leaves_no_process() {
    let mark = unique_argument();
    let spec = sh(&format!("exec sleep {mark}"));
    let manager = manager();
    let given_up = {
        let spawn = SubprocessIpcBackend::<()>::spawn(&manager, spec, BackendOptions::new());
        tokio::time::timeout(Duration::from_millis(50), spawn).await
    };
    assert!(given_up.is_err());
    gone(&mark).await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let spec = CommandSpec::new("/nonexistent/program");
    let error = manager().spawn_plain(spec).await.unwrap_err();
    assert!(matches!(error, ProcessError::SpawnFailed(_)));
    assert!(error.to_string().contains("/nonexistent/program"), "{error}");
}

#[tokio::test]
async fn a_process_that_no_runtime_started_does_not_take_a_descriptor_for_a_channel() {
    let program = child("echo").program;
    let program = program.to_str().unwrap();
    for (setting, expected) in [
        ("", "NotAChild"),
        ("REMOTEMEDIA_CONTROL_FD=9:1,9:1,9:1", "BadControlChannel"),
        ("REMOTEMEDIA_CONTROL_FD=1:1,1:1,1:1", "BadControlChannel"),
        ("REMOTEMEDIA_CONTROL_FD=9:1", "BadControlChannel"),
        ("REMOTEMEDIA_CONTROL_FD=x", "BadControlChannel"),
    ] {
        let script = format!("exec 9</dev/null; {setting} exec {program} echo");
        let process = manager().spawn_plain(sh(&script)).await.unwrap();
        assert_eq!(soon(process.exited()).await.code, Some(1));
        let words = process.stderr_tail();
        assert!(words.contains(expected), "{setting}: {words}");
    }
}

#[tokio::test]
async fn a_child_inherits_its_streams_and_its_channels_and_a_grandchild_only_its_streams() {
    // A descriptor of the kind that some library opens without close-on-exec.
    let file = std::fs::File::open("/dev/null").unwrap();
    let _leak = rustix::io::dup(&file).unwrap();
    let (process, backend) = start(child("descriptors")).await;
    let seen = soon(backend.call(&serde_json::Value::Null)).await.unwrap();
    let (own, inherited): (Vec<i32>, String) = serde_json::from_value(seen).unwrap();
    assert_eq!(own[..3], [0, 1, 2]);
    // Both control channels and the status page.
    assert_eq!(own.len(), 6, "{own:?}");
    assert_eq!(inherited, "0\n1\n2\n");
    soon(process.exited()).await;
}

#[tokio::test]
async fn a_cleared_environment_keeps_the_documented_base_and_what_was_added() {
    let mut spec = CommandSpec::new("env").env("ADDED", "1");
    spec.env_clear = true;
    let process = manager().spawn_plain(spec).await.unwrap();
    soon(process.exited()).await;
    let output = process.stdout_tail();
    let mut names: Vec<&str> =
        output.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !rm_process::BASE_ENV.contains(name) && !name.starts_with("LC_"));
    // By these descendants are found; the last is there where this machine has cgroups.
    names.retain(|name| *name != "REMOTEMEDIA_CGROUP");
    assert_eq!(names, ["ADDED", "REMOTEMEDIA_RUNTIME"]);
    assert!(output.contains("PATH="));
}
