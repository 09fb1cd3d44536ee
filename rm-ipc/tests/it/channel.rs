//! One process, several threads.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rm_core::{
    ChannelId, DataHeader, DataMetadata, MessageKind, MetadataError, RuntimeData, TensorType,
};
use rm_ipc::{
    ChannelError, ChannelOptions, ChannelState, Doorbell, LoanError, Namespace, NamespaceError,
    PublishError, ReceiveError, SharedMemoryChannel, TrySendError, sweep,
};

pub fn id(name: &str) -> ChannelId {
    ChannelId::new(name).expect("test names are valid ids")
}

/// Everything that one test needs, under a namespace of its own.
struct Bench {
    namespace: Namespace,
    channel: SharedMemoryChannel,
    bell: Arc<Doorbell>,
}

/// Options for a channel of which this process has both ends.
pub fn in_process() -> ChannelOptions {
    ChannelOptions { loopback: true, ..ChannelOptions::default() }
}

fn bench(options: ChannelOptions) -> Bench {
    let options = ChannelOptions { loopback: true, ..options };
    let namespace = Namespace::create().expect("a namespace");
    let channel = SharedMemoryChannel::create(&namespace, &id("test"), options).expect("a channel");
    let bell = Arc::new(Doorbell::create(&namespace).expect("a doorbell"));
    Bench { namespace, channel, bell }
}

/// Files of a namespace, in shared memory and in its folder.
pub fn files_of(namespace_id: &str) -> Vec<String> {
    let mut files = Vec::new();
    for folder in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if folder.file_name().to_string_lossy().contains(namespace_id) {
            files.push(folder.path().display().to_string());
        }
        if folder.file_name().to_string_lossy().starts_with("remotemedia-") {
            for entry in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains(namespace_id) {
                    files.push(entry.path().display().to_string());
                }
            }
        }
    }
    files
}

#[test]
fn messages_of_growing_size_arrive_in_order_where_they_were_written() {
    let Bench { channel, bell, .. } = bench(ChannelOptions::default());
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    for exponent in 0..=22 {
        for len in [(1_usize << exponent) - 1, 1 << exponent] {
            let sent = RuntimeData::binary(vec![exponent as u8; len]).unwrap();
            publisher.publish(&sent).unwrap();
            let received = subscriber.recv().unwrap();
            assert_eq!(received.payload(), sent.payload());
            assert_eq!(received.payload().as_ptr().addr() % 64, 0);
        }
    }
    assert_eq!(channel.messages(), 46);
    assert_eq!(channel.queued(), 0);
    assert_eq!(channel.bytes(), subscriber.bytes());
    assert_eq!(channel.copied_bytes(), channel.bytes());
    assert_eq!((subscriber.missed(), subscriber.invalid(), publisher.undelivered()), (0, 0, 0));
    assert_eq!(subscriber.latency().count, 46);
}

#[test]
fn a_loan_is_seen_by_two_subscribers_without_a_copy() {
    let Bench { channel, bell, .. } = bench(ChannelOptions::default());
    let mut subscribers = [(); 2].map(|()| channel.subscriber(&bell).unwrap());
    let publisher = channel.publisher(&bell).unwrap();
    let len = 10 << 20;
    let mut loan = publisher.loan_uninit(len).unwrap();
    loan.bytes_mut().fill(7);
    let place = loan.bytes_mut().as_ptr();
    let metadata = DataMetadata::Tensor { shape: vec![len], dtype: TensorType::U8 };
    loan.written(&DataHeader::new(metadata, 0)).unwrap().send().unwrap();
    let [first, second] = subscribers.each_mut().map(|subscriber| subscriber.recv().unwrap());
    assert_eq!(channel.copied_bytes(), 0);
    // iceoryx2 maps the sender's segment once per process and side, so that all of them see the
    // same file; within one process both subscribers may even see it at one address.
    assert_eq!(first.payload()[len - 1], 7);
    assert_eq!(first.payload(), second.payload());
    assert_ne!(place, std::ptr::null());
}

