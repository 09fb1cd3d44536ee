//! What the benches share: sizes, timing, child processes, nodes, bare iceoryx2, the interpreter.
//!
//! Main type: [`Times`]. Nothing here is measured itself.

#![deny(unsafe_code)]

pub mod child;
pub mod nodes;
pub mod raw;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

/// Payload sizes, in bytes, with what they stand for.
pub const SIZES: [(usize, &str); 6] = [
    (64, "64 B"),
    (3_840, "20 ms audio"),
    (64 << 10, "64 KiB"),
    (1 << 20, "1 MiB"),
    (4 << 20, "4 MiB"),
    (10 << 20, "10 MiB"),
];

/// A distribution of times.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Times {
    /// No times yet.
    ///
    /// # Errors
    /// Never: the precision is a constant.
    pub fn new() -> Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    /// Calls `work` until `calls` calls or `limit` are over, whichever is first, after as many
    /// unmeasured calls as a tenth of that.
    ///
    /// # Errors
    /// What `work` fails with.
    pub fn measure(
        calls: u32,
        limit: Duration,
        mut work: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let began = Instant::now();
        for _ in 0..calls.div_ceil(10) {
            work()?;
            if began.elapsed() > limit / 10 {
                break;
            }
        }
        let mut times = Self::new()?;
        let began = Instant::now();
        for _ in 0..calls {
            let call = Instant::now();
            work()?;
            times.add(call.elapsed())?;
            if began.elapsed() > limit {
                break;
            }
        }
        Ok(times)
    }

    /// Adds one time.
    ///
    /// # Errors
    /// If it exceeds what 64 bits of nanoseconds can say.
    pub fn add(&mut self, time: Duration) -> Result<()> {
        Ok(self.0.record(u64::try_from(time.as_nanos())?)?)
    }

    /// Median, in microseconds.
    pub fn median_us(&self) -> f64 {
        self.0.value_at_quantile(0.5) as f64 / 1e3
    }

    /// 99th percentile, in microseconds.
    pub fn p99_us(&self) -> f64 {
        self.0.value_at_quantile(0.99) as f64 / 1e3
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.1} ({:.1})", self.median_us(), self.p99_us()))
    }
}

/// The middle one of some figures, which the noise of the others does not move.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line on a promise.
pub fn promise(met: bool, text: &str) {
    println!("{} {text}", if met { "met:   " } else { "MISSED:" });
}

/// The interpreter that has the wheel: `REMOTEMEDIA_PYTHON`, which `cargo xtask bench` sets.
///
/// # Errors
/// If the variable is not set, or the interpreter cannot import the wheel.
pub fn python() -> Result<PathBuf> {
    let python = std::env::var_os("REMOTEMEDIA_PYTHON").map(PathBuf::from);
    let python = python.context("REMOTEMEDIA_PYTHON is not set; run `cargo xtask bench`")?;
    let imported = Command::new(&python).args(["-c", "import remotemedia"]).status()?;
    ensure!(imported.success(), "{} cannot import remotemedia", python.display());
    Ok(python)
}

/// The folder of the Python files of the benches.
pub fn python_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// Runs one of the Python files and parses what it prints as JSON.
///
/// # Errors
/// If it fails, or prints something else.
pub fn run_python(python: &PathBuf, file: &str) -> Result<serde_json::Value> {
    let output = Command::new(python).arg(python_folder().join(file)).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{file} failed:\n{stderr}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
