//! Places that outlive their holders, within one process: who is given what again, who waits, and what
//! is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rm_core::RuntimeData;
use rm_ipc::{
    ChannelError, ChannelOptions, Doorbell, Namespace, Policy, PublishError, Publisher,
    ReceiveError, SharedMemoryChannel, Subscriber,
};

use crate::channel::{files_of, id, in_process};

const WATCHDOG: Duration = Duration::from_secs(10);

struct Bench {
    namespace: Namespace,
    channel: SharedMemoryChannel,
    bell: Arc<Doorbell>,
}

impl Bench {
    /// A retained channel of which this process has both ends.
    fn new(depth: u32) -> Self {
        Self::with(ChannelOptions { depth, ..in_process() })
    }

    fn with(options: ChannelOptions) -> Self {
        let options = ChannelOptions { retained: true, ..options };
        let namespace = Namespace::create().expect("a namespace");
        let channel =
            SharedMemoryChannel::create(&namespace, &id("test"), options).expect("a fresh name");
        let bell = Arc::new(Doorbell::create(&namespace).expect("a doorbell"));
        Self { namespace, channel, bell }
    }

    fn at(&self, seat: u32) -> Subscriber {
        self.channel.subscriber_at(&self.bell, seat).expect("a free seat")
    }

    fn publisher(&self) -> Publisher {
        let bell = Arc::new(Doorbell::create(&self.namespace).expect("a doorbell"));
        self.channel.publisher(&bell).expect("no other publisher")
    }
}

fn number(n: u64) -> RuntimeData {
    RuntimeData::binary(n.to_le_bytes().to_vec()).expect("eight bytes")
}

/// Ends what waits on a channel, also when a check fails.
struct Ends<'a>(&'a SharedMemoryChannel);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The next messages have to be these, by number and by position.
fn check_takes(subscriber: &mut Subscriber, expected: impl IntoIterator<Item = u64>) {
    for n in expected {
        let data = subscriber.recv_timeout(WATCHDOG).expect("a message");
        let found = u64::from_le_bytes(data.payload().as_ref().try_into().expect("eight bytes"));
        assert_eq!((found, data.header().sequence), (n, n));
    }
}

fn losses(subscriber: &Subscriber) -> (u64, u64, u64) {
    (subscriber.missed(), subscriber.orphaned(), subscriber.invalid())
}

#[test]
fn a_successor_is_given_what_is_not_acknowledged_in_order_and_once() {
    for acknowledged in 0..=6 {
        let bench = Bench::new(8);
        let mut first = bench.at(7);
        let publisher = bench.publisher();
        (0..6).for_each(|n| publisher.publish(&number(n)).unwrap());
        check_takes(&mut first, 0..6);
        if acknowledged > 0 {
            first.acknowledge(acknowledged - 1);
        }
        assert_eq!(bench.channel.seat_position(7), Some(acknowledged));
        assert_eq!(bench.channel.queued(), 6 - acknowledged);
        drop(first);
        assert_eq!(bench.channel.subscriber_count(), 0);
        let mut second = bench.at(7);
        publisher.publish(&number(6)).unwrap();
        check_takes(&mut second, acknowledged..7);
        assert!(second.try_recv().unwrap().is_none());
        second.acknowledge(6);
        assert_eq!(losses(&second), (0, 0, 0));
        assert_eq!((bench.channel.queued(), bench.channel.seat_position(7)), (0, Some(7)));
        assert_eq!(publisher.undelivered(), 0);
    }
}

#[test]
fn only_what_is_acknowledged_gives_room_by_depth_and_by_bytes() {
    let bench = Bench::with(ChannelOptions { depth: 3, capacity: 64, ..in_process() });
    assert_eq!(bench.channel.options().max_message, Some(64));
    let mut subscriber = bench.at(0);
    let publisher = bench.publisher();
    let full = |publisher: &Publisher, len| {
        let data = RuntimeData::binary(vec![0; len]).unwrap();
        matches!(publisher.try_publish(&data), Err(PublishError::ChannelFull))
    };
    (0..3).for_each(|n| publisher.try_publish(&number(n)).unwrap());
    check_takes(&mut subscriber, 0..3);
    assert!(full(&publisher, 0), "received is not acknowledged");
    assert_eq!((bench.channel.queued(), bench.channel.current_occupancy()), (3, 24));
    subscriber.acknowledge(0);
    assert!(full(&publisher, 49), "16 of 64 bytes are not acknowledged");
    assert!(!full(&publisher, 48));
    assert_eq!(bench.channel.current_occupancy(), 64);
    subscriber.acknowledge(1);
    assert!(full(&publisher, 9));
    // Not received yet, so it cannot be acknowledged.
    subscriber.acknowledge(1_000);
    assert_eq!(bench.channel.seat_position(0), Some(3));
    assert_eq!(subscriber.recv().unwrap().payload().len(), 48);
    assert_eq!(bench.channel.queued(), 1);
    // What is acknowledged stays so.
    subscriber.acknowledge(3);
    subscriber.acknowledge(0);
    assert_eq!((bench.channel.seat_position(0), bench.channel.queued()), (Some(4), 0));
}