#[test]
fn metadata_and_kind_survive_the_way() {
    let Bench { channel, bell, .. } = bench(ChannelOptions::default());
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    let sent = RuntimeData::audio_f32(vec![0.5; 320], 16_000, 2).unwrap();
    publisher.publish(&sent).unwrap();
    publisher.publish(&RuntimeData::end_of_stream()).unwrap();
    let received = subscriber.recv().unwrap();
    assert_eq!(received.header().metadata, sent.header().metadata);
    assert_eq!(received.header().timestamp, sent.header().timestamp);
    assert_eq!(received.as_audio().unwrap().as_f32().unwrap(), &[0.5; 320]);
    let end = subscriber.recv().unwrap();
    assert_eq!((end.header().kind, end.header().sequence), (MessageKind::EndOfStream, 1));
}

#[test]
fn publish_blocks_when_the_slowest_subscriber_is_full_and_nothing_is_lost() {
    let options = ChannelOptions { depth: 2, ..ChannelOptions::default() };
    let Bench { namespace, channel, bell } = bench(options);
    let mut slow = channel.subscriber(&bell).unwrap();
    let mut fast = channel.subscriber(&bell).unwrap();
    let sender_bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let publisher = channel.publisher(&sender_bell).unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            for n in 0..5_000_u32 {
                let data = RuntimeData::binary(n.to_le_bytes().to_vec()).unwrap();
                publisher.publish(&data).unwrap();
            }
        });
        for n in 0..5_000_u32 {
            assert!(channel.queued() <= 2);
            assert_eq!(fast.recv().unwrap().payload().as_ref(), n.to_le_bytes());
            assert_eq!(slow.recv().unwrap().payload().as_ref(), n.to_le_bytes());
        }
        sender.join().unwrap();
    });
    assert_eq!(slow.recv().unwrap_err(), ReceiveError::ChannelClosed);
}

#[test]
fn try_publish_says_full_by_depth_and_by_bytes() {
    let options = ChannelOptions { depth: 3, capacity: 1024, ..ChannelOptions::default() };
    let Bench { channel, bell, .. } = bench(options);
    let publisher = channel.publisher(&bell).unwrap();
    let small = RuntimeData::binary(vec![0; 10]).unwrap();
    assert!(
        matches!(publisher.try_publish(&small), Err(PublishError::ChannelFull)),
        "no subscriber"
    );
    let mut subscriber = channel.subscriber(&bell).unwrap();
    for _ in 0..3 {
        publisher.try_publish(&small).unwrap();
    }
    assert!(matches!(publisher.try_publish(&small), Err(PublishError::ChannelFull)));
    subscriber.recv().unwrap();
    publisher.try_publish(&small).unwrap();
    while channel.queued() > 0 {
        subscriber.recv().unwrap();
    }
    let large = RuntimeData::binary(vec![0; 600]).unwrap();
    publisher.try_publish(&large).unwrap();
    assert!(matches!(publisher.try_publish(&large), Err(PublishError::ChannelFull)));
    assert!(matches!(
        publisher.try_publish(&RuntimeData::binary(vec![0; 1025]).unwrap()),
        Err(PublishError::InvalidData { source: LoanError::TooLarge { len: 1025, limit: 1024 } })
    ));
}

#[test]
fn a_subscriber_that_hoards_gets_counted_copies_and_the_channel_goes_on() {
    let options = ChannelOptions { depth: 4, max_borrowed: 4, ..ChannelOptions::default() };
    let Bench { channel, bell, .. } = bench(options);
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    let mut hoard = Vec::new();
    for n in 0..100_u8 {
        publisher.publish(&RuntimeData::binary(vec![n; 100]).unwrap()).unwrap();
        hoard.push(subscriber.recv().unwrap());
    }
    for (n, kept) in hoard.iter().enumerate() {
        assert_eq!(kept.payload().as_ref(), [n as u8; 100]);
    }
    assert_eq!(subscriber.copied_bytes(), 97 * 100);
    drop(hoard);
    publisher.publish(&RuntimeData::binary(vec![1; 100]).unwrap()).unwrap();
    subscriber.recv().unwrap();
    assert_eq!(subscriber.copied_bytes(), 97 * 100, "what was given back can be borrowed again");
}

