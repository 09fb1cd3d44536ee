//! What happens to messages for which there is no room, and to those who come late.

use std::sync::Arc;
use std::time::Duration;

use rm_core::{DataHeader, DataMetadata, RuntimeData};
use rm_ipc::{
    ChannelError, ChannelOptions, ChannelState, Doorbell, LoanError, Namespace, Policy,
    PublishError, ReceiveError, Receiver, SharedMemoryChannel, Subscriber,
};

use crate::channel::{id, in_process};

const WATCHDOG: Duration = Duration::from_secs(30);

struct Ends {
    namespace: Namespace,
    channel: SharedMemoryChannel,
}

fn channel(options: ChannelOptions) -> Ends {
    let namespace = Namespace::create().expect("a namespace");
    let options = ChannelOptions { loopback: true, ..options };
    let channel = SharedMemoryChannel::create(&namespace, &id("test"), options).expect("a channel");
    Ends { namespace, channel }
}

fn number(n: u64) -> RuntimeData {
    RuntimeData::binary(n.to_le_bytes().to_vec()).expect("eight bytes")
}

fn as_number(data: &RuntimeData) -> u64 {
    u64::from_le_bytes(data.payload().as_ref().try_into().expect("eight bytes"))
}

/// Everything that is queued.
fn take_all(receiver: &Receiver) -> Vec<u64> {
    std::iter::from_fn(|| receiver.try_recv().expect("an open channel"))
        .map(|sample| as_number(&sample))
        .collect()
}

#[test]
fn drop_oldest_keeps_the_newest_and_counts_the_others_for_each_subscriber() {
    let options = ChannelOptions { policy: Policy::DropOldest, depth: 3, ..in_process() };
    let Ends { namespace, channel } = channel(options);
    let slow = channel.subscribe().unwrap();
    let other = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
    let fast = other.subscribe().unwrap();
    channel.publish(&number(0)).unwrap();
    assert_eq!((take_all(&slow), take_all(&fast)), (vec![0], vec![0]));
    for n in 1..=10 {
        channel.publish(&number(n)).unwrap();
        assert_eq!(take_all(&fast), [n]);
    }
    assert_eq!(channel.queued(), 3);
    assert_eq!(channel.current_occupancy(), 24);
    assert_eq!(take_all(&slow), [8, 9, 10]);
    assert_eq!(slow.with_subscriber(Subscriber::dropped), 7);
    assert_eq!(fast.with_subscriber(Subscriber::dropped), 0);
    assert_eq!((channel.dropped(), channel.messages()), (7, 11));
    assert_eq!(slow.with_subscriber(Subscriber::missed), 0);
}

#[test]
fn latest_gives_nothing_but_the_newest_message() {
    let options = ChannelOptions { policy: Policy::Latest, ..in_process() };
    let Ends { channel, .. } = channel(options);
    let receiver = channel.subscribe().unwrap();
    for n in 0..100 {
        channel.publish(&number(n)).unwrap();
    }
    assert_eq!(take_all(&receiver), [99]);
    assert_eq!(channel.options().depth, 1);
}

#[test]
fn drop_newest_keeps_what_is_queued_and_shows_the_gap() {
    let options = ChannelOptions { policy: Policy::DropNewest, depth: 2, ..in_process() };
    let Ends { channel, .. } = channel(options);
    let receiver = channel.subscribe().unwrap();
    for n in 0..5 {
        channel.publish(&number(n)).unwrap();
    }
    assert_eq!(channel.queued(), 2);
    let samples: Vec<_> = (0..2).map(|_| receiver.recv().unwrap()).collect();
    assert_eq!(samples.iter().map(|sample| as_number(sample)).collect::<Vec<_>>(), [0, 1]);
    channel.publish(&number(5)).unwrap();
    let next = receiver.recv().unwrap();
    assert_eq!((as_number(&next), next.header().sequence), (5, 5));
    assert_eq!(receiver.with_subscriber(Subscriber::dropped), 3);
    assert_eq!((channel.dropped(), channel.messages()), (3, 3));
}

#[test]
fn without_a_subscriber_a_policy_that_drops_does_not_wait() {
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Latest] {
        let Ends { channel, .. } = channel(ChannelOptions { policy, ..in_process() });
        for n in 0..200 {
            channel.publish(&number(n)).unwrap();
        }
        assert_eq!((channel.dropped(), channel.queued()), (200, 0), "{policy:?}");
        let receiver = channel.subscribe().unwrap();
        channel.publish(&number(200)).unwrap();
        assert_eq!(as_number(&receiver.recv().unwrap()), 200);
        assert_eq!(receiver.with_subscriber(Subscriber::dropped), 0, "it was not there");
    }
}

