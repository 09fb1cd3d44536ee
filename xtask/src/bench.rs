//! `cargo xtask bench [name]`: runs the benchmarks against the installed wheel.
//!
//! It measures nothing itself: each topic is a file of the package `benches`, or, for `python`, the
//! program in `benches/python/wheel`.

use anyhow::Result;

use crate::cmd::{Cmd, root};
use crate::python::{PYTHON_VARIABLE, Requirements, Venv};
use crate::wheel;

/// The topic that is written in Python.
const IN_PYTHON: &str = "python";

/// Which benchmarks.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One topic; all of them if not given.
    name: Option<String>,
    /// Further arguments for the benchmark: of `sessions`, `bridges`, `calls` and `python` the
    /// parts to run.
    #[arg(last = true)]
    extra: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let venv = Venv::ensure()?;
    wheel::ensure(&venv)?;
    if args.name.as_deref() != Some(IN_PYTHON) {
        let mut cargo = Cmd::new("cargo").args(["bench", "-p", "benches"]);
        if let Some(name) = &args.name {
            cargo = cargo.args(["--bench", name]);
        }
        if !args.extra.is_empty() {
            cargo = cargo.arg("--").args(&args.extra);
        }
        cargo.env(PYTHON_VARIABLE, venv.bin("python")).run()?;
    }
    if args.name.as_deref().is_none_or(|name| name == IN_PYTHON) {
        venv.require(&[Requirements::Bench])?;
        let program = root().join("benches/python/wheel");
        let python = Cmd::new(venv.bin("python")).args(["-W", "error"]).arg(program);
        python.args(&args.extra).env_remove("PYTHONPATH").run()?;
    }
    Ok(())
}