#[test]
fn what_is_queued_can_be_taken_after_the_publisher_has_left() {
    let Bench { channel, bell, .. } = bench(ChannelOptions::default());
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    for text in ["one", "two"] {
        publisher.publish(&RuntimeData::text(text).unwrap()).unwrap();
    }
    drop(publisher);
    assert_eq!(channel.state(), ChannelState::Draining);
    assert_eq!(subscriber.recv().unwrap().as_text(), Some("one"));
    assert_eq!(subscriber.recv().unwrap().as_text(), Some("two"));
    assert_eq!(subscriber.recv().unwrap_err(), ReceiveError::ChannelClosed);
}

#[test]
fn close_wakes_everybody_who_waits() {
    let options = ChannelOptions { depth: 1, loopback: true, ..ChannelOptions::default() };
    let Bench { namespace, channel, bell } = bench(options);
    let other_bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let full = SharedMemoryChannel::create(&namespace, &id("full"), options).unwrap();
    let _keeps_full = full.subscriber(&bell).unwrap();
    let publisher = full.publisher(&other_bell).unwrap();
    let mut subscriber = channel.subscriber(&bell).unwrap();
    publisher.publish(&RuntimeData::text("fills it").unwrap()).unwrap();
    std::thread::scope(|scope| {
        let receives = scope.spawn(move || subscriber.recv().unwrap_err());
        let publishes =
            scope.spawn(move || publisher.publish(&RuntimeData::text("x").unwrap()).unwrap_err());
        channel.close();
        full.close();
        assert_eq!(receives.join().unwrap(), ReceiveError::ChannelClosed);
        assert!(matches!(publishes.join().unwrap(), PublishError::ChannelClosed));
    });
    let closed = channel.subscriber(&bell).unwrap_err();
    assert!(matches!(closed, ChannelError::Closed { .. }), "{closed}");
}

#[test]
fn a_leaving_subscriber_makes_room() {
    let options = ChannelOptions { depth: 1, ..ChannelOptions::default() };
    let Bench { namespace, channel, bell } = bench(options);
    let (stays, leaves) = (channel.subscriber(&bell).unwrap(), channel.subscriber(&bell).unwrap());
    let mut stays = stays;
    let other_bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let publisher = channel.publisher(&other_bell).unwrap();
    publisher.publish(&RuntimeData::text("1").unwrap()).unwrap();
    stays.recv().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| publisher.publish(&RuntimeData::text("2").unwrap()).unwrap());
        drop(leaves);
        assert_eq!(stays.recv().unwrap().as_text(), Some("2"));
    });
}