#[test]
fn who_joins_late_is_given_the_history_also_if_nothing_more_is_sent() {
    for policy in [Policy::Block, Policy::DropOldest, Policy::DropNewest] {
        let options = ChannelOptions { policy, depth: 4, history: 3, ..in_process() };
        let Ends { namespace, channel } = channel(options);
        let early = channel.subscribe().unwrap();
        for n in 0..6 {
            channel.publish(&number(n)).unwrap();
            assert_eq!(take_all(&early), [n]);
        }
        let late = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
        let late = late.subscribe().unwrap();
        for n in 3..6 {
            let sample = late.recv_timeout(WATCHDOG).unwrap();
            assert_eq!((as_number(&sample), sample.header().sequence), (n, n), "{policy:?}");
        }
        channel.publish(&number(6)).unwrap();
        assert_eq!(as_number(&late.recv_timeout(WATCHDOG).unwrap()), 6);
        assert_eq!(take_all(&early), [6]);
        let lost = late.with_subscriber(|late| (late.missed(), late.dropped(), late.invalid()));
        assert_eq!(lost, (0, 0, 0), "{policy:?}");
    }
}

#[test]
fn a_history_that_nobody_takes_holds_the_publisher_up_and_is_counted_as_queued() {
    let options = ChannelOptions { depth: 2, history: 2, ..in_process() };
    let Ends { namespace, channel } = channel(options);
    let early = channel.subscribe().unwrap();
    for n in 0..2 {
        channel.publish(&number(n)).unwrap();
        early.recv().unwrap();
    }
    let late = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
    let late = late.subscribe().unwrap();
    assert_eq!(channel.queued(), 2);
    assert!(matches!(channel.try_publish(&number(2)), Err(PublishError::ChannelFull)));
    assert_eq!(as_number(&late.recv_timeout(WATCHDOG).unwrap()), 0);
    channel.publish_timeout(&number(2), WATCHDOG).unwrap();
    assert_eq!(as_number(&late.recv_timeout(WATCHDOG).unwrap()), 1);
    assert_eq!(as_number(&late.recv_timeout(WATCHDOG).unwrap()), 2);
}

#[test]
fn a_message_is_limited_by_what_has_to_fit_beside_it() {
    let options =
        ChannelOptions { policy: Policy::DropOldest, depth: 4, capacity: 4096, ..in_process() };
    let Ends { namespace, channel } = channel(options);
    assert_eq!(channel.options().max_message, Some(1024));
    let too_large = channel.loan_uninit(1025).map(drop).unwrap_err();
    assert!(matches!(too_large, LoanError::TooLarge { len: 1025, limit: 1024 }), "{too_large}");
    let refused = |options| {
        SharedMemoryChannel::create(&namespace, &id("x"), options)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(ChannelOptions { max_message: Some(2048), ..options }),
        "channel option max_message is 2048, expected at most 1024 bytes, the capacity divided by 4 \
         messages"
    );
    assert_eq!(
        refused(ChannelOptions { history: 5, ..options }),
        "channel option history is 5, expected 0 to 4"
    );
    // What was refused has left nothing that is in the way.
    SharedMemoryChannel::create(&namespace, &id("x"), options).unwrap();
}

#[test]
fn occupancy_is_exact_and_never_above_the_capacity() {
    let options = ChannelOptions { depth: 8, capacity: 4096, ..in_process() };
    let Ends { channel, .. } = channel(options);
    let receiver = channel.subscribe().unwrap();
    let lens = [0_usize, 1, 4095];
    for len in lens {
        channel.publish(&RuntimeData::binary(vec![0; len]).unwrap()).unwrap();
    }
    assert_eq!((channel.queued(), channel.current_occupancy()), (3, 4096));
    let more = RuntimeData::binary(vec![0; 1]).unwrap();
    assert!(matches!(channel.try_publish(&more), Err(PublishError::ChannelFull)));
    for len in lens {
        let before = channel.current_occupancy();
        receiver.recv().unwrap();
        assert_eq!(channel.current_occupancy(), before - len);
    }
    let snapshot = channel.snapshot();
    assert_eq!(
        (snapshot.current_occupancy, snapshot.copied_bytes, snapshot.lent_bytes),
        (0, 4096, 0)
    );
}

#[test]
fn a_channel_is_created_active_draining_and_destroyed() {
    let Ends { namespace, channel } = channel(in_process());
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    assert_eq!(channel.state(), ChannelState::Created);
    let mut subscriber = channel.subscriber(&bell).unwrap();
    assert_eq!(channel.state(), ChannelState::Active);
    let publisher = channel.publisher(&bell).unwrap();
    assert_eq!((channel.publisher_count(), channel.subscriber_count()), (1, 1));
    let roles: Vec<_> = channel.bindings().iter().map(|of| (of.process_id, of.role)).collect();
    use rm_ipc::ChannelRole::{Publisher, Subscriber};
    assert_eq!(roles, [(std::process::id(), Publisher), (std::process::id(), Subscriber)]);
    publisher.publish(&number(1)).unwrap();
    drop(publisher);
    assert_eq!(channel.state(), ChannelState::Draining);
    let late = channel.publisher(&bell).unwrap_err();
    assert!(matches!(late, ChannelError::Closed { .. }), "{late}");
    assert_eq!(as_number(&subscriber.recv().unwrap()), 1);
    assert_eq!(subscriber.recv().unwrap_err(), ReceiveError::ChannelClosed);
    drop(subscriber);
    assert_eq!(channel.state(), ChannelState::Destroyed);
    assert!(channel.bindings().is_empty());
    // Its name is free again, while the old handle is still there.
    let next = SharedMemoryChannel::create(&namespace, &id("test"), in_process()).unwrap();
    let receiver = next.subscribe().unwrap();
    next.publish(&number(2)).unwrap();
    assert_eq!(as_number(&receiver.recv().unwrap()), 2);
}

