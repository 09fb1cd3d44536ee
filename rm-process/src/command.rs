//! What to start, and how.
//!
//! Main type: [`CommandSpec`]. It describes; starting is done by
//! [`ProcessManager`](crate::ProcessManager).

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::CONTROL_FD_ENV;
use crate::error::ProcessError;
use crate::sys;

/// Variables that a child gets from its parent even if [`CommandSpec::env_clear`] is set: what
/// finds programs and libraries, who the user is, language, time zone, temporary files. Every
/// variable whose name begins with `LC_` is kept too.
pub const BASE_ENV: &[&str] = &[
    "HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_RUNTIME_DIR",
];

/// What to start, and how.
///
/// ```
/// use rm_process::CommandSpec;
/// use std::time::Duration;
///
/// let mut spec = CommandSpec::new("python3")
///     .args(["-m", "my_worker"])
///     .env("OMP_NUM_THREADS", "1")
///     .label("asr");
/// spec.handshake_timeout = Duration::from_secs(10);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandSpec {
    /// The program: a path, or a name to be found in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables added to its environment, the later of two with one name.
    pub env: Vec<(OsString, OsString)>,
    /// Whether to give it only [`BASE_ENV`] and `env` instead of this process's environment and
    /// `env`.
    pub env_clear: bool,
    /// Where it starts; this process's working directory if not given.
    pub working_directory: Option<PathBuf>,
    /// What it is called in logs and errors, such as a node's id.
    pub label: String,
    /// How long it may take until it introduces itself over its control channel; 30 s at first.
    pub handshake_timeout: Duration,
}

impl CommandSpec {
    /// `program` without arguments, with this process's environment, labelled by its file name.
    pub fn new(program: impl Into<OsString>) -> Self {
        let program = program.into();
        let name = std::path::Path::new(&program).file_name();
        let label = name.unwrap_or(&program).to_string_lossy().into_owned();
        Self {
            program,
            args: Vec::new(),
            env: Vec::new(),
            env_clear: false,
            working_directory: None,
            label,
            handshake_timeout: Duration::from_secs(30),
        }
    }

    /// The same with one more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The same with more arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same with one more variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The same with another label.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The command line, for reports.
    pub(crate) fn display(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    /// The command as std takes it. `control` is the child's end of its control channel, with the
    /// text that announces it.
    pub(crate) fn to_command(
        &self,
        control: Option<(OwnedFd, String)>,
    ) -> Result<Command, ProcessError> {
        self.check()?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if self.env_clear {
            command.env_clear();
            command.envs(std::env::vars_os().filter(|(name, _)| is_base(name)));
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.working_directory {
            command.current_dir(directory);
        }
        let socket = match control {
            Some((socket, announcement)) => {
                command.env(CONTROL_FD_ENV, announcement);
                Some(socket)
            }
            None => {
                // This process may be a child itself; its own channel is not meant.
                command.env_remove(CONTROL_FD_ENV);
                None
            }
        };
        sys::prepare(&mut command, socket);
        Ok(command)
    }

    fn check(&self) -> Result<(), ProcessError> {
        if self.program.is_empty() {
            return Err(ProcessError::InvalidConfig("the program is empty".into()));
        }
        if let Some(directory) = &self.working_directory
            && !directory.is_dir()
        {
            let text = format!("working directory {directory:?} is not a directory");
            return Err(ProcessError::InvalidConfig(text));
        }
        let reserved = |name: &OsString| name == CONTROL_FD_ENV;
        if self.env.iter().any(|(name, _)| reserved(name)) {
            let text = format!("{CONTROL_FD_ENV} is set by the runtime, not by a specification");
            return Err(ProcessError::InvalidConfig(text));
        }
        Ok(())
    }
}

fn is_base(name: &OsStr) -> bool {
    BASE_ENV.iter().any(|base| name == *base) || name.to_string_lossy().starts_with("LC_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_that_cannot_be_right_is_refused_and_says_why() {
        let check = |spec: CommandSpec, expected: &str| {
            let error = spec.to_command(None).unwrap_err();
            assert!(matches!(error, ProcessError::InvalidConfig(_)));
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(CommandSpec::new(""), "program is empty");
        let reserved = CommandSpec::new("true").env(CONTROL_FD_ENV, "3:1");
        check(reserved, CONTROL_FD_ENV);
        let mut elsewhere = CommandSpec::new("true");
        elsewhere.working_directory = Some("/nonexistent/folder".into());
        check(elsewhere, "/nonexistent/folder");
    }

    #[test]
    fn the_label_is_the_file_name_unless_another_is_given() {
        assert_eq!(CommandSpec::new("/usr/bin/env").label, "env");
        assert_eq!(CommandSpec::new("env").label("asr").label, "asr");
    }
}
