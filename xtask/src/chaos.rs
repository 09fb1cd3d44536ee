//! `cargo xtask chaos`: kills processes of a channel at random points, many thousand times, and
//! checks after each kill that the survivors go on.
//!
//! The test itself is one of rm-ipc's; with few kills it is part of `cargo test`.

use anyhow::{Result, ensure};

use crate::cmd::Cmd;

/// The test in rm-ipc.
const TEST: &str = "chaos::survivors_go_on_whoever_is_killed_wherever";

/// How many kills, and which.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Processes to kill.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// Seed of all that is random; the test's own if not given.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let mut cargo =
        Cmd::from_line("cargo test -p rm-ipc --release --test it -- --exact --nocapture")
            .arg(TEST)
            .env("REMOTEMEDIA_CHAOS_KILLS", args.kills.to_string());
    if let Some(seed) = args.seed {
        cargo = cargo.env("REMOTEMEDIA_CHAOS_SEED", seed.to_string());
    }
    let mut ran = false;
    cargo.run_with_lines(|line| ran |= line.starts_with("test result: ok. 1 passed"))?;
    ensure!(ran, "rm-ipc has no test {TEST}");
    Ok(())
}
