//! The wheel in fresh environments of every Python on this machine, as its users install it.
//!
//! Main function: [`run`]. What is tried in each is `smoke.py`. A Python without a global interpreter
//! lock has to be refused by pip. Pythons that cannot make an environment are named and left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail, ensure};

use crate::cmd::{Cmd, target_dir};

/// What is run in each environment.
const SCRIPT: &str = include_str!("smoke.py");

/// The minor versions of Python 3 that are looked for.
const MINORS: std::ops::RangeInclusive<u32> = 10..=14;

/// How many environments are worked on at once: most of the time goes into unpacking NumPy.
const AT_ONCE: usize = 2;

/// Prints who it is, and whether it can make an environment.
const PROBE: &str = "
import os, platform, sys
try:
    import ensurepip, venv
    able = 'able'
except ImportError:
    able = 'unable'
print(os.path.realpath(sys.executable))
print(platform.python_implementation(), platform.python_version() + sys.abiflags, able)
";

/// An interpreter.
#[derive(Debug, PartialEq, Eq)]
struct Python {
    program: PathBuf,
    /// Such as `CPython 3.12.1`; ends in `t` where there is no lock.
    name: String,
    can_make_environments: bool,
}

impl Python {
    /// Asks `program`; `None` if it does not run or is older than what the wheel supports.
    fn probe(program: &Path) -> Option<Self> {
        let output = Command::new(program)
            .args(["-c", PROBE])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        Self::parse(&String::from_utf8(output.stdout).ok()?)
    }

    fn parse(printed: &str) -> Option<Self> {
        let (program, rest) = printed.split_once('\n')?;
        let (name, able) = rest.trim().rsplit_once(' ')?;
        let (major, rest) = name.rsplit_once(' ')?.1.split_once('.')?;
        let minor: u32 = rest.split('.').next()?.parse().ok()?;
        // Of CPython is the interface that the wheel is for.
        let fits = name.starts_with("CPython ") && major == "3" && MINORS.contains(&minor);
        fits.then(|| Self {
            program: program.into(),
            name: name.to_owned(),
            can_make_environments: able == "able",
        })
    }

    fn is_free_threaded(&self) -> bool {
        self.name.ends_with('t')
    }
}

/// Installs the wheel into a fresh environment of each Python, and tries it there.
///
/// # Errors
/// There is no Python, or the wheel cannot be installed or does not work in one of them.
pub fn run(wheel: &Path) -> Result<()> {
    let dir = target_dir()?.join("smoke");
    remove(&dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let pythons = find();
    let (fit, unfit): (Vec<_>, Vec<_>) =
        pythons.into_iter().partition(|python| python.can_make_environments);
    for python in &unfit {
        println!("{}: left out, it has no venv ({})", python.name, python.program.display());
    }
    ensure!(!fit.is_empty(), "there is no Python 3 to try the wheel in");
    let count = fit.len();
    let waiting = Mutex::new(fit);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no thread panics").pop();
                    let Some(python) = next else { break };
                    if let Err(error) = check(&python, wheel, &dir) {
                        let problem = format!("{}: {error:#}", python.name);
                        failed.lock().expect("no thread panics").push(problem);
                    }
                }
            });
        }
    });
    remove(&dir)?;
    let failed = failed.into_inner().expect("no thread panics");
    ensure!(failed.is_empty(), "the wheel fails in {}", failed.join("; "));
    println!("the wheel works in {count} environments");
    Ok(())
}

fn check(python: &Python, wheel: &Path, dir: &Path) -> Result<()> {
    let dir = dir.join(python.name.replace(' ', "-"));
    let program = dir.join("bin/python");
    Cmd::new(&python.program).args(["-m", "venv"]).arg(&dir).run()?;
    let pip = Cmd::new(&program).args(["-m", "pip", "install", "--quiet"]).args([
        "--disable-pip-version-check",
        "--no-input",
        "--only-binary=:all:",
    ]);
    // Nothing but the wheel's own tags is to be a reason for refusing it.
    let alone = python.is_free_threaded().then_some(["--no-index", "--no-deps"]);
    let pip = pip.args(alone.into_iter().flatten());
    let installed = pip.arg(wheel).env_remove("PYTHONPATH").run();
    if python.is_free_threaded() {
        ensure!(installed.is_err(), "pip has installed the wheel, which needs the lock");
        println!("{}: refused, as it has to be", python.name);
        return Ok(());
    }
    installed?;
    let script = dir.join("smoke.py");
    fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let printed = Cmd::new(&program)
        .args(["-X", "dev", "-W", "error"])
        .arg(&script)
        .dir(&dir)
        .env_remove("PYTHONPATH")
        .output()?;
    println!("{}: {}", python.name, printed.trim());
    Ok(())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove {}: {error}", dir.display())
        }
        _ => Ok(()),
    }
}

/// Every Python on the path, and those that pyenv has; each version once.
fn find() -> Vec<Python> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&on_path).collect();
    let home = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv")));
    let versions = home.and_then(|home| fs::read_dir(home.join("versions")).ok());
    folders.extend(versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin")));
    let names = MINORS.flat_map(|minor| [format!("python3.{minor}"), format!("python3.{minor}t")]);
    let names: Vec<_> = names.chain(["python3".to_owned()]).collect();
    let programs = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    each_once(programs.filter(|program| program.is_file()).filter_map(|path| Python::probe(&path)))
}

/// One of each version, rather one that can make environments.
fn each_once(pythons: impl Iterator<Item = Python>) -> Vec<Python> {
    let mut found: BTreeMap<String, Python> = BTreeMap::new();
    for python in pythons {
        let known = found.get(&python.name);
        if known.is_none_or(|known| !known.can_make_environments && python.can_make_environments) {
            found.insert(python.name.clone(), python);
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(name: &str, able: &str) -> Option<Python> {
        Python::parse(&format!("/usr/bin/python\n{name} {able}\n"))
    }

    #[test]
    fn supported_pythons_are_taken_and_others_are_not() {
        assert!(python("CPython 3.12.1", "able").unwrap().can_make_environments);
        assert!(!python("CPython 3.11.2", "unable").unwrap().can_make_environments);
        for old in ["CPython 3.9.18", "CPython 2.7.18", "nothing"] {
            assert_eq!(python(old, "able"), None, "{old}");
        }
        assert_eq!(Python::parse(""), None);
    }

    #[test]
    fn a_python_without_the_lock_is_known_by_its_flags() {
        assert!(python("CPython 3.14.0t", "able").unwrap().is_free_threaded());
        assert!(!python("CPython 3.14.0", "able").unwrap().is_free_threaded());
    }

    #[test]
    fn each_version_is_there_once_and_rather_the_one_that_can_make_environments() {
        let all = [
            python("CPython 3.11.2", "unable"),
            python("CPython 3.11.2", "able"),
            python("CPython 3.11.2", "unable"),
            python("CPython 3.10.1", "able"),
        ];
        let found = each_once(all.into_iter().flatten());
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|python| python.can_make_environments), "{found:?}");
    }

    #[test]
    fn a_program_that_is_no_python_is_not_taken() {
        assert_eq!(Python::probe(Path::new("/bin/true")), None);
        assert_eq!(Python::probe(Path::new("/no/such/python")), None);
    }
}