#[test]
fn wrong_use_is_refused_with_what_would_be_right() {
    let Bench { namespace, channel, bell } = bench(ChannelOptions::default());
    let refused = |options| {
        SharedMemoryChannel::create(&namespace, &id("x"), options).unwrap_err().to_string()
    };
    let default = ChannelOptions::default();
    assert_eq!(
        refused(ChannelOptions { capacity: 1000, ..default }),
        "capacity of 1000 bytes is not a power of two; the next is 1024"
    );
    assert_eq!(
        refused(ChannelOptions { depth: 0, ..default }),
        "channel option depth is 0, expected 1 to 65536"
    );
    assert_eq!(
        refused(ChannelOptions { max_subscribers: 17, ..default }),
        "channel option max_subscribers is 17, expected 1 to 16"
    );
    let again = SharedMemoryChannel::create(&namespace, &id("test"), default).unwrap_err();
    assert_eq!(again.to_string(), "channel test exists already");
    let none = SharedMemoryChannel::open(&namespace, &id("none")).unwrap_err();
    assert_eq!(none.to_string(), "channel none does not exist");
    let publisher = channel.publisher(&bell).unwrap();
    let second = channel.publisher(&bell).unwrap_err();
    assert_eq!(second.to_string(), "channel test has no place for another publisher; it has 1");
    let loan = publisher.loan_uninit(3).unwrap();
    let tensor = DataMetadata::Tensor { shape: vec![2], dtype: TensorType::F32 };
    assert!(matches!(
        loan.written(&DataHeader::new(tensor, 0)).map(|_| ()),
        Err(LoanError::Payload(MetadataError::SizeMismatch { actual: 3, .. }))
    ));
    let loans: Vec<_> = (0..8).map(|_| publisher.loan_uninit(1).unwrap()).collect();
    assert!(matches!(publisher.loan_uninit(1), Err(LoanError::TooManyLoans { limit: 8 })));
    drop(loans);
    let unsent = publisher.loan_uninit(0).unwrap();
    let unsent = unsent.written(&DataHeader::new(DataMetadata::Binary, 0)).unwrap();
    assert!(matches!(unsent.try_send(), Err(TrySendError::Full(_))), "there is no subscriber");
    let foreign = Namespace::open(std::path::Path::new("/tmp")).unwrap_err();
    assert!(matches!(foreign, NamespaceError::NotANamespace { .. }), "{foreign}");
}

#[test]
fn recv_timeout_ends_when_nothing_comes() {
    let Bench { channel, bell, .. } = bench(ChannelOptions::default());
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let timeout = Duration::from_millis(3);
    assert_eq!(subscriber.recv_timeout(timeout).unwrap_err(), ReceiveError::TimedOut(timeout));
}

#[test]
fn nothing_stays_after_a_clean_exit_and_late_samples_outlive_it() {
    let Bench { namespace, channel, bell } = bench(ChannelOptions::default());
    let name = namespace.id().to_string();
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    publisher.publish(&RuntimeData::text("kept").unwrap()).unwrap();
    let kept = subscriber.recv().unwrap();
    assert!(!files_of(&name).is_empty());
    assert!(!sweep().unwrap().namespaces.contains(&name), "its owner lives");
    namespace.remove();
    assert_eq!(files_of(&name), [""; 0]);
    let gone = SharedMemoryChannel::create(&namespace, &id("late"), ChannelOptions::default())
        .unwrap_err();
    assert!(matches!(gone, ChannelError::Closed { .. }), "{gone}");
    drop((publisher, subscriber, channel, bell, namespace));
    assert_eq!(kept.as_text(), Some("kept"));
    drop(kept);
    assert_eq!(files_of(&name), [""; 0]);
}

#[test]
fn namespaces_come_and_go_in_many_threads_at_once() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let namespace = Namespace::create().unwrap();
                    let name = namespace.id().to_string();
                    sweep().unwrap();
                    assert!(namespace.folder().is_dir());
                    drop(namespace);
                    assert_eq!(files_of(&name), [""; 0]);
                }
            });
        }
    });
}

#[test]
fn what_is_kept_outlives_its_subscriber_while_the_traffic_goes_on() {
    let Bench { channel, bell, .. } =
        bench(ChannelOptions { depth: 2, ..ChannelOptions::default() });
    let mut leaves = channel.subscriber(&bell).unwrap();
    let mut stays = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    publisher.publish(&RuntimeData::text("kept").unwrap()).unwrap();
    let kept = leaves.recv().unwrap();
    stays.recv().unwrap();
    drop(leaves);
    for _ in 0..100 {
        publisher.publish(&RuntimeData::text("!!!!").unwrap()).unwrap();
        assert_eq!(stays.recv().unwrap().as_text(), Some("!!!!"));
        assert_eq!(kept.as_text(), Some("kept"));
    }
}

