//! `cargo xtask fuzz`: feeds the decoders of what other processes wrote with bytes that libFuzzer
//! makes up, guided by the code that they reach.
//!
//! The targets are packages as `cargo fuzz` lays them out, and it can run them too; but all that
//! they need from it is compiler flags, which the stable compiler knows. Found inputs are kept
//! below the target folder, so that the next run goes on where the last one ended.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::cmd::{Cmd, host, root, target_dir};

/// Each package, a workspace of its own, with its targets.
pub const PACKAGES: [(&str, &[&str]); 2] =
    [("rm-core/fuzz", &["header"]), ("rm-process/fuzz", &["frames", "envelopes", "values"])];

/// What makes the compiler count the code that is reached and show the values that are compared.
const FLAGS: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// How long.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    for_seconds(args.seconds)
}

/// Fuzzes each target for so long.
///
/// # Errors
/// A target found an input that fails (the message of libFuzzer names its file), or cannot be
/// built.
pub fn for_seconds(seconds: u64) -> Result<()> {
    let compiler = Cmd::from_line("c++ --version").output();
    ensure!(
        compiler.is_ok(),
        "libFuzzer is built from C++, and there is no C++ compiler; install one with `sudo apt-get \
         install build-essential`"
    );
    let host = host()?;
    let target_dir = target_dir()?.join("fuzz");
    for (package, targets) in PACKAGES {
        // A named target keeps the flags away from build scripts and macros.
        Cmd::from_line("cargo build --release --target")
            .arg(&host)
            .arg("--manifest-path")
            .arg(root().join(package).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&target_dir)
            .env("RUSTFLAGS", FLAGS)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .run()?;
        for target in targets {
            let [corpus, failures] =
                ["corpus", "failures"].map(|of| target_dir.join(of).join(target));
            for dir in [&corpus, &failures] {
                fs::create_dir_all(dir)
                    .with_context(|| format!("cannot create {}", dir.display()))?;
            }
            Cmd::new(target_dir.join(&host).join("release").join(target))
                .arg(format!("-max_total_time={seconds}"))
                .arg(format!("-artifact_prefix={}/", failures.display()))
                .args(["-max_len=8192", "-timeout=10", "-verbosity=0", "-print_final_stats=1"])
                .arg(&corpus)
                .run()?;
        }
    }
    Ok(())
}
