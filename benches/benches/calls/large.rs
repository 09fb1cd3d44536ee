//! A payload of 64 MiB, there and back.
//!
//! Main function: [`large`]. The receiver sums what it gets, so that every byte is read.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use benches::median;

use super::SERVE;
use super::ask::{Ask, Said, sum};
use super::echo::Blocking;
use super::ours::{Ours, Threads};

const LEN: usize = 64 << 20;
const ROUNDS: usize = 9;

/// Measures and prints it.
pub fn large() -> Result<()> {
    let ours = Ours::start(SERVE, Threads::Current)?;
    let mut bare = Blocking::sum(LEN)?;
    let bytes = vec![1; LEN];
    let [mut copied, mut summed, mut written, mut there, mut back] = [const { Vec::new() }; 5];
    let mut target = vec![0_u8; LEN];
    for _ in 0..ROUNDS {
        let time = |times: &mut Vec<f64>, work: &mut dyn FnMut() -> Result<u64>| {
            let began = Instant::now();
            let found = work()?;
            times.push(began.elapsed().as_secs_f64() * 1e3);
            ensure!(found == LEN as u64, "{found} is not the sum");
            anyhow::Ok(())
        };
        time(&mut copied, &mut || {
            black_box(&mut target).copy_from_slice(black_box(&bytes));
            Ok(target.len() as u64)
        })?;
        time(&mut summed, &mut || Ok(sum(black_box(&bytes))))?;
        time(&mut written, &mut || bare.send(&bytes))?;
        let mut request = Some(Ask::Sum(bytes.clone().into()));
        time(&mut there, &mut || {
            let request = request.take();
            ours.run(async move |child| {
                match child.call(&request.unwrap_or(Ask::Fill(0))).await? {
                    Said::Number(sum) => Ok(sum),
                    other => bail!("not what was asked for: {other:?}"),
                }
            })
        })?;
        time(&mut back, &mut || {
            ours.run(async |child| match child.call(&Ask::Fill(LEN)).await? {
                Said::Bytes(bytes) => Ok(sum(&bytes)),
                other => bail!("not what was asked for: {other:?}"),
            })
        })?;
    }
    println!("\n64 MiB {:>50} {:>10}", "ms", "GiB/s");
    for (name, times) in [
        ("memcpy in one process", copied),
        ("sum in one process", summed),
        ("bare socket, blocking, and sum", written),
        ("Rust child: there, and sum", there),
        ("Rust child: filled there, back, and sum", back),
    ] {
        let took = median(times);
        println!("{name:<46} {took:>10.1} {:>10.1}", LEN as f64 / (1 << 30) as f64 / took * 1e3);
    }
    Ok(())
}
