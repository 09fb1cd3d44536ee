//! Many calls at once, and streams.
//!
//! Main functions: [`at_once`] and [`streams`].

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::{Times, median};
use rm_process::SubprocessIpcBackend;
use tokio::task::JoinSet;

use super::SERVE;
use super::ask::Ask;
use super::echo::{Async, Blocking};
use super::ours::{Ours, Threads, echo};

const CALLS: usize = 10_000;
const STREAMS: usize = 1_000;
const ITEMS: usize = 10;
/// Streams that are open at once in the second measurement.
const OPEN: usize = 100;
const ROUNDS: usize = 9;

/// 10,000 calls at once.
pub fn at_once() -> Result<()> {
    let current = Ours::start(SERVE, Threads::Current)?;
    let multi = Ours::start(SERVE, Threads::Multi)?;
    let mut bare = Async::echo()?;
    let [mut bare_took, mut current_took, mut multi_took] =
        [Times::new()?, Times::new()?, Times::new()?];
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        bare_took.add(timed(|| bare.at_once(CALLS))?)?;
        let before = Memory::begin()?;
        current_took.add(timed(|| current.run(calls))?)?;
        memory.push(before.peak()?);
        multi_took.add(timed(|| multi.run(calls))?)?;
    }
    println!("\n{CALLS} calls at once {:>37} {:>10}", "ms, all", "us, each");
    for (name, took) in [
        ("bare socket, tokio, written one by one", bare_took),
        ("Rust child, parent on one thread", current_took),
        ("Rust child, parent on two threads", multi_took),
    ] {
        let each = took.median_us() / CALLS as f64;
        println!("{name:<46} {:>10.1} {each:>10.2}", took.median_us() / 1e3);
    }
    let peak = memory.iter().copied().fold(0.0, f64::max);
    println!(
        "parent's memory at its peak, beyond what it had before: first {:.1} MiB, most {peak:.1} MiB",
        memory.first().copied().unwrap_or_default()
    );
    Ok(())
}

async fn calls(child: SubprocessIpcBackend<Ask>) -> Result<()> {
    let mut calls = JoinSet::new();
    for number in 0..CALLS as u64 {
        let child = child.clone();
        calls.spawn(async move { echo(&child, number).await });
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    Ok(())
}

/// 1,000 streams of 10 items.
pub fn streams() -> Result<()> {
    let ours = Ours::start(SERVE, Threads::Current)?;
    let mut bare = Blocking::items(ITEMS)?;
    let [mut bare_took, mut one_by_one, mut open_at_once] = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let took = timed(|| (0..STREAMS).try_for_each(|_| bare.round_trip(ITEMS)))?;
        bare_took.push(took.as_secs_f64());
        for (open, times) in [(1, &mut one_by_one), (OPEN, &mut open_at_once)] {
            let took = timed(|| ours.run(move |child| some_streams(child, open)))?;
            times.push(took.as_secs_f64());
        }
    }
    println!("\n{STREAMS} streams of {ITEMS} items {:>26} {:>14}", "us a stream", "items/s");
    for (name, times) in [
        ("bare socket, blocking, one by one", bare_took),
        ("Rust child, one by one", one_by_one),
        ("Rust child, 100 at once", open_at_once),
    ] {
        let took = median(times);
        let items = (STREAMS * ITEMS) as f64 / took;
        println!("{name:<46} {:>10.1} {items:>14.0}", took * 1e6 / STREAMS as f64);
    }
    Ok(())
}

async fn some_streams(child: SubprocessIpcBackend<Ask>, open: usize) -> Result<()> {
    let mut consumers = JoinSet::new();
    for _ in 0..open {
        let child = child.clone();
        consumers.spawn(async move {
            for _ in 0..STREAMS / open {
                let mut stream = child.stream(&Ask::Count(ITEMS as u64)).await?;
                let mut items = 0;
                while let Some(item) = stream.next().await {
                    item?;
                    items += 1;
                }
                ensure!(items == ITEMS, "{items} items of {ITEMS}");
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = consumers.join_next().await {
        done??;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

/// What this process has of memory, in MiB.
struct Memory(f64);

impl Memory {
    /// Forgets the peak so far, by proc(5).
    fn begin() -> Result<Self> {
        fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self(status("VmRSS:")?))
    }

    /// How much more it was at its peak since then.
    fn peak(&self) -> Result<f64> {
        Ok(status("VmHWM:")? - self.0)
    }
}

fn status(name: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no such line")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
