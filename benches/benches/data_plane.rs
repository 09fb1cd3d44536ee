//! Round trip between two Rust processes through loan, send, receive, for 64 B to 10 MiB.
//!
//! Beside it, in one run and block by block in turn: the same messages over bare iceoryx2 with the
//! same adaptive wake, with its ports for one thread (`ipc`) and for several (`ipc_threadsafe`);
//! and for `publish` of heap data one memcpy of that size into warm memory, and bare iceoryx2 with
//! that memcpy into its loan.
//!
//! The message is touched at both ends, on both sides, and answered with a few bytes, so that
//! nothing but a copy depends on the size. Differences are taken block by block; a table shows the
//! median block. Run by `cargo bench -p benches --bench data_plane`.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use benches::child::{self, Child, Cores};
use benches::raw::{self, Raw, RawIpc, RawService, RawThreadsafe};
use benches::{SIZES, Times, median, promise};
use rm_core::{AudioFormat, AudioLayout, ChannelId, DataHeader, DataMetadata, RuntimeData};
use rm_ipc::{
    ChannelOptions, Doorbell, Namespace, Publisher, ReceiveError, SharedMemoryChannel, Subscriber,
};

const ROLE: &str = "answer";
const BLOCKS: usize = 21;
/// Length of a block: this many calls, or this time, whichever is less.
const CALLS: u32 = 1_000;
const TIME: Duration = Duration::from_millis(30);
/// What rm-ipc may take beyond bare iceoryx2, in microseconds.
const MARGIN_US: f64 = 1.0;

fn main() -> Result<()> {
    match child::role()? {
        Some(role) if role.name == ROLE => return answer(&role.args),
        Some(role) => return raw::answer(&role),
        None => {}
    }
    let mut sides = Sides {
        ipc: Raw::start()?,
        threadsafe: Raw::start()?,
        lent: Ours::start()?,
        published: Ours::start()?,
    };
    let cores = Cores::find()?;
    let children = sides.children();
    cores.free(&children)?;
    let free = sides.measure()?;
    println!("round trip between two processes, one message in flight, us: median (p99)");
    println!("\nleft to the kernel, which may put both sides on one core:\n");
    print(&free);
    if let Err(error) = cores.apart(&sides.children()) {
        println!("\n{error}: no promise can be judged");
        return Ok(());
    }
    let apart = sides.measure()?;
    println!("\na core for each side:\n");
    print(&apart);
    let (there, back) = (sides.lent.there.copied_bytes(), sides.lent.back.copied_bytes());
    ensure!(there == 0 && back == 0, "{there} and {back} bytes of what was lent were copied");
    println!("\ncopied of what was lent: 0 bytes of {}\n", sides.lent.there.bytes());
    judge(&apart);
    Ok(())
}

fn judge(rows: &[Row]) {
    let over: Vec<f64> = rows.iter().map(|row| row.over(LENT, IPC)).collect();
    let most = over.iter().copied().fold(f64::MIN, f64::max);
    let least = over.iter().copied().fold(f64::MAX, f64::min);
    promise(most <= MARGIN_US, &format!("lent: at most raw ipc + 1 us; at most {most:+.2} us"));
    let spread = most - least;
    let text = format!("lent: independent of size; {least:+.2} to {most:+.2} us beyond raw ipc");
    promise(spread <= MARGIN_US, &text);
    // A memcpy of megabytes varies by more than the margin.
    let allowed = |row: &Row| MARGIN_US.max(row.median(MEMCPY) / 20.0);
    let over = rows.iter().filter(|row| row.over(PUBLISHED, RAW_COPY) > allowed(row));
    let over: Vec<&str> = over.map(|row| row.name).collect();
    let text = "published: raw ipc with one memcpy, + 1 us or a twentieth of the memcpy";
    promise(over.is_empty(), &format!("{text}; beyond it: {over:?}"));
}

/// What is measured: bare iceoryx2 with both kinds of ports, and our two ways of sending.
struct Sides {
    ipc: Raw<RawIpc>,
    threadsafe: Raw<RawThreadsafe>,
    lent: Ours,
    published: Ours,
}

impl Sides {
    fn children(&self) -> [&Child; 4] {
        let Self { ipc, threadsafe, lent, published } = self;
        [ipc.child(), threadsafe.child(), &lent.child, &published.child]
    }

    fn measure(&mut self) -> Result<Vec<Row>> {
        SIZES.iter().map(|(size, name)| self.row(*size, name)).collect()
    }

    fn row(&mut self, size: usize, name: &'static str) -> Result<Row> {
        let Self { ipc, threadsafe, lent, published } = self;
        let heap = [1, 2].map(|tag| {
            let mut bytes = vec![7; size];
            raw::touch(&mut bytes, tag);
            RuntimeData::new(metadata(), bytes).expect("the size is one of whole samples")
        });
        let [one, two] = &heap;
        let mut target = vec![1; size];
        let mut row = Row { name, ways: Default::default() };
        for _ in 0..BLOCKS {
            row.ways[IPC].push(block(|tag| touch_raw(ipc, size, tag))?);
            row.ways[LENT].push(block(|tag| lent.lend(size, tag))?);
            row.ways[THREADSAFE].push(block(|tag| touch_raw(threadsafe, size, tag))?);
            row.ways[PUBLISHED]
                .push(block(|tag| published.publish(if tag == 1 { one } else { two }, tag))?);
            row.ways[RAW_COPY].push(block(|tag| {
                let from = if tag == 1 { one } else { two };
                ipc.round_trip(size, |bytes| bytes.copy_from_slice(from.payload()), tag)
            })?);
            row.ways[MEMCPY].push(block(|tag| {
                let from = if tag == 1 { one } else { two };
                target.copy_from_slice(black_box(from.payload()));
                black_box(&mut target);
                Ok(())
            })?);
        }
        Ok(row)
    }
}

