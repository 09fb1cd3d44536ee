//! Several processes, of which the one in a seat, the publisher, or both are killed. The test binary is
//! its own child: `child_entry` does the child's part.
//!
//! In the last test a source sends to a relay, which sends to a witness here: as in a pipeline whose
//! workers are restarted, the relay acknowledges what it has sent on, and the witness drops repeats.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rm_core::RuntimeData;
use rm_ipc::{
    ChannelOptions, Doorbell, Namespace, PublishError, ReceiveError, SharedMemoryChannel,
    Subscriber,
};

use crate::channel::{files_of, id};
use crate::chaos::player::{Random, spin};

const ROLE: &str = "RM_IPC_SEAT_ROLE";
const FOLDER: &str = "RM_IPC_SEAT_FOLDER";
/// What a line that a child tells starts with.
const MARK: &str = "seat: ";
const WATCHDOG: Duration = Duration::from_secs(10);
/// Numbers at the head of a message.
const HEAD: usize = 6;

/// A message with `head`, of a size and with a content that follow from it.
fn message(head: [u64; HEAD]) -> RuntimeData {
    let mut random = Random::new(head[0] << 32 ^ head[1]);
    let bits = random.below(12);
    let noise: Vec<u64> = (0..random.below(1 << bits)).map(|_| random.next()).collect();
    let bytes = head.iter().chain(&noise).flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    RuntimeData::binary(bytes).expect("few bytes")
}

/// The head of a message that is as it was made.
fn head_of(data: &RuntimeData) -> [u64; HEAD] {
    let mut words = data.payload().as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let head = [(); HEAD].map(|()| words.next().expect("a head"));
    assert_eq!(data.payload(), message(head).payload(), "message {}", data.header().sequence);
    head
}

/// A child that is killed and reaped when its test ends, however that ends.
struct Peer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    fn start(role: &str, namespace: &Namespace) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a test binary"));
        command.args(["--exact", "redelivery::child_entry", "--nocapture"]);
        command.env(ROLE, role).env(FOLDER, namespace.folder()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the test binary runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    /// What it tells until it kills itself.
    fn tells_last(&mut self) -> Vec<u64> {
        let told = self.tells().collect();
        self.child.wait().expect("a child to reap");
        told
    }

    /// What it tells.
    fn tells(&mut self) -> impl Iterator<Item = u64> {
        let lines = (&mut self.lines).lines().map_while(Result::ok);
        lines.filter_map(|line| Some(line.strip_prefix(MARK)?.parse().expect("a number")))
    }

    fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child to reap");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn die() -> ! {
    let own = rustix::process::getpid();
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    unreachable!("nobody survives that")
}

/// Does nothing when run as a test; in a child it plays the part that the environment names.
#[test]
fn child_entry() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let killed = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(killed).unwrap();
    let namespace = Namespace::open(Path::new(&std::env::var(FOLDER).unwrap())).unwrap();
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let open = |name| SharedMemoryChannel::open(&namespace, &id(name)).unwrap();
    let words: Vec<&str> = role.split(' ').collect();
    let numbers: Vec<u64> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
    match words[0] {
        // Takes some messages, acknowledges some of them, and is killed.
        "take" => {
            let mut from = open("first").subscriber_at(&bell, 0).unwrap();
            let mut kept = Vec::new();
            for _ in 0..numbers[0] {
                let data = from.recv().unwrap();
                assert_eq!(head_of(&data)[1], data.header().sequence);
                println!("{MARK}{}", data.header().sequence);
                kept.push(data);
            }
            if let Some(last) = numbers[1].checked_sub(1) {
                from.acknowledge(kept[last as usize].header().sequence);
            }
            die();
        }
        // Sends so many, from that number on, and stays.
        "send" => {
            let to = open("first").publisher(&bell).unwrap();
            for n in numbers[0]..numbers[0] + numbers[1] {
                to.publish(&message([1, n, 0, 0, 0, 0])).unwrap();
            }
            println!("{MARK}0");
            bell.wait(|| false, None);
        }
        "source" => source(numbers[0], &open("first"), &bell),
        "relay" => relay(numbers[0], &open("first"), &open("second"), &bell),
        other => panic!("no such role: {other}"),
    }
}

