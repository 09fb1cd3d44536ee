//! The wheel as it would be released: for all of Linux with a C library that is not too old, checked
//! by those who say what that is.
//!
//! Main function: [`build`]. It is linked by zig, which knows the symbols of older C libraries, so it
//! does not matter how new that of this machine is. Nothing is uploaded.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::{EPOCH, licences, one_wheel, remove_wheels};
use crate::cmd::{Cmd, target_dir};
use crate::python::{Requirements, Venv};

/// The oldest C library that the wheel runs with is glibc 2.17, that of the oldest systems for which
/// there are wheels of NumPy, and the oldest that Rust's standard library runs with.
const PLATFORM: &str = "manylinux_2_17";

/// Builds and checks the wheel, and gives its path.
///
/// # Errors
/// It cannot be built, needs a newer C library, or its description would not be shown on PyPI.
pub fn build() -> Result<PathBuf> {
    let venv = Venv::ensure()?;
    venv.require(&[Requirements::Build, Requirements::Release])?;
    licences::write()?;
    let out = target_dir()?.join("wheels/release");
    remove_wheels(&out)?;
    // Zig is a program of the environment, and is looked for on the path.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(venv.bin("")).chain(std::env::split_paths(&path));
    Cmd::new(venv.bin("maturin"))
        .args(["build", "--release", "--strip", "--locked", "--zig"])
        .args(["--compatibility", PLATFORM, "--manifest-path", "rm-ffi/Cargo.toml"])
        .arg("--interpreter")
        .arg(venv.bin("python"))
        .arg("--out")
        .arg(&out)
        .env("PATH", std::env::join_paths(folders)?)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .stdout_to_stderr()
        .run()?;
    let wheel = one_wheel(&out)?;
    check(&venv, &wheel)?;
    Ok(wheel)
}

fn check(venv: &Venv, wheel: &Path) -> Result<()> {
    // maturin has looked at the symbols by rules of its own; these are those of manylinux.
    let shown = Cmd::new(venv.bin("auditwheel")).arg("show").arg(wheel).output()?;
    ensure!(
        is_consistent(&shown),
        "the wheel is not for {PLATFORM}; auditwheel says:\n{}",
        shown.trim()
    );
    Cmd::new(venv.bin("twine")).args(["check", "--strict"]).arg(wheel).stdout_to_stderr().run()
}

/// Whether `auditwheel show` finds that the wheel runs where its name says, whatever it breaks the
/// line at.
fn is_consistent(shown: &str) -> bool {
    let words: Vec<_> = shown.split_whitespace().collect();
    let tag = format!("\"{PLATFORM}_");
    words
        .join(" ")
        .split("consistent with the following platform tag: ")
        .nth(1)
        .is_some_and(|found| found.starts_with(&tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_platform_is_consistent() {
        let shown = |tag: &str| {
            format!("x.whl is\nconsistent with the following platform tag:\n\"{tag}\".\n\nMore.")
        };
        assert!(is_consistent(&shown("manylinux_2_17_x86_64")));
        assert!(!is_consistent(&shown("manylinux_2_34_x86_64")));
        assert!(!is_consistent(&shown("linux_x86_64")));
        assert!(!is_consistent("nothing"));
    }
}
