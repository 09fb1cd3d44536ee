//! External commands, echoed before they run, with failures that name the command.
//!
//! Main type: [`Cmd`]. Echoes go to stderr, so that stdout stays what the command printed. It
//! knows nothing of what the commands mean.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// The repository's root folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies one folder below the repository's root")
}

/// The folder of cargo's build products.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// The target that the compiler builds for when it is not told another.
pub fn host() -> Result<String> {
    let version = Cmd::from_line("rustc -vV").output()?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// One external command, run in the repository's root unless told otherwise.
#[derive(Debug)]
pub struct Cmd {
    inner: Command,
}

impl Cmd {
    /// A command without arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut inner = Command::new(program);
        inner.current_dir(root());
        Self { inner }
    }

    /// A command from a line of words separated by spaces, as the README writes it.
    pub fn from_line(line: &str) -> Self {
        let mut words = line.split_whitespace();
        Self::new(words.next().unwrap_or_default()).args(words)
    }

    /// The same command with one more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// The same command with more arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.inner.args(args);
        self
    }

    /// The same command with an environment variable set.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// The same command without an environment variable.
    pub fn env_remove(mut self, name: &str) -> Self {
        self.inner.env_remove(name);
        self
    }

    /// The same command, run in another folder.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// The same command, with what it prints on stdout going to stderr: for preparations, whose
    /// words must not mix with the answer.
    pub fn stdout_to_stderr(mut self) -> Self {
        self.inner.stdout(std::io::stderr());
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Result<()> {
        let line = self.echo();
        let status = self.inner.status();
        check(&line, status.with_context(|| cannot_start(&line))?)
    }

    /// Runs it to its end and gives what it printed on stdout.
    pub fn output(mut self) -> Result<String> {
        let line = self.echo();
        let output = self.inner.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| cannot_start(&line))?;
        check(&line, output.status)?;
        String::from_utf8(output.stdout)
            .with_context(|| format!("`{line}` printed bytes that are not UTF-8"))
    }

    /// Runs it to its end, showing each line of its stdout and giving it to `on_line`.
    pub fn run_with_lines(mut self, mut on_line: impl FnMut(&str)) -> Result<()> {
        let line = self.echo();
        let spawned = self.inner.stdout(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| cannot_start(&line))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        for printed in BufReader::new(stdout).split(b'\n') {
            let printed = printed.with_context(|| format!("cannot read from `{line}`"))?;
            let printed = String::from_utf8_lossy(&printed);
            println!("{printed}");
            on_line(&printed);
        }
        check(&line, child.wait()?)
    }

    /// Becomes the command: its exit code and the signals of the terminal are its own. Returns
    /// only if it cannot be started.
    pub fn exec(mut self) -> Result<()> {
        let line = self.echo();
        Err(self.inner.exec()).with_context(|| cannot_start(&line))
    }

    fn echo(&self) -> String {
        let line = self.line();
        eprintln!("$ {line}");
        line
    }

    /// The command as one would type it in the repository's root.
    fn line(&self) -> String {
        let words = std::iter::once(self.inner.get_program()).chain(self.inner.get_args());
        words.map(quote).collect::<Vec<_>>().join(" ")
    }
}

fn quote(word: &OsStr) -> String {
    let path = Path::new(word);
    let word = match path.strip_prefix(root()) {
        Ok(rest) if rest != Path::new("") => rest.to_string_lossy(),
        _ => word.to_string_lossy(),
    };
    let plain = |c: char| c.is_alphanumeric() || "-_=./:,+%@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn cannot_start(line: &str) -> String {
    format!("cannot start `{line}`")
}

fn check(line: &str, status: ExitStatus) -> Result<()> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => bail!("`{line}` failed with exit code {code}"),
        (None, Some(signal)) => bail!("`{line}` was killed by signal {signal}"),
        (None, None) => bail!("`{line}` failed: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_exit_code() {
        let error = Cmd::new("sh").args(["-c", "exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "`sh -c 'exit 3'` failed with exit code 3");
    }

    #[test]
    fn a_death_by_signal_names_the_signal() {
        let error = Cmd::new("sh").args(["-c", "kill -9 $$"]).run().unwrap_err();
        assert!(error.to_string().ends_with("was killed by signal 9"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Cmd::new("no-such-program").arg("x").run().unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program x`");
    }

    #[test]
    fn lines_are_given_and_output_is_captured() {
        let mut seen = Vec::new();
        let command = Cmd::new("printf").arg(r"a\nb\n");
        command.run_with_lines(|line| seen.push(line.to_owned())).unwrap();
        assert_eq!(seen, ["a", "b"]);
        assert_eq!(Cmd::from_line("echo a b").output().unwrap(), "a b\n");
    }

    #[test]
    fn paths_below_the_root_are_shown_relative_to_it() {
        let command = Cmd::new(root().join(".venv/bin/python")).arg("it's");
        assert_eq!(command.line(), r".venv/bin/python 'it'\''s'");
    }
}
