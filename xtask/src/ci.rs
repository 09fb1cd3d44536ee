//! `cargo xtask ci`: everything that has to pass before a change goes in.
//!
//! Each section is something that a person can run. The tests and the demo are run through the
//! README's own words, [`TEST`] and [`DEMO`]. A failed section does not stop the others; the
//! summary at the end names each with its time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::cmd::{Cmd, root};
use crate::leftovers::Snapshot;
use crate::package;
use crate::python::{Requirements, Venv};
use crate::{fuzz, tidy, wheel};

/// The command with which the README runs the tests.
pub const TEST: &str = "cargo xtask test";
/// The command with which the README runs the demo.
pub const DEMO: &str = "cargo xtask demo";
/// The command that builds the documentation.
const DOCS: &str = "cargo xtask docs";
/// The verb itself.
pub const CI: &str = "cargo xtask ci";

/// Where Debian's alsa-utils puts its recordings.
const RECORDINGS: &str = "/usr/share/sounds/alsa";

/// The spoken ones, with what is said as their name, and one of noise amid them.
const RECORDING_NAMES: [&str; 9] = [
    "Front_Center.wav",
    "Front_Left.wav",
    "Front_Right.wav",
    "Rear_Center.wav",
    NOISE,
    "Rear_Left.wav",
    "Rear_Right.wav",
    "Side_Left.wav",
    "Side_Right.wav",
];
const NOISE: &str = "Noise.wav";

/// Runs the verb.
pub fn run() -> Result<()> {
    let before = Snapshot::take();
    let mut sections = Sections::default();
    sections.run("format", format);
    sections.run("clippy", || {
        Cmd::from_line(
            "cargo clippy --workspace --all-targets --features rm-ipc/tokio,rm-process/otlp,rm-process/kameo,rm-session/prometheus,rm-session/opentelemetry -- -D warnings",
        )
        .run()
    });
    sections.run("documentation", || {
        Cmd::from_line("cargo doc --workspace --no-deps --features rm-ipc/tokio,rm-process/otlp,rm-process/kameo,rm-session/prometheus,rm-session/opentelemetry")
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()
    });
    sections.run("tidy", tidy::run);
    sections.run("aarch64", package::check_aarch64);
    sections.run("packages", package::pack);
    sections.run("python style", python_style);
    // What follows is done with the wheel as it would be released, which need not be built twice.
    let mut wheel = None;
    sections.run("released wheel", || {
        wheel = Some(wheel::release()?);
        Ok(())
    });
    let with_wheel = |line| match &wheel {
        Some(wheel) => Cmd::from_line(line).env(wheel::VARIABLE, wheel),
        None => Cmd::from_line(line),
    };
    sections.run(TEST, || with_wheel(TEST).run());
    sections.run("short fuzzing", || fuzz::for_seconds(10));
    sections.run("python types", python_types);
    sections.run(DOCS, || with_wheel(DOCS).run());
    sections.run(DEMO, || with_wheel(DEMO).run());
    sections.run("demo's text", || demo_text(with_wheel(DEMO)));
    sections.run("README's programs", readme_programs);
    sections.run("human recordings", || human_recordings(with_wheel(DEMO)));
    sections.run("nothing left behind", || nothing_left(&before));
    sections.finish()
}

/// How a section ended that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Done,
    /// It could not run here, for this reason.
    Skipped(String),
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Done
    }
}

#[derive(Default)]
struct Sections {
    done: Vec<(&'static str, Duration, Result<Outcome>)>,
}

impl Sections {
    fn run<T: Into<Outcome>>(&mut self, name: &'static str, section: impl FnOnce() -> Result<T>) {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = section().map(Into::into);
        match &result {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Skipped(why)) => eprintln!("skipped: {why}"),
            Err(error) => eprintln!("error: {error:#}"),
        }
        self.done.push((name, start.elapsed(), result));
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        for (name, time, result) in &self.done {
            let outcome = match result {
                Ok(Outcome::Done) => "ok".to_owned(),
                Ok(Outcome::Skipped(why)) => format!("SKIPPED: {why}"),
                Err(error) => format!("FAILED: {error:#}"),
            };
            let line = format!("{name:<22}{:>7.1} s  {outcome}\n", time.as_secs_f64());
            text.push_str(&line);
        }
        let total: Duration = self.done.iter().map(|(_, time, _)| *time).sum();
        text + &format!("{:<22}{:>7.1} s", "all", total.as_secs_f64())
    }

