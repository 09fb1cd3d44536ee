//! One-way throughput between two processes with blocking backpressure, at depth 2, 16 and 100:
//! messages a second of 64 B, touched, and GB/s at 1 MiB, copied in and wholly read.
//!
//! Beside it, in one run: a Unix stream socket and a pipe doing the same work, length-prefixed; and
//! the physical limit, one thread's memcpy over as many warm buffers, and one thread's reading.
//! Figures are medians of blocks taken in turn. Run by `cargo bench -p benches --bench throughput`.

use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::child::{self, Child};
use benches::median;
use rm_core::{ChannelId, DataHeader, DataMetadata};
use rm_ipc::{ChannelOptions, Doorbell, Namespace, Publisher, ReceiveError, SharedMemoryChannel};

const CHANNEL_ROLE: &str = "channel";
const STREAM_ROLE: &str = "stream";
const DEPTHS: [u32; 3] = [2, 16, 100];
const SMALL: usize = 64;
const LARGE: usize = 1 << 20;
const BLOCKS: usize = 7;
/// What a block is to take; its number of messages is found from the first one.
const BLOCK: Duration = Duration::from_millis(300);

fn main() -> Result<()> {
    match child::role()? {
        Some(role) if role.name == CHANNEL_ROLE => return take_from_channel(&role.args),
        Some(role) if role.name == STREAM_ROLE => return take_from_stream(),
        Some(role) => bail!("there is no role {}", role.name),
        None => {}
    }
    let mut transports: Vec<Transport> =
        DEPTHS.iter().map(|depth| Transport::channel(*depth)).collect::<Result<_>>()?;
    transports.extend([Transport::socket()?, Transport::pipe()?]);
    let source: Vec<u8> = (0..LARGE).map(|place| (place % 251) as u8).collect();
    let small = measure(&mut transports, &source[..SMALL])?;
    let large = measure(&mut transports, &source)?;
    let gb = |per_second: f64| per_second * LARGE as f64 / 1e9;
    println!("one way between two processes, blocking: median (least, most) of {BLOCKS} blocks\n");
    println!(
        "{:<28} {:>26} {:>26}",
        "transport", "64 B, 1,000 messages/s", "1 MiB filled and read, GB/s"
    );
    for ((transport, small), large) in transports.iter().zip(&small).zip(&large) {
        let (small, large) = (show(small, |rate| rate / 1e3), show(large, gb));
        println!("{:<28} {small:>26} {large:>26}", transport.name);
    }
    println!();
    for depth in DEPTHS {
        let copying = repeat(
            |buffers, turn| {
                buffers[turn % depth as usize].copy_from_slice(black_box(&source));
            },
            depth as usize,
        );
        println!(
            "{:<55} {:>26}",
            format!("memcpy, one thread, {depth} buffers"),
            show(&copying, gb)
        );
    }
    let reading = repeat(
        |buffers, _| {
            black_box(sum(black_box(&buffers[0])));
        },
        1,
    );
    println!("{:<55} {:>26}", "reading, one thread", show(&reading, gb));
    Ok(())
}

fn show(rates: &[f64], unit: impl Fn(f64) -> f64) -> String {
    let least = rates.iter().copied().fold(f64::MAX, f64::min);
    let most = rates.iter().copied().fold(f64::MIN, f64::max);
    let figures = [median(rates.iter().copied()), least, most].map(unit);
    let [median, least, most] = figures.map(|figure| match figure {
        figure if figure < 100.0 => format!("{figure:.2}"),
        figure => format!("{figure:.0}"),
    });
    format!("{median} ({least}, {most})")
}

/// Rates of something that one thread does to `count` warm buffers, in calls a second.
fn repeat(mut work: impl FnMut(&mut [Vec<u8>], usize), count: usize) -> Vec<f64> {
    let mut buffers = vec![vec![1; LARGE]; count];
    (0..count).for_each(|turn| work(&mut buffers, turn));
    let block = |_| {
        let began = Instant::now();
        let mut calls = 0;
        while began.elapsed() < BLOCK / 3 {
            work(&mut buffers, calls);
            calls += 1;
        }
        calls as f64 / began.elapsed().as_secs_f64()
    };
    (0..BLOCKS).map(block).collect()
}

/// Messages a second through each transport, block by block.
fn measure(transports: &mut [Transport], source: &[u8]) -> Result<Vec<Vec<f64>>> {
    let mut counts = Vec::new();
    for transport in transports.iter_mut() {
        // The first block pays for memory, the second finds the number of messages.
        transport.block(source, 256)?;
        let rate = transport.block(source, 256)?;
        counts.push(((rate * BLOCK.as_secs_f64()) as u64).max(256));
    }
    let mut rates = vec![Vec::new(); transports.len()];
    for _ in 0..BLOCKS {
        for ((transport, count), rates) in transports.iter_mut().zip(&counts).zip(&mut rates) {
            rates.push(transport.block(source, *count)?);
        }
    }
    Ok(rates)
}

/// Sum of all 64-bit words, which needs every byte to be read.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    words.chain(rest.iter().map(|byte| u64::from(*byte))).fold(0, u64::wrapping_add)
}

