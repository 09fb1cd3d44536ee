//! How long an item takes from one node to the next, idle and with all cores busy.
//!
//! Main function: [`hops`]. Items are paced: one is under way, and whoever waits for it sleeps. Each
//! node writes into the item when it was given it and when it gave it on; a hop is from the one to the
//! other, with everything that lies between.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::Times;
use benches::nodes::{blank, stamps};
use rm_ipc::monotonic_ns;

use crate::bed::{Bed, On, chain};
use crate::peers::{self, Spinners};

/// Bytes of an item, what they stand for, and how many of them a second.
const SIZES: [(usize, &str, u32); 3] = [
    (3_840, "3.84 KB, 20 ms of audio", 100),
    (3_840_000, "3.84 MB", 50),
    (6_220_800, "6.22 MB, 1080p RGB", 50),
];
const ITEMS: u32 = 200;
/// Items before those that are measured: they pay for the memory.
const WARM_UP: u32 = 10;
const NODES: [On; 5] = [On::Native, On::Native, On::Worker, On::Worker, On::Native];
/// The ways between them and to the caller.
const HOPS: [&str; 5] = [
    "native -> native, a call",
    "native -> worker, written once",
    "worker -> worker",
    "worker -> native",
    "native -> caller",
];

/// Measures and prints everything.
pub fn hops(beds: &[Bed]) -> Result<()> {
    println!("from node to node, one item under way, {ITEMS} items, us: median (p99)");
    for (load, is_busy) in [("idle", false), ("all cores busy", true)] {
        let _spinners = if is_busy { Some(Spinners::start()?) } else { None };
        for (len, name, rate) in SIZES {
            let every = Duration::from_secs(1) / rate;
            let mut columns = Vec::new();
            for bed in beds {
                columns.push((format!("{} workers", bed.name), measure(bed, len, every)?));
            }
            let wake = peers::one_way(8, ITEMS, every)?;
            let socket = peers::one_way(len, ITEMS, every)?;
            let memcpy = peers::memcpy(len, ITEMS, every)?;
            print!("\n{:<34}", format!("{name}, {load}"));
            columns.iter().for_each(|(kind, _)| print!(" {kind:>20}"));
            println!();
            for (place, hop) in HOPS.iter().enumerate() {
                print!("{hop:<34}");
                columns.iter().for_each(|(_, times)| print!(" {:>20}", times[place]));
                println!();
            }
            print!("{:<34}", "worker -> worker, as reported");
            columns.iter().for_each(|(_, times)| print!(" {:>20}", times[HOPS.len()]));
            println!();
            let show = |[median, p99]: [f64; 2]| format!("{median:.1} ({p99:.1})");
            println!("{:<34} {:>20}", "peer: a byte over a socket", show(wake));
            println!("{:<34} {:>20}", "peer: the item over a socket", show(socket));
            println!("{:<34} {memcpy:>20}", "limit: memcpy of it, as paced");
        }
    }
    Ok(())
}

/// Each hop, then what the session reports of the one between the workers.
fn measure(bed: &Bed, len: usize, every: Duration) -> Result<Vec<String>> {
    let session = bed.start(&chain(NODES.map(|on| bed.forward(on))))?;
    let mut times: Vec<Times> = HOPS.iter().map(|_| Times::new()).collect::<Result<_>>()?;
    bed.run(async {
        for number in 0..WARM_UP + ITEMS {
            tokio::time::sleep(every).await;
            session.send("n0", blank(len)?).await?;
            let output = session.recv().await?.context("the session has ended too early")?;
            let came = monotonic_ns();
            let mut marks = stamps(output.data.payload());
            ensure!(marks.len() == 2 * NODES.len(), "{} stamps", marks.len());
            marks.push(came);
            if number >= WARM_UP {
                // The first is when the first node was given it.
                for (hop, times) in marks[1..].chunks(2).zip(&mut times) {
                    times.add(Duration::from_nanos(hop[1].saturating_sub(hop[0])))?;
                }
            }
        }
        session.finish();
        ensure!(session.recv().await?.is_none(), "more came out than went in");
        anyhow::Ok(())
    })?;
    let (_, connections) = session.reports();
    let reported = connections[2].latency;
    bed.run(session.close());
    let mut shown: Vec<_> = times.iter().map(Times::to_string).collect();
    shown.push(format!("{:.1} ({:.1})", reported.median_us, reported.p99_us));
    Ok(shown)
}
