//! Sections of `ci` that look at the libraries as others will meet them: packed for the registry,
//! and on another processor.
//!
//! Nothing is published, and nothing is run on the other processor.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;

use crate::ci::Outcome;
use crate::cmd::{Cmd, root, target_dir};

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
    let dir = target_dir()?.join("libraries");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    if let Some(home) = cargo_home() {
        forget_unpacked(&home.join("registry/src"), &libraries()?)?;
    }
    // A change that is being worked on is checked too.
    with_libraries("cargo package --allow-dirty")?.arg("--target-dir").arg(dir).run()
}

fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// Removes what cargo has unpacked of these libraries from packages that were never published: it takes
/// a version that it has seen for the same ever after, also if the package has changed since.
fn forget_unpacked(sources: &Path, libraries: &[String]) -> Result<()> {
    // A registry of packages that are only on this machine has no host in its name.
    let is_local = |name: &str| name.starts_with('-');
    let is_own = |name: &str| {
        let version = |library: &String| name.strip_prefix(library.as_str())?.strip_prefix('-');
        let is_version = |version: &str| version.starts_with(|first: char| first.is_ascii_digit());
        libraries.iter().filter_map(version).any(is_version)
    };
    for registry in folders_in(sources, is_local) {
        for package in folders_in(&registry, is_own) {
            fs::remove_dir_all(&package)
                .with_context(|| format!("cannot remove {}", package.display()))?;
        }
    }
    Ok(())
}

fn folders_in(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let wanted = entries.filter(|entry| entry.file_name().to_str().is_some_and(&wanted));
    wanted.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
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
    fn only_own_packages_of_this_machine_are_forgotten() {
        let sources = tempfile::tempdir().unwrap();
        let paths = [
            "-0123/rm-core-0.1.0",
            "-0123/rm-core-tools-1.0.0",
            "-0123/other-0.1.0",
            "index.example-0123/rm-core-0.1.0",
        ];
        for path in paths {
            fs::create_dir_all(sources.path().join(path)).unwrap();
        }
        forget_unpacked(sources.path(), &["rm-core".to_owned()]).unwrap();
        let left: Vec<_> =
            paths.into_iter().filter(|path| sources.path().join(path).exists()).collect();
        assert_eq!(left, &paths[1..]);
        forget_unpacked(Path::new("/no/such/folder"), &[]).unwrap();
    }

    #[test]
    fn the_own_target_is_there() {
        assert!(has_target(&host().unwrap()).unwrap());
    }
}
