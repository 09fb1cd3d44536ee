//! `cargo xtask test`: all Rust tests with doctests, then all tests against the installed wheel:
//! those of Rust that start its workers, and those of Python.
//!
//! It closes with one line that sums up both. pytest runs in an empty folder, where the source of the
//! package cannot be imported by accident, with warnings as errors and 30 s a test.

use std::fs;
use std::io::IsTerminal;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cmd::{Cmd, root, target_dir};
use crate::python::{Requirements, Venv};
use crate::wheel;

/// Which half.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the Rust tests.
    #[arg(long, conflicts_with = "python")]
    rust: bool,
    /// Only the Python tests.
    #[arg(long)]
    python: bool,
}

/// Runs the verb. A failure of the Rust half does not keep the Python half from running.
pub fn run(args: &Args) -> Result<()> {
    let mut halves = Vec::new();
    if !args.python {
        halves.push(Half::run("Rust", rust));
    }
    if !args.rust {
        halves.push(Half::run("Python", python));
    }
    let summary: Vec<_> = halves.iter().map(Half::summary).collect();
    println!("tests: {}", summary.join("; "));
    let errors: Vec<_> = halves
        .iter()
        .filter_map(|half| half.result.as_ref().err())
        .map(|error| format!("{error:#}"))
        .collect();
    if errors.is_empty() { Ok(()) } else { bail!("{}", errors.join("; ")) }
}

struct Half {
    name: &'static str,
    passed: u64,
    seconds: f64,
    result: Result<()>,
}

impl Half {
    fn run(name: &'static str, tests: fn(&mut u64) -> Result<()>) -> Self {
        let start = Instant::now();
        let mut passed = 0;
        let result = tests(&mut passed);
        Self { name, passed, seconds: start.elapsed().as_secs_f64(), result }
    }

    fn summary(&self) -> String {
        let Self { name, passed, seconds, result } = self;
        let outcome = if result.is_ok() { "" } else { ", FAILED" };
        format!("{name} {passed} passed in {seconds:.1} s{outcome}")
    }
}

fn rust(passed: &mut u64) -> Result<()> {
    Cmd::new("cargo")
        .args([
            "test",
            "--workspace",
            "--no-fail-fast",
            "--features",
            "rm-ipc/tokio,rm-process/otlp,rm-process/kameo,rm-session/prometheus,rm-session/opentelemetry",
        ])
        .run_with_lines(|line| *passed += passed_by_cargo(line))
}

/// Names the interpreter to `rm-process/tests/wheel.rs`, `rm-process/tests/python`,
/// `rm-bridge/tests/python_nodes.rs` and `rm-session/tests/callbacks.rs`.
const TEST_PYTHON: &str = "REMOTEMEDIA_TEST_PYTHON";

fn python(passed: &mut u64) -> Result<()> {
    let venv = Venv::ensure()?;
    venv.require(&[Requirements::Build, Requirements::Demo, Requirements::Dev])?;
    wheel::ensure(&venv)?;
    let dir = target_dir()?.join("pytest");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    wheel::check_import(&venv, &dir)?;
    let supervised =
        Cmd::from_line("cargo test --package rm-process --package rm-bridge --package rm-session")
            .args(["--test", "wheel", "--test", "python", "--test", "python_nodes"])
            .args(["--test", "callbacks"])
            .env_remove("PYTHONPATH")
            .env(TEST_PYTHON, venv.bin("python"))
            .run_with_lines(|line| *passed += passed_by_cargo(line));
    let mut by_pytest = 0;
    let color = if std::io::stdout().is_terminal() { "--color=yes" } else { "--color=auto" };
    let pytest = Cmd::new(venv.bin("pytest"))
        .arg(root().join("rm-ffi/tests"))
        .args(["-W", "error", "--timeout", "30", color, "-o"])
        .arg(format!("cache_dir={}", dir.join("cache").display()))
        .dir(&dir)
        .env_remove("PYTHONPATH")
        .env("HYPOTHESIS_STORAGE_DIRECTORY", dir.join("hypothesis"))
        .run_with_lines(|line| {
            // The last line of pytest, such as `2 failed, 12 passed in 3.21s`, wins.
            if line.contains(" in ") && passed_in(line) > 0 {
                by_pytest = passed_in(line);
            }
        });
    *passed += by_pytest;
    // A failure of the one does not keep the other from running.
    supervised.and(pytest)
}

/// The number of tests that one of cargo's programs says have passed.
fn passed_by_cargo(line: &str) -> u64 {
    if line.starts_with("test result: ") { passed_in(line) } else { 0 }
}

/// The number before the word `passed`; 0 if there is none.
fn passed_in(line: &str) -> u64 {
    let Some((before, _)) = line.split_once(" passed") else {
        return 0;
    };
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted_in_the_words_of_both_runners() {
        for (line, expected) in [
            ("test result: ok. 17 passed; 0 failed; 0 ignored", 17),
            ("test result: FAILED. 3 passed; 1 failed", 3),
            ("====== 2 failed, 12 passed in 3.21s ======", 12),
            ("\u{1b}[32m\u{1b}[1m8 passed\u{1b}[0m in 0.1s", 8),
            ("5 passed in 1s", 5),
            ("nothing passed here", 0),
            ("no tests ran in 0.01s", 0),
        ] {
            assert_eq!(passed_in(line), expected, "{line}");
        }
    }

    #[test]
    fn of_cargos_lines_only_the_result_of_a_program_counts() {
        assert_eq!(passed_by_cargo("test result: ok. 17 passed; 0 failed"), 17);
        assert_eq!(passed_by_cargo("test three_passed ... ok; 3 passed"), 0);
    }

    #[test]
    fn a_failed_half_says_so() {
        let half =
            Half { name: "Rust", passed: 3, seconds: 1.25, result: Err(anyhow::anyhow!("x")) };
        assert_eq!(half.summary(), "Rust 3 passed in 1.2 s, FAILED");
    }
}