/// Sends until the channel is closed.
#[expect(clippy::unwrap_used, reason = "the body of a test, in a process of its own")]
fn source(serial: u64, first: &SharedMemoryChannel, bell: &Arc<Doorbell>) {
    let to = first.publisher(bell).unwrap();
    println!("{MARK}0");
    for number in 0.. {
        match to.publish(&message([serial, number, 0, 0, 0, 0])) {
            Ok(()) => {}
            Err(PublishError::ChannelClosed) => break,
            Err(error) => panic!("source {serial}: {error}"),
        }
    }
}

/// Sends on what it receives, with its position, and acknowledges it then.
#[expect(clippy::unwrap_used, reason = "the body of a test, in a process of its own")]
fn relay(
    serial: u64,
    first: &SharedMemoryChannel,
    second: &SharedMemoryChannel,
    bell: &Arc<Doorbell>,
) {
    let mut from = first.subscriber_at(bell, 0).unwrap();
    let to = second.publisher(bell).unwrap();
    println!("{MARK}0");
    loop {
        let data = match from.recv() {
            Ok(data) => data,
            Err(ReceiveError::ChannelClosed) => break,
            Err(error) => panic!("relay {serial}: {error:?}"),
        };
        let [source, number, ..] = head_of(&data);
        let origin = data.header().sequence;
        let item = message([source, number, origin, serial, from.missed(), from.orphaned()]);
        match to.publish(&item) {
            Ok(()) => from.acknowledge(origin),
            Err(PublishError::ChannelClosed) => break,
            Err(error) => panic!("relay {serial}: {error}"),
        }
    }
}

fn create(namespace: &Namespace, name: &str, depth: u32) -> SharedMemoryChannel {
    let options = ChannelOptions {
        depth,
        capacity: 1 << 20,
        max_subscribers: 2,
        max_borrowed: 4,
        retained: true,
        loopback: true,
        ..ChannelOptions::default()
    };
    SharedMemoryChannel::create(namespace, &id(name), options).expect("a fresh name")
}

/// Ends what waits on channels, also when a check fails.
struct Ends<'a>(Vec<&'a SharedMemoryChannel>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|channel| channel.close());
    }
}

fn takes(subscriber: &mut Subscriber, expected: std::ops::Range<u64>) {
    for n in expected {
        let data = subscriber.recv_timeout(WATCHDOG).expect("a message");
        assert_eq!((data.header().sequence, head_of(&data)[1]), (n, n));
    }
}

#[test]
fn whichever_message_a_consumer_is_killed_at_its_successor_goes_on_there() {
    const COUNT: u64 = 60;
    let namespace = Namespace::create().unwrap();
    let name = namespace.id().to_string();
    let channel = create(&namespace, "first", 4);
    channel.reserve_seat(0).unwrap();
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    // Somebody else is there, who sees everything once.
    let mut other = channel.subscriber(&bell).unwrap();
    std::thread::scope(|scope| {
        let _ends = Ends(vec![&channel]);
        let sends = scope.spawn(|| {
            (0..COUNT).for_each(|n| channel.publish(&message([1, n, 0, 0, 0, 0])).unwrap());
            assert!(channel.flush(WATCHDOG));
        });
        scope.spawn(move || {
            takes(&mut other, 0..COUNT);
            assert_eq!((other.missed(), other.invalid()), (0, 0));
        });
        let (mut random, mut done) = (Random::new(5), 0);
        while done < COUNT {
            let received = random.below(5).min(COUNT - done);
            let acknowledged = random.below(received + 1);
            let mut consumer = Peer::start(&format!("take {received} {acknowledged}"), &namespace);
            assert_eq!(consumer.tells_last(), (done..done + received).collect::<Vec<_>>());
            done += acknowledged;
            assert_eq!(channel.seat_position(0), Some(done));
        }
        sends.join().unwrap();
    });
    drop((channel, bell, namespace));
    assert_eq!(files_of(&name), [""; 0]);
}

