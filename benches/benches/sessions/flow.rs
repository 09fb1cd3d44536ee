//! How much goes through sessions: one, two and four of them at once, and pipelines of 1 to 16 nodes.
//!
//! Main functions: [`throughput`] and [`scaling`]; [`flow`] is what they measure with.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::median;
use benches::nodes::blank;
use rm_session::Session;

use crate::bed::{Bed, On, chain};
use crate::peers;

const ITEM: usize = 3_840;
/// How long items are sent.
const LIMIT: Duration = Duration::from_secs(1);
const ROUNDS: usize = 3;

/// Sends items into a session for [`LIMIT`], takes what comes, ends the session and gives the items a
/// second.
pub async fn flow(session: &Session, len: usize) -> Result<f64> {
    let began = Instant::now();
    let feed = async {
        let mut sent = 0_u64;
        while began.elapsed() < LIMIT {
            session.send("n0", blank(len)?).await?;
            sent += 1;
        }
        session.finish();
        anyhow::Ok(sent)
    };
    let take = async {
        let mut came = 0_u64;
        while session.recv().await?.is_some() {
            came += 1;
        }
        anyhow::Ok((came, began.elapsed()))
    };
    let (sent, (came, took)) = tokio::try_join!(feed, take)?;
    ensure!(came == sent, "{came} of {sent} items came out");
    Ok(came as f64 / took.as_secs_f64())
}

/// As [`flow`], with several sessions at once; gives what all of them carry.
fn flows(bed: &Bed, nodes: &[On], count: usize) -> Result<f64> {
    let manifest = chain(nodes.iter().map(|on| bed.forward(*on)));
    let sessions = (0..count).map(|_| bed.start(&manifest)).collect::<Result<Vec<_>>>()?;
    bed.run(async {
        let mut flowing = tokio::task::JoinSet::new();
        for session in sessions {
            flowing.spawn(async move {
                let rate = flow(&session, ITEM).await;
                session.close().await;
                rate
            });
        }
        let mut sum = 0.0;
        while let Some(rate) = flowing.join_next().await {
            sum += rate.context("a task of the bench")??;
        }
        Ok(sum)
    })
}

fn middle(mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    Ok(median((0..ROUNDS).map(|_| measure()).collect::<Result<Vec<_>>>()?))
}

/// Sessions at once.
pub fn throughput(beds: &[Bed]) -> Result<()> {
    println!(
        "{ITEM} B items a second through sessions of native -> worker -> native, {ROUNDS} rounds\n"
    );
    println!("{:<32} {:>12} {:>12} {:>12}", "sessions at once", "in all", "each", "to one");
    for bed in beds {
        let mut one = f64::NAN;
        for count in [1, 2, 4] {
            let all = middle(|| flows(bed, &[On::Native, On::Worker, On::Native], count))?;
            one = if count == 1 { all } else { one };
            let name = format!("{count}, {} worker", bed.name);
            let (each, to_one) = (all / count as f64, all / one);
            println!("{name:<32} {all:>12.0} {each:>12.0} {to_one:>11.2}x");
        }
    }
    let peer = middle(|| peers::streamed(ITEM, LIMIT))?;
    println!("{:<32} {peer:>12.0}", "peer: echo over a socket");
    Ok(())
}

/// Pipelines of different lengths.
pub fn scaling(beds: &[Bed]) -> Result<()> {
    println!("{ITEM} B items a second through one session by its length, {ROUNDS} rounds\n");
    println!("{:<38} {:>12} {:>14} {:>12}", "nodes", "items/s", "us an item", "us a node");
    let [rust, ..] = beds else { return Ok(()) };
    let row = |bed: &Bed, what: String, on: On, count: usize| -> Result<()> {
        let rate = middle(|| flows(bed, &vec![on; count], 1))?;
        let item_us = 1e6 / rate;
        let node_us = item_us / count as f64;
        println!("{what:<38} {rate:>12.0} {item_us:>14.2} {node_us:>12.2}");
        Ok(())
    };
    for count in [1, 2, 4, 8, 16] {
        row(rust, format!("{count} native, in one stage"), On::Native, count)?;
    }
    for count in [1, 2, 4, 8, 16] {
        row(rust, format!("{count} native, a thread each"), On::Thread, count)?;
    }
    for bed in beds {
        for count in [1, 2, 4, 8] {
            row(bed, format!("{count} {} workers", bed.name), On::Worker, count)?;
        }
    }
    let peer = middle(|| peers::streamed(ITEM, LIMIT))?;
    println!("{:<38} {peer:>12.0} {:>14.2}", "peer: one echo over a socket", 1e6 / peer);
    Ok(())
}