const IPC: usize = 0;
const THREADSAFE: usize = 1;
const LENT: usize = 2;
const PUBLISHED: usize = 3;
const MEMCPY: usize = 4;
const RAW_COPY: usize = 5;

/// All that was measured at one size: for each way, its blocks.
struct Row {
    name: &'static str,
    ways: [Vec<Times>; 6],
}

impl Row {
    fn median(&self, way: usize) -> f64 {
        median(self.ways[way].iter().map(Times::median_us))
    }

    fn show(&self, way: usize) -> String {
        let p99 = median(self.ways[way].iter().map(Times::p99_us));
        format!("{:.2} ({p99:.1})", self.median(way))
    }

    /// What one way takes beyond another.
    fn over(&self, way: usize, peer: usize) -> f64 {
        let pairs = self.ways[way].iter().zip(&self.ways[peer]);
        median(pairs.map(|(way, peer)| way.median_us() - peer.median_us()))
    }
}

fn print(rows: &[Row]) {
    println!(
        "{:<12} {:>15} {:>15} {:>15} {:>8} {:>9} | {:>17} {:>17} {:>17} {:>8}",
        "payload",
        "raw ipc",
        "raw threadsafe",
        "lent",
        "to ipc",
        "to thr.s.",
        "memcpy",
        "raw ipc, copied",
        "published",
        "to raw"
    );
    for row in rows {
        println!(
            "{:<12} {:>15} {:>15} {:>15} {:>+8.2} {:>+9.2} | {:>17} {:>17} {:>17} {:>+8.2}",
            row.name,
            row.show(IPC),
            row.show(THREADSAFE),
            row.show(LENT),
            row.over(LENT, IPC),
            row.over(LENT, THREADSAFE),
            row.show(MEMCPY),
            row.show(RAW_COPY),
            row.show(PUBLISHED),
            row.over(PUBLISHED, RAW_COPY)
        );
    }
}

/// Measures one block. Messages are tagged 1 and 2 in turn, so that an old one is not taken for new.
fn block(mut work: impl FnMut(u8) -> Result<()>) -> Result<Times> {
    let mut tag = 1;
    Times::measure(CALLS, TIME, || {
        tag = 3 - tag;
        work(tag)
    })
}

fn touch_raw<S: RawService>(raw: &Raw<S>, size: usize, tag: u8) -> Result<()> {
    raw.round_trip(size, |bytes| raw::touch(bytes, tag), tag)
}

fn metadata() -> DataMetadata {
    let (format, layout) = (AudioFormat::F32, AudioLayout::Interleaved);
    DataMetadata::Audio { sample_rate: 48_000, channels: 1, format, layout }
}

/// A channel to a child process, and one back.
struct Ours {
    to: Publisher,
    from: Subscriber,
    there: SharedMemoryChannel,
    back: SharedMemoryChannel,
    child: Child,
    _namespace: Namespace,
}

impl Ours {
    fn start() -> Result<Self> {
        let namespace = Namespace::create()?;
        let options = ChannelOptions { depth: 4, ..ChannelOptions::default() };
        let [there, back] = ["there", "back"].map(|name| -> Result<SharedMemoryChannel> {
            Ok(SharedMemoryChannel::create(&namespace, &ChannelId::new(name)?, options)?)
        });
        let (there, back) = (there?, back?);
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let (to, from) = (there.publisher(&bell)?, back.subscriber(&bell)?);
        let folder = namespace.folder().to_str().context("the path is UTF-8")?;
        let mut child = Child::start(ROLE, &[folder])?;
        ensure!(child.hear()? == "ready", "the child is not ready");
        Ok(Self { to, from, there, back, child, _namespace: namespace })
    }

    fn lend(&mut self, size: usize, tag: u8) -> Result<()> {
        let mut loan = self.to.loan_uninit(size)?;
        raw::touch(loan.bytes_mut(), tag);
        loan.written(&DataHeader::new(metadata(), 0))?.send()?;
        raw::check(self.from.recv()?.payload(), tag)
    }

    fn publish(&mut self, data: &RuntimeData, tag: u8) -> Result<()> {
        self.to.publish(data)?;
        raw::check(self.from.recv()?.payload(), tag)
    }
}

/// The child: answers each message with its first and its last byte.
fn answer(args: &[String]) -> Result<()> {
    let [folder] = args else { bail!("expected a folder") };
    let namespace = Namespace::open(Path::new(folder))?;
    let bell = Arc::new(Doorbell::create(&namespace)?);
    let mut from =
        SharedMemoryChannel::open(&namespace, &ChannelId::new("there")?)?.subscriber(&bell)?;
    let to = SharedMemoryChannel::open(&namespace, &ChannelId::new("back")?)?.publisher(&bell)?;
    println!("ready");
    loop {
        let data = match from.recv() {
            Err(ReceiveError::ChannelClosed) => return Ok(()),
            data => data?,
        };
        let mut loan = to.loan_uninit(raw::ANSWER)?;
        loan.bytes_mut().copy_from_slice(&raw::ends(data.payload()));
        loan.written(&DataHeader::new(metadata(), 0))?.send()?;
    }
}