#[test]
fn a_killed_publishers_messages_stay_with_who_was_connected_and_are_counted_by_who_was_not() {
    let namespace = Namespace::create().unwrap();
    let channel = create(&namespace, "first", 8);
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let mut gone = channel.subscriber_at(&bell, 0).unwrap();
    let mut stays = channel.subscriber_at(&bell, 1).unwrap();
    let mut first = Peer::start("send 0 5", &namespace);
    assert_eq!(first.tells().next(), Some(0));
    takes(&mut gone, 0..3);
    gone.acknowledge(1);
    drop(gone);
    first.kill();
    let mut second = Peer::start("send 5 3", &namespace);
    takes(&mut stays, 0..5);
    stays.acknowledge(4);
    let mut successor = channel.subscriber_at(&bell, 0).unwrap();
    takes(&mut successor, 5..8);
    assert_eq!((successor.missed(), successor.orphaned()), (3, 0));
    takes(&mut stays, 5..8);
    assert_eq!((stays.missed(), stays.orphaned()), (0, 0));
    assert_eq!(second.tells().next(), Some(0));
    // What its successor has sent is there for the next in the seat.
    drop(successor);
    takes(&mut channel.subscriber_at(&bell, 0).unwrap(), 5..8);
    channel.close();
}

#[test]
fn after_both_ends_are_killed_at_once_what_is_gone_is_counted_and_the_rest_comes() {
    let namespace = Namespace::create().unwrap();
    let channel = create(&namespace, "first", 8);
    channel.reserve_seat(0).unwrap();
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let (mut sent, mut acknowledged, mut missed) = (0, 0, 0);
    for round in 1..8 {
        let mut publisher = Peer::start(&format!("send {sent} {round}"), &namespace);
        let mut consumer = Peer::start(&format!("take {round} {}", round / 2), &namespace);
        assert_eq!(consumer.tells_last(), (sent..sent + round).collect::<Vec<_>>());
        assert_eq!(publisher.tells().next(), Some(0));
        publisher.kill();
        acknowledged = acknowledged.max(if round > 1 { sent + round / 2 } else { 0 });
        sent += round;
        assert_eq!(channel.seat_position(0), Some(acknowledged));
        let mut successor = channel.subscriber_at(&bell, 0).unwrap();
        assert!(successor.recv_timeout(Duration::ZERO).is_err());
        missed += sent - acknowledged;
        assert_eq!((successor.missed(), successor.orphaned()), (missed, 0));
        assert_eq!(channel.seat_position(0), Some(sent));
        acknowledged = sent;
    }
    channel.close();
}

/// What the witness has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Position after the last item, at the source's channel.
    next: AtomicU64,
    /// The last relay, and the last source.
    relay: AtomicU64,
    source: AtomicU64,
    missed: AtomicU64,
    orphaned: AtomicU64,
}

/// Receives what relays send, and checks it, until the channel is closed.
fn witness(from: &mut Subscriber, seen: &Seen, mut random: Random) {
    // Of the last item that was new, and of the last at all.
    let (mut last_new, mut last) = (None::<[u64; HEAD]>, None::<[u64; HEAD]>);
    loop {
        let data = match from.recv_timeout(WATCHDOG) {
            Ok(data) => data,
            Err(ReceiveError::ChannelClosed) => break,
            Err(error) => panic!("{error}"),
        };
        let item = head_of(&data);
        let [source, number, origin, relay, missed, orphaned] = item;
        let next = seen.next.load(Ordering::Relaxed);
        if let Some([_, _, last_origin, last_relay, last_missed, last_orphaned]) = last {
            // They count for the seat, whoever has it.
            let lost = missed + orphaned - last_missed - last_orphaned;
            if relay == last_relay {
                assert_eq!(origin, last_origin + 1 + lost, "{item:?} after {last:?}");
            } else {
                assert!(relay > last_relay, "{item:?} after {last:?}");
                assert!(origin <= next + lost, "{item:?} after {last:?}");
            }
        }
        if origin >= next {
            if let Some([last_source, last_number, ..]) = last_new {
                let is_next = source == last_source && number == last_number + 1 && origin == next;
                let is_first = source > last_source && number == 0;
                assert!(is_next || is_first || missed > 0, "{item:?} after {last_new:?}");
            }
            last_new = Some(item);
            seen.next.store(origin + 1, Ordering::Relaxed);
        }
        last = Some(item);
        seen.missed.store(missed, Ordering::Relaxed);
        seen.orphaned.store(orphaned, Ordering::Relaxed);
        seen.source.store(source, Ordering::Relaxed);
        seen.relay.store(relay, Ordering::Release);
        // Not always at once, and some only with the next.
        from.acknowledge(data.header().sequence.saturating_sub(random.below(2)));
        if from.missed() > 0 || from.invalid() > 0 {
            panic!("{} missed, {} invalid", from.missed(), from.invalid());
        }
    }
}

