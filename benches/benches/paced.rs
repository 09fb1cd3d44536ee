//! Paced streams to a consumer that is asleep between frames: 50 frames/s of 20 ms audio, and
//! 30 frames/s of 1080p RGB, one way, with the default channel options.
//!
//! Shown are the one-way latency, and the CPU time of both processes as a share of a core. Beside
//! it, in turn and in one run: the same pacing with one byte through a pipe, which is what a wake
//! itself costs. Frames are lent and touched, not filled. Run by `cargo bench -p benches --bench
//! paced`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::child::{self, Child, cpu_time};
use benches::{Times, median, promise};
use rm_core::{
    AudioFormat, AudioLayout, ChannelId, DataHeader, DataMetadata, MessageKind, RuntimeData,
    VideoFormat,
};
use rm_ipc::{ChannelOptions, Doorbell, Namespace, SharedMemoryChannel, monotonic_ns};

const CHANNEL_ROLE: &str = "channel";
const PIPE_ROLE: &str = "pipe";
const ROUNDS: usize = 2;
const ROUND: Duration = Duration::from_secs(4);
/// Frames before those that are measured: they pay for the memory.
const WARM_UP: u32 = 8;
/// The share of a core that a stream may take, in percent.
const LIMIT_PERCENT: f64 = 2.0;

fn main() -> Result<()> {
    match child::role()? {
        Some(role) if role.name == CHANNEL_ROLE => return consume_channel(&role.args),
        Some(role) if role.name == PIPE_ROLE => return consume_pipe(),
        Some(role) => bail!("there is no role {}", role.name),
        None => {}
    }
    let (format, layout) = (AudioFormat::F32, AudioLayout::Interleaved);
    let audio = DataMetadata::Audio { sample_rate: 48_000, channels: 1, format, layout };
    let format = VideoFormat::Rgb24;
    let video = DataMetadata::Video { width: 1920, height: 1080, format, fps: 30.0 };
    let streams = [
        Stream { name: "audio, 3,840 B at 50/s", rate: 50, size: 3_840, metadata: audio },
        Stream { name: "1080p, 6,220,800 B at 30/s", rate: 30, size: 6_220_800, metadata: video },
    ];
    println!(
        "one way, consumer asleep between frames, {ROUNDS} rounds of {} s: the median round\n",
        ROUND.as_secs()
    );
    println!(
        "{:<28} {:<14} {:>10} {:>9} {:>15} {:>15}",
        "stream", "wake", "median us", "p99 us", "consumer CPU", "producer CPU"
    );
    let mut verdicts = Vec::new();
    for stream in &streams {
        let (mut ours, mut pipe) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(stream.through_channel()?);
            pipe.push(stream.through_pipe()?);
        }
        let ours = Figures::middle(&ours);
        let pipe = Figures::middle(&pipe);
        stream.print("rm-ipc", &ours);
        stream.print("pipe, 8 bytes", &pipe);
        let most = ours.consumer.max(ours.producer);
        let text = format!("{}: under 2 % of a core a side; {most:.2} %", stream.name);
        verdicts.push((most < LIMIT_PERCENT, text));
    }
    println!();
    verdicts.iter().for_each(|(met, text)| promise(*met, text));
    Ok(())
}

struct Stream {
    name: &'static str,
    rate: u32,
    size: usize,
    metadata: DataMetadata,
}

/// What one round gave: times in microseconds, CPU time in percent of a core.
struct Figures {
    median: f64,
    p99: f64,
    consumer: f64,
    producer: f64,
}

impl Figures {
    fn middle(rounds: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(rounds.iter().map(field));
        Self {
            median: of(|round| round.median),
            p99: of(|round| round.p99),
            consumer: of(|round| round.consumer),
            producer: of(|round| round.producer),
        }
    }
}

impl Stream {
    fn frames(&self) -> u32 {
        WARM_UP + self.rate * ROUND.as_secs() as u32
    }

    fn print(&self, wake: &str, figures: &Figures) {
        let Figures { median, p99, consumer, producer } = figures;
        println!(
            "{:<28} {wake:<14} {median:>10.1} {p99:>9.1} {consumer:>13.2} % {producer:>13.2} %",
            self.name
        );
    }

