//! Children that somebody else starts, as under a debugger.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use rm_process::{
    BackendOptions, ChildStatus, Doorway, HandshakeError, Liveness, SubprocessIpcBackendError,
};

use crate::ask::{Answer, Ask};
use crate::support::{child, soon};

const HOUR: Duration = Duration::from_secs(3600);

/// A child that is killed and reaped when the test is over.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(doorway: &Doorway<Ask>) -> Started {
    let mut command = Command::new(child("serve").program);
    command.arg("serve").envs(doorway.environment()).process_group(0);
    Started(command.spawn().expect("the child of the tests"))
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_process_that_attaches_is_called_like_any_other_and_its_sockets_are_gone() {
    let doorway = Doorway::<Ask>::open(BackendOptions::new()).unwrap();
    let folder = doorway.environment()[0].1.parent().unwrap().to_owned();
    assert_eq!(mode(&folder), 0o700);
    let mut started = start(&doorway);
    let backend = soon(doorway.accept(HOUR)).await.unwrap();
    assert!(!folder.exists());
    assert_eq!(soon(backend.told()).await, Some(ChildStatus::Ready));
    assert_eq!(backend.process_id(), started.0.id());
    assert!(backend.process().is_none());
    let answer = soon(backend.call(&Ask::Echo(7))).await.unwrap();
    assert_eq!(answer, Answer::Number(7));
    assert!(matches!(soon(backend.ping(HOUR)).await, Liveness::Alive { .. }));
    assert!(soon(backend.shutdown(HOUR)).await.is_none());
    assert!(started.0.wait().unwrap().success());
}

#[tokio::test]
async fn an_attached_process_that_dies_closes_its_calls() {
    let doorway = Doorway::<Ask>::open(BackendOptions::new()).unwrap();
    let mut started = start(&doorway);
    let backend = soon(doorway.accept(HOUR)).await.unwrap();
    let mut hung = backend.stream(&Ask::Hang).await.unwrap();
    started.0.kill().unwrap();
    let error = soon(hung.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, SubprocessIpcBackendError::Closed), "{error}");
}

#[tokio::test]
async fn a_doorway_through_which_nobody_comes_or_a_stranger_is_closed_behind_them() {
    let doorway = Doorway::<Ask>::open(BackendOptions::new()).unwrap();
    let folder = doorway.environment()[0].1.parent().unwrap().to_owned();
    let error = soon(doorway.accept(Duration::from_millis(20))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the peer is not usable: it did not introduce itself within 20ms"
    );
    assert!(!folder.exists());

    let doorway = Doorway::<Ask>::open(BackendOptions::new()).unwrap();
    let [requests, callbacks] = doorway.environment().map(|(_, path)| path);
    let mut stranger = UnixStream::connect(&requests).unwrap();
    let _second = UnixStream::connect(&callbacks).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let error = soon(doorway.accept(HOUR)).await.unwrap_err();
    let SubprocessIpcBackendError::Handshake(HandshakeError::NotAHello(_)) = error else {
        panic!("{error}")
    };
    assert!(!requests.exists());

    let doorway = Doorway::<Ask>::open(BackendOptions::new()).unwrap();
    let [requests, callbacks] = doorway.environment().map(|(_, path)| path);
    drop((UnixStream::connect(&requests).unwrap(), UnixStream::connect(&callbacks).unwrap()));
    let error = soon(doorway.accept(HOUR)).await.unwrap_err();
    let SubprocessIpcBackendError::Handshake(HandshakeError::Closed) = error else {
        panic!("{error}")
    };

    let unused = Doorway::<Ask>::open(BackendOptions::new()).unwrap();
    let folder = unused.environment()[0].1.parent().unwrap().to_owned();
    drop(unused);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_child_that_is_told_of_no_socket_says_what_is_missing() {
    let program = child("serve").program;
    let output = Command::new(&program).arg("serve").process_group(0).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("NotAChild"), "{words}");
    let output = Command::new(&program)
        .arg("serve")
        .env("REMOTEMEDIA_REQUEST_SOCKET", "/nonexistent/requests")
        .env("REMOTEMEDIA_CALLBACK_SOCKET", "/nonexistent/callbacks")
        .process_group(0)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("/nonexistent/requests"), "{words}");
}
