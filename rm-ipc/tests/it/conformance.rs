//! One suite over every kind of channel: both ends in one process, either end in another, or each
//! end in one of its own.
//!
//! Main type: [`Actor`], which has ports and does what it is told, on a thread or in a child process.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rm_core::{DataHeader, DataMetadata, MessageKind, RuntimeData};
use rm_ipc::{
    ChannelOptions, Doorbell, Namespace, Policy, Publisher, Receiver, SharedMemoryChannel,
    Subscriber,
};
use serde::{Deserialize, Serialize};

use crate::channel::{files_of, id};

const FOLDER: &str = "RM_IPC_ACTOR_FOLDER";
/// What a child's answers start with, among the lines that a test binary prints.
const MARK: &str = "reply ";
const WATCHDOG: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Order {
    JoinPublisher,
    JoinSubscriber,
    /// Publishes `len` bytes that follow from `n`, from the heap.
    Publish {
        n: u64,
        len: usize,
    },
    TryPublish {
        n: u64,
        len: usize,
    },
    /// The same, written into a loan.
    Lend {
        n: u64,
        len: usize,
    },
    End,
    Recv,
    TryRecv,
    /// Keeps what has been received since the last release.
    Keep(bool),
    Counts,
    Leave,
    Exit,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Reply {
    Done,
    Item { sequence: u64, n: u64, len: usize },
    EndOfStream,
    Nothing,
    Counts { missed: u64, dropped: u64, invalid: u64, copied: u64 },
    Refused(String),
}

/// What an actor has.
struct Part {
    channel: SharedMemoryChannel,
    bell: Arc<Doorbell>,
    publisher: Option<Publisher>,
    receiver: Option<Receiver>,
    keeps: bool,
    kept: Vec<RuntimeData>,
}

fn payload(n: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (n as usize).wrapping_mul(31).wrapping_add(at) as u8).collect()
}

/// The number that a payload follows from, out of the few that are used; checks every byte.
fn number_of(bytes: &[u8]) -> u64 {
    let found = (0..256).find(|n| bytes == payload(*n, bytes.len()));
    found.expect("a payload as it was sent")
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn refused<T>(result: Result<T, impl std::error::Error>) -> Result<T, Reply> {
    result.map_err(|error| Reply::Refused(chain(&error)))
}

impl Part {
    fn open(folder: &Path) -> Self {
        let namespace = Namespace::open(folder).expect("the test's namespace");
        let channel = SharedMemoryChannel::open(&namespace, &id("it")).expect("the test's channel");
        let bell = Arc::new(Doorbell::create(&namespace).expect("the test's namespace"));
        Self { channel, bell, publisher: None, receiver: None, keeps: false, kept: Vec::new() }
    }

    fn item(&mut self, data: RuntimeData) -> Reply {
        if data.header().kind == MessageKind::EndOfStream {
            return Reply::EndOfStream;
        }
        let (sequence, len) = (data.header().sequence, data.payload().len());
        let n = number_of(data.payload());
        if self.keeps {
            self.kept.push(data);
        }
        Reply::Item { sequence, n, len }
    }

    fn perform(&mut self, order: &Order) -> Result<Reply, Reply> {
        let publisher = || self.publisher.as_ref().expect("has joined");
        let receiver = || self.receiver.as_ref().expect("has joined");
        let data = |n, len| RuntimeData::binary(payload(n, len)).expect("any bytes");
        match *order {
            Order::JoinPublisher => {
                self.publisher = Some(refused(self.channel.publisher(&self.bell))?);
            }
            Order::JoinSubscriber => self.receiver = Some(refused(self.channel.subscribe())?),
            Order::Publish { n, len } => refused(publisher().publish(&data(n, len)))?,
            Order::TryPublish { n, len } => refused(publisher().try_publish(&data(n, len)))?,
            Order::Lend { n, len } => {
                let mut loan = refused(publisher().loan_uninit(len))?;
                loan.bytes_mut().copy_from_slice(&payload(n, len));
                let header = DataHeader::new(DataMetadata::Binary, 0);
                refused(refused(loan.written(&header))?.send())?;
            }
            Order::End => refused(publisher().publish(&RuntimeData::end_of_stream()))?,
            Order::Recv => {
                let sample = refused(receiver().recv_timeout(WATCHDOG))?;
                return Ok(self.item(sample.into_inner()));
            }
            Order::TryRecv => {
                let sample = refused(receiver().try_recv())?;
                return Ok(sample.map_or(Reply::Nothing, |sample| self.item(sample.into_inner())));
            }
            Order::Keep(keeps) => {
                self.keeps = keeps;
                // What was kept is still what was sent.
                self.kept.iter().for_each(|data| assert!(number_of(data.payload()) < 256));
                self.kept.clear();
            }
            Order::Counts => {
                return Ok(receiver().with_subscriber(|own: &Subscriber| Reply::Counts {
                    missed: own.missed(),
                    dropped: own.dropped(),
                    invalid: own.invalid(),
                    copied: own.copied_bytes(),
                }));
            }
            Order::Leave | Order::Exit => (self.publisher, self.receiver) = (None, None),
        }
        Ok(Reply::Done)
    }

    fn obey(&mut self, order: &Order) -> Reply {
        self.perform(order).unwrap_or_else(|refusal| refusal)
    }
}

/// The child's side: does nothing when run as a test.
#[test]
fn actor_entry() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let mut part = Part::open(Path::new(&folder));
    for line in std::io::stdin().lines() {
        let order: Order = serde_json::from_str(&line.unwrap()).unwrap();
        let reply = part.obey(&order);
        println!("\n{MARK}{}", serde_json::to_string(&reply).unwrap());
        if matches!(order, Order::Exit) {
            break;
        }
    }
}