    fn through_channel(&self) -> Result<Figures> {
        let namespace = Namespace::create()?;
        let id = ChannelId::new("frames")?;
        let channel = SharedMemoryChannel::create(&namespace, &id, ChannelOptions::default())?;
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let publisher = channel.publisher(&bell)?;
        let folder = namespace.folder().to_str().context("the path is UTF-8")?;
        let mut child = Child::start(CHANNEL_ROLE, &[folder])?;
        ensure!(child.hear()? == "ready", "the child is not ready");
        let figures = self.pace(
            &mut child,
            || {
                let mut loan = publisher.loan_uninit(self.size)?;
                let bytes = loan.bytes_mut();
                bytes[self.size - 8..].fill(1);
                bytes[..8].copy_from_slice(&monotonic_ns().to_le_bytes());
                Ok(loan.written(&DataHeader::new(self.metadata.clone(), 0))?.send()?)
            },
            || Ok(publisher.publish(&RuntimeData::end_of_stream())?),
        )?;
        ensure!(channel.copied_bytes() == 0, "frames were copied");
        Ok(figures)
    }

    fn through_pipe(&self) -> Result<Figures> {
        let (read, write) = std::io::pipe()?;
        let mut child = Child::start_with(PIPE_ROLE, &[], Stdio::from(read))?;
        ensure!(child.hear()? == "ready", "the child is not ready");
        let put = |number: u64| Ok((&write).write_all(&number.to_le_bytes())?);
        // A time that cannot be is the end.
        self.pace(&mut child, || put(monotonic_ns()), || put(0))
    }

    /// Sends frames at the stream's rate and adds the consumer's figures to the producer's.
    fn pace(
        &self,
        child: &mut Child,
        mut send: impl FnMut() -> Result<()>,
        end: impl FnOnce() -> Result<()>,
    ) -> Result<Figures> {
        let period = Duration::from_secs(1) / self.rate;
        let mut due = Instant::now();
        let (mut began, mut cpu) = (due, Duration::ZERO);
        for frame in 0..self.frames() {
            due += period;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if frame == WARM_UP {
                (began, cpu) = (Instant::now(), cpu_time());
            }
            send()?;
        }
        let producer = percent(cpu_time() - cpu, began.elapsed());
        end()?;
        let heard = child.hear_figures()?;
        let [count, median, p99, consumer] = heard[..] else { bail!("four figures expected") };
        ensure!(count == f64::from(self.frames() - WARM_UP), "{count} frames came");
        Ok(Figures { median, p99, consumer, producer })
    }
}

fn percent(cpu: Duration, wall: Duration) -> f64 {
    100.0 * cpu.as_secs_f64() / wall.as_secs_f64()
}

/// The consumer: takes frames and tells, at the end, how late they were and what that cost.
struct Consumer {
    seen: u32,
    times: Times,
    began: Instant,
    cpu: Duration,
}

impl Consumer {
    fn new() -> Result<Self> {
        println!("ready");
        Ok(Self { seen: 0, times: Times::new()?, began: Instant::now(), cpu: Duration::ZERO })
    }

    fn take(&mut self, sent_ns: u64) -> Result<()> {
        let late = monotonic_ns().saturating_sub(sent_ns);
        self.seen += 1;
        if self.seen > WARM_UP {
            self.times.add(Duration::from_nanos(late))?;
        } else {
            (self.began, self.cpu) = (Instant::now(), cpu_time());
        }
        Ok(())
    }

    fn tell(&self) {
        let cpu = percent(cpu_time() - self.cpu, self.began.elapsed());
        let (median, p99) = (self.times.median_us(), self.times.p99_us());
        println!("{} {median} {p99} {cpu}", self.seen - WARM_UP);
    }
}

fn consume_channel(args: &[String]) -> Result<()> {
    let [folder] = args else { bail!("expected a folder") };
    let namespace = Namespace::open(Path::new(folder))?;
    let bell = Arc::new(Doorbell::create(&namespace)?);
    let mut from =
        SharedMemoryChannel::open(&namespace, &ChannelId::new("frames")?)?.subscriber(&bell)?;
    let mut consumer = Consumer::new()?;
    loop {
        let data = from.recv()?;
        if data.header().kind == MessageKind::EndOfStream {
            consumer.tell();
            return Ok(());
        }
        let (first, last) = (data.payload().first_chunk(), data.payload().last());
        ensure!(last == Some(&1), "a frame that was not written to its end");
        consumer.take(u64::from_le_bytes(*first.context("a frame starts with its time")?))?;
    }
}

fn consume_pipe() -> Result<()> {
    let mut stdin = std::io::stdin().lock();
    let mut consumer = Consumer::new()?;
    loop {
        let mut sent_ns = [0; 8];
        stdin.read_exact(&mut sent_ns)?;
        match u64::from_le_bytes(sent_ns) {
            0 => {
                consumer.tell();
                return Ok(());
            }
            sent_ns => consumer.take(sent_ns)?,
        }
    }
}
