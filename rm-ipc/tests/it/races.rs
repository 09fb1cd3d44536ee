//! What must hold however joins, leaves and messages fall together, and whatever the page says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rm_core::RuntimeData;
use rm_ipc::{
    ChannelError, ChannelOptions, ChannelState, Doorbell, Namespace, Policy, PublishError,
    ReceiveError, SharedMemoryChannel, Subscriber,
};

use crate::channel::{files_of, id, in_process};

const WATCHDOG: Duration = Duration::from_secs(30);

fn number(n: u64) -> RuntimeData {
    RuntimeData::binary(n.to_le_bytes().to_vec()).expect("eight bytes")
}

fn as_number(data: &RuntimeData) -> u64 {
    u64::from_le_bytes(data.payload().as_ref().try_into().expect("eight bytes"))
}

fn create(namespace: &Namespace, options: ChannelOptions) -> SharedMemoryChannel {
    SharedMemoryChannel::create(namespace, &id("test"), options).expect("a fresh name")
}

/// Tells the others to end, also when a check fails.
struct Ends<'a>(&'a AtomicBool, &'a SharedMemoryChannel);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.close();
    }
}

#[test]
fn who_joins_a_channel_with_a_history_amid_traffic_gets_everything_from_its_first_message_on() {
    for (policy, depth) in [(Policy::Block, 1), (Policy::Block, 8), (Policy::DropOldest, 8)] {
        let namespace = Namespace::create().unwrap();
        let options = ChannelOptions { policy, depth, history: depth, ..in_process() };
        let channel = create(&namespace, options);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _ends = Ends(&done, &channel);
            scope.spawn(|| {
                let mut n = 0;
                while !done.load(Ordering::Relaxed) {
                    match channel.publish(&number(n)) {
                        Ok(()) => n += 1,
                        Err(PublishError::ChannelClosed) => break,
                        Err(error) => panic!("{policy:?} {depth}: {error}"),
                    }
                }
            });
            for _ in 0..60 {
                let joiner = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
                let receiver = joiner.subscribe().unwrap();
                let mut last = None;
                for _ in 0..20 {
                    let sample = receiver.recv_timeout(WATCHDOG).unwrap();
                    let n = as_number(&sample);
                    assert_eq!(n, sample.header().sequence);
                    match last {
                        Some(last) if policy == Policy::Block => assert_eq!(n, last + 1),
                        last => assert!(last.is_none_or(|last| n > last)),
                    }
                    last = Some(n);
                }
                let lost = receiver.with_subscriber(|own| (own.missed(), own.invalid()));
                assert_eq!(lost, (0, 0), "{policy:?} {depth}");
            }
        });
    }
}

#[test]
fn a_publisher_that_succeeds_another_is_on_an_open_channel() {
    let namespace = Namespace::create().unwrap();
    let bells = [(); 3].map(|()| Arc::new(Doorbell::create(&namespace).unwrap()));
    let mut successors = 0;
    for round in 0..300 {
        let name = id(&format!("c{round}"));
        let channel = SharedMemoryChannel::create(&namespace, &name, in_process()).unwrap();
        let _subscriber = channel.subscriber(&bells[0]).unwrap();
        let first = channel.publisher(&bells[1]).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(first));
            loop {
                match channel.publisher(&bells[2]) {
                    Ok(_successor) => {
                        assert_eq!(channel.state(), ChannelState::Active);
                        successors += 1;
                    }
                    Err(ChannelError::Full { .. }) => continue,
                    Err(error) => assert!(matches!(error, ChannelError::Closed { .. }), "{error}"),
                }
                break;
            }
        });
    }
    assert_eq!(successors, 0, "a channel that is not persistent drains when its publisher leaves");
}

#[test]
fn a_refused_publisher_changes_nothing() {
    let namespace = Namespace::create().unwrap();
    let channel = create(&namespace, ChannelOptions::default());
    let stays = channel.subscribe().unwrap();
    let refused = channel.publish(&number(1)).unwrap_err();
    assert!(matches!(refused, PublishError::NotPublisher(_)), "{refused}");
    let other = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
    drop(other.subscribe().unwrap());
    assert_eq!(channel.state(), ChannelState::Active);
    assert!(stays.try_recv().unwrap().is_none());
}

#[test]
fn a_persistent_channel_is_there_while_nobody_has_a_handle_on_it() {
    let namespace = Namespace::create().unwrap();
    let options = ChannelOptions { persistent: true, depth: 7, ..in_process() };
    drop(create(&namespace, options));
    let again = SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
    assert_eq!(again.options().depth, 7);
    let receiver = again.subscribe().unwrap();
    again.publish(&number(1)).unwrap();
    assert_eq!(as_number(&receiver.recv().unwrap()), 1);
}

