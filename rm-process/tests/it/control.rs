//! The handshake and the control channel.

use std::time::Duration;

use rm_process::{
    CommandSpec, ConnectionError, ExitReason, HandshakeError, ProcessError, ProcessStatus,
};

use crate::support::{child, gone, manager, sh, soon, unique_argument};

#[tokio::test]
async fn values_come_back_from_a_child_that_introduced_itself() {
    let spec = child("echo");
    let (process, mut connection) = manager().spawn::<String, String>(spec).await.unwrap();
    assert_eq!(process.status(), ProcessStatus::Idle);
    assert_eq!(process.label(), "echo");
    for text in ["hello".to_owned(), String::new(), "x".repeat(3_000_000)] {
        soon(connection.send(&text)).await.unwrap();
        assert_eq!(soon(connection.recv()).await.unwrap(), Some(text));
    }
    drop(connection);
    let exit = soon(process.exited()).await;
    assert_eq!((exit.code, exit.reason), (Some(0), ExitReason::Normal));
    assert_eq!(process.status(), ProcessStatus::Stopped);
}

#[tokio::test]
async fn nothing_is_lost_when_sends_and_receives_are_given_up_half_way() {
    let spec = child("echo");
    let (process, connection) = manager().spawn::<String, String>(spec).await.unwrap();
    let (sender, mut receiver) = connection.split();
    let text = |letter: &str| letter.repeat(2_000_000);
    sender.send(&text("a")).await.unwrap();
    // The child is stuck sending "a" back, so this cannot get through.
    let short = Duration::from_millis(1);
    let given_up = tokio::time::timeout(short, sender.send(&text("b"))).await;
    assert!(given_up.is_err());

    let mut first = None;
    let instant = Duration::ZERO;
    soon(async {
        while first.is_none() {
            if let Ok(value) = tokio::time::timeout(instant, receiver.recv()).await {
                first = value.unwrap();
            }
        }
    })
    .await;
    assert!(first == Some(text("a")));
    let last = tokio::spawn(async move { sender.send(&text("c")).await });
    assert!(soon(receiver.recv()).await.unwrap() == Some(text("b")));
    assert!(soon(receiver.recv()).await.unwrap() == Some(text("c")));
    last.await.unwrap().unwrap();
    assert!(soon(receiver.recv()).await.unwrap().is_none());
    soon(process.exited()).await;
}

#[tokio::test]
async fn a_channel_to_a_killed_child_is_closed_in_both_directions() {
    let spec = child("deaf");
    let (process, connection) = manager().spawn::<String, ()>(spec).await.unwrap();
    let (sender, mut receiver) = connection.split();
    let blocked = tokio::spawn(async move { sender.send(&"x".repeat(4_000_000)).await });
    soon(process.kill()).await;
    let error = soon(blocked).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectionError::Closed));
    assert_eq!(soon(receiver.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn a_wrapper_that_stays_between_is_refused_and_is_killed_with_its_child() {
    let program = child("descriptors").program;
    let mark = unique_argument();
    let script = format!("{} descriptors; sleep {mark}", program.to_str().unwrap());
    let spec = sh(&script).label("wrapper");
    let error = soon(manager().spawn::<(), ()>(spec)).await.unwrap_err();
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
    let error = soon(manager().spawn::<(), ()>(spec)).await.unwrap_err();
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
    let error = soon(manager().spawn::<(), ()>(spec)).await.unwrap_err();
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
        let spawn = manager.spawn::<(), ()>(spec);
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
        ("REMOTEMEDIA_CONTROL_FD=9:1", "BadControlChannel"),
        ("REMOTEMEDIA_CONTROL_FD=1:1", "BadControlChannel"),
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
async fn a_child_inherits_its_streams_and_its_channel_and_a_grandchild_only_its_streams() {
    // A descriptor of the kind that some library opens without close-on-exec.
    let file = std::fs::File::open("/dev/null").unwrap();
    let _leak = rustix::io::dup(&file).unwrap();
    let spec = child("descriptors");
    let (process, mut connection) = manager().spawn::<(), (Vec<i32>, String)>(spec).await.unwrap();
    let (own, inherited) = soon(connection.recv()).await.unwrap().unwrap();
    assert_eq!(own[..3], [0, 1, 2]);
    // The control channel and the status page.
    assert_eq!(own.len(), 5, "{own:?}");
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
