//! What items that go from worker to worker cost their parent: nothing.
//!
//! Main function: [`edge`]. One item makes the first worker send 10,000 to the second, which says when
//! it has all of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::child::cpu_time;
use benches::{median, promise};
use rm_core::RuntimeData;
use rm_session::Session;
use serde_json::json;

use crate::bed::{Bed, chain};
use crate::process::{status, switches};

const ITEMS: u64 = 10_000;
const ROUNDS: usize = 9;
const SIZES: [(usize, &str); 2] = [(3_840, "3,840 B"), (64 << 10, "64 KiB")];

/// What one burst took of the parent.
struct Took {
    switches: f64,
    cpu_us: f64,
    elapsed: Duration,
}

/// Measures and prints everything.
pub fn edge(beds: &[Bed]) -> Result<()> {
    println!(
        "{ITEMS} items from worker to worker, {ROUNDS} rounds, medians of what the parent did"
    );
    println!("idle: as long, with one item instead\n");
    println!(
        "{:<24} {:>9} {:>10} {:>10} {:>10} {:>12} {:>12} {:>14}",
        "", "ms", "switches", "idle", "beyond", "CPU, us", "idle, us", "mapped, KiB"
    );
    let mut verdicts = Vec::new();
    for bed in beds {
        for (size, name) in SIZES {
            let (beyond, text) = measure(bed, size, name)?;
            let text = format!("{text} by {ITEMS} items: {beyond:.0} switches of the parent");
            verdicts.push((beyond <= ITEMS as f64 / 1e3, format!("{text}; promised none")));
        }
    }
    println!();
    verdicts.iter().for_each(|(met, text)| promise(*met, text));
    Ok(())
}

fn measure(bed: &Bed, size: usize, name: &str) -> Result<(f64, String)> {
    let nodes = [bed.worker("Burst", json!({"size": size})), bed.worker("Tally", json!({}))];
    let session = bed.start(&chain(nodes))?;
    once(bed, &session, ITEMS, Duration::ZERO)?;
    // What the parent would map to read the items.
    let mapped = status("RssShmem")?;
    let (mut bursts, mut idles) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let burst = once(bed, &session, ITEMS, Duration::ZERO)?;
        idles.push(once(bed, &session, 1, burst.elapsed)?);
        bursts.push(burst);
    }
    let mapped = status("RssShmem")? as i64 - mapped as i64;
    let of = |rounds: &[Took], field: fn(&Took) -> f64| median(rounds.iter().map(field));
    let (with, without) = (of(&bursts, |took| took.switches), of(&idles, |took| took.switches));
    let pairs = bursts.iter().zip(&idles);
    let beyond = median(pairs.map(|(burst, idle)| burst.switches - idle.switches));
    let name = format!("{}, {name}", bed.name);
    println!(
        "{name:<24} {:>9.1} {with:>10.0} {without:>10.0} {beyond:>10.0} {:>12.0} {:>12.0} {mapped:>14}",
        of(&bursts, |took| took.elapsed.as_secs_f64() * 1e3),
        of(&bursts, |took| took.cpu_us),
        of(&idles, |took| took.cpu_us),
    );
    bed.run(async {
        session.finish();
        ensure!(session.recv().await?.is_none(), "more came out than was counted");
        anyhow::Ok(())
    })?;
    let (_, connections) = session.reports();
    let edge = &connections[0];
    let sent = ITEMS * (ROUNDS as u64 + 1) + ROUNDS as u64;
    ensure!((edge.messages, edge.missed) == (sent, 0), "{edge:?}");
    println!(
        "{:<24} {} items, {} MB by the metrics, {} bytes of them copied",
        "",
        edge.messages,
        edge.bytes / 1_000_000,
        edge.copied_bytes
    );
    bed.run(session.close());
    Ok((beyond, name))
}

/// Has `count` items sent, and waits for them and until `at_least` is over.
fn once(bed: &Bed, session: &Session, count: u64, at_least: Duration) -> Result<Took> {
    let (before, cpu, began) = (switches()?, cpu_time(), Instant::now());
    let elapsed = bed.run(async {
        let bytes = count.to_ne_bytes().to_vec();
        let trigger = RuntimeData::tensor(bytes, vec![8], rm_core::TensorType::U8)?;
        session.send("n0", trigger).await?;
        let output = session.recv().await?.context("the session has ended too early")?;
        let counted = output.data.payload().first_chunk().copied().map(u64::from_ne_bytes);
        ensure!(counted == Some(count), "{counted:?} of {count} items came");
        let elapsed = began.elapsed();
        if let Some(rest) = at_least.checked_sub(elapsed) {
            tokio::time::sleep(rest).await;
        }
        anyhow::Ok(elapsed)
    })?;
    let cpu_us = (cpu_time() - cpu).as_secs_f64() * 1e6;
    Ok(Took { switches: (switches()? - before) as f64, cpu_us, elapsed })
}
