//! The virtual environment `.venv` in the repository: made if missing, filled with pinned
//! packages, left alone when everything is there.
//!
//! Main type: [`Venv`]. The pins lie in `xtask/requirements/`. A stamp in `.venv` holds the text of
//! each requirement file as it was installed, so a second run needs neither pip nor a network.
//! What the wheel needs, and the wheel itself, are not handled here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cmd::{Cmd, root};

/// Names the Python to use instead of the first one found.
pub const PYTHON_VARIABLE: &str = "REMOTEMEDIA_PYTHON";

/// The oldest Python that the wheel supports.
const OLDEST: Version = Version(3, 10);

/// Where a Python is looked for.
const CANDIDATES: [&str; 6] =
    ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];

/// Prints the version and the modules that are missing; runs on any Python, also on Python 2.
const PROBE: &str = "
import sys
print('%d %d' % sys.version_info[:2])
for name in sys.argv[1:]:
    try:
        __import__(name)
    except ImportError:
        print(name)
";

/// A list of pinned packages: a file in `xtask/requirements/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirements {
    /// What builds the wheel.
    Build,
    /// What builds and checks the wheel that would be released.
    Release,
    /// What builds the documentation.
    Docs,
    /// What the demo's nodes import.
    Demo,
    /// What tests and checks.
    Dev,
    /// What the bench of the Python side is compared with.
    Bench,
    /// What the bench of the media nodes is compared with, beside the above.
    Media,
}

impl Requirements {
    fn file_name(self) -> &'static str {
        match self {
            Self::Build => "build.txt",
            Self::Release => "release.txt",
            Self::Docs => "docs.txt",
            Self::Demo => "demo.txt",
            Self::Dev => "dev.txt",
            Self::Bench => "bench.txt",
            Self::Media => "media.txt",
        }
    }

    /// Whether nothing is installed but what it names.
    fn is_complete(self) -> bool {
        self == Self::Media
    }
}

/// Major and minor version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What one interpreter said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Python {
    program: PathBuf,
    version: Version,
    missing: Vec<String>,
}

impl Python {
    /// Asks `program`; `None` if it is not there or does not run.
    fn probe(program: &Path, modules: &[&str]) -> Option<Self> {
        let output = Command::new(program)
            .args(["-c", PROBE])
            .args(modules)
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let stdout = String::from_utf8(output.stdout).ok()?;
        let mut lines = stdout.lines();
        let (major, minor) = lines.next()?.split_once(' ')?;
        Some(Self {
            program: program.to_owned(),
            version: Version(major.parse().ok()?, minor.parse().ok()?),
            missing: lines.map(str::to_owned).collect(),
        })
    }

    /// What keeps it from making a virtual environment, with the command that mends it.
    fn problem(&self) -> Option<String> {
        let (program, version) = (self.program.display(), self.version);
        if version < OLDEST {
            return Some(format!(
                "{program} is Python {version}, but {OLDEST} or newer is needed; install one with \
                 `sudo apt-get install python3 python3-venv`, or name one in {PYTHON_VARIABLE}"
            ));
        }
        if !self.missing.is_empty() {
            return Some(format!(
                "{program} (Python {version}) lacks {}; install it with \
                 `sudo apt-get install python3-venv`",
                self.missing.join(" and ")
            ));
        }
        None
    }
}

/// The Python that makes the virtual environment: the `wanted` one, or the first that can.
fn find_python(wanted: Option<&Path>, candidates: &[&str]) -> Result<Python> {
    let modules = ["venv", "ensurepip"];
    if let Some(program) = wanted {
        let Some(python) = Python::probe(program, &modules) else {
            bail!(
                "{PYTHON_VARIABLE} names {}, which does not run as a Python; name one that does, or \
                 unset it",
                program.display()
            );
        };
        return match python.problem() {
            None => Ok(python),
            Some(problem) => bail!("{PYTHON_VARIABLE}: {problem}"),
        };
    }
    let mut found = Vec::new();
    for program in candidates {
        if let Some(python) = Python::probe(Path::new(program), &modules) {
            if python.problem().is_none() {
                return Ok(python);
            }
            found.push(python);
        }
    }
    // The newest one is the nearest to being right.
    match found.iter().max_by_key(|python| python.version) {
        Some(python) => bail!("{}", python.problem().expect("a fit one has been returned")),
        None => bail!(
            "no Python was found (tried {}); install one with \
             `sudo apt-get install python3 python3-venv`",
            candidates.join(", ")
        ),
    }
}

/// The virtual environment of this repository.
#[derive(Debug)]
pub struct Venv {
    dir: PathBuf,
}

impl Venv {
    /// Makes it if it is missing or stale.
    ///
    /// # Errors
    /// No fit Python, with the command that installs one; or making it failed.
    pub fn ensure() -> Result<Self> {
        let wanted = std::env::var_os(PYTHON_VARIABLE).map(PathBuf::from);
        Self::ensure_at(&root().join(".venv"), wanted.as_deref())
    }

    fn ensure_at(dir: &Path, wanted: Option<&Path>) -> Result<Self> {
        let venv = Self { dir: dir.to_owned() };
        let python = match wanted {
            Some(program) => Some(find_python(Some(program), &[])?),
            None => None,
        };
        let Some(reason) = venv.stale(python.as_ref().map(|python| python.version)) else {
            return Ok(venv);
        };
        let python = match python {
            Some(python) => python,
            None => find_python(None, &CANDIDATES)?,
        };
        eprintln!("making {} with Python {}: {reason}", dir.display(), python.version);
        Cmd::new(&python.program)
            .args(["-m", "venv", "--clear"])
            .arg(dir)
            .stdout_to_stderr()
            .run()?;
        match venv.stale(None) {
            None => Ok(venv),
            Some(reason) => bail!(
                "{} was made but cannot be used: {reason}; \
                 `sudo apt-get install python3-venv python3-pip` may help",
                dir.display()
            ),
        }
    }

