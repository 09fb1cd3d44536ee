//! Whether Python nodes compute at the same time: four of them, ten milliseconds an item each, against
//! the same four called one after another in one interpreter.
//!
//! Main function: [`parallel`].

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use benches::nodes::blank;
use benches::{median, promise, python_folder};
use serde_json::{Value, json};

use crate::bed::{Bed, chain};

const NODES: usize = 4;
const ITEMS: usize = 100;
const ROUNDS: usize = 3;
const PROMISE: f64 = 1.7;

/// Measures and prints it.
pub fn parallel(beds: &[Bed]) -> Result<()> {
    let Some(bed) = beds.iter().find(|bed| bed.is_python()) else {
        println!("not measured: it needs Python");
        return Ok(());
    };
    let (turns, _) = in_one_interpreter(bed, None)?;
    let params = json!({"turns": turns});
    let manifest = chain((0..NODES).map(|_| bed.worker("Compute", params.clone())));
    let (mut alone, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(in_one_interpreter(bed, Some(turns))?.1);
        let session = bed.start(&manifest)?;
        ours.push(bed.run(through(&session))?);
        bed.run(session.close());
    }
    let cores = std::thread::available_parallelism()?;
    println!("{NODES} Python nodes that compute 10 ms an item, {ITEMS} items, {cores} cores\n");
    let ratio = median(alone.iter().zip(&ours).map(|(alone, ours)| alone / ours));
    let limit = cores.get().min(NODES);
    for (name, item_us) in [("one interpreter, one after another", &alone), ("a session", &ours)] {
        let item_us = median(item_us.iter().copied());
        println!("{name:<38} {:>10.2} ms an item {:>8.1} items/s", item_us / 1e3, 1e6 / item_us);
    }
    println!();
    let text =
        format!("{ratio:.2}x of one interpreter; promised {PROMISE}x, the limit is {limit}x");
    promise(ratio >= PROMISE, &text);
    Ok(())
}

/// Turns of the computation, and microseconds an item.
fn in_one_interpreter(bed: &Bed, turns: Option<u64>) -> Result<(u64, f64)> {
    let mut command = Command::new(bed.interpreter());
    command.arg(python_folder().join("compute.py"));
    command.args(turns.map(|turns| turns.to_string()));
    let output = command.output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "compute.py failed:\n{stderr}");
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let turns = told["turns"].as_u64().context("compute.py gave no turns")?;
    Ok((turns, told["item_us"].as_f64().context("compute.py gave no time")?))
}

/// Microseconds an item, from the first one in to the last one out.
async fn through(session: &rm_session::Session) -> Result<f64> {
    let began = Instant::now();
    let feed = async {
        for _ in 0..ITEMS {
            session.send("n0", blank(3_840)?).await?;
        }
        session.finish();
        anyhow::Ok(())
    };
    let take = async {
        let mut came = 0;
        while session.recv().await?.is_some() {
            came += 1;
        }
        ensure!(came == ITEMS, "{came} of {ITEMS} items came out");
        Ok(began.elapsed())
    };
    let ((), took) = tokio::try_join!(feed, take)?;
    Ok(took.as_secs_f64() * 1e6 / ITEMS as f64)
}