    fn finish(self) -> Result<()> {
        println!("\n{}", self.summary());
        let is_failed = |(name, _, result): &(&'static str, _, Result<Outcome>)| {
            result.is_err().then_some(*name)
        };
        let failed: Vec<_> = self.done.iter().filter_map(is_failed).collect();
        ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
        Ok(())
    }
}

fn format() -> Result<()> {
    for (package, _) in fuzz::PACKAGES {
        Cmd::from_line(&format!("cargo fmt --check --manifest-path {package}/Cargo.toml")).run()?;
    }
    Cmd::from_line("cargo fmt --all --check").run()
}

fn python_style() -> Result<()> {
    let venv = Venv::ensure()?;
    venv.require(&[Requirements::Dev])?;
    let ruff = || Cmd::new(venv.bin("ruff"));
    let checked = ruff().args(["check", "."]).run();
    ruff().args(["format", "--check", "."]).run()?;
    checked
}

/// Compares the stubs in the installed wheel with the module that they describe, and checks the types
/// of the packages and the examples as strictly as pyright can.
fn python_types() -> Result<()> {
    let venv = Venv::ensure()?;
    // The examples import what the demo does.
    venv.require(&[Requirements::Demo, Requirements::Dev])?;
    let python = venv.bin("python");
    let stubs =
        Cmd::new(&python).args(["-m", "mypy.stubtest", "remotemedia_runtime._native"]).run();
    Cmd::new(venv.bin("pyright")).arg("--pythonpath").arg(python).run()?;
    stubs
}

fn demo_text(demo: Cmd) -> Result<()> {
    compare_text(&commands()?, &report(demo, &[])?)
}

/// Runs the two programs of the README, and checks that they are the ones printed there.
fn readme_programs() -> Result<()> {
    let (rust, python) = ("rm-session/examples/speech.rs", "examples/speech/speech.py");
    let read = |path: &str| {
        fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))
    };
    let readme = read("README.md")?;
    for path in [rust, python] {
        let text = read(path)?;
        let program = text.split_once("\n\n").map_or(text.as_str(), |(_head, program)| program);
        ensure!(readme.contains(program.trim()), "the README does not show {path} as it is");
    }
    let venv = Venv::ensure()?;
    let with_wheel = |cmd: Cmd| cmd.env("REMOTEMEDIA_PYTHON", venv.bin("python"));
    let rust = "cargo run --quiet -p rm-session --features nodes --example speech";
    let commands = commands()?;
    for cmd in [Cmd::from_line(rust), Cmd::new(venv.bin("python")).arg(python)] {
        let output = with_wheel(cmd).output()?;
        let heard: Vec<_> =
            output.lines().filter_map(|line| line.strip_prefix("heard: ")).collect();
        ensure!(heard == commands, "heard {heard:?}, expected {commands:?}");
    }
    Ok(())
}

/// What is said in the example's recording.
fn commands() -> Result<Vec<String>> {
    let path = root().join("examples/speech/commands.txt");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(str::to_owned).collect())
}

fn human_recordings(demo: Cmd) -> Result<()> {
    let dir = Path::new(RECORDINGS);
    install_recordings(dir)?;
    let paths: Vec<PathBuf> = RECORDING_NAMES.iter().map(|name| dir.join(name)).collect();
    let set = format!("source.path={}", json!(paths));
    let spoken: Vec<_> = RECORDING_NAMES
        .iter()
        .filter(|name| **name != NOISE)
        .map(|name| spoken_text(name))
        .collect();
    compare_text(&spoken, &report(demo, &["--set", &set])?)
}

/// What is said in the recording of that name.
fn spoken_text(name: &str) -> String {
    name.trim_end_matches(".wav").replace('_', " ").to_lowercase()
}