#[test]
fn a_persistent_channel_outlives_its_publishers() {
    let options = ChannelOptions { persistent: true, ..in_process() };
    let Ends { namespace, channel } = channel(options);
    let receiver = channel.subscribe().unwrap();
    for n in 0..10 {
        let publisher = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
        publisher.publish(&number(n)).unwrap();
    }
    for n in 0..10 {
        let sample = receiver.recv_timeout(WATCHDOG).unwrap();
        assert_eq!((as_number(&sample), sample.header().sequence), (n, n));
    }
    assert_eq!(channel.state(), ChannelState::Active);
    channel.close();
    assert_eq!(receiver.recv().unwrap_err(), ReceiveError::ChannelClosed);
}

#[test]
fn timestamps_that_go_backwards_are_clamped_and_counted() {
    let Ends { channel, .. } = channel(in_process());
    let receiver = channel.subscribe().unwrap();
    let now = std::time::SystemTime::now();
    let second = Duration::from_secs(1);
    let mut received = Vec::new();
    for timestamp in [now, now - second, now + second, now] {
        let mut header = DataHeader::new(DataMetadata::Binary, 0);
        header.timestamp = timestamp;
        channel.loan_uninit(0).unwrap().written(&header).unwrap().send().unwrap();
        received.push(receiver.recv().unwrap().header().timestamp);
    }
    assert_eq!(received, [now, now, now + second, now + second]);
    assert_eq!(channel.clamped(), 2);
}

#[test]
fn a_full_channel_gives_the_message_back_to_who_would_not_wait() {
    let Ends { channel, .. } = channel(ChannelOptions { depth: 1, ..in_process() });
    let receiver = channel.subscribe().unwrap();
    channel.publish(&number(0)).unwrap();
    let header = DataHeader::new(DataMetadata::Binary, 0);
    let mut loan = channel.loan_uninit(3).unwrap();
    loan.bytes_mut().copy_from_slice(b"abc");
    let full = loan.written(&header).unwrap().try_send().unwrap_err();
    let rm_ipc::TrySendError::Full(sample) = full else { panic!("{full}") };
    let short = Duration::from_millis(1);
    let full = sample.send_timeout(short).unwrap_err();
    let rm_ipc::TrySendError::Full(sample) = full else { panic!("{full}") };
    receiver.recv().unwrap();
    sample.try_send().unwrap();
    assert_eq!(receiver.recv().unwrap().payload().as_ref(), b"abc");
}

#[test]
fn flush_waits_until_everything_is_taken() {
    let Ends { channel, .. } = channel(in_process());
    let receiver = channel.subscribe().unwrap();
    assert!(channel.flush(Duration::ZERO), "nothing was published");
    for n in 0..3 {
        channel.publish(&number(n)).unwrap();
    }
    assert!(!channel.flush(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        let flushes = scope.spawn(|| channel.flush(WATCHDOG));
        assert_eq!(take_all(&receiver), [0, 1, 2]);
        assert!(flushes.join().unwrap());
    });
}

#[test]
fn a_timeout_holds_also_while_another_thread_waits_for_the_same() {
    let Ends { channel, .. } = channel(ChannelOptions { depth: 1, ..in_process() });
    let receiver = channel.subscribe().unwrap();
    let short = Duration::from_millis(1);
    let (waits, is_told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            waits.send(()).unwrap();
            assert_eq!(as_number(&receiver.recv().unwrap()), 0);
        });
        is_told.recv().unwrap();
        let late = receiver.recv_timeout(short).map(drop);
        assert_eq!(late.unwrap_err(), ReceiveError::TimedOut(short));
        channel.publish(&number(0)).unwrap();
    });
    channel.publish(&number(1)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            waits.send(()).unwrap();
            channel.publish(&number(2)).unwrap();
        });
        is_told.recv().unwrap();
        let late = channel.publish_timeout(&number(3), short).unwrap_err();
        assert!(matches!(late, PublishError::ChannelFull), "{late}");
        assert_eq!(as_number(&receiver.recv().unwrap()), 1);
    });
    assert_eq!(take_all(&receiver), [2]);
}