#[test]
fn a_deep_channel_gives_its_room_back_while_a_successor_is_still_behind() {
    // The history that it is given, acknowledged or not, and what is sent meanwhile, come through the
    // same queue.
    let bench = Bench::new(4);
    let mut first = bench.at(0);
    let publisher = bench.publisher();
    for n in 0..10 {
        publisher.publish(&number(n)).unwrap();
        check_takes(&mut first, [n]);
        first.acknowledge(n);
    }
    drop(first);
    let mut second = bench.at(0);
    (10..14).for_each(|n| publisher.try_publish(&number(n)).unwrap());
    assert!(publisher.try_publish(&number(14)).is_err());
    check_takes(&mut second, 10..14);
    second.acknowledge(13);
    (14..18).for_each(|n| publisher.try_publish(&number(n)).unwrap());
    check_takes(&mut second, 14..18);
    assert_eq!((losses(&second), publisher.undelivered()), ((0, 0, 0), 0));
}

#[test]
fn a_publisher_that_an_empty_seat_blocks_is_released_by_its_next_holder_or_with_the_seat() {
    for is_released in [false, true] {
        let bench = Bench::new(2);
        let gone = bench.at(1);
        let mut stays = bench.channel.subscriber(&bench.bell).unwrap();
        let publisher = bench.publisher();
        (0..2).for_each(|n| publisher.publish(&number(n)).unwrap());
        drop(gone);
        check_takes(&mut stays, 0..2);
        assert!(publisher.try_publish(&number(2)).is_err());
        std::thread::scope(|scope| {
            let _ends = Ends(&bench.channel);
            let publishes =
                scope.spawn(|| (2..6).for_each(|n| publisher.publish(&number(n)).unwrap()));
            if is_released {
                assert!(bench.channel.release_seat(1).unwrap());
                assert!(!bench.channel.release_seat(1).unwrap(), "it is not there any more");
                assert_eq!(bench.channel.seat_position(1), None);
                check_takes(&mut stays, 2..6);
            } else {
                let mut successor = bench.at(1);
                for n in 0..6 {
                    check_takes(&mut successor, [n]);
                    successor.acknowledge(n);
                    // It sees everything once, whatever becomes of the other.
                    check_takes(&mut stays, (2..6).filter(|at| *at == n));
                }
                assert_eq!(losses(&successor), (0, 0, 0));
            }
            publishes.join().unwrap();
        });
        assert_eq!(losses(&stays), (0, 0, 0));
    }
}

#[test]
fn a_reserved_seat_is_given_everything_from_its_reservation_on() {
    let bench = Bench::new(8);
    let publisher = bench.publisher();
    let mut early = bench.channel.subscriber(&bench.bell).unwrap();
    (0..3).for_each(|n| publisher.publish(&number(n)).unwrap());
    bench.channel.reserve_seat(9).unwrap();
    bench.channel.reserve_seat(9).unwrap();
    assert_eq!(bench.channel.seat_position(9), Some(3));
    assert_eq!(bench.channel.subscriber_count(), 1);
    check_takes(&mut early, 0..3);
    (3..11).for_each(|n| publisher.publish(&number(n)).unwrap());
    check_takes(&mut early, 3..11);
    assert!(publisher.try_publish(&number(11)).is_err(), "the seat counts");
    let mut late = bench.at(9);
    check_takes(&mut late, 3..11);
    assert_eq!(losses(&late), (0, 0, 0));
    // One that joins without a seat has no history.
    let mut plain = bench.channel.subscriber(&bench.bell).unwrap();
    late.acknowledge(10);
    publisher.publish(&number(11)).unwrap();
    check_takes(&mut plain, [11]);
}

