//! Tests of the introduction: real processes, and peers that say the wrong thing in their name.

use serde::Serialize;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::handshake::PROTOCOL_VERSION;
use crate::protocol::encode_frame;

#[derive(Serialize)]
struct Introduction {
    magic: &'static str,
    version: u32,
    pid: u32,
}

/// What becomes of a process that lives on and whose peer says `bytes`, and perhaps no more.
async fn check_foreign(bytes: &[u8], closes: bool, expected: impl Fn(&HandshakeError) -> bool) {
    let manager = ProcessManager::new().unwrap();
    let spec = CommandSpec::new("sleep").arg("1000").label("stranger");
    let process = manager.spawn_plain(spec).await.unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(bytes).await.unwrap();
    let theirs = (!closes).then_some(theirs);

    let (mut reader, _writer) = FrameReader::new(ours);
    let error = introduce(&process, &mut reader).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("stranger is not a usable peer: "), "{text}");
    match error {
        ProcessError::ForeignPeer { source, .. } => assert!(expected(&source), "{source}"),
        other => panic!("{other}"),
    }
    assert!(process.try_exit_status().is_some());
    drop(theirs);
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_foreign_and_is_killed() {
    let not_a_hello = |error: &HandshakeError| matches!(error, HandshakeError::NotAHello(_));
    check_foreign(b"HTTP/1.1 200 OK\r\n", false, not_a_hello).await;
    let other = encode_frame(&("some", "tuple"), 100).unwrap();
    check_foreign(&other, false, not_a_hello).await;
}

#[tokio::test]
async fn a_peer_of_another_version_name_or_process_is_foreign_and_is_killed() {
    let frame = |magic, version| {
        let introduction = Introduction { magic, version, pid: 1 };
        encode_frame(&introduction, 1000).unwrap()
    };
    let old = frame("remotemedia", 0);
    let is_old = |error: &HandshakeError| matches!(error, HandshakeError::Version { found: 0 });
    check_foreign(&old, false, is_old).await;
    let other = frame("gopher", PROTOCOL_VERSION);
    let is_other = |error: &HandshakeError| matches!(error, HandshakeError::Magic { .. });
    check_foreign(&other, false, is_other).await;
    let wrapped = frame("remotemedia", PROTOCOL_VERSION);
    let is_wrapped = |error: &HandshakeError| matches!(error, HandshakeError::Pid { found: 1, .. });
    check_foreign(&wrapped, false, is_wrapped).await;
}

#[tokio::test]
async fn a_peer_that_closes_its_channel_and_lives_on_is_foreign_and_is_killed() {
    let is_closed = |error: &HandshakeError| matches!(error, HandshakeError::Closed);
    check_foreign(b"", true, is_closed).await;
    check_foreign(b"\x10\0", true, is_closed).await;
}
