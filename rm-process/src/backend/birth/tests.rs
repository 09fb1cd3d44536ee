//! Tests of the introduction: real processes, and peers that say the wrong thing in their name.

use std::io::Write;

use serde::Serialize;

use super::*;
use crate::handshake::PROTOCOL_VERSION;
use crate::protocol::{DEFAULT_MAX_FRAME, encode_frame};

/// What a peer of before version 3 says.
#[derive(Serialize)]
struct Introduction {
    magic: &'static str,
    version: u32,
    pid: u32,
}

/// What a peer says that is like this one, but for what `change` does.
fn introduction(change: impl Fn(&mut Handshake)) -> Vec<u8> {
    let mut handshake = Handshake::of_this_process(IpcLimits::default());
    change(&mut handshake);
    let mut body = Vec::new();
    let word = Control::Handshake(Box::new(handshake));
    encode_envelope(0, WireContext::default(), word, &mut body).expect("it has a form");
    let mut frame = u32::try_from(body.len()).expect("it is short").to_le_bytes().to_vec();
    frame.append(&mut body);
    frame
}

/// What becomes of a process that lives on and whose peer says `requests` and `callbacks`, and
/// perhaps no more.
async fn check_foreign_on(
    [requests, callbacks]: [&[u8]; 2],
    closes: bool,
    expected: impl Fn(&HandshakeError) -> bool,
) {
    let manager = ProcessManager::new().unwrap();
    let spec = CommandSpec::new("sleep").arg("1000").label("stranger");
    let process = manager.spawn_plain(spec).await.unwrap();
    let pair = |bytes: &[u8]| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        (Unheard::open(ours, &IpcLimits::default()).unwrap(), (!closes).then_some(theirs))
    };
    let ((requests, their_requests), (callbacks, their_callbacks)) =
        (pair(requests), pair(callbacks));

    let error = hear_process(&process, requests, callbacks).await.err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with("stranger is not a usable peer: "), "{text}");
    match error {
        ProcessError::ForeignPeer { source, .. } => assert!(expected(&source), "{source}"),
        other => panic!("{other}"),
    }
    assert!(process.try_exit_status().is_some());
    drop((their_requests, their_callbacks));
}

async fn check_foreign(bytes: &[u8], closes: bool, expected: impl Fn(&HandshakeError) -> bool) {
    check_foreign_on([bytes, b""], closes, expected).await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_foreign_and_is_killed() {
    let not_a_hello = |error: &HandshakeError| matches!(error, HandshakeError::NotAHello(_));
    check_foreign(b"HTTP/1.1 200 OK\r\n", false, not_a_hello).await;
    let other = encode_frame(&("some", "tuple"), 100).unwrap();
    check_foreign(&other, false, not_a_hello).await;
    // More than such a peer may say before it has introduced itself.
    let long = u32::try_from(DEFAULT_MAX_FRAME + 1).unwrap().to_le_bytes();
    check_foreign(&long, false, not_a_hello).await;
}

#[tokio::test]
async fn a_peer_of_another_version_name_or_process_is_foreign_and_is_killed() {
    let is_old = |error: &HandshakeError| matches!(error, HandshakeError::Version { found: 2 });
    let old = Introduction { magic: "remotemedia", version: 2, pid: 1 };
    check_foreign(&encode_frame(&old, 1000).unwrap(), false, is_old).await;
    check_foreign(&introduction(|own| own.version = 2), false, is_old).await;
    let next = introduction(|own| own.version = PROTOCOL_VERSION + 1);
    let is_next = |error: &HandshakeError| matches!(error, HandshakeError::Version { found } if *found == PROTOCOL_VERSION + 1);
    check_foreign(&next, false, is_next).await;
    let other = introduction(|own| own.magic = "gopher".to_owned());
    let is_other = |error: &HandshakeError| matches!(error, HandshakeError::Magic { .. });
    check_foreign(&other, false, is_other).await;
    let wrapped = introduction(|own| own.pid = 1);
    let is_wrapped = |error: &HandshakeError| matches!(error, HandshakeError::Pid { found: 1, .. });
    check_foreign(&wrapped, false, is_wrapped).await;
}

#[tokio::test]
async fn a_peer_that_closes_its_channel_and_lives_on_is_foreign_and_is_killed() {
    let is_closed = |error: &HandshakeError| matches!(error, HandshakeError::Closed);
    check_foreign(b"", true, is_closed).await;
    check_foreign(b"\x10\0", true, is_closed).await;
}
