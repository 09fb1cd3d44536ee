//! Places whose holders were killed at every step of taking and giving them back, and publishers that
//! were killed within a message.

use std::sync::Arc;

use rm_core::{ChannelId, RuntimeData};

use super::*;
use crate::peer::Identity;
use crate::{ChannelOptions, Namespace};

struct Bench {
    channel: SharedMemoryChannel,
    bell: Arc<Doorbell>,
    _namespace: Namespace,
}

fn bench(options: ChannelOptions) -> Bench {
    let namespace = Namespace::create().expect("a namespace");
    let id = ChannelId::new("test").expect("a valid id");
    let options = ChannelOptions { loopback: true, ..options };
    let channel = SharedMemoryChannel::create(&namespace, &id, options).expect("a fresh name");
    let bell = Arc::new(Doorbell::create(&namespace).expect("a doorbell"));
    Bench { channel, bell, _namespace: namespace }
}

fn retained(depth: u32) -> Bench {
    bench(ChannelOptions { retained: true, max_subscribers: 1, depth, ..ChannelOptions::default() })
}

/// A process that has ended.
fn dead() -> Identity {
    let mut child = std::process::Command::new("true").spawn().expect("true");
    child.wait().expect("a child to reap");
    Identity::from_code(u64::from(child.id()) | 1 << 22).expect("not zero")
}

fn data() -> RuntimeData {
    RuntimeData::binary(vec![1]).expect("a byte")
}

#[test]
fn who_is_killed_while_a_seat_is_made_leaves_none() {
    let Bench { channel, bell, _namespace } = retained(2);
    let sub = &channel.shared.page.subscribers[0];
    for state in [place::FREE, place::VACANT] {
        assert!(sub.place.claim(dead(), 0));
        sub.state.store(state, Ordering::SeqCst);
        // There is one place, which has to be free again.
        channel.reserve_seat(1).unwrap();
        assert_eq!(channel.seat_position(1), Some(0));
        assert!(channel.release_seat(1).unwrap());
    }
    drop(channel.subscriber(&bell).unwrap());
}

#[test]
fn who_is_killed_while_it_takes_has_or_frees_a_seat_leaves_it_to_the_next() {
    let Bench { channel, bell, _namespace } = retained(4);
    let publisher = channel.publisher(&bell).unwrap();
    let mut first = channel.subscriber_at(&bell, 1).unwrap();
    for n in 0..3 {
        publisher.publish(&data()).unwrap();
        assert_eq!(first.recv().unwrap().header().sequence, n);
    }
    first.acknowledge(0);
    drop(first);
    let sub = &channel.shared.page.subscribers[0];
    for state in [place::VACANT, place::JOINING, place::ACTIVE, place::FREE] {
        for buries in [false, true] {
            assert!(sub.place.claim(dead(), 0));
            sub.state.store(state, Ordering::SeqCst);
            if buries {
                // Another has begun to free it, and was killed too.
                let holder = sub.place.holder().unwrap();
                assert!(sub.place.take_over(holder, dead()));
            }
            let mut next = channel.subscriber_at(&bell, 1).unwrap();
            assert_eq!(next.recv().unwrap().header().sequence, 1);
            assert_eq!(next.recv().unwrap().header().sequence, 2);
            assert_eq!((next.missed(), channel.seat_position(1)), (0, Some(1)));
        }
    }
    assert!(sub.place.claim(dead(), 0));
    sub.state.store(place::ACTIVE, Ordering::SeqCst);
    assert!(channel.release_seat(1).unwrap(), "its holder is dead");
    drop(channel.subscriber(&bell).unwrap());
}

#[test]
fn a_message_with_which_its_sender_died_is_orphaned_and_not_missed() {
    for is_seat in [true, false] {
        let persistent = ChannelOptions { persistent: true, depth: 1, ..ChannelOptions::default() };
        let options = ChannelOptions { retained: is_seat, ..persistent };
        let Bench { channel, bell, _namespace } = bench(options);
        let mut subscriber = if is_seat {
            channel.subscriber_at(&bell, 0).unwrap()
        } else {
            channel.subscriber(&bell).unwrap()
        };
        let page = &channel.shared.page;
        for round in 0..3 {
            let publisher = channel.publisher(&bell).unwrap();
            publisher.publish(&data()).unwrap();
            let sequence = subscriber.recv().unwrap().header().sequence;
            assert_eq!(sequence, 2 * round);
            drop(publisher);
            // Another publisher is killed while it sends the next.
            let dead = dead();
            assert!(page.publisher.place.claim(dead, 0));
            page.publisher.state.store(place::ACTIVE, Ordering::SeqCst);
            page.publisher.sending.store(sequence + 2, Ordering::SeqCst);
            channel.shared.bury(dead);
            subscriber.acknowledge(sequence);
            assert!(subscriber.try_recv().unwrap().is_none());
            assert_eq!((subscriber.missed(), subscriber.orphaned()), (0, round + 1));
            assert_eq!(channel.queued(), 0);
        }
        // It counts for the seat; another subscriber has not been there.
        drop(subscriber);
        let again = if is_seat {
            channel.subscriber_at(&bell, 0).unwrap()
        } else {
            channel.subscriber(&bell).unwrap()
        };
        let orphaned = if is_seat { 3 } else { 0 };
        assert_eq!((again.missed(), again.orphaned()), (0, orphaned));
    }
}