#[test]
fn a_channel_cannot_be_opened_before_it_is_complete() {
    let namespace = Namespace::create().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let opens = scope.spawn(|| {
            let mut opened = 0_u32;
            while !done.load(Ordering::Relaxed) {
                match SharedMemoryChannel::open(&namespace, &id("test")) {
                    Ok(_) => opened += 1,
                    // Destroyed and made anew in between.
                    Err(ChannelError::NotFound { .. } | ChannelError::IceoryxError(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            opened
        });
        for _ in 0..100 {
            let channel = create(&namespace, in_process());
            channel.close();
        }
        let last = create(&namespace, in_process());
        SharedMemoryChannel::open(&namespace, &id("test")).unwrap();
        done.store(true, Ordering::Relaxed);
        opens.join().unwrap();
        drop(last);
    });
}

#[test]
fn what_former_subscribers_keep_is_named_when_it_is_in_the_way_of_the_next() {
    let namespace = Namespace::create().unwrap();
    let channel = create(&namespace, ChannelOptions { max_subscribers: 1, ..in_process() });
    // One such is made room for.
    let kept = [1, 1].map(|n| {
        let receiver = channel.subscribe().unwrap();
        channel.publish(&number(n)).unwrap();
        receiver.recv().unwrap()
    });
    let refused = channel.subscribe().unwrap_err();
    let rm_ipc::SubscribeError::Setup(ChannelError::Kept { .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(kept.iter().all(|sample| as_number(sample) == 1));
    drop(kept);
    let receiver = channel.subscribe().unwrap();
    channel.publish(&number(2)).unwrap();
    assert_eq!(as_number(&receiver.recv().unwrap()), 2);
}

#[test]
fn what_was_sent_stays_after_its_sender_has_dropped_everything_of_the_namespace() {
    let namespace = Namespace::create().unwrap();
    let name = namespace.id().to_string();
    let channel = create(&namespace, in_process());
    let receiver = channel.subscribe().unwrap();
    let folder = namespace.folder().to_owned();
    std::thread::spawn(move || {
        let opened = Namespace::open(&folder).unwrap();
        let channel = SharedMemoryChannel::open(&opened, &id("test")).unwrap();
        // Of a size for which nothing has been mapped so far.
        for n in 0..5 {
            channel.publish(&RuntimeData::binary(vec![n; 100_000]).unwrap()).unwrap();
        }
    })
    .join()
    .unwrap();
    for n in 0..5 {
        let sample = receiver.recv().unwrap();
        assert!(
            sample.payload().iter().all(|byte| *byte == n) && sample.payload().len() == 100_000
        );
    }
    assert_eq!(receiver.recv().unwrap_err(), ReceiveError::ChannelClosed);
    assert_eq!(receiver.with_subscriber(Subscriber::missed), 0);
    drop((receiver, channel, namespace));
    assert_eq!(files_of(&name), [""; 0]);
}

/// Numbers that follow from a seed (xorshift64, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn a_control_page_with_anything_in_it_makes_nobody_panic_or_hang() {
    use std::os::unix::fs::FileExt;
    for seed in 1..=400 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let namespace = Namespace::create().unwrap();
        let history = (seed % 3) as u32;
        let policy = [Policy::Block, Policy::DropOldest, Policy::DropNewest][seed as usize % 3];
        let retained = policy == Policy::Block && seed % 2 == 0;
        let channel = create(
            &namespace,
            ChannelOptions { depth: 4, history, policy, retained, ..in_process() },
        );
        let bell = Arc::new(Doorbell::create(&namespace).unwrap());
        let mut subscriber = if retained {
            channel.subscriber_at(&bell, 1).unwrap()
        } else {
            channel.subscriber(&bell).unwrap()
        };
        let publisher = channel.publisher(&bell).unwrap();
        publisher.try_publish(&number(0)).unwrap();
        let path = namespace.folder().join("channel-test");
        let page = std::fs::File::options().write(true).open(path).unwrap();
        let len = page.metadata().unwrap().len();
        for _ in 0..8 {
            let value = match random.next() % 4 {
                0 => u64::MAX,
                1 => 0,
                2 => random.next() % 64,
                _ => random.next(),
            };
            // Not the first word, by which a page is known for one.
            let at = 8 + random.next() % (len - 16) / 8 * 8;
            page.write_all_at(&value.to_le_bytes(), at).unwrap();
            // Every outcome but a panic is right.
            let _ = publisher.try_publish(&number(1));
            let _ = subscriber.try_recv();
            let _ = subscriber.is_ready();
            subscriber.acknowledge(random.next() % 4);
            let _ = (channel.snapshot(), channel.bindings(), channel.options());
            assert!(channel.current_occupancy() <= channel.buffer_capacity());
            let _ = SharedMemoryChannel::open(&namespace, &id("test"));
            let _ = channel.subscriber(&bell).map(drop);
            let _ = channel.seat_position(1);
            let _ = channel.reserve_seat(2);
            let _ = channel.subscriber_at(&bell, 2).map(drop);
            let _ = channel.release_seat(2);
        }
        let _ = publisher.flush(Duration::ZERO);
        drop((publisher, subscriber));
    }
}
