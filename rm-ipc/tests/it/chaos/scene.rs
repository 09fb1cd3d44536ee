//! Who takes part at a moment: the children, what they tell, and how they are killed and replaced.
//!
//! Main type: [`Scene`]. It waits for what players tell and for nothing else; a watchdog ends a wait
//! that lasts too long.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rm_ipc::{ChannelSnapshot, Doorbell, Namespace, SharedMemoryChannel};

use super::Toll;
use super::player::{News, Phase, Player, Random, spin};
use crate::channel::id;

const ROLE: &str = "RM_IPC_CHAOS_ROLE";
const FOLDER: &str = "RM_IPC_CHAOS_FOLDER";
const PHASE: &str = "RM_IPC_CHAOS_PHASE";
/// What a line that a child tells starts with.
const MARK: &str = "chaos: ";
const WATCHDOG: Duration = Duration::from_secs(30);

/// Where a child receives from and sends to.
#[derive(Clone, Copy)]
pub struct Part {
    pub from: Option<&'static str>,
    pub to: Option<&'static str>,
}

/// A process that is killed and reaped when its test ends, however that ends.
pub struct Child(std::process::Child);

impl Child {
    fn start(role: &str, folder: &Path, phase: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a test binary"));
        command.args(["--exact", "chaos::scene::child_entry", "--nocapture"]);
        command.env(ROLE, role).env(FOLDER, folder).stdout(Stdio::piped());
        phase.map(|phase| command.env(PHASE, phase));
        Self(command.spawn().expect("the test binary runs"))
    }

    /// A process that owns a namespace and does nothing else; and the folder of that.
    pub fn owner() -> (Self, PathBuf) {
        let mut child = Self::start("owner", Path::new(""), None);
        let mut lines = child.lines();
        let folder = lines.find_map(|line| Some(line.strip_prefix(MARK)?.to_owned()));
        (child, folder.expect("the folder").into())
    }

    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let output = self.0.stdout.take().expect("a pipe, which is read once");
        BufReader::new(output).lines().map_while(Result::ok)
    }

    pub fn kill(&mut self) {
        self.0.kill().expect("a child");
        self.0.wait().expect("a child to reap");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does nothing when run as a test; in a child it plays the part that the environment names.
#[test]
fn child_entry() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    // Whoever dies before the child has killed it, or could not.
    let killed = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(killed).unwrap();
    if role == "owner" {
        let namespace = Namespace::create().unwrap();
        println!("{MARK}{}", namespace.folder().display());
        let bell = Doorbell::create(&namespace).unwrap();
        bell.wait(|| false, None);
    }
    let mut words = role.split(' ');
    let [serial, seed, from, to] = [(); 4].map(|()| words.next().unwrap());
    let phase = std::env::var_os(PHASE).map(|path| std::fs::File::create(path).unwrap());
    let tell = Box::new(|news| match news {
        News::Met(serial, entries, maps) => println!("{MARK}met {serial} {entries} {maps}"),
        News::Joined => println!("{MARK}joined"),
        News::Going => println!("{MARK}going"),
        News::Closed => println!("{MARK}closed"),
    });
    let random = Random::new(seed.parse().unwrap());
    let player = Player { serial: serial.parse().unwrap(), random, phase, tell };
    player.enter(Phase::Start);
    let namespace = Namespace::open(Path::new(&std::env::var(FOLDER).unwrap())).unwrap();
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let open = |name: &str| {
        let is_one = name != "-";
        is_one.then(|| SharedMemoryChannel::open(&namespace, &id(name)).unwrap())
    };
    let (from, to) = (open(from), open(to));
    player.play(&bell, from.as_ref(), to.as_ref());
}

fn parse(line: &str) -> Option<News> {
    let mut words = line.strip_prefix(MARK)?.split(' ');
    Some(match words.next()? {
        "joined" => News::Joined,
        "going" => News::Going,
        "closed" => News::Closed,
        _ => {
            let [serial, entries, maps] = [(); 3].map(|()| words.next()?.parse().ok());
            News::Met(serial?, entries?, maps?)
        }
    })
}

/// What is known of one player.
#[derive(Default)]
struct Known {
    from: Option<String>,
    is_joined: bool,
    is_going: bool,
    is_closed: bool,
    has_ended: bool,
    met: u64,
    resources: Vec<(u64, u64)>,
}

struct Cast {
    child: Child,
    part: Part,
    serial: u64,
}

/// The processes and threads on some channels of one namespace.
pub struct Scene {
    cast: Vec<Cast>,
    threads: Vec<JoinHandle<()>>,
    channels: Vec<SharedMemoryChannel>,
    known: BTreeMap<u64, Known>,
    /// The last sender on each channel.
    senders: BTreeMap<String, u64>,
    news: Receiver<(u64, Option<News>)>,
    tell: Sender<(u64, Option<News>)>,
    last_serial: u64,
    phases: tempfile::TempDir,
    /// Time from a child's start to when it has joined.
    start: Duration,
    folder: PathBuf,
    namespace: Namespace,
}

