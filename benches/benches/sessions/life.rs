//! The start and the end of sessions, the first item, and the memory that a session takes of its parent.
//!
//! Main functions: [`life`] and [`memory`].

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::child::FLAG;
use benches::nodes::blank;
use benches::{Times, median, promise};
use rm_session::Session;
use serde_json::json;

use crate::bed::{Bed, On, chain};
use crate::peers::SPEAK;
use crate::process::status;

const COUNTS: [usize; 3] = [1, 2, 4];
const ROUNDS: usize = 7;
/// Sessions at once, for their memory.
const SESSIONS: usize = 20;
const TURNS: usize = 3;
const ITEM: usize = 3_840;
/// Promises: milliseconds a node beyond its interpreter, until the first item, until all is gone; MB.
const START_MS: f64 = 150.0;
const FIRST_MS: f64 = 50.0;
const GONE_MS: f64 = 5_000.0;
const MEMORY_MB: f64 = 50.0;

/// Measures and prints everything.
pub fn life(beds: &[Bed]) -> Result<()> {
    let mut verdicts = Vec::new();
    println!("start and end of a session of so many workers, {ROUNDS} rounds, ms: median (p99)\n");
    println!(
        "{:<22} {:>18} {:>18} {:>14} {:>18} {:>18}",
        "", "created, ready", "processes alone", "beyond, a node", "first item", "ended, all gone"
    );
    for bed in beds {
        for count in COUNTS {
            starts(bed, count, &mut verdicts)?;
        }
    }
    for bed in beds.iter().filter(|bed| !bed.is_python()) {
        at_work(bed, &mut verdicts)?;
    }
    println!();
    verdicts.iter().for_each(|(met, text)| promise(*met, text));
    Ok(())
}

/// Measures and prints what sessions take of their parent's memory.
pub fn memory(beds: &[Bed]) -> Result<()> {
    let [bed, ..] = beds else { return Ok(()) };
    println!(
        "the parent, {SESSIONS} sessions of native -> worker -> native at once, {TURNS} times\n"
    );
    println!(
        "{:<22} {:>14} {:>14} {:>12} {:>14} {:>16}",
        "", "KiB a session", "of it private", "threads", "descriptors", "left after, KiB"
    );
    let mut most: f64 = 0.0;
    // What the first one leaves is the runtime's.
    end(bed, one(bed)?)?;
    for turn in 1..=TURNS {
        let before = Figures::now()?;
        let sessions = (0..SESSIONS).map(|_| one(bed)).collect::<Result<Vec<_>>>()?;
        let with = Figures::now()?;
        sessions.into_iter().try_for_each(|session| end(bed, session).map(drop))?;
        let left = Figures::now()?.rss - before.rss;
        let each = |field: fn(&Figures) -> f64| (field(&with) - field(&before)) / SESSIONS as f64;
        let kib = each(|figures| figures.rss);
        most = most.max(kib * 1_024.0 / 1e6);
        println!(
            "{:<22} {kib:>14.0} {:>14.0} {:>12.1} {:>14.1} {left:>16.0}",
            format!("time {turn}"),
            each(|figures| figures.private),
            each(|figures| figures.threads),
            each(|figures| figures.descriptors),
        );
    }
    println!();
    let text = format!("{most:.2} MB of the parent a session; promised {MEMORY_MB}");
    promise(most <= MEMORY_MB, &text);
    Ok(())
}

type Verdicts = Vec<(bool, String)>;

fn starts(bed: &Bed, count: usize, verdicts: &mut Verdicts) -> Result<()> {
    let manifest = chain((0..count).map(|_| bed.forward(On::Worker)));
    let [mut ready, mut alone, mut first, mut gone] =
        [Times::new()?, Times::new()?, Times::new()?, Times::new()?];
    let mut beyond = Vec::new();
    for _ in 0..ROUNDS {
        let peer = processes(bed, count)?;
        let began = Instant::now();
        let session = bed.start(&manifest)?;
        let started = began.elapsed();
        first.add(first_item(bed, &session)?)?;
        let pids = pids_of(&session);
        ensure!(pids.len() == count, "{} processes of {count}", pids.len());
        gone.add(end(bed, session)?)?;
        check_gone(&pids)?;
        beyond.push((started.as_secs_f64() - peer.as_secs_f64()) * 1e3 / count as f64);
        ready.add(started)?;
        alone.add(peer)?;
    }
    let beyond = median(beyond);
    let name = format!("{count} x {}", bed.name);
    println!(
        "{name:<22} {:>18} {:>18} {beyond:>14.1} {:>18} {:>18}",
        ms(&ready),
        ms(&alone),
        ms(&first),
        ms(&gone)
    );
    let text = format!("{name}: {beyond:.1} ms a node beyond its process; promised {START_MS}");
    verdicts.push((beyond <= START_MS, text));
    let (first, gone) = (first.p99_us() / 1e3, gone.p99_us() / 1e3);
    let text = format!("{name}: first item at most {first:.1} ms after ready; promised {FIRST_MS}");
    verdicts.push((first <= FIRST_MS, text));
    let text = format!("{name}: all gone after at most {gone:.0} ms; promised {GONE_MS}");
    verdicts.push((gone <= GONE_MS, text));
    Ok(())
}

