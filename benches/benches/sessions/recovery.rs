//! How soon a session goes on: after a worker was killed, and after a flush.
//!
//! Main functions: [`restart`] and [`flush`].

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::Times;
use benches::nodes::{blank, stamps};
use rm_session::Session;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::bed::{Bed, On, chain};

const ROUNDS: usize = 15;
const ITEM: usize = 3_840;
/// The delay before each restart, which is the manifest's choice.
const BACKOFF_MS: u64 = 1;
/// How long a slow node takes for an item.
const SLOW_MS: u64 = 5;
/// What marks an item that was sent after a flush.
const MARK: u64 = 7;
/// Nobody has taken for so long: everything is full.
const FULL: Duration = Duration::from_millis(500);

fn ms(times: &Times) -> String {
    format!("{:.2} ({:.2})", times.median_us() / 1e3, times.p99_us() / 1e3)
}

/// From the death of a worker to the first item that its successor has made of what was waiting.
pub fn restart(beds: &[Bed]) -> Result<()> {
    println!("from kill -9 of a worker to the first item that it had not done, {ROUNDS} kills");
    println!("ms: median (p99); the delay before a restart is {BACKOFF_MS} ms\n");
    println!("{:<12} {:>22} {:>28}", "worker", "first item again", "a session's first start");
    for bed in beds {
        let mut worker = bed.forward(On::Worker);
        let backoff = json!({"initial_ms": BACKOFF_MS, "factor": 1.0, "max_ms": BACKOFF_MS,
                             "jitter": 0.0});
        worker["restart"] = json!({"always": {"backoff": backoff}});
        let manifest = chain([bed.forward(On::Native), worker, bed.forward(On::Native)]);
        let [mut again, mut start] = [Times::new()?, Times::new()?];
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let session = bed.start(&manifest)?;
            start.add(began.elapsed())?;
            again.add(bed.run(killed(&session))?)?;
            bed.run(session.close());
        }
        println!("{:<12} {:>22} {:>28}", bed.name, ms(&again), ms(&start));
    }
    println!("\nthe start is the limit: it ends where the successor's begins to take items");
    Ok(())
}

/// Stops the worker, so that it cannot take the item that comes then; kills it; waits for the item.
async fn killed(session: &Session) -> Result<Duration> {
    session.send("n0", blank(ITEM)?).await?;
    session.recv().await?.context("the session has ended too early")?;
    let processes = session.processes();
    let pid = processes.first().context("a worker")?.process_id();
    let pid = Pid::from_raw(pid.cast_signed()).context("a process has a number")?;
    kill_process(pid, Signal::STOP)?;
    session.send("n0", blank(ITEM)?).await?;
    let began = Instant::now();
    kill_process(pid, Signal::KILL)?;
    let output = session.recv().await?.context("the session has ended too early")?;
    let took = began.elapsed();
    ensure!(stamps(output.data.payload()).len() == 6, "an item that has not been everywhere");
    Ok(took)
}

/// A flush over a pipeline in which everything is full.
pub fn flush(beds: &[Bed]) -> Result<()> {
    let [bed, ..] = beds else { return Ok(()) };
    println!("flush of a full pipeline: native -> worker -> worker -> native, {ROUNDS} rounds");
    println!("the workers take {SLOW_MS} ms for an item; what is in work is finished first\n");
    let slow = || bed.worker("Slow", json!({"ms": SLOW_MS}));
    let native = || bed.forward(On::Native);
    let session = bed.start(&chain([native(), slow(), slow(), native()]))?;
    let [mut flushed, mut marked] = [Times::new()?, Times::new()?];
    let mut waiting = 0_u64;
    for _ in 0..ROUNDS {
        let round = bed.run(flushed_full(&session))?;
        waiting += round.waiting;
        flushed.add(round.flush)?;
        marked.add(round.first)?;
    }
    bed.run(session.close());
    let waiting = waiting / ROUNDS as u64;
    println!("items that waited                    {waiting:>16}");
    println!("flush                                {:>16} ms: median (p99)", ms(&flushed));
    println!("first item sent after it came out    {:>16} ms", ms(&marked));
    println!("limit: one in work, two workers      {:>16} ms", 3 * SLOW_MS);
    println!("peer: to let all of them come out    {:>16} ms", waiting * SLOW_MS);
    Ok(())
}

struct Round {
    waiting: u64,
    flush: Duration,
    first: Duration,
}

async fn flushed_full(session: &Session) -> Result<Round> {
    let mut waiting = 0;
    // Nobody takes what comes out.
    while let Ok(sent) = tokio::time::timeout(FULL, session.send("n0", blank(ITEM)?)).await {
        sent?;
        waiting += 1;
    }
    let began = Instant::now();
    session.flush().await?;
    let flush = began.elapsed();
    let began = Instant::now();
    session.send("n0", blank(ITEM)?.with_correlation(MARK)).await?;
    let output = session.recv().await?.context("the session has ended too early")?;
    ensure!(output.data.header().correlation_id == MARK, "an item from before the flush");
    Ok(Round { waiting, flush, first: began.elapsed() })
}