impl Scene {
    pub fn new(namespace: Namespace, channels: Vec<SharedMemoryChannel>) -> Self {
        let (tell, news) = channel();
        Self {
            cast: Vec::new(),
            threads: Vec::new(),
            channels,
            known: BTreeMap::new(),
            senders: BTreeMap::new(),
            news,
            tell,
            last_serial: 0,
            phases: tempfile::tempdir().expect("a folder for phases"),
            start: Duration::from_millis(20),
            folder: namespace.folder().to_owned(),
            namespace,
        }
    }

    fn enlist(&mut self, from: Option<&str>, to: Option<&str>) -> u64 {
        self.last_serial += 1;
        let from = from.map(str::to_owned);
        self.known.insert(self.last_serial, Known { from, ..Known::default() });
        if let Some(to) = to {
            self.senders.insert(to.to_owned(), self.last_serial);
        }
        self.last_serial
    }

    fn thread(&mut self, from: Option<&SharedMemoryChannel>, to: Option<&SharedMemoryChannel>) {
        let name = |channel: &SharedMemoryChannel| channel.channel_name().to_owned();
        let serial = self.enlist(from.map(name).as_deref(), to.map(name).as_deref());
        let tell = self.tell.clone();
        let (from, to) = (from.cloned(), to.cloned());
        let bell = Arc::new(Doorbell::create(&self.namespace).expect("a doorbell"));
        let random = Random::new(serial);
        self.threads.push(std::thread::spawn(move || {
            // Says so also when it panics.
            struct Ending(Sender<(u64, Option<News>)>, u64);
            impl Drop for Ending {
                fn drop(&mut self) {
                    let _ = self.0.send((self.1, None));
                }
            }
            let ending = Ending(tell.clone(), serial);
            let tell = Box::new(move |news| {
                let _ = tell.send((serial, Some(news)));
            });
            let player = Player { serial, random, phase: None, tell };
            player.play(&bell, from.as_ref(), to.as_ref());
            drop(ending);
        }));
    }

    /// A thread of this process that receives and stays.
    pub fn witness(&mut self, channel: &SharedMemoryChannel) {
        self.thread(Some(channel), None);
    }

    /// A thread of this process that sends and stays.
    pub fn source(&mut self, channel: &SharedMemoryChannel) {
        self.thread(None, Some(channel));
    }

    fn start(&mut self, part: Part, random: &mut Random) -> Cast {
        let serial = self.enlist(part.from, part.to);
        let (from, to) = (part.from.unwrap_or("-"), part.to.unwrap_or("-"));
        let role = format!("{serial} {} {from} {to}", random.next());
        let phase = self.phases.path().join(serial.to_string());
        let is_traced = random.below(2) == 0;
        let mut child = Child::start(&role, &self.folder, is_traced.then_some(phase.as_path()));
        let (lines, tell) = (child.lines(), self.tell.clone());
        std::thread::spawn(move || {
            for news in lines.filter_map(|line| parse(&line)) {
                let _ = tell.send((serial, Some(news)));
            }
            let _ = tell.send((serial, None));
        });
        Cast { child, part, serial }
    }

    /// Starts the children and waits until all have got going.
    pub fn begin(&mut self, parts: &[Part], random: &mut Random) {
        for part in parts {
            let cast = self.start(*part, random);
            self.cast.push(cast);
        }
        self.await_all_going();
    }

