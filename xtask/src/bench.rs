//! `cargo xtask bench [name]`: runs the benchmarks against the installed wheel.
//!
//! It measures nothing itself: each topic is a file of the package `benches`.

use anyhow::Result;

use crate::cmd::Cmd;
use crate::python::{PYTHON_VARIABLE, Venv};
use crate::wheel;

/// Which benchmarks.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One topic; all of them if not given.
    name: Option<String>,
    /// Further arguments for the benchmark: of `sessions`, `bridges` and `calls` the parts to run.
    #[arg(last = true)]
    extra: Vec<String>,
}

/// Runs the verb. Returns only on failure.
pub fn run(args: &Args) -> Result<()> {
    let venv = Venv::ensure()?;
    wheel::ensure(&venv)?;
    let mut cargo = Cmd::new("cargo").args(["bench", "-p", "benches"]);
    if let Some(name) = &args.name {
        cargo = cargo.args(["--bench", name]);
    }
    if !args.extra.is_empty() {
        cargo = cargo.arg("--").args(&args.extra);
    }
    cargo.env(PYTHON_VARIABLE, venv.bin("python")).exec()
}
