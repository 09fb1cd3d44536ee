//! Tests of what comes from a peer that writes bytes and descriptors as it likes, and of readers that
//! do not wait for the end of a call.

use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use rustix::io::{Errno, FdFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::*;
use crate::transport::{Outbox, TransportOptions, open};

const FLAG: u32 = 1 << 31;

/// A raw peer, and the inbox that hears it.
fn peer() -> (StdStream, Outbox, Inbox) {
    let (here, there) = StdStream::pair().expect("a pair of sockets");
    let options = TransportOptions { max_frame: 1024, ..TransportOptions::default() };
    let (outbox, inbox) = open(here, options).expect("a channel");
    (there, outbox, inbox)
}

fn header(len: u32, flag: u32) -> [u8; 4] {
    (len | flag).to_le_bytes()
}

fn send(peer: &StdStream, bytes: &[u8], descriptors: usize) {
    send_with(peer, bytes, &vec![peer.as_fd(); descriptors]);
}

fn send_with(peer: &StdStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [std::mem::MaybeUninit::uninit(); 256];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let slices = [IoSlice::new(bytes)];
    let sent = rustix::net::sendmsg(peer, &slices, &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()));
}

/// What an inbox says of a peer that sends this, and that it keeps no descriptor after that.
async fn error_after(messages: &[(&[u8], usize)]) -> FrameError {
    let (peer, _outbox, mut inbox) = peer();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    for (bytes, descriptors) in messages {
        send_with(&peer, bytes, &vec![writer.as_fd(); *descriptors]);
    }
    drop(writer);
    let error = loop {
        match inbox.next().await {
            Ok(Some(_)) => {}
            Err(ConnectionError::Frame(error)) => break error,
            other => panic!("{other:?} where an error was expected"),
        }
    };
    assert!(inbox.next().await.expect("the end").is_none());
    rustix::io::ioctl_fionbio(&reader, true).expect("a pipe");
    let end = rustix::io::read(&reader, &mut [0; 1]);
    assert_eq!(end, Ok(0), "a descriptor is still open");
    error
}

#[tokio::test]
async fn a_descriptor_arrives_with_its_frame_and_closes_on_exec() {
    let (peer, _outbox, mut inbox) = peer();
    send(&peer, &[&header(2, 0)[..], b"no"].concat(), 0);
    send(&peer, &[&header(3, FLAG)[..], b"yes"].concat(), 1);
    send(&peer, &header(0, FLAG), 1);
    let frame = inbox.next().await.unwrap().unwrap();
    assert!(frame.body == b"no" && frame.attached.is_none());
    let frame = inbox.next().await.unwrap().unwrap();
    assert_eq!(frame.body, b"yes");
    let flags = rustix::io::fcntl_getfd(frame.attached.unwrap()).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC));
    let frame = inbox.next().await.unwrap().unwrap();
    assert!(frame.body.is_empty() && frame.attached.is_some());
}

#[tokio::test]
async fn a_descriptor_that_was_announced_and_did_not_come_is_an_error() {
    let frame = [&header(1, FLAG)[..], b"x"].concat();
    let error = error_after(&[(&frame, 0)]).await;
    assert!(matches!(error, FrameError::MissingDescriptor));
    let error = error_after(&[(&frame, 1), (&frame, 0)]).await;
    assert!(matches!(error, FrameError::MissingDescriptor));
}

#[tokio::test]
async fn a_descriptor_that_no_frame_announces_is_an_error() {
    let plain = [&header(1, 0)[..], b"x"].concat();
    let flagged = [&header(1, FLAG)[..], b"x"].concat();
    let part = header(100, 0);
    let flagged_part = header(100, FLAG);
    for messages in [
        &[(&plain[..], 1)][..],
        &[(&part, 1)],
        &[(&flagged, 2)],
        &[(&flagged_part, 1), (b"x", 1)],
        &[(b"\x01", 1), (b"\0\0\0", 1)],
    ] {
        let error = error_after(messages).await;
        assert!(matches!(error, FrameError::UnexpectedDescriptor), "{error} for {messages:?}");
    }
}