#[test]
fn joining_leaves_what_is_queued_for_others_as_it_is() {
    let Bench { channel, bell, .. } =
        bench(ChannelOptions { depth: 3, ..ChannelOptions::default() });
    let mut first = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    for text in ["1", "2", "3"] {
        publisher.publish(&RuntimeData::text(text).unwrap()).unwrap();
    }
    let mut late = channel.subscriber(&bell).unwrap();
    assert_eq!(channel.queued(), 3);
    let more = RuntimeData::text("4").unwrap();
    assert!(matches!(publisher.try_publish(&more), Err(PublishError::ChannelFull)));
    assert_eq!(first.recv().unwrap().as_text(), Some("1"));
    publisher.try_publish(&more).unwrap();
    let rest: Vec<_> =
        (0..3).map(|_| first.recv().unwrap().as_text().unwrap().to_owned()).collect();
    assert_eq!(rest, ["2", "3", "4"]);
    assert_eq!(late.recv().unwrap().as_text(), Some("4"));
    assert_eq!((first.missed(), late.missed()), (0, 0));
}

#[test]
fn subscribers_that_come_and_go_never_stop_a_publisher_nor_miss_a_message() {
    let Bench { namespace, channel, bell } =
        bench(ChannelOptions { depth: 1, ..ChannelOptions::default() });
    let mut stays = channel.subscriber(&bell).unwrap();
    let sender_bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let publisher = channel.publisher(&sender_bell).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let bell = Arc::new(Doorbell::create(&namespace).unwrap());
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let mut comes = match channel.subscriber(&bell) {
                    // The publisher has sent everything and left.
                    Err(ChannelError::Closed { .. }) => return,
                    joined => joined.unwrap(),
                };
                for _ in 0..3 {
                    match comes.recv_timeout(Duration::from_secs(20)) {
                        Ok(_) => {}
                        Err(ReceiveError::ChannelClosed) => return,
                        Err(error) => panic!("{error}"),
                    }
                }
                assert_eq!((comes.missed(), comes.invalid()), (0, 0));
            }
        });
        scope.spawn(move || {
            for n in 0..3_000_u32 {
                let data = RuntimeData::binary(n.to_le_bytes().to_vec()).unwrap();
                publisher.publish(&data).unwrap();
            }
        });
        for n in 0..3_000_u32 {
            let data = stays.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(data.payload().as_ref(), n.to_le_bytes());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_message_is_not_sent_to_nobody_while_the_only_subscriber_is_joining() {
    let namespace = Namespace::create().unwrap();
    let bells = [(); 2].map(|()| Arc::new(Doorbell::create(&namespace).unwrap()));
    for n in 0..100 {
        let name = id(&format!("c{n}"));
        let channel = SharedMemoryChannel::create(&namespace, &name, in_process()).unwrap();
        let publisher = channel.publisher(&bells[0]).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let first = RuntimeData::text("first").unwrap();
                while let Err(PublishError::ChannelFull) = publisher.try_publish(&first) {}
            });
            let mut subscriber = channel.subscriber(&bells[1]).unwrap();
            let data = subscriber.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(data.as_text(), Some("first"));
        });
    }
}

#[test]
fn try_publish_does_not_wait_for_another_thread_that_does() {
    let Bench { namespace, channel, bell } =
        bench(ChannelOptions { depth: 1, ..ChannelOptions::default() });
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let sender_bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let publisher = channel.publisher(&sender_bell).unwrap();
    let data = RuntimeData::text("x").unwrap();
    publisher.publish(&data).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| publisher.publish(&data));
        for _ in 0..100 {
            assert!(matches!(publisher.try_publish(&data), Err(PublishError::ChannelFull)));
        }
        subscriber.recv().unwrap();
        waits.join().unwrap().unwrap();
        subscriber.recv().unwrap();
    });
}

#[test]
fn a_timeout_without_end_is_no_limit() {
    let Bench { channel, bell, .. } = bench(ChannelOptions::default());
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    publisher.publish(&RuntimeData::text("x").unwrap()).unwrap();
    assert_eq!(subscriber.recv_timeout(Duration::MAX).unwrap().as_text(), Some("x"));
}