/// Kills until so many are killed; both at once, too, if `together`.
fn kill_source_and_relay(kills: u64, together: bool, seed: u64) {
    let namespace = Namespace::create().expect("a namespace");
    let name = namespace.id().to_string();
    let mut random = Random::new(seed);
    let depth = 1 << (2 + random.below(4));
    let [first, second] = ["first", "second"].map(|name| create(&namespace, name, depth));
    first.reserve_seat(0).expect("a place");
    let bell = Arc::new(Doorbell::create(&namespace).expect("a doorbell"));
    let mut from = second.subscriber_at(&bell, 0).expect("a place");
    let seen = Seen::default();
    std::thread::scope(|scope| {
        let _ends = Ends(vec![&first, &second]);
        let random_of_witness = Random::new(random.next());
        let witness = scope.spawn(|| witness(&mut from, &seen, random_of_witness));
        let mut serial = 0;
        let mut start = |role: &str| {
            serial += 1;
            (Peer::start(&format!("{role} {serial}"), &namespace), serial)
        };
        let mut cast = [start("source"), start("relay")];
        let mut killed = 0;
        loop {
            // Everything that was under way at the last kill has been taken, and more has come.
            let aim = seen.next.load(Ordering::Relaxed) + 4 * u64::from(depth);
            let deadline = Instant::now() + WATCHDOG;
            let goes_on = || {
                seen.relay.load(Ordering::Acquire) == cast[1].1
                    && seen.source.load(Ordering::Relaxed) == cast[0].1
                    && seen.next.load(Ordering::Relaxed) > aim
            };
            while !goes_on() {
                assert!(!witness.is_finished(), "the witness has failed");
                let channels = (first.snapshot(), second.snapshot());
                assert!(
                    Instant::now() < deadline,
                    "they do not go on, {seen:?} to {aim} by {:?}: {channels:#?}",
                    cast.each_ref().map(|cast| cast.1)
                );
                std::thread::yield_now();
            }
            assert!(together || seen.missed.load(Ordering::Relaxed) == 0, "nothing is lost");
            if killed >= kills {
                break;
            }
            let scale = 8 + random.below(14);
            spin(Duration::from_nanos(random.below(1 << scale)));
            let one = random.below(2) as usize;
            let victims = if together && random.below(2) == 0 { 0..2 } else { one..one + 1 };
            for victim in victims.clone() {
                cast[victim].0.child.kill().expect("a child");
            }
            for victim in victims {
                cast[victim].0.kill();
                let role = ["source", "relay"][victim];
                while random.below(3) == 0 {
                    // Most of a start is not yet joining.
                    let (mut early, _) = start(role);
                    spin(Duration::from_micros(random.below(12_000)));
                    early.kill();
                }
                cast[victim] = start(role);
                killed += 1;
            }
        }
        [&first, &second].into_iter().for_each(SharedMemoryChannel::close);
        witness.join().expect("a witness that has seen nothing wrong");
        for (peer, serial) in &mut cast {
            assert!(peer.child.wait().expect("a child").success(), "{serial} has failed");
        }
    });
    println!("{kills} kills and more at depth {depth}, seed {seed}: {seen:?}");
    drop((from, first, second, bell, namespace));
    assert_eq!(files_of(&name), [""; 0]);
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn nothing_is_lost_or_comes_out_of_order_while_one_at_a_time_is_killed() {
    let (kills, seed) =
        (number("REMOTEMEDIA_CHAOS_KILLS", 60), number("REMOTEMEDIA_CHAOS_SEED", 3));
    for round in 0..4 {
        kill_source_and_relay(kills / 4, false, seed + round);
    }
}

#[test]
fn what_is_lost_is_counted_while_both_are_killed_at_once() {
    let (kills, seed) =
        (number("REMOTEMEDIA_CHAOS_KILLS", 60), number("REMOTEMEDIA_CHAOS_SEED", 4));
    for round in 0..4 {
        kill_source_and_relay(kills / 4, true, seed + round);
    }
}