#[tokio::test]
async fn more_descriptors_than_there_is_room_for_are_an_error_and_none_stays_open() {
    let error = error_after(&[(&header(0, FLAG), 30)]).await;
    assert!(matches!(error, FrameError::DescriptorLost));
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_refused_by_its_header() {
    let error = error_after(&[(&header(1025, FLAG), 1)]).await;
    assert!(matches!(error, FrameError::TooLarge { len: 1025, max: 1024 }));
}

#[tokio::test]
async fn a_child_killed_in_the_middle_of_a_frame_is_a_truncated_stream() {
    let (peer, _outbox, mut inbox) = peer();
    let mut child = Command::new("sh")
        .args(["-c", "printf '\\003\\000\\000\\000one\\144\\000\\000\\000two'; kill -KILL $$"])
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(peer)))
        .spawn()
        .unwrap();
    let first = inbox.next().await.map(|frame| frame.map(|frame| frame.body.to_vec()));
    let second = inbox.next().await.map(|_| ());
    child.wait().unwrap();
    assert_eq!(first.unwrap().unwrap(), b"one");
    let Err(ConnectionError::Frame(FrameError::Truncated { have: 7 })) = second else {
        panic!("{second:?}");
    };
}

#[tokio::test]
async fn a_reset_is_the_end_after_all_that_was_sent() {
    let (mut peer, outbox, mut inbox) = peer();
    outbox.send(None, |_| Ok(())).unwrap();
    peer.write_all(&header(0, 0)).unwrap();
    drop(peer);
    assert!(inbox.next().await.unwrap().is_some());
    assert!(inbox.next().await.unwrap().is_none());
}

#[test]
fn a_socket_that_the_operating_system_refuses_is_an_error() {
    let pipe = std::io::pipe().unwrap();
    let found = socket::receive(&pipe.0, &mut [0; 8], &mut VecDeque::new());
    assert_eq!(found.map(|_| ()), Err(Errno::NOTSOCK));
}

/// Every future is dropped after one look, and every byte comes alone.
#[tokio::test]
async fn dropping_next_at_every_byte_loses_nothing() {
    let (peer, _outbox, mut inbox) = peer();
    let frames = [(FLAG, "with"), (0, ""), (0, "without"), (FLAG, ""), (FLAG, "with again")];
    let mut received = Vec::new();
    for (flag, text) in frames {
        let len = u32::try_from(text.len()).unwrap();
        let bytes = [&header(len, flag)[..], text.as_bytes()].concat();
        for (at, byte) in bytes.iter().enumerate() {
            send(&peer, &[*byte], usize::from(at == 0 && flag != 0));
            // Once before and once after the driver has told of the byte.
            for _ in 0..2 {
                received.extend(look(&mut inbox));
                tokio::task::yield_now().await;
            }
        }
    }
    while received.len() < frames.len() {
        received.extend(look(&mut inbox));
        tokio::task::yield_now().await;
    }
    let expected = frames.map(|(flag, text)| (text.as_bytes().to_vec(), flag != 0));
    assert_eq!(received, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_arrive_as_they_were_sent_wherever_the_stream_is_cut_and_the_reader_gives_up(
        bodies in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..200), any::<bool>()), 1..8),
        cuts in proptest::collection::vec((1_usize..300, 0_usize..3), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (peer, _outbox, mut inbox) = peer();
            let mut received = Vec::new();
            let mut cuts = cuts.iter().cycle();
            for (body, is_flagged) in &bodies {
                let flag = if *is_flagged { FLAG } else { 0 };
                let len = u32::try_from(body.len()).unwrap();
                let bytes = [&header(len, flag)[..], body].concat();
                let mut at = 0;
                while at < bytes.len() {
                    let (len, looks) = cuts.next().unwrap();
                    let piece = &bytes[at..bytes.len().min(at + len)];
                    send(&peer, piece, usize::from(*is_flagged && at == 0));
                    at += piece.len();
                    for _ in 0..*looks {
                        received.extend(look(&mut inbox));
                        tokio::task::yield_now().await;
                    }
                }
            }
            drop(peer);
            while let Some(frame) = inbox.next().await.unwrap() {
                received.push((frame.body.to_vec(), frame.attached.is_some()));
            }
            assert_eq!(received, bodies);
        });
    }
}

/// The next frame if it comes without waiting; the future is dropped.
fn look(inbox: &mut Inbox) -> Option<(Vec<u8>, bool)> {
    let mut next = std::pin::pin!(inbox.next());
    match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(frame) => {
            let frame = frame.expect("a sound stream").expect("an open stream");
            Some((frame.body.to_vec(), frame.attached.is_some()))
        }
    }
}
