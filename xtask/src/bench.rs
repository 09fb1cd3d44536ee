//! `cargo xtask bench [name]`: runs the benchmarks against the installed wheel.
//!
//! It measures nothing itself: each topic is a file of the package `benches`, or, for `python` and
//! `media`, the program in `benches/python/wheel` or `benches/python/media`.

use anyhow::Result;

use crate::cmd::{Cmd, root};
use crate::python::{PYTHON_VARIABLE, Requirements, Venv};
use crate::wheel;

/// The topics that are written in Python, with what they need and their programs.
const IN_PYTHON: [(&str, &[Requirements], &str); 2] = [
    ("python", &[Requirements::Bench], "benches/python/wheel"),
    ("media", &[Requirements::Bench, Requirements::Media], "benches/python/media"),
];

/// Which benchmarks.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One topic; all of them if not given.
    name: Option<String>,
    /// Further arguments for the benchmark: of `sessions`, `bridges`, `calls`, `nodes`,
    /// `python` and `media` the parts to run.
    #[arg(last = true)]
    extra: Vec<String>,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    let venv = Venv::ensure()?;
    wheel::ensure(&venv)?;
    let is_wanted = |topic: &str| args.name.as_deref().is_none_or(|name| name == topic);
    if args.name.is_none() || !IN_PYTHON.iter().any(|(topic, ..)| is_wanted(topic)) {
        let mut cargo = Cmd::new("cargo").args(["bench", "-p", "benches"]);
        if let Some(name) = &args.name {
            cargo = cargo.args(["--bench", name]);
        }
        if !args.extra.is_empty() {
            cargo = cargo.arg("--").args(&args.extra);
        }
        cargo.env(PYTHON_VARIABLE, venv.bin("python")).run()?;
    }
    for (_, lists, program) in IN_PYTHON.iter().filter(|(topic, ..)| is_wanted(topic)) {
        venv.require(lists)?;
        let python = Cmd::new(venv.bin("python")).args(["-W", "error"]).arg(root().join(program));
        python.args(&args.extra).env_remove("PYTHONPATH").run()?;
    }
    Ok(())
}
