//! What channels cost before a message is sent: making one, opening it in another process, joining
//! at both ends; and what 1,000 of them in one namespace take of memory and descriptors.
//!
//! The promise is 5 ms for making and opening one channel; the limit of the machine beside it is
//! that of bare iceoryx2, on which a channel is built: a service and its two ports. Run by `cargo
//! bench -p benches --bench channels`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::child::{self, Child};
use benches::{Times, promise, raw};
use rm_core::{ChannelId, RuntimeData};
use rm_ipc::{ChannelOptions, Doorbell, Namespace, Publisher, SharedMemoryChannel, Subscriber};

const ROLE: &str = "opener";
const SINGLE: usize = 200;
const MANY: usize = 1_000;
/// Channels at each end of the many, whose times are shown apart.
const SHOWN: usize = 100;
const STEPS: [&str; 5] = ["create", "publisher", "open", "subscriber", "all four"];
/// The unit in which a file's size on disk is told, in bytes.
const BLOCK: u64 = 512;
const LIMIT_US: f64 = 5_000.0;

fn main() -> Result<()> {
    match child::role()? {
        Some(role) if role.name == ROLE => return opener(&role.args),
        Some(role) => bail!("there is no role {}", role.name),
        None => {}
    }
    println!("one channel between two processes, us: median (p99)\n");
    print!("{:<30}", "");
    STEPS.iter().for_each(|step| print!(" {step:>16}"));
    println!();
    let mut one = Side::start()?;
    let mut times = StepTimes::new()?;
    for turn in 0..SINGLE {
        times.add(&one.add(turn)?)?;
        one.publish()?;
        one.clear()?;
    }
    times.print(&format!("alone, {SINGLE} times"));
    let mut bare = StepTimes::new()?;
    for turn in 0..SINGLE {
        bare.add(&raw::join(one.namespace(), turn)?)?;
    }
    bare.print("bare iceoryx2, one process");
    drop(one);
    let worst = many(&mut Side::start()?)?;
    println!();
    let all = times.all();
    let text = format!(
        "create and open with both ports: under 5 ms; median {:.2} ms, p99 {:.2} ms",
        all.median_us() / 1e3,
        all.p99_us() / 1e3
    );
    promise(all.p99_us() < LIMIT_US, &text);
    let text = format!("the same beside 900 others: p99 {:.2} ms", worst.p99_us() / 1e3);
    promise(worst.p99_us() < LIMIT_US, &text);
    Ok(())
}

/// Makes the many, measures what they take, and gives the times of the last ones.
fn many(side: &mut Side) -> Result<Times> {
    let [mut first, mut rest, mut last] = [StepTimes::new()?, StepTimes::new()?, StepTimes::new()?];
    let before = side.usage()?;
    for turn in 0..MANY {
        let times = side.add(turn)?;
        match turn {
            turn if turn < SHOWN => first.add(&times)?,
            turn if turn >= MANY - SHOWN => last.add(&times)?,
            _ => rest.add(&times)?,
        }
    }
    first.print(&format!("the first {SHOWN} of {MANY}"));
    last.print(&format!("the last {SHOWN} of {MANY}"));
    let idle = side.usage()?;
    let began = Instant::now();
    side.publish()?;
    let sent = began.elapsed();
    let used = side.usage()?;
    println!("\n{MANY} channels at once; one message of 64 B through each: {sent:.1?} in all\n");
    println!(
        "{:<30} {:>16} {:>16} {:>16} {:>16} {:>16}",
        "per channel",
        "shared KiB",
        "producer's KiB",
        "consumer's KiB",
        "producer's fds",
        "consumer's fds"
    );
    idle.since(&before).print("idle");
    used.since(&before).print("after one message");
    let began = Instant::now();
    side.clear()?;
    println!("\nall closed and dropped: {:.1?}", began.elapsed());
    Ok(last.all().clone())
}

/// Times of the steps, and of all together.
struct StepTimes(Vec<Times>);

impl StepTimes {
    fn new() -> Result<Self> {
        Ok(Self(STEPS.iter().map(|_| Times::new()).collect::<Result<_>>()?))
    }

    fn add(&mut self, steps: &[Duration; 4]) -> Result<()> {
        let all = [steps.iter().sum()];
        self.0
            .iter_mut()
            .zip(steps.iter().chain(&all))
            .try_for_each(|(times, step)| times.add(*step))
    }

    fn all(&self) -> &Times {
        &self.0[STEPS.len() - 1]
    }

    fn print(&self, name: &str) {
        print!("{name:<30}");
        self.0.iter().for_each(|times| print!(" {times:>16}"));
        println!();
    }
}

/// What a namespace and its two processes take.
struct Usage {
    shared: u64,
    rss: [u64; 2],
    fds: [u64; 2],
}

impl Usage {
    fn since(&self, before: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let both = |now: [u64; 2], then: [u64; 2]| [less(now[0], then[0]), less(now[1], then[1])];
        Self {
            shared: less(self.shared, before.shared),
            rss: both(self.rss, before.rss),
            fds: both(self.fds, before.fds),
        }
    }

