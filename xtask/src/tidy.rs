//! `cargo xtask tidy`: the rules of this repository that no compiler checks, all reported at once.
//!
//! Each check is a pure function from what it looks at to its list of problems; this file gathers
//! what they look at. It changes nothing.

mod dependencies;
mod directions;
mod files;
mod licences;
mod readme;
mod unsafe_code;

use std::fs;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{CargoOpt, MetadataCommand};

use crate::ci;
use crate::cmd::root;
use directions::Crate;
use files::Source;

/// Runs the verb.
pub fn run() -> Result<()> {
    let metadata =
        MetadataCommand::new().current_dir(root()).features(CargoOpt::AllFeatures).exec()?;
    let crates: Vec<Crate> = metadata.workspace_packages().into_iter().map(Crate::from).collect();
    let sources = Source::read_all()?;

    let checks = [
        ("dependency directions", directions::check(&crates)),
        ("file heads", files::check_heads(&sources)),
        ("file lengths", files::check_lengths(&sources)),
        ("changelog", files::check_changelog(&read("CHANGELOG.md")?)),
        ("readme commands", readme::check(&read("README.md")?, &[ci::DEMO, ci::TEST], &[ci::CI])),
        ("unsafe code", unsafe_code::check(&sources)),
        ("dependencies", dependencies::check(&read("Cargo.toml")?, &crates, &sources)?),
        ("licences", licences::check(&metadata.packages, &read("deny.toml")?)?),
    ];
    let mut count = 0;
    for (name, problems) in &checks {
        for problem in problems {
            println!("{name}: {problem}");
        }
        count += problems.len();
    }
    ensure!(count == 0, "tidy found {count} problems");
    println!("tidy: {} checks over {} files", checks.len(), sources.len());
    Ok(())
}

/// A file of the repository; a missing one reads as empty, which the check of it reports.
fn read(path: &str) -> Result<String> {
    match fs::read_to_string(root().join(path)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("cannot read {path}")),
    }
}
