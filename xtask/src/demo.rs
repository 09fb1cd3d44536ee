//! `cargo xtask demo`: from a clean clone to the running speech example.
//!
//! It prepares the environment and then becomes the `remotemedia` command, so that the terminal,
//! Ctrl-C and the exit code are the command's own.

use anyhow::Result;

use crate::cmd::Cmd;
use crate::python::{Requirements, Venv};
use crate::wheel;

/// The manifest that the demo runs.
const MANIFEST: &str = "examples/speech/pipeline.json";

/// What one can ask of the demo.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Further arguments for `remotemedia run`.
    #[arg(last = true)]
    pub extra: Vec<String>,
}

/// Runs the verb. Returns only on failure.
pub fn run(args: &Args) -> Result<()> {
    let venv = Venv::ensure()?;
    venv.require(&[Requirements::Build, Requirements::Demo])?;
    wheel::ensure(&venv)?;
    Cmd::new(venv.bin("remotemedia"))
        .args(["run", MANIFEST])
        .args(args.json.then_some("--json"))
        .args(&args.extra)
        .exec()
}