/// A way of sending messages to a child, which sums up what it reads.
struct Transport {
    name: String,
    send: Send,
    child: Child,
}

enum Send {
    Channel(Publisher, #[expect(dead_code, reason = "owns the channel")] Namespace),
    Stream(Box<dyn Write>, Vec<u8>),
}

/// What stands before each message of a stream: its length.
const PREFIX: usize = 8;

impl Transport {
    fn channel(depth: u32) -> Result<Self> {
        let namespace = Namespace::create()?;
        let options = ChannelOptions { depth, capacity: 256 << 20, ..ChannelOptions::default() };
        let channel =
            SharedMemoryChannel::create(&namespace, &ChannelId::new("messages")?, options)?;
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let publisher = channel.publisher(&bell)?;
        let folder = namespace.folder().to_str().context("the path is UTF-8")?;
        let child = Child::start(CHANNEL_ROLE, &[folder])?;
        Ok(Self {
            name: format!("rm-ipc, depth {depth}"),
            send: Send::Channel(publisher, namespace),
            child,
        })
    }

    fn socket() -> Result<Self> {
        let (read, write) = UnixStream::pair()?;
        Self::stream("Unix socket", OwnedFd::from(read), write)
    }

    fn pipe() -> Result<Self> {
        let (read, write) = std::io::pipe()?;
        Self::stream("pipe", read.into(), write)
    }

    fn stream(name: &str, read: OwnedFd, write: impl Write + 'static) -> Result<Self> {
        let child = Child::start_with(STREAM_ROLE, &[], Stdio::from(read))?;
        let send = Send::Stream(Box::new(write), Vec::new());
        Ok(Self { name: name.to_owned(), send, child })
    }

    /// Sends `count` messages like `source`, waits until all are read, checks what was read, and
    /// tells the rate. The first word of a message is the number of those that follow.
    fn block(&mut self, source: &[u8], count: u64) -> Result<f64> {
        let began = Instant::now();
        for left in (0..count).rev() {
            self.send(source, left)?;
        }
        let heard = self.child.hear()?;
        let rate = count as f64 / began.elapsed().as_secs_f64();
        // Small messages are touched, not read.
        let rest = if source.len() == SMALL { 0 } else { sum(&source[8..]) };
        let expected =
            (0..count).fold(0_u64, |sum, left| sum.wrapping_add(left).wrapping_add(rest));
        ensure!(heard == expected.to_string(), "{}: {heard} read, not {expected}", self.name);
        Ok(rate)
    }

    fn send(&mut self, source: &[u8], left: u64) -> Result<()> {
        match &mut self.send {
            Send::Channel(publisher, _) => {
                let mut loan = publisher.loan_uninit(source.len())?;
                let bytes = loan.bytes_mut();
                if source.len() > SMALL {
                    bytes.copy_from_slice(source);
                }
                bytes[..8].copy_from_slice(&left.to_le_bytes());
                loan.written(&DataHeader::new(DataMetadata::Binary, 0))?.send()?;
            }
            Send::Stream(stream, message) => {
                if message.len() != PREFIX + source.len() {
                    *message = [&(source.len() as u64).to_le_bytes(), source].concat();
                }
                message[PREFIX..PREFIX + 8].copy_from_slice(&left.to_le_bytes());
                stream.write_all(message)?;
            }
        }
        Ok(())
    }
}

/// The child's side: what it has read of a block.
#[derive(Default)]
struct Reader {
    sum: u64,
}

impl Reader {
    fn take(&mut self, message: &[u8]) -> Result<()> {
        let left = u64::from_le_bytes(*message.first_chunk().context("a message has 8 bytes")?);
        let read = if message.len() == SMALL { left } else { sum(message) };
        self.sum = self.sum.wrapping_add(read);
        if left == 0 {
            println!("{}", std::mem::take(&mut self.sum));
        }
        Ok(())
    }
}

fn take_from_channel(args: &[String]) -> Result<()> {
    let [folder] = args else { bail!("expected a folder") };
    let namespace = Namespace::open(Path::new(folder))?;
    let bell = Arc::new(Doorbell::create(&namespace)?);
    let mut from =
        SharedMemoryChannel::open(&namespace, &ChannelId::new("messages")?)?.subscriber(&bell)?;
    let mut reader = Reader::default();
    loop {
        match from.recv() {
            Err(ReceiveError::ChannelClosed) => return Ok(()),
            data => reader.take(data?.payload())?,
        }
    }
}

fn take_from_stream() -> Result<()> {
    // Not through the standard input's own buffer, which would be one more copy.
    let stdin = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut stream = BufReader::with_capacity(64 << 10, stdin);
    let (mut reader, mut message) = (Reader::default(), Vec::new());
    let mut prefix = [0; PREFIX];
    while stream.read_exact(&mut prefix).is_ok() {
        let len = usize::try_from(u64::from_le_bytes(prefix))?;
        ensure!(len <= LARGE, "message of {len} bytes");
        message.resize(len, 0);
        stream.read_exact(&mut message)?;
        reader.take(&message)?;
    }
    Ok(())
}
