//! Waiting without holding up a thread.

use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use rm_core::RuntimeData;
use rm_ipc::{
    ChannelOptions, Doorbell, Namespace, PublishError, ReceiveError, SharedMemoryChannel,
};

use crate::channel::{files_of, id, in_process};

const WATCHDOG: Duration = Duration::from_secs(30);

fn channel(options: ChannelOptions) -> (Namespace, SharedMemoryChannel) {
    let namespace = Namespace::create().expect("a namespace");
    let options = ChannelOptions { loopback: true, ..options };
    let channel = SharedMemoryChannel::create(&namespace, &id("test"), options).expect("a channel");
    (namespace, channel)
}

fn number(n: u64) -> RuntimeData {
    RuntimeData::binary(n.to_le_bytes().to_vec()).expect("eight bytes")
}

fn as_number(data: &RuntimeData) -> u64 {
    u64::from_le_bytes(data.payload().as_ref().try_into().expect("eight bytes"))
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(WATCHDOG, work).await.expect("nothing hangs")
}

#[tokio::test(flavor = "current_thread")]
async fn two_tasks_of_one_thread_pass_each_other_everything() {
    let (_namespace, channel) = channel(ChannelOptions { depth: 2, ..in_process() });
    let mut receiver = channel.subscribe().unwrap();
    let sends = async {
        for n in 0..5_000 {
            channel.publish_async(&number(n)).await.unwrap();
        }
    };
    let receives = async {
        for n in 0..5_000 {
            assert_eq!(as_number(&receiver.recv_async().await.unwrap()), n);
        }
    };
    soon(async { tokio::join!(sends, receives) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_one_publisher_and_none_starves() {
    let (_namespace, channel) = channel(ChannelOptions { depth: 1, ..in_process() });
    let mut receiver = channel.subscribe().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let channel = channel.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    channel.publish_async(&number(task * 1_000 + n)).await.unwrap();
                }
            })
        })
        .collect();
    let mut next = [0; 8];
    soon(async {
        for _ in 0..800 {
            let n = as_number(&receiver.recv_async().await.unwrap());
            let task = (n / 1_000) as usize;
            assert_eq!(n % 1_000, next[task], "each task's own messages stay in order");
            next[task] += 1;
        }
        for task in tasks {
            task.await.unwrap();
        }
    })
    .await;
    assert_eq!(next, [100; 8]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_and_a_thread_may_publish_on_one_channel() {
    let (_namespace, channel) = channel(ChannelOptions { depth: 1, ..in_process() });
    let mut receiver = channel.subscribe().unwrap();
    let on_thread = channel.clone();
    let thread = std::thread::spawn(move || {
        (0..500).for_each(|n| on_thread.publish(&number(n)).unwrap());
    });
    let sends = async {
        for n in 0..500 {
            channel.publish_async(&number(n)).await.unwrap();
        }
    };
    let receives = async {
        let mut sum = 0;
        for _ in 0..1_000 {
            sum += as_number(&receiver.recv_async().await.unwrap());
        }
        assert_eq!(sum, 500 * 499);
    };
    soon(async { tokio::join!(sends, receives) }).await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_future_that_is_dropped_has_done_nothing() {
    let (_namespace, channel) = channel(ChannelOptions { depth: 1, ..in_process() });
    let mut receiver = channel.subscribe().unwrap();
    let short = Duration::from_millis(1);
    assert!(tokio::time::timeout(short, receiver.recv_async()).await.is_err());
    channel.publish_async(&number(0)).await.unwrap();
    assert!(tokio::time::timeout(short, channel.publish_async(&number(1))).await.is_err());
    channel.try_publish(&number(2)).unwrap_err();
    assert_eq!(as_number(&soon(receiver.recv_async()).await.unwrap()), 0);
    soon(channel.publish_async(&number(3))).await.unwrap();
    assert_eq!(as_number(&soon(receiver.recv_async()).await.unwrap()), 3);
    assert!(receiver.try_recv().unwrap().is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_that_publishes_waits_for_acknowledgements_and_for_who_follows_in_a_seat() {
    let options = ChannelOptions { depth: 2, retained: true, ..in_process() };
    let (namespace, channel) = channel(options);
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let mut first = channel.subscriber_at(&bell, 0).unwrap();
    for n in 0..2 {
        soon(channel.publish_async(&number(n))).await.unwrap();
        assert_eq!(as_number(&first.recv().unwrap()), n);
    }
    let short = Duration::from_millis(1);
    assert!(tokio::time::timeout(short, channel.publish_async(&number(2))).await.is_err());
    first.acknowledge(0);
    soon(channel.publish_async(&number(2))).await.unwrap();
    drop(first);
    assert!(tokio::time::timeout(short, channel.publish_async(&number(3))).await.is_err());
    let sends = async {
        for n in 3..500 {
            channel.publish_async(&number(n)).await.unwrap();
        }
    };
    let handle = channel.clone();
    let takes = tokio::task::spawn_blocking(move || {
        let mut second = handle.subscriber_at(&bell, 0).unwrap();
        for n in 1..500 {
            assert_eq!(as_number(&second.recv_timeout(WATCHDOG).unwrap()), n);
            second.acknowledge(n);
        }
        assert_eq!(second.missed(), 0);
    });
    soon(async { tokio::join!(sends, takes) }).await.1.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_that_waits_for_an_empty_seat_goes_on_when_that_is_released() {
    let options = ChannelOptions { depth: 1, retained: true, ..in_process() };
    let (namespace, channel) = channel(options);
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    channel.reserve_seat(0).unwrap();
    let mut stays = channel.subscriber(&bell).unwrap();
    soon(channel.publish_async(&number(0))).await.unwrap();
    assert_eq!(as_number(&stays.recv().unwrap()), 0);
    let next = number(1);
    let waits = channel.publish_async(&next);
    let releases = async { channel.release_seat(0).unwrap() };
    let (sent, was_there) = soon(async { tokio::join!(waits, releases) }).await;
    sent.unwrap();
    assert!(was_there);
    assert_eq!(as_number(&stays.recv().unwrap()), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn close_wakes_the_tasks_that_wait() {
    let (_namespace, channel) = channel(ChannelOptions { depth: 1, ..in_process() });
    let mut receiver = channel.subscribe().unwrap();
    let waits = async { receiver.recv_async().await.map(drop).unwrap_err() };
    let closes = async {
        tokio::task::yield_now().await;
        channel.close();
    };
    let (closed, ()) = soon(async { tokio::join!(waits, closes) }).await;
    assert_eq!(closed, ReceiveError::ChannelClosed);
    let refused = channel.publish_async(&number(1)).await.unwrap_err();
    assert!(matches!(refused, PublishError::ChannelClosed), "{refused}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_and_an_iterator_end_with_the_channel() {
    let (namespace, channel) = channel(in_process());
    let other = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
    let mut streams = channel.subscribe().unwrap();
    let iterates = other.subscribe().unwrap();
    let publisher = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
    for n in 0..3 {
        publisher.publish(&number(n)).unwrap();
    }
    drop(publisher);
    let iterated: Vec<u64> = iterates.map(|data| as_number(&data.unwrap())).collect();
    let mut streamed = Vec::new();
    let next = |stream: &mut rm_ipc::Receiver, context: &mut std::task::Context<'_>| {
        std::pin::Pin::new(stream).poll_next(context)
    };
    while let Some(data) = soon(std::future::poll_fn(|context| next(&mut streams, context))).await {
        streamed.push(as_number(&data.unwrap()));
    }
    assert_eq!((iterated, streamed), (vec![0, 1, 2], vec![0, 1, 2]));
}

#[test]
fn outside_of_a_runtime_waiting_is_an_error_and_the_handle_stays_usable() {
    let (namespace, channel) = channel(in_process());
    let name = namespace.id().to_string();
    let mut receiver = channel.subscribe().unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let polled = std::pin::pin!(receiver.recv_async()).poll(&mut context);
    let std::task::Poll::Ready(Err(ReceiveError::Wait(why))) = polled else { panic!("{polled:?}") };
    assert_eq!(why, "there is no tokio runtime here");
    channel.publish(&number(1)).unwrap();
    // One runtime after another: each has a reactor of its own.
    for n in 1..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let received = runtime.block_on(async {
            let received = soon(receiver.recv_async()).await;
            let waited =
                tokio::time::timeout(Duration::from_millis(1), receiver.recv_async()).await;
            assert!(waited.is_err());
            received
        });
        assert_eq!(as_number(&received.unwrap()), n);
        channel.publish(&number(n + 1)).unwrap();
    }
    drop((receiver, channel, namespace));
    assert_eq!(files_of(&name), [""; 0]);
}