    /// Waits until `done`, or fails with `what` when the watchdog's time is up.
    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + WATCHDOG;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((serial, news)) = self.news.recv_timeout(left) else {
                let channels = self.snapshots();
                let bindings: Vec<_> = self.channels.iter().map(|one| one.bindings()).collect();
                let pids: Vec<_> =
                    self.cast.iter().map(|cast| (cast.serial, cast.child.0.id())).collect();
                panic!("{what} did not happen\n{channels:#?}\n{bindings:?}\n{pids:?}");
            };
            let known = self.known.entry(serial).or_default();
            match news {
                Some(News::Joined) => known.is_joined = true,
                Some(News::Going) => known.is_going = true,
                Some(News::Closed) => known.is_closed = true,
                Some(News::Met(sender, entries, maps)) => {
                    known.met = sender;
                    known.resources.push((entries, maps));
                }
                None => {
                    known.has_ended = true;
                    let is_here = serial <= self.threads.len() as u64
                        || self.cast.iter().any(|cast| cast.serial == serial);
                    assert!(known.is_closed || !is_here, "player {serial} failed");
                }
            }
        }
    }

    fn present(&self) -> impl Iterator<Item = &Known> {
        let threads = 1..=self.threads.len() as u64;
        let serials = threads.chain(self.cast.iter().map(|cast| cast.serial));
        serials.filter_map(|serial| self.known.get(&serial))
    }

    /// Waits until everybody has got going and has heard of the last sender.
    fn await_all_going(&mut self) {
        self.wait("that all go on", |scene| {
            scene.present().all(|known| {
                let sender = known.from.as_ref().and_then(|from| scene.senders.get(from));
                known.is_going && sender.is_none_or(|sender| known.met >= *sender)
            })
        });
    }

    /// Waits until each channel has carried some more messages.
    pub fn await_progress(&self) {
        for channel in &self.channels {
            let aim = channel.messages() + 1_000;
            self.watch("progress", || channel.messages() >= aim);
        }
    }

    /// Waits for `what` on the channels themselves, which nobody tells of.
    pub fn watch(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + WATCHDOG;
        while !done() {
            assert!(Instant::now() < deadline, "{what} did not come: {:#?}", self.snapshots());
            std::thread::yield_now();
        }
    }

    fn snapshots(&self) -> Vec<ChannelSnapshot> {
        self.channels.iter().map(SharedMemoryChannel::snapshot).collect()
    }

    /// Waits until the channel is closed to all who stay here and to the children `left`.
    pub fn await_closed(&mut self, left: &[usize]) {
        let threads = 1..=self.threads.len() as u64;
        let left = left.iter().map(|index| self.cast[*index].serial);
        let all: Vec<u64> = threads.chain(left).collect();
        self.wait("that all are told of the end", |scene| {
            all.iter().all(|serial| scene.known[serial].is_closed && scene.known[serial].has_ended)
        });
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread that has closed");
        }
    }

    /// Kills children at a random moment, together; what they did at it.
    pub fn kill(&mut self, victims: &[usize], random: &mut Random) -> Vec<String> {
        let scale = 10 + random.below(13);
        spin(Duration::from_nanos(random.below(1 << scale)));
        for victim in victims {
            self.cast[*victim].child.0.kill().expect("a child");
        }
        let mut phases = Vec::new();
        for victim in victims {
            let cast = &mut self.cast[*victim];
            cast.child.0.wait().expect("a child to reap");
            phases.push(phase_of(cast, self.phases.path()));
        }
        for victim in victims {
            let pid = self.cast[*victim].child.0.id();
            for channel in &self.channels {
                let named = channel.bindings().iter().any(|binding| binding.process_id == pid);
                assert!(!named, "{pid} is dead, yet bound: {:?}", channel.bindings());
            }
            // It is replaced, or not there any more.
            self.cast[*victim].serial = 0;
        }
        phases
    }

    /// Kills one, several or all of the children, sometimes their successors while they start, and
    /// waits until all go on.
    pub fn kill_some(&mut self, random: &mut Random, toll: &mut Toll) {
        let count = match random.below(10) {
            0 => self.cast.len(),
            1..3 => 2.min(self.cast.len()),
            _ => 1,
        };
        let first = random.below(self.cast.len() as u64) as usize;
        let victims: Vec<usize> = (first..first + count).map(|at| at % self.cast.len()).collect();
        let phases = self.kill(&victims, random);
        let killed = Instant::now();
        toll.add(phases);
        for victim in victims {
            let part = self.cast[victim].part;
            while random.below(3) == 0 {
                let mut early = self.start(part, random);
                // Most of a start is not yet joining.
                let from = [0, 600][random.below(2) as usize];
                spin(self.start.mul_f64((from + random.below(1_200 - from)) as f64 / 1_000.0));
                early.child.kill();
                toll.add(vec![phase_of(&early, self.phases.path())]);
            }
            let started = Instant::now();
            self.cast[victim] = self.start(part, random);
            let serial = self.cast[victim].serial;
            self.wait("that a successor joins", |scene| scene.known[&serial].is_joined);
            self.start = (self.start + started.elapsed()) / 2;
        }
        self.await_all_going();
        toll.recovered(killed);
    }

    /// Closes the channels, waits until everybody has gone, and drops everything.
    pub fn end(mut self) {
        self.channels.iter().for_each(SharedMemoryChannel::close);
        self.cast.retain(|cast| cast.serial != 0);
        self.wait("that all end", |scene| scene.present().all(|known| known.has_ended));
        for known in self.known.values() {
            // Not one more for each who was killed: the second half of its life is as the first was at
            // its height, when everybody had met everybody.
            let (first, second) = known.resources.split_at(known.resources.len() / 2);
            let height = |of: fn(&(u64, u64)) -> u64| first.iter().map(of).max();
            if let (Some(entries), Some(maps), Some((more_entries, more_maps))) =
                (height(|of| of.0), height(|of| of.1), second.last())
            {
                let has_kept = *more_entries > entries + 30 || *more_maps > maps + 60;
                assert!(!has_kept, "descriptors and mappings pile up: {:?}", known.resources);
            }
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread that has closed");
        }
        for mut cast in self.cast.drain(..) {
            let status = cast.child.0.wait().expect("a child to reap");
            assert!(status.success(), "player {}: {status}", cast.serial);
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // After a failure too, threads that wait are to end.
        self.channels.iter().for_each(SharedMemoryChannel::close);
    }
}

fn phase_of(cast: &Cast, phases: &Path) -> String {
    let role = match (cast.part.from, cast.part.to) {
        (None, _) => "publisher",
        (_, None) => "subscriber",
        _ => "relay",
    };
    let phase = std::fs::read(phases.join(cast.serial.to_string())).ok();
    let letter = phase.and_then(|phase| phase.first().copied()).unwrap_or_default();
    format!("{role} {}", Phase::name(letter))
}