enum Stage {
    Thread(mpsc::Sender<Order>),
    Process { child: Child, orders: ChildStdin },
}

/// Does what it is told, one order after another, somewhere.
struct Actor {
    stage: Stage,
    replies: mpsc::Receiver<Reply>,
}

impl Actor {
    fn on_thread(folder: PathBuf) -> Self {
        let (orders, to_obey) = mpsc::channel::<Order>();
        let (answers, replies) = mpsc::channel();
        std::thread::spawn(move || {
            let mut part = Part::open(&folder);
            for order in to_obey {
                let reply = part.obey(&order);
                if matches!(order, Order::Exit) {
                    drop(part);
                    // Told only now that it has left nothing.
                    let _ = answers.send(reply);
                    break;
                }
                if answers.send(reply).is_err() {
                    break;
                }
            }
        });
        Self { stage: Stage::Thread(orders), replies }
    }

    fn in_process(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a test binary"));
        command.args(["--exact", "conformance::actor_entry", "--nocapture"]).env(FOLDER, folder);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary runs");
        let orders = child.stdin.take().expect("is piped");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        let (answers, replies) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some(reply) = line.strip_prefix(MARK) {
                    let reply = serde_json::from_str(reply).expect("a reply");
                    if answers.send(reply).is_err() {
                        break;
                    }
                }
            }
        });
        Self { stage: Stage::Process { child, orders }, replies }
    }

    fn start(&mut self, order: Order) {
        match &mut self.stage {
            Stage::Thread(orders) => orders.send(order).expect("the actor lives"),
            Stage::Process { orders, .. } => {
                let line = serde_json::to_string(&order).expect("an order");
                writeln!(orders, "{line}").expect("the actor lives");
            }
        }
    }

    fn finish(&mut self) -> Reply {
        self.replies.recv_timeout(WATCHDOG).expect("the actor answers")
    }

    fn has_not_finished(&mut self) -> bool {
        self.replies.try_recv().is_err()
    }

    fn call(&mut self, order: Order) -> Reply {
        self.start(order);
        self.finish()
    }

    fn done(&mut self, order: Order) {
        assert_eq!(self.call(order.clone()), Reply::Done, "{order:?}");
    }

    fn item(&mut self) -> (u64, u64, usize) {
        match self.call(Order::Recv) {
            Reply::Item { sequence, n, len } => (sequence, n, len),
            other => panic!("no item: {other:?}"),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        match &mut self.stage {
            Stage::Thread(orders) => {
                if orders.send(Order::Exit).is_ok() {
                    let _ = self.replies.recv_timeout(WATCHDOG);
                }
            }
            Stage::Process { child, .. } => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    Here,
    There,
}

/// A channel of one kind, with an actor for its publisher and some for its subscribers.
struct Scene {
    publisher: Actor,
    subscriber: Actor,
    channel: SharedMemoryChannel,
    namespace: Namespace,
}

impl Scene {
    fn set(kind: (Where, Where), options: ChannelOptions) -> Self {
        let namespace = Namespace::create().expect("a namespace");
        let loopback = kind == (Where::Here, Where::Here);
        let options = ChannelOptions { loopback, ..options };
        let channel =
            SharedMemoryChannel::create(&namespace, &id("it"), options).expect("a channel");
        let folder = namespace.folder();
        let actor = |place| match place {
            Where::Here => Actor::on_thread(folder.to_owned()),
            Where::There => Actor::in_process(folder),
        };
        let (publisher, subscriber) = (actor(kind.0), actor(kind.1));
        Self { publisher, subscriber, channel, namespace }
    }

    fn joined(kind: (Where, Where), options: ChannelOptions) -> Self {
        let mut scene = Self::set(kind, options);
        scene.subscriber.done(Order::JoinSubscriber);
        scene.publisher.done(Order::JoinPublisher);
        scene
    }
}

/// Runs a check over every kind, and makes sure that it leaves nothing behind.
fn check(check: impl Fn((Where, Where))) {
    use Where::{Here, There};
    for kind in [(Here, Here), (Here, There), (There, Here), (There, There)] {
        println!("kind: {kind:?}");
        check(kind);
    }
}

fn end(scene: Scene) {
    let Scene { publisher, subscriber, channel, namespace } = scene;
    let name = namespace.id().to_string();
    drop((publisher, subscriber));
    drop((channel, namespace));
    assert_eq!(files_of(&name), [""; 0]);
}

const DEFAULT: fn() -> ChannelOptions = ChannelOptions::default;

#[test]
fn messages_of_every_size_arrive_in_order_and_unchanged() {
    check(|kind| {
        let mut scene = Scene::joined(kind, DEFAULT());
        let lens = [0, 1, 63, 64, 65, 4_096, 4_097, 100_000, 1 << 20, 17, 3 << 20, 0];
        for (n, len) in lens.into_iter().enumerate() {
            let n = n as u64;
            let order = match n % 2 {
                0 => Order::Publish { n, len },
                _ => Order::Lend { n, len },
            };
            scene.publisher.done(order);
            let of_payload = if len == 0 { 0 } else { n };
            assert_eq!(scene.subscriber.item(), (n, of_payload, len), "{kind:?}");
        }
        let even: usize = lens.iter().step_by(2).sum();
        let odd: usize = lens.iter().skip(1).step_by(2).sum();
        assert_eq!(scene.channel.copied_bytes(), even as u64);
        assert_eq!(scene.channel.lent_bytes(), odd as u64);
        end(scene);
    });
}

#[test]
fn a_full_channel_blocks_until_there_is_room_and_loses_nothing() {
    check(|kind| {
        let mut scene = Scene::joined(kind, ChannelOptions { depth: 2, ..DEFAULT() });
        for n in 0..2 {
            scene.publisher.done(Order::Publish { n, len: 8 });
        }
        let full = scene.publisher.call(Order::TryPublish { n: 9, len: 8 });
        assert_eq!(full, Reply::Refused("channel is full".to_owned()));
        scene.publisher.start(Order::Publish { n: 2, len: 8 });
        // It cannot have gone on: both places are taken.
        assert!(scene.channel.queued() == 2 && scene.publisher.has_not_finished());
        assert_eq!(scene.subscriber.item(), (0, 0, 8));
        assert_eq!(scene.publisher.finish(), Reply::Done);
        for n in 1..3 {
            assert_eq!(scene.subscriber.item(), (n, n, 8));
        }
        assert_eq!(scene.subscriber.call(Order::TryRecv), Reply::Nothing);
        end(scene);
    });
}

#[test]
fn the_first_publication_waits_for_a_subscriber() {
    check(|kind| {
        let mut scene = Scene::set(kind, DEFAULT());
        scene.publisher.done(Order::JoinPublisher);
        scene.publisher.start(Order::Publish { n: 1, len: 8 });
        assert!(scene.publisher.has_not_finished());
        scene.subscriber.done(Order::JoinSubscriber);
        assert_eq!(scene.publisher.finish(), Reply::Done);
        assert_eq!(scene.subscriber.item(), (0, 1, 8));
        end(scene);
    });
}

#[test]
fn policies_drop_what_they_say_and_count_it() {
    let cases = [
        (Policy::DropOldest, 3, vec![7, 8, 9], 7),
        (Policy::DropNewest, 3, vec![0, 1, 2], 0),
        (Policy::Latest, 3, vec![9], 9),
    ];
    for (policy, depth, expected, dropped) in cases {
        check(|kind| {
            let mut scene = Scene::joined(kind, ChannelOptions { policy, depth, ..DEFAULT() });
            // The first is taken, so that what is missing after it is seen to be.
            scene.publisher.done(Order::Publish { n: 100, len: 8 });
            scene.subscriber.item();
            for n in 0..10 {
                scene.publisher.done(Order::Publish { n, len: 8 });
            }
            for n in &expected {
                assert_eq!(scene.subscriber.item(), (n + 1, *n, 8), "{policy:?} {kind:?}");
            }
            let counts = Reply::Counts { missed: 0, dropped, invalid: 0, copied: 0 };
            assert_eq!(scene.subscriber.call(Order::Counts), counts, "{policy:?} {kind:?}");
            assert_eq!(scene.channel.dropped(), 10 - expected.len() as u64);
            end(scene);
        });
    }
}

#[test]
fn a_late_subscriber_gets_the_history_and_then_what_follows() {
    check(|kind| {
        let policy = Policy::DropOldest;
        let options = ChannelOptions { history: 2, depth: 8, policy, ..DEFAULT() };
        let mut scene = Scene::set(kind, options);
        scene.publisher.done(Order::JoinPublisher);
        for n in 0..5 {
            scene.publisher.done(Order::Publish { n, len: 8 });
        }
        scene.subscriber.done(Order::JoinSubscriber);
        for n in 3..5 {
            assert_eq!(scene.subscriber.item(), (n, n, 8), "{kind:?}");
        }
        scene.publisher.done(Order::Publish { n: 5, len: 8 });
        assert_eq!(scene.subscriber.item(), (5, 5, 8), "{kind:?}");
        end(scene);
    });
}

#[test]
fn a_left_channel_drains_and_is_then_closed() {
    check(|kind| {
        let mut scene = Scene::joined(kind, DEFAULT());
        scene.publisher.done(Order::Publish { n: 1, len: 5_000 });
        scene.publisher.done(Order::End);
        scene.publisher.done(Order::Leave);
        assert_eq!(scene.subscriber.item(), (0, 1, 5_000));
        assert_eq!(scene.subscriber.call(Order::Recv), Reply::EndOfStream);
        let closed = scene.subscriber.call(Order::Recv);
        assert_eq!(closed, Reply::Refused("channel is closed".to_owned()));
        end(scene);
    });
}

#[test]
fn close_wakes_who_receives_and_who_waits_for_room() {
    check(|kind| {
        let mut scene = Scene::joined(kind, ChannelOptions { depth: 1, ..DEFAULT() });
        scene.subscriber.start(Order::Recv);
        scene.channel.close();
        let closed = Reply::Refused("channel is closed".to_owned());
        assert_eq!(scene.subscriber.finish(), closed);
        end(scene);
        let mut scene = Scene::joined(kind, ChannelOptions { depth: 1, ..DEFAULT() });
        scene.publisher.done(Order::Publish { n: 0, len: 8 });
        scene.publisher.start(Order::Publish { n: 1, len: 8 });
        scene.channel.close();
        assert_eq!(scene.publisher.finish(), closed);
        end(scene);
    });
}

#[test]
fn who_keeps_too_much_gets_counted_copies_and_holds_nobody_up() {
    check(|kind| {
        let mut scene = Scene::joined(kind, ChannelOptions { max_borrowed: 4, ..DEFAULT() });
        scene.subscriber.done(Order::Keep(true));
        for n in 0..20 {
            scene.publisher.done(Order::Lend { n, len: 1_000 });
            assert_eq!(scene.subscriber.item(), (n, n, 1_000));
        }
        let copied = 17 * 1_000;
        let counts = Reply::Counts { missed: 0, dropped: 0, invalid: 0, copied };
        assert_eq!(scene.subscriber.call(Order::Counts), counts);
        assert_eq!(scene.channel.copied_bytes(), copied);
        scene.subscriber.done(Order::Keep(false));
        end(scene);
    });
}

#[test]
fn a_process_cannot_take_both_parts_unless_the_channel_is_made_for_that() {
    check(|kind| {
        let is_loopback = kind == (Where::Here, Where::Here);
        let mut scene = Scene::joined(kind, DEFAULT());
        if is_loopback {
            return end(scene);
        }
        let refusal = scene.publisher.call(Order::JoinSubscriber);
        let Reply::Refused(why) = refusal else { panic!("{refusal:?}") };
        assert!(why.contains("this process is a publisher of channel it already"), "{why}");
        let refusal = scene.subscriber.call(Order::JoinPublisher);
        let Reply::Refused(why) = refusal else { panic!("{refusal:?}") };
        assert!(why.contains("no place for another publisher"), "{why}");
        scene.publisher.done(Order::Publish { n: 3, len: 8 });
        assert_eq!(scene.subscriber.item(), (0, 3, 8));
        end(scene);
    });
}
