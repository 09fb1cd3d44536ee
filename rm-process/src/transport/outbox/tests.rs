//! Tests of channels over real sockets: order, wholeness, descriptors, backpressure and every end.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::thread;

use tokio::task::JoinSet;

use super::*;
use crate::transport::{Inbox, TransportOptions, open};

const OPTIONS: TransportOptions =
    TransportOptions { max_frame: 1024 * 1024, high_water: 64 * 1024 };

fn pair() -> (StdStream, StdStream) {
    StdStream::pair().expect("a pair of sockets")
}

/// A pair that takes as little as the kernel lets it at once.
fn narrow_pair() -> (StdStream, StdStream) {
    let (here, there) = pair();
    for end in [&here, &there] {
        rustix::net::sockopt::set_socket_send_buffer_size(end, 1).expect("a size");
    }
    (here, there)
}

fn channel(stream: StdStream) -> (Outbox, Inbox) {
    open(stream, OPTIONS).expect("a channel")
}

fn send(outbox: &Outbox, body: &[u8]) -> Result<(), ConnectionError> {
    outbox.send(None, |frame| {
        frame.extend_from_slice(body);
        Ok(())
    })
}

/// An unnamed file with this text.
fn file_with(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("room");
    file.rewind().expect("a regular file");
    file.into()
}

fn text_of(file: OwnedFd) -> String {
    let mut text = String::new();
    File::from(file).read_to_string(&mut text).expect("a readable file");
    text
}

/// A body whose bytes tell its number.
fn numbered(number: usize) -> Vec<u8> {
    let len = [0, 1, 30, 5_000, 70_000, 300_000][number % 6];
    std::iter::repeat_n(u8::try_from(number % 251).expect("below 256"), len).collect()
}