    /// Why it has to be made anew; `None` if it can be used. `wanted` is the version asked for.
    fn stale(&self, wanted: Option<Version>) -> Option<String> {
        if !self.dir.exists() {
            return Some("there is none yet".to_owned());
        }
        let Some(python) = Python::probe(&self.bin("python"), &["pip"]) else {
            return Some("its interpreter is gone".to_owned());
        };
        if !python.missing.is_empty() {
            return Some("pip is missing in it, or its Python's version has changed".to_owned());
        }
        if python.version < OLDEST {
            return Some(format!("it has Python {}", python.version));
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != python.version) {
            return Some(format!("it has Python {}, not {wanted}", python.version));
        }
        // Scripts carry the path of their interpreter: those of a moved folder do not run.
        let script = fs::read_to_string(self.bin("pip")).unwrap_or_default();
        if !script.contains(&*self.dir.to_string_lossy()) {
            return Some("it was made in another folder".to_owned());
        }
        None
    }

    /// Installs those lists that are not installed as they stand.
    ///
    /// # Errors
    /// pip failed.
    pub fn require(&self, lists: &[Requirements]) -> Result<()> {
        let mut missing = Vec::new();
        for list in lists {
            let path = root().join("xtask/requirements").join(list.file_name());
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            if self.stamp(list.file_name()).as_deref() != Some(&*text) {
                missing.push((path, list, text));
            }
        }
        for is_complete in [false, true] {
            let lists: Vec<_> =
                missing.iter().filter(|(_, list, _)| list.is_complete() == is_complete).collect();
            if lists.is_empty() {
                continue;
            }
            let pip = self.pip_install().args(is_complete.then_some("--no-deps"));
            lists.iter().fold(pip, |pip, (path, ..)| pip.arg("-r").arg(path)).run()?;
            for (_, list, text) in lists {
                self.set_stamp(list.file_name(), text)?;
            }
        }
        Ok(())
    }

    /// `pip install` in this environment, to be completed with what to install.
    pub fn pip_install(&self) -> Cmd {
        Cmd::new(self.bin("python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--no-input"])
            .stdout_to_stderr()
    }

    /// The path of one of its programs.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// What was recorded under `name` when it was last done.
    pub fn stamp(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.stamps().join(name)).ok()
    }

    /// Records `text` under `name`. The record goes with the environment.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_stamp(&self, name: &str, text: &str) -> Result<()> {
        let write = || -> io::Result<()> {
            fs::create_dir_all(self.stamps())?;
            fs::write(self.stamps().join(name), text)
        };
        write().with_context(|| format!("cannot write in {}", self.stamps().display()))
    }

    fn stamps(&self) -> PathBuf {
        self.dir.join("xtask-stamps")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that answers the probe as that Python would.
    fn fake_python(dir: &Path, name: &str, answer: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, format!("#!/bin/sh\nprintf '{answer}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn check_find(answers: &[&str], expected: &str) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = answers
            .iter()
            .enumerate()
            .map(|(i, answer)| fake_python(dir.path(), &format!("python-{i}"), answer))
            .collect();
        let names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let found = match find_python(None, &names) {
            Ok(python) => format!("Python {}", python.version),
            Err(error) => error.to_string(),
        };
        let found = found.replace(&format!("{}/", dir.path().display()), "");
        assert!(found.starts_with(expected), "{found}");
    }

    #[test]
    fn the_first_fit_python_is_taken() {
        check_find(&["", "2 7", "3 9", "3 11\nensurepip", "3 12", "3 13"], "Python 3.12");
    }

    #[test]
    fn no_python_names_the_package_to_install() {
        check_find(&[], "no Python was found");
        let error = find_python(None, &["no-such-python"]).unwrap_err().to_string();
        assert!(error.contains("tried no-such-python"), "{error}");
        assert!(error.contains("`sudo apt-get install python3 python3-venv`"), "{error}");
    }

    #[test]
    fn an_old_python_is_named_with_its_version() {
        check_find(&["2 7", "3 9"], "python-1 is Python 3.9, but 3.10 or newer is needed");
    }

    #[test]
    fn a_python_without_venv_names_the_package_to_install() {
        check_find(
            &["3 9", r"3 11\nensurepip"],
            "python-1 (Python 3.11) lacks ensurepip; install it with \
             `sudo apt-get install python3-venv`",
        );
    }

    #[test]
    fn a_wanted_python_that_does_not_run_is_an_error_and_not_passed_over() {
        let error = find_python(Some(Path::new("/no/python")), &["python3"]).unwrap_err();
        assert!(error.to_string().starts_with("REMOTEMEDIA_PYTHON names /no/python"), "{error}");
    }

    #[test]
    fn an_environment_is_made_once_and_again_when_it_breaks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("venv");
        let venv = Venv::ensure_at(&path, None).unwrap();
        venv.set_stamp("mark", "1").unwrap();
        let venv = Venv::ensure_at(&path, None).unwrap();
        assert_eq!(venv.stamp("mark").as_deref(), Some("1"));

        let other = Some(Version(3, 99));
        assert!(venv.stale(other).unwrap().ends_with("not 3.99"));

        fs::remove_file(path.join("bin/python")).unwrap();
        assert_eq!(venv.stale(None).unwrap(), "its interpreter is gone");
        let venv = Venv::ensure_at(&path, None).unwrap();
        assert_eq!(venv.stale(None), None);
        assert_eq!(venv.stamp("mark"), None);

        let moved = dir.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        let moved = Venv { dir: moved };
        assert_eq!(moved.stale(None).unwrap(), "it was made in another folder");
    }
}