    fn print(&self, name: &str) {
        let per = |count: u64, unit: f64| count as f64 / unit / MANY as f64;
        let kib = |count: u64| per(count, 1024.0);
        let [producer, consumer] = self.rss.map(kib);
        let [producer_fds, consumer_fds] = self.fds.map(|count| per(count, 1.0));
        let shared = kib(self.shared);
        println!(
            "{name:<30} {shared:>16.1} {producer:>16.1} {consumer:>16.1} {producer_fds:>16.1} \
             {consumer_fds:>16.1}"
        );
    }
}

/// Resident memory of this process in bytes, shared memory included, and its descriptors.
fn own_usage() -> Result<[u64; 2]> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = rss.trim().trim_end_matches(" kB").parse()?;
    Ok([kib * 1024, std::fs::read_dir("/proc/self/fd")?.count() as u64])
}

/// Bytes of memory that the files of `namespace` take, as the file system counts them.
fn shared_bytes(namespace: &Namespace) -> Result<u64> {
    let prefix = format!("rm{}_", namespace.id());
    let base = namespace.folder().ancestors().nth(2).context("the folder of shared memory")?;
    let mut bytes = blocks(namespace.folder())?;
    for entry in std::fs::read_dir(base)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            bytes += entry.metadata()?.blocks() * BLOCK;
        }
    }
    Ok(bytes)
}

fn blocks(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * BLOCK;
        if metadata.is_dir() {
            bytes += blocks(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// The producer's side: makes channels and publishes.
struct Side {
    ends: Vec<(SharedMemoryChannel, Publisher)>,
    bell: Arc<Doorbell>,
    child: Child,
    namespace: Namespace,
}

impl Side {
    fn start() -> Result<Self> {
        let namespace = Namespace::create()?;
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let folder = namespace.folder().to_str().context("the path is UTF-8")?;
        let mut child = Child::start(ROLE, &[folder])?;
        ensure!(child.hear()? == "ready", "the child is not ready");
        Ok(Self { ends: Vec::new(), bell, child, namespace })
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Makes one more channel, joined at both ends, and tells how long the steps took.
    fn add(&mut self, turn: usize) -> Result<[Duration; 4]> {
        let id = ChannelId::new(format!("channel-{turn}"))?;
        let began = Instant::now();
        let channel = SharedMemoryChannel::create(&self.namespace, &id, ChannelOptions::default())?;
        let created = began.elapsed();
        let publisher = channel.publisher(&self.bell)?;
        let joined = began.elapsed() - created;
        self.child.say(&format!("open {id}"))?;
        let heard = self.child.hear_figures()?;
        let [open, subscribe] = heard[..] else { bail!("two figures expected") };
        self.ends.push((channel, publisher));
        let seconds = Duration::from_secs_f64;
        Ok([created, joined, seconds(open), seconds(subscribe)])
    }

    /// One message through each channel.
    fn publish(&mut self) -> Result<()> {
        for (turn, (_, publisher)) in self.ends.iter().enumerate() {
            let mut payload = vec![0; 64];
            payload[..8].copy_from_slice(&(turn as u64).to_le_bytes());
            publisher.publish(&RuntimeData::binary(payload)?)?;
        }
        self.child.say("receive")?;
        ensure!(self.child.hear()? == self.ends.len().to_string(), "messages are missing");
        Ok(())
    }

    /// Drops all channels at both ends.
    fn clear(&mut self) -> Result<()> {
        self.ends.clear();
        self.child.say("clear")?;
        ensure!(self.child.hear()? == "cleared", "the child kept its channels");
        Ok(())
    }

    fn usage(&mut self) -> Result<Usage> {
        self.child.say("usage")?;
        let heard = self.child.hear_figures()?;
        let [their_rss, their_fds] = heard[..] else { bail!("two figures expected") };
        let [rss, fds] = own_usage()?;
        let shared = shared_bytes(&self.namespace)?;
        Ok(Usage { shared, rss: [rss, their_rss as u64], fds: [fds, their_fds as u64] })
    }
}

/// The child: opens channels, subscribes, and takes messages, as it is told.
fn opener(args: &[String]) -> Result<()> {
    let [folder] = args else { bail!("expected a folder") };
    let namespace = Namespace::open(Path::new(folder))?;
    let bell = Arc::new(Doorbell::create(&namespace)?);
    let mut ends: Vec<(SharedMemoryChannel, Subscriber)> = Vec::new();
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((line.as_str(), "")) {
            ("open", name) => {
                let id = ChannelId::new(name)?;
                let began = Instant::now();
                let channel = SharedMemoryChannel::open(&namespace, &id)?;
                let opened = began.elapsed();
                let subscriber = channel.subscriber(&bell)?;
                let joined = began.elapsed() - opened;
                ends.push((channel, subscriber));
                println!("{} {}", opened.as_secs_f64(), joined.as_secs_f64());
            }
            ("receive", _) => {
                for (turn, (channel, subscriber)) in ends.iter_mut().enumerate() {
                    let data = subscriber.recv()?;
                    let right = data.payload().first_chunk() == Some(&(turn as u64).to_le_bytes());
                    ensure!(right, "{} brought another's message", channel.channel_id());
                }
                println!("{}", ends.len());
            }
            ("usage", _) => {
                let [rss, fds] = own_usage()?;
                println!("{rss} {fds}");
            }
            ("clear", _) => {
                ends.clear();
                println!("cleared");
            }
            (other, _) => bail!("there is no command {other}"),
        }
    }
    Ok(())
}