#[tokio::test]
async fn frames_of_many_sizes_and_their_descriptors_arrive_whole_and_in_order_through_a_narrow_socket()
 {
    const COUNT: usize = 60;
    let (here, there) = narrow_pair();
    let (outbox, _unused) = channel(here);
    let (_other, mut inbox) = channel(there);
    for number in 0..COUNT {
        let attached = (number % 3 != 1).then(|| file_with(&number.to_string()));
        outbox
            .send(attached, |frame| {
                frame.extend_from_slice(&numbered(number));
                Ok(())
            })
            .unwrap();
    }
    drop(outbox);
    for number in 0..COUNT {
        let frame = inbox.next().await.unwrap().unwrap();
        assert_eq!(frame.body, numbered(number), "frame {number}");
        let text = frame.attached.map(text_of);
        assert_eq!(text, (number % 3 != 1).then(|| number.to_string()), "frame {number}");
    }
    assert!(inbox.next().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_threads_and_tasks_that_send_at_once_never_interleave() {
    const SENDERS: u8 = 4;
    const COUNT: u32 = 2_000;
    let (here, there) = narrow_pair();
    let (outbox, _unused) = channel(here);
    let (_other, mut inbox) = channel(there);
    let body = |sender: u8, number: u32| {
        let mut body = number.to_le_bytes().to_vec();
        body.resize(5 + (number as usize * 7) % 900, sender);
        body
    };
    let threads = (0..SENDERS / 2).map(|sender| {
        let outbox = outbox.clone();
        thread::spawn(move || {
            for number in 0..COUNT {
                send(&outbox, &body(sender, number)).expect("an open channel");
            }
        })
    });
    let threads: Vec<_> = threads.collect();
    let mut tasks = JoinSet::new();
    for sender in SENDERS / 2..SENDERS {
        let outbox = outbox.clone();
        tasks.spawn(async move {
            for number in 0..COUNT {
                outbox.ready().await.expect("an open channel");
                send(&outbox, &body(sender, number)).expect("an open channel");
            }
        });
    }
    drop(outbox);
    let mut next = [0; SENDERS as usize];
    while let Some(frame) = inbox.next().await.unwrap() {
        let sender = frame.body[4];
        let number = &mut next[usize::from(sender)];
        assert_eq!(frame.body, body(sender, *number));
        *number += 1;
    }
    assert_eq!(next, [COUNT; SENDERS as usize]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    tasks.join_all().await;
}

#[tokio::test]
async fn ready_waits_while_the_peer_does_not_read_and_sending_does_not() {
    let (here, there) = narrow_pair();
    let (outbox, _unused) = channel(here);
    let (_other, mut inbox) = channel(there);
    outbox.ready().await.unwrap();
    let body = [7; 10_000];
    let mut sent = 0;
    // Without its answer this would wait for ever.
    while tokio::select! { biased; _ = outbox.ready() => true, () = std::future::ready(()) => false }
    {
        send(&outbox, &body).unwrap();
        sent += 1;
    }
    assert!(sent * body.len() >= OPTIONS.high_water);
    send(&outbox, &body).unwrap();
    let read = async {
        for _ in 0..=sent {
            assert_eq!(inbox.next().await.unwrap().unwrap().body, body);
        }
    };
    let (ready, flushed, ()) = tokio::join!(outbox.ready(), outbox.flushed(), read);
    ready.unwrap();
    flushed.unwrap();
}

#[tokio::test]
async fn queued_descriptors_count_for_what_is_behind_them() {
    let (here, _there) = narrow_pair();
    let (outbox, _unused) = channel(here);
    while outbox.handle.0.lock().bytes.is_empty() {
        send(&outbox, &[1; 1_000]).unwrap();
    }
    outbox.send(Some(file_with("")), |_| Ok(())).unwrap();
    assert!(outbox.handle.0.lock().bytes.len() < OPTIONS.high_water);
    let is_ready =
        tokio::select! { biased; _ = outbox.ready() => true, () = std::future::ready(()) => false };
    assert!(!is_ready);
}

#[tokio::test]
async fn a_frame_that_is_too_long_or_cannot_be_encoded_leaves_nothing_behind() {
    let (here, there) = pair();
    let (outbox, _unused) = channel(here);
    let (_other, mut inbox) = channel(there);
    let error = outbox.send(Some(file_with("")), |frame| {
        frame.extend_from_slice(b"half of it");
        Err(FrameError::TooDeep { max: 1 })
    });
    assert!(matches!(error, Err(ConnectionError::Frame(FrameError::TooDeep { max: 1 }))));
    let error = send(&outbox, &vec![0; OPTIONS.max_frame + 1]);
    assert!(matches!(error, Err(ConnectionError::Frame(FrameError::ValueTooLarge { .. }))));
    let panicked = thread::spawn({
        let outbox = outbox.clone();
        move || outbox.send(None, |_| panic!("a value's own fault"))
    });
    assert!(panicked.join().is_err());
    let longest = vec![9; OPTIONS.max_frame];
    send(&outbox, &longest).unwrap();
    assert_eq!(inbox.next().await.unwrap().unwrap().body, longest);
}

#[tokio::test]
async fn encoding_runs_while_another_thread_sends() {
    let (here, there) = pair();
    let (outbox, _unused) = channel(here);
    let (_other, mut inbox) = channel(there);
    // It would wait for ever if encoding were done under a lock.
    outbox
        .send(None, |frame| {
            frame.extend_from_slice(b"outer");
            let other = outbox.clone();
            thread::spawn(move || send(&other, b"other")).join().unwrap().unwrap();
            send(&outbox, b"inner").unwrap();
            Ok(())
        })
        .unwrap();
    for expected in ["other", "inner", "outer"] {
        assert_eq!(inbox.next().await.unwrap().unwrap().body, expected.as_bytes());
    }
}

#[tokio::test]
async fn close_lets_out_what_is_queued_then_ends_the_stream_and_the_other_direction_goes_on() {
    let (here, there) = narrow_pair();
    let (outbox, mut answers) = channel(here);
    let (other, mut inbox) = channel(there);
    let body = vec![3; 500_000];
    send(&outbox, &body).unwrap();
    assert!(!outbox.is_closed());
    outbox.close();
    assert!(outbox.is_closed());
    assert!(matches!(send(&outbox, b""), Err(ConnectionError::Closed)));
    assert!(matches!(outbox.ready().await, Err(ConnectionError::Closed)));
    let read = async {
        assert_eq!(inbox.next().await.unwrap().unwrap().body, body);
        assert!(inbox.next().await.unwrap().is_none());
    };
    let (flushed, ()) = tokio::join!(outbox.flushed(), read);
    flushed.unwrap();
    send(&other, b"answer").unwrap();
    assert_eq!(answers.next().await.unwrap().unwrap().body, b"answer");
    drop(other);
    assert!(answers.next().await.unwrap().is_none());
}

#[tokio::test]
async fn the_last_outbox_ends_the_stream_and_the_task_lets_go_of_the_socket() {
    let (here, there) = pair();
    let (outbox, inbox) = channel(here);
    let (_other, mut peer) = channel(there);
    let stream = Arc::downgrade(&outbox.handle.0.stream);
    let clone = outbox.clone();
    drop(outbox);
    send(&clone, b"last words").unwrap();
    drop(clone);
    assert_eq!(peer.next().await.unwrap().unwrap().body, b"last words");
    assert!(peer.next().await.unwrap().is_none());
    drop(inbox);
    while stream.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_dead_peer_ends_those_who_wait_and_is_told_to_those_who_send() {
    let (here, there) = narrow_pair();
    let (outbox, mut inbox) = channel(here);
    send(&outbox, &vec![0; 900_000]).unwrap();
    let die = async { drop(there) };
    let (ready, flushed, ()) = tokio::join!(outbox.ready(), outbox.flushed(), die);
    assert!(matches!(ready, Err(ConnectionError::Closed)));
    assert!(matches!(flushed, Err(ConnectionError::Closed)));
    assert!(outbox.is_closed());
    assert!(matches!(send(&outbox, b""), Err(ConnectionError::Closed)));
    assert!(inbox.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_peer_that_died_before_is_found_by_the_frame_sent_at_once() {
    let (here, there) = pair();
    let (outbox, _inbox) = channel(here);
    drop(there);
    assert!(matches!(send(&outbox, b"hello"), Err(ConnectionError::Closed)));
    assert!(outbox.is_closed());
}

#[test]
fn the_end_of_the_runtime_ends_the_channel() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (here, mut there) = narrow_pair();
    let (outbox, _inbox) = runtime.block_on(async { channel(here) });
    send(&outbox, &vec![0; 900_000]).unwrap();
    drop(runtime);
    assert!(outbox.is_closed());
    assert!(matches!(send(&outbox, b""), Err(ConnectionError::Io(_))));
    // The peer sees the part that went out, and the end.
    there.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn without_a_runtime_there_is_an_error() {
    assert!(open(pair().0, OPTIONS).is_err());
}
