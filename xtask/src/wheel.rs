//! `cargo xtask wheel`: builds the wheel and installs it into `.venv`, as a user would; with
//! `--release`, builds and checks the one that would be released.
//!
//! A wheel and no development install: what the tests import is what gets shipped. Building is
//! cargo's business and incremental; installing happens only when the wheel's content has changed.

mod licences;
mod release;
mod smoke;

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cmd::{Cmd, root, target_dir};
use crate::python::{Requirements, Venv};

const STAMP: &str = "wheel";

/// The time that the wheel says it was made at, 1980-01-01, so that equal content gives equal files.
const EPOCH: &str = "315532800";

/// Names a wheel to install instead of building one. Not one of the product's own variables, which it
/// would refuse to know.
pub const VARIABLE: &str = "XTASK_WHEEL";

/// Which wheel.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Build the wheel that would be released, for all of Linux, and check it; install nothing.
    #[arg(long)]
    release: bool,
    /// Also try it in a fresh environment of every Python on this machine.
    #[arg(long, requires = "release")]
    smoke: bool,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<()> {
    if !args.release {
        return ensure(&Venv::ensure()?);
    }
    let wheel = release::build()?;
    if args.smoke {
        smoke::run(&wheel)?;
    }
    println!("{}", wheel.display());
    Ok(())
}

/// Builds the wheel that would be released, checks it, and tries it in every Python.
///
/// # Errors
/// It cannot be built, a check fails, or it does not work in a Python.
pub fn release() -> Result<PathBuf> {
    let wheel = release::build()?;
    smoke::run(&wheel)?;
    Ok(wheel)
}

/// Builds the wheel and installs it with what it needs, unless it is installed already.
///
/// # Errors
/// maturin or pip failed; where no C compiler is found, the message says how to install one.
pub fn ensure(venv: &Venv) -> Result<()> {
    let wheel = match std::env::var_os(VARIABLE) {
        Some(wheel) => PathBuf::from(wheel),
        None => build(venv)?,
    };
    let hash = content_hash(&wheel)?;
    if venv.stamp(STAMP).as_deref() == Some(&*hash) {
        return Ok(());
    }
    // The version stays the same while the content changes, so pip has to be forced; forcing it
    // with the dependencies would install those anew each time.
    venv.pip_install().args(["--force-reinstall", "--no-deps"]).arg(&wheel).run()?;
    venv.pip_install().arg(&wheel).run()?;
    venv.set_stamp(STAMP, &hash)
}

fn build(venv: &Venv) -> Result<PathBuf> {
    venv.require(&[Requirements::Build])?;
    licences::write()?;
    let out = target_dir()?.join("wheels");
    remove_wheels(&out)?;
    // The wheel runs on this machine only; checking it for others is for a release.
    let built = Cmd::new(venv.bin("maturin"))
        .args(["build", "--release", "--strip", "--compatibility", "linux"])
        .args(["--manifest-path", "rm-ffi/Cargo.toml", "--interpreter"])
        .arg(venv.bin("python"))
        .arg("--out")
        .arg(&out)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .stdout_to_stderr()
        .run();
    if let Err(error) = built {
        match find_in_path("cc") {
            Some(_) => return Err(error),
            None => bail!(
                "{error}; there is no C compiler `cc`, which Rust links with: install one with \
                 `sudo apt-get install build-essential`"
            ),
        }
    }
    one_wheel(&out)
}

fn remove_wheels(dir: &Path) -> Result<()> {
    for old in wheels_in(dir)? {
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    Ok(())
}

fn one_wheel(dir: &Path) -> Result<PathBuf> {
    match <[PathBuf; 1]>::try_from(wheels_in(dir)?) {
        Ok([wheel]) => Ok(wheel),
        Err(found) => bail!("expected one wheel in {}, found {found:?}", dir.display()),
    }
}

fn wheels_in(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut wheels = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("whl")) {
            wheels.push(path);
        }
    }
    Ok(wheels)
}

/// Name and hash of a wheel. Another Rust version may hash differently, which costs one
/// installation.
fn content_hash(wheel: &Path) -> Result<String> {
    let bytes = fs::read(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    let mut hasher = DefaultHasher::new();
    wheel.file_name().hash(&mut hasher);
    bytes.hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// Fails unless the package that Python imports is the installed wheel, and not the source.
pub fn check_import(venv: &Venv, dir: &Path) -> Result<()> {
    let script = "import remotemedia_runtime as r; print(r.__file__)";
    let file = Cmd::new(venv.bin("python"))
        .args(["-c", script])
        .dir(dir)
        .env_remove("PYTHONPATH")
        .output()?;
    if Path::new(file.trim()).starts_with(root().join(".venv")) {
        Ok(())
    } else {
        bail!("Python imports {} instead of the wheel in .venv", file.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_changes_with_the_content_and_with_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("a.whl");
        fs::write(&wheel, "one").unwrap();
        let first = content_hash(&wheel).unwrap();
        fs::write(&wheel, "one").unwrap();
        assert_eq!(content_hash(&wheel).unwrap(), first);
        fs::write(&wheel, "two").unwrap();
        assert_ne!(content_hash(&wheel).unwrap(), first);
    }

    #[test]
    fn only_wheels_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(wheels_in(&dir.path().join("none")).unwrap(), Vec::<PathBuf>::new());
        fs::write(dir.path().join("a.whl"), "").unwrap();
        fs::write(dir.path().join("a.txt"), "").unwrap();
        assert_eq!(wheels_in(dir.path()).unwrap(), [dir.path().join("a.whl")]);
    }

    #[test]
    fn programs_are_found_in_the_path() {
        assert!(find_in_path("sh").is_some());
        assert!(find_in_path("no-such-program").is_none());
    }
}
