//! Sections of `ci` that look at the libraries as others will meet them: packed for the registry,
//! and on another processor.
//!
//! Nothing is published, and nothing is run on the other processor.

use std::path::Path;

use anyhow::Result;
use cargo_metadata::MetadataCommand;

use crate::ci::Outcome;
use crate::cmd::{Cmd, root};

/// The other processor.
const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// The crates that go to the registry.
fn libraries() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    let members = metadata.workspace_packages().into_iter();
    Ok(members
        .filter(|krate| krate.publish.is_none())
        .map(|krate| krate.name.to_string())
        .collect())
}

fn with_libraries(line: &str) -> Result<Cmd> {
    let libraries = libraries()?;
    Ok(Cmd::from_line(line).args(libraries.iter().flat_map(|name| ["-p", name])))
}

/// Packs each library, and builds it from its package against the packages of the others.
pub fn pack() -> Result<()> {
    // A change that is being worked on is checked too.
    with_libraries("cargo package --allow-dirty")?.run()
}

/// Checks the libraries for 64-bit ARM.
pub fn check_aarch64() -> Result<Outcome> {
    if !has_target(AARCH64)? {
        let added = Cmd::from_line("rustup target add").arg(AARCH64).run();
        if let Err(error) = added {
            return Ok(Outcome::Skipped(format!(
                "the compiler has no standard library for {AARCH64}, and it cannot be had: {error:#}"
            )));
        }
    }
    with_libraries(&format!("cargo check --all-features --target {AARCH64}"))?.run()?;
    Ok(Outcome::Done)
}

/// Whether the compiler, from wherever it came, can build for `target`.
fn has_target(target: &str) -> Result<bool> {
    let libraries = Cmd::from_line("rustc --print target-libdir --target").arg(target).output()?;
    Ok(Path::new(libraries.trim()).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::host;

    #[test]
    fn developer_verbs_and_the_wheel_are_no_libraries() {
        let libraries = libraries().unwrap();
        assert!(libraries.iter().all(|name| name.starts_with("rm-") && name != "rm-ffi"));
        assert!(libraries.contains(&"rm-ipc".to_owned()));
    }

    #[test]
    fn the_own_target_is_there() {
        assert!(has_target(&host().unwrap()).unwrap());
    }
}