#[test]
fn a_publisher_waits_while_nobody_is_in_any_seat() {
    let bench = Bench::new(8);
    bench.channel.reserve_seat(0).unwrap();
    let publisher = bench.publisher();
    assert!(matches!(publisher.try_publish(&number(0)), Err(PublishError::ChannelFull)));
    std::thread::scope(|scope| {
        let _ends = Ends(&bench.channel);
        scope.spawn(|| publisher.publish(&number(0)).unwrap());
        check_takes(&mut bench.at(0), [0]);
        check_takes(&mut bench.at(0), [0]);
    });
}

#[test]
fn what_a_publisher_that_has_left_had_sent_is_missed_by_a_successor_and_counted() {
    let bench = Bench::new(8);
    let mut first = bench.at(0);
    let publisher = bench.publisher();
    (0..5).for_each(|n| publisher.publish(&number(n)).unwrap());
    check_takes(&mut first, 0..2);
    first.acknowledge(0);
    drop(publisher);
    let next = bench.publisher();
    assert!(next.try_publish(&number(5)).is_err(), "what was sent before comes first");
    // One who was connected is not concerned. What he has received is no obstacle.
    check_takes(&mut first, 2..5);
    next.try_publish(&number(5)).unwrap();
    first.acknowledge(1);
    assert_eq!((losses(&first), bench.channel.queued()), ((0, 0, 0), 4));
    drop(first);
    // But for his successor only the present publisher's are there.
    let mut second = bench.at(0);
    check_takes(&mut second, [5]);
    assert_eq!(losses(&second), (3, 0, 0));
    second.acknowledge(5);
    drop(next);
    drop(second);
    let mut third = bench.at(0);
    assert!(third.try_recv().unwrap().is_none());
    assert_eq!((losses(&third), bench.channel.seat_position(0)), ((3, 0, 0), Some(6)));
}

#[test]
fn who_has_joined_before_the_publisher_leaves_is_given_its_history() {
    for _ in 0..50 {
        let bench = Bench::new(8);
        drop(bench.at(0));
        let mut other = bench.at(1);
        let publisher = bench.publisher();
        (0..8).for_each(|n| publisher.publish(&number(n)).unwrap());
        let mut late = bench.at(0);
        drop(publisher);
        check_takes(&mut late, 0..8);
        check_takes(&mut other, 0..8);
        assert_eq!((losses(&late), losses(&other)), ((0, 0, 0), (0, 0, 0)));
    }
}

#[test]
fn received_and_not_acknowledged_messages_are_no_borrowed_ones() {
    let bench = Bench::with(ChannelOptions { depth: 64, max_borrowed: 2, ..in_process() });
    let mut subscriber = bench.at(0);
    let publisher = bench.publisher();
    (0..64).for_each(|n| publisher.publish(&number(n)).unwrap());
    check_takes(&mut subscriber, 0..64);
    assert_eq!((subscriber.copied_bytes(), bench.channel.queued()), (0, 64));
    assert!(!publisher.flush(Duration::ZERO), "nothing is acknowledged");
    subscriber.acknowledge(63);
    assert!(publisher.flush(WATCHDOG));
}

