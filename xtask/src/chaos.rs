//! `cargo xtask chaos`: kills processes at random points, many thousand times, and checks after each
//! kill that the survivors of a channel go on, and that nobody survives who should not.
//!
//! The tests themselves are rm-ipc's and rm-process's; with few kills they are part of `cargo test`.

use anyhow::{Result, ensure};

use crate::cmd::Cmd;

/// How many kills, of whom, and which.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose processes to kill; of both if not given.
    #[arg(long)]
    of: Option<Of>,
    /// Processes to kill; 10,000 of channels and 1,000 of process trees if not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    kills: Option<u64>,
    /// Seed of all that is random; the tests' own if not given.
    #[arg(long)]
    seed: Option<u64>,
}

/// Whose processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// Those that share a channel.
    Channels,
    /// A parent, its children and their children.
    Processes,
}

impl Of {
    /// The package, the test in it, and how many kills there are unless told otherwise.
    fn test(self) -> (&'static str, &'static str, u64) {
        match self {
            Self::Channels => {
                ("rm-ipc", "chaos::survivors_go_on_whoever_is_killed_wherever", 10_000)
            }
            Self::Processes => {
                ("rm-process", "chaos::nobody_survives_whoever_is_killed_whenever", 1_000)
            }
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    for of in [Of::Channels, Of::Processes] {
        if args.of.is_none_or(|wanted| wanted == of) {
            run_one(of, args)?;
        }
    }
    Ok(())
}

fn run_one(of: Of, args: &Args) -> Result<()> {
    let (package, test, kills) = of.test();
    let kills = args.kills.unwrap_or(kills);
    // The examples are the children of some tests; cargo builds them only with all tests.
    Cmd::from_line("cargo build --release --examples --package").arg(package).run()?;
    let mut cargo = Cmd::from_line("cargo test --release --test it --package")
        .args([package, "--", "--exact", "--nocapture", test])
        .env("REMOTEMEDIA_CHAOS_KILLS", kills.to_string());
    if let Some(seed) = args.seed {
        cargo = cargo.env("REMOTEMEDIA_CHAOS_SEED", seed.to_string());
    }
    let mut ran = false;
    cargo.run_with_lines(|line| ran |= line.starts_with("test result: ok. 1 passed"))?;
    ensure!(ran, "{package} has no test {test}");
    Ok(())
}
