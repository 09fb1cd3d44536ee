//! `cargo xtask miri`: runs tests under Miri, which finds undefined behaviour, and wrong orders of
//! memory access that the processor at hand would not show.
//!
//! Miri knows no shared mappings, no FIFOs and no polling. Tests that need one of them are marked
//! where they stand, or named here. It installs nothing: Miri comes with the nightly toolchain.

use anyhow::{Result, bail};

use crate::cmd::Cmd;

/// The crates whose unit tests are run, each with what is left out because it makes files that
/// outlive the test, or starts processes.
const RUNS: [(&str, &[&str]); 2] =
    [("rm-core", &[]), ("rm-ipc", &["cleanup::tests::sweep_", "peer::"])];

/// Runs the verb.
pub fn run() -> Result<()> {
    let miri = "rustup run nightly cargo miri";
    if Cmd::from_line(&format!("{miri} --version")).output().is_err() {
        bail!(
            "Miri is missing; install it with `rustup toolchain install nightly --component miri \
             --component rust-src`"
        );
    }
    for (name, left_out) in RUNS {
        Cmd::from_line(&format!("{miri} test --lib -p {name} --"))
            .args(left_out.iter().flat_map(|tests| ["--skip", tests]))
            .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-strict-provenance")
            // Miri is some hundred times slower than the processor.
            .env("PROPTEST_CASES", "4")
            .run()?;
    }
    Ok(())
}