#[test]
fn wrong_use_of_seats_is_refused_with_what_would_be_right() {
    let bench = Bench::with(ChannelOptions { max_subscribers: 2, ..in_process() });
    let options = bench.channel.options();
    assert!(options.persistent && options.retained);
    assert_eq!(options.history, options.depth);
    let create = |name, options| SharedMemoryChannel::create(&bench.namespace, &id(name), options);
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Latest] {
        let refused = create("x", ChannelOptions { policy, retained: true, ..in_process() });
        assert_eq!(
            refused.unwrap_err().to_string(),
            "channel option retained is 1, expected 0 unless the policy is to block"
        );
    }
    let plain = create("plain", in_process()).unwrap();
    let refusals =
        [plain.reserve_seat(0).unwrap_err(), plain.subscriber_at(&bench.bell, 0).unwrap_err()];
    for refused in refusals {
        assert!(matches!(refused, ChannelError::NotRetained { .. }), "{refused}");
    }
    assert!(!plain.release_seat(0).unwrap());
    let mut without = plain.subscriber(&bench.bell).unwrap();
    without.acknowledge(7);
    assert_eq!((plain.queued(), plain.seat_position(0)), (0, None));

    let _holder = bench.at(3);
    let pid = std::process::id();
    for taken in [
        bench.channel.subscriber_at(&bench.bell, 3).map(drop).unwrap_err(),
        bench.channel.release_seat(3).map(drop).unwrap_err(),
    ] {
        assert_eq!(
            taken.to_string(),
            format!("seat 3 of channel test is taken by process {pid}; it is free when that ends")
        );
    }
    bench.channel.reserve_seat(u32::MAX).unwrap();
    let full = bench.channel.reserve_seat(5).unwrap_err();
    assert_eq!(full.to_string(), "channel test has no place for another subscriber; it has 2");
    let full = bench.channel.subscriber(&bench.bell).unwrap_err();
    assert!(matches!(full, ChannelError::Full { .. }), "a seat is no place for others: {full}");
    bench.channel.close();
    let closed = bench.channel.reserve_seat(6).unwrap_err();
    assert!(matches!(closed, ChannelError::Closed { .. }), "{closed}");
    let closed = bench.channel.subscriber_at(&bench.bell, u32::MAX).unwrap_err();
    assert!(matches!(closed, ChannelError::Closed { .. }), "{closed}");
}

#[test]
fn close_ends_a_channel_whose_seats_are_empty() {
    let bench = Bench::new(1);
    let name = bench.namespace.id().to_string();
    let mut stays = bench.at(0);
    let gone = bench.at(1);
    let publisher = bench.publisher();
    publisher.publish(&number(0)).unwrap();
    drop(gone);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| publisher.publish(&number(1)).unwrap_err());
        check_takes(&mut stays, [0]);
        bench.channel.close();
        assert!(matches!(waits.join().unwrap(), PublishError::ChannelClosed));
    });
    assert_eq!(stays.recv().unwrap_err(), ReceiveError::ChannelClosed);
    drop((stays, publisher, bench));
    assert_eq!(files_of(&name), [""; 0]);
}

#[test]
fn of_many_who_want_one_seat_one_gets_it() {
    let bench = Bench::with(ChannelOptions { max_subscribers: 16, ..in_process() });
    for round in 0..50 {
        let start = std::sync::Barrier::new(4);
        let got: Vec<_> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        bench.channel.subscriber_at(&bench.bell, round)
                    })
                })
                .collect();
            tries.into_iter().map(|tries| tries.join().unwrap()).collect()
        });
        let taken =
            |got: &Result<Subscriber, _>| matches!(got, Err(ChannelError::SeatTaken { .. }));
        assert_eq!(got.iter().filter(|got| got.is_ok()).count(), 1, "{got:?}");
        assert_eq!(got.iter().filter(|got| taken(got)).count(), 3, "{got:?}");
        drop(got);
        assert!(bench.channel.release_seat(round).unwrap());
    }
    assert_eq!(bench.channel.subscriber_count(), 0);
}

#[test]
fn successors_amid_traffic_get_everything_once() {
    for depth in [1, 2, 8] {
        let bench = Bench::new(depth);
        bench.channel.reserve_seat(0).unwrap();
        let publisher = bench.publisher();
        let ends = Instant::now() + WATCHDOG;
        std::thread::scope(|scope| {
            let _ends = Ends(&bench.channel);
            scope.spawn(move || {
                (0..400).for_each(|n| publisher.publish(&number(n)).unwrap());
                // Its history is there as long as it is.
                assert!(publisher.flush(WATCHDOG));
            });
            let mut done = 0;
            while done < 400 {
                let mut holder = bench.at(0);
                let takes = (1 + done % 11).min(400 - done).min(u64::from(depth));
                check_takes(&mut holder, done..done + takes);
                // Sometimes nothing.
                let acknowledges = done % (takes + 1) + u64::from(done % 5 == 0);
                if let Some(last) = acknowledges.min(takes).checked_sub(1) {
                    holder.acknowledge(done + last);
                    done += last + 1;
                }
                assert_eq!(losses(&holder), (0, 0, 0));
                assert!(Instant::now() < ends, "{done} at depth {depth}");
                if acknowledges == 0 {
                    holder.acknowledge(done);
                    done += 1;
                }
            }
        });
    }
}