fn ms(times: &Times) -> String {
    format!("{:.1} ({:.1})", times.median_us() / 1e3, times.p99_us() / 1e3)
}

/// How long as many processes take at once, without a session, until they have what a node's process
/// has: the interpreter with its imports, or the program itself.
fn processes(bed: &Bed, count: usize) -> Result<Duration> {
    let mut command = if bed.is_python() {
        let imports = "import remotemedia_runtime.worker, remotemedia, bench_nodes; print('ready')";
        let mut python = Command::new(bed.interpreter());
        python.args(["-u", "-X", "faulthandler", "-c", imports]);
        python
    } else {
        let mut own = Command::new(std::env::current_exe()?);
        own.args([FLAG, SPEAK]);
        own
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let began = Instant::now();
    let children = (0..count).map(|_| command.spawn()).collect::<Result<Vec<_>, _>>();
    let mut children = children.context("a process without a session")?;
    let hear = |child: &mut Child| -> Result<bool> {
        let stdout = child.stdout.as_mut().context("a pipe")?;
        Ok(BufReader::new(stdout).read_line(&mut String::new())? > 0)
    };
    let heard = children.iter_mut().map(hear).collect::<Result<Vec<_>>>();
    let took = began.elapsed();
    for child in &mut children {
        // It has said what it had to say.
        let _ = child.kill();
        child.wait()?;
    }
    ensure!(heard?.into_iter().all(|heard| heard), "a process ended before it was ready");
    Ok(took)
}

/// The end of a session whose worker is at an item for longer than anybody waits.
fn at_work(bed: &Bed, verdicts: &mut Verdicts) -> Result<()> {
    let manifest = chain([bed.worker("Slow", json!({"ms": 60_000})), bed.forward(On::Worker)]);
    let mut gone = Times::new()?;
    for _ in 0..ROUNDS {
        let session = bed.start(&manifest)?;
        let pids = pids_of(&session);
        bed.run(session.send("n0", blank(ITEM)?))?;
        let began = Instant::now();
        bed.run(session.close());
        gone.add(began.elapsed())?;
        check_gone(&pids)?;
    }
    println!(
        "{:<22} {:>18} {:>18} {:>14} {:>18} {:>18}",
        "closed at work",
        "",
        "",
        "",
        "",
        ms(&gone)
    );
    let most = gone.p99_us() / 1e3;
    let text = format!("closed at work: all gone after at most {most:.0} ms; promised {GONE_MS}");
    verdicts.push((most <= GONE_MS, text));
    Ok(())
}

fn pids_of(session: &Session) -> Vec<u32> {
    session.processes().iter().map(rm_bridge::NodeProcess::process_id).collect()
}

fn check_gone(pids: &[u32]) -> Result<()> {
    let left = pids.iter().find(|pid| Path::new("/proc").join(pid.to_string()).exists());
    ensure!(left.is_none(), "process {left:?} is left");
    Ok(())
}

fn first_item(bed: &Bed, session: &Session) -> Result<Duration> {
    let item = blank(ITEM)?;
    let began = Instant::now();
    bed.run(async {
        session.send("n0", item).await?;
        session.recv().await?.context("the session has ended too early")?;
        anyhow::Ok(())
    })?;
    Ok(began.elapsed())
}

/// Ends a session in order, and waits until nothing of it is left.
fn end(bed: &Bed, session: Session) -> Result<Duration> {
    let began = Instant::now();
    session.finish();
    bed.run(async {
        ensure!(session.recv().await?.is_none(), "more came out than went in");
        session.close().await;
        anyhow::Ok(())
    })?;
    Ok(began.elapsed())
}

/// A session that has carried an item.
fn one(bed: &Bed) -> Result<Session> {
    let session =
        bed.start(&chain([On::Native, On::Worker, On::Native].map(|on| bed.forward(on))))?;
    first_item(bed, &session)?;
    Ok(session)
}

/// What this process has at one moment; memory in KiB.
struct Figures {
    rss: f64,
    private: f64,
    threads: f64,
    descriptors: f64,
}

impl Figures {
    fn now() -> Result<Self> {
        Ok(Self {
            rss: status("VmRSS")? as f64,
            private: status("RssAnon")? as f64,
            threads: status("Threads")? as f64,
            descriptors: std::fs::read_dir("/proc/self/fd")?.count() as f64,
        })
    }
}