fn install_recordings(dir: &Path) -> Result<()> {
    let missing = || -> Vec<_> {
        let names = RECORDING_NAMES.iter().copied();
        names.filter(|name| !dir.join(name).is_file()).collect()
    };
    if missing().is_empty() {
        return Ok(());
    }
    ensure!(
        Path::new("/usr/bin/apt-get").exists(),
        "{} is missing {}; they come with Debian's package alsa-utils, and there is no apt-get here \
         to install it",
        dir.display(),
        missing().join(", ")
    );
    let is_root = Cmd::from_line("id -u").output()?.trim() == "0";
    let sudo = if is_root { "" } else { "sudo " };
    Cmd::from_line(&format!("{sudo}apt-get update")).run()?;
    Cmd::from_line(&format!("{sudo}apt-get install -y --no-install-recommends alsa-utils"))
        .run()?;
    ensure!(
        missing().is_empty(),
        "alsa-utils is installed, but {} still lacks {}",
        dir.display(),
        missing().join(", ")
    );
    Ok(())
}

/// Runs the demo with `--json` and gives its report.
fn report(demo: Cmd, extra: &[&str]) -> Result<Value> {
    let mut demo = demo.arg("--json");
    if !extra.is_empty() {
        demo = demo.arg("--").args(extra);
    }
    let stdout = demo.output()?;
    serde_json::from_str(&stdout)
        .with_context(|| format!("the demo's report is not JSON: {}", stdout.trim()))
}

/// The texts that the recogniser gave, in their order; none if the report has none.
fn recognised_text(report: &Value) -> Vec<String> {
    let texts = report["outputs"]["heard"].as_array();
    let texts = texts.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn compare_text(expected: &[impl AsRef<str>], report: &Value) -> Result<()> {
    let found = recognised_text(report);
    let expected: Vec<_> = expected.iter().map(AsRef::as_ref).collect();
    ensure!(!expected.is_empty(), "there is no expected text to compare with");
    if found == expected {
        println!("recognised {} of {}: {}", found.len(), expected.len(), found.join(", "));
        return Ok(());
    }
    bail!("recognised {found:?} instead of {expected:?}")
}

fn nothing_left(before: &Snapshot) -> Result<()> {
    let left = Snapshot::take().new_since(before);
    ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognised(texts: &[&str]) -> Value {
        json!({ "outputs": { "heard": texts } })
    }

    #[test]
    fn the_same_texts_in_the_same_order_pass() {
        compare_text(&["front left", "side right"], &recognised(&["front left", "side right"]))
            .unwrap();
    }

    #[test]
    fn other_texts_fail_and_both_are_shown() {
        let report = recognised(&["rear left"]);
        let error = compare_text(&["front left"], &report).unwrap_err().to_string();
        assert_eq!(error, r#"recognised ["rear left"] instead of ["front left"]"#);
    }

    #[test]
    fn extra_missing_and_absent_texts_fail() {
        for report in [recognised(&["a", "b"]), recognised(&[]), json!({}), json!([1])] {
            assert!(compare_text(&["a"], &report).is_err(), "{report}");
        }
        let nothing: [&str; 0] = [];
        assert!(compare_text(&nothing, &recognised(&[])).is_err());
    }

    #[test]
    fn recordings_say_their_names() {
        assert_eq!(spoken_text("Front_Center.wav"), "front center");
        let spoken = RECORDING_NAMES.iter().filter(|name| **name != NOISE);
        assert_eq!(spoken.count(), 8);
    }

    #[test]
    fn a_failed_section_is_named_and_does_not_stop_the_others() {
        let mut sections = Sections::default();
        let mut ran = false;
        sections.run("first", || -> Result<()> { bail!("broken") });
        sections.run("second", || {
            ran = true;
            Ok(())
        });
        assert!(sections.summary().contains("FAILED: broken"), "{}", sections.summary());
        assert_eq!(sections.finish().unwrap_err().to_string(), "failed: first");
        assert!(ran);
    }

    #[test]
    fn a_skipped_section_says_why_and_fails_nothing() {
        let mut sections = Sections::default();
        sections.run("first", || Ok(Outcome::Skipped("no compiler".to_owned())));
        assert!(sections.summary().contains("SKIPPED: no compiler"), "{}", sections.summary());
        sections.finish().unwrap();
    }
}
