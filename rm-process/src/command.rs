//! What to start, and how.
//!
//! Main type: [`CommandSpec`]. It describes; starting is done by
//! [`ProcessManager`](crate::ProcessManager).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{CGROUP_ENV, CONTROL_FD_ENV};
use crate::error::ProcessError;
use crate::identity::RUNTIME_ENV;
use crate::launch::Program;
use crate::limits::Limits;

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
/// spec.init_timeout = Duration::from_secs(10);
/// spec.limits.max_memory = Some(2 << 30);
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
    /// Variables of this process that it does not get.
    pub env_remove: Vec<OsString>,
    /// Whether to give it only [`BASE_ENV`] and `env` instead of this process's environment and
    /// `env`.
    pub env_clear: bool,
    /// Where it starts; this process's working directory if not given.
    pub working_directory: Option<PathBuf>,
    /// What it is called in logs and errors, such as a node's id.
    pub label: String,
    /// The type of the node that it runs; may be empty.
    pub node_type: String,
    /// The session that it belongs to; may be empty.
    pub session_id: String,
    /// How long it may take, where it has a control channel, to introduce itself, and then, while it
    /// loads, from one word of progress to the next or to the word that it is ready; 30 s at first.
    pub init_timeout: Duration,
    /// How long it may take in all from its start until it is ready, whatever progress it tells of;
    /// an hour at first.
    pub init_limit: Duration,
    /// Whether a missed deadline is answered by SIGABRT, half a second before SIGKILL: for programs
    /// that print their stacks on it, such as Python with its fault handler. Off at first.
    pub abort_at_deadline: bool,
    /// What it may use.
    pub limits: Limits,
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
            env_remove: Vec::new(),
            env_clear: false,
            working_directory: None,
            label,
            node_type: String::new(),
            session_id: String::new(),
            init_timeout: Duration::from_secs(30),
            init_limit: Duration::from_secs(3600),
            abort_at_deadline: false,
            limits: Limits::default(),
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

    /// The program with all that the child gets. `announcement` tells it its control channel,
    /// `marker` the runtimes that it belongs to, and `cgroup` the folder by which its tree can be
    /// killed.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub(crate) fn to_program(
        &self,
        announcement: Option<&str>,
        marker: Option<&str>,
        cgroup: Option<&Path>,
    ) -> io::Result<Program> {
        let inherited = std::env::vars_os().filter(|(name, _)| !self.env_clear || is_base(name));
        let mut env: BTreeMap<_, _> = inherited.collect();
        for name in &self.env_remove {
            env.remove(name);
        }
        env.extend(self.env.iter().cloned());
        // This process may be a child itself; what is its own is not meant for its children.
        let own: [(&str, Option<&OsStr>); 3] = [
            (CONTROL_FD_ENV, announcement.map(OsStr::new)),
            (RUNTIME_ENV, marker.map(OsStr::new)),
            (CGROUP_ENV, cgroup.map(Path::as_os_str)),
        ];
        for (name, value) in own {
            env.remove(OsStr::new(name));
            env.extend(value.map(|value| (name.into(), value.to_owned())));
        }
        Program::new(&self.program, &self.args, env, self.working_directory.as_deref())
    }

    /// Whether it can be right.
    pub(crate) fn check(&self) -> Result<(), ProcessError> {
        if self.program.is_empty() {
            return Err(ProcessError::InvalidConfig("the program is empty".into()));
        }
        if let Some(directory) = &self.working_directory
            && !directory.is_dir()
        {
            let text = format!("working directory {directory:?} is not a directory");
            return Err(ProcessError::InvalidConfig(text));
        }
        for (name, value) in &self.env {
            let text = if RESERVED.iter().any(|reserved| name == reserved) {
                format!("{} is set by the runtime, not by a specification", name.display())
            } else if name.is_empty() || name.as_bytes().contains(&b'=') {
                format!("{name:?} cannot be the name of an environment variable")
            } else if name.as_bytes().contains(&0) || value.as_bytes().contains(&0) {
                format!("environment variable {name:?} holds a zero byte")
            } else {
                continue;
            };
            return Err(ProcessError::InvalidConfig(text));
        }
        Ok(())
    }
}

/// Variables that a runtime sets for each child.
const RESERVED: [&str; 3] = [CONTROL_FD_ENV, RUNTIME_ENV, CGROUP_ENV];

fn is_base(name: &OsStr) -> bool {
    BASE_ENV.iter().any(|base| name == *base) || name.to_string_lossy().starts_with("LC_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_that_cannot_be_right_is_refused_and_says_why() {
        let check = |spec: CommandSpec, expected: &str| {
            let error = spec.check().unwrap_err();
            assert!(matches!(error, ProcessError::InvalidConfig(_)));
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(CommandSpec::new(""), "program is empty");
        let reserved = CommandSpec::new("true").env(CONTROL_FD_ENV, "3:1");
        check(reserved, CONTROL_FD_ENV);
        check(CommandSpec::new("true").env("A=B", ""), "A=B");
        check(CommandSpec::new("true").env("A", "\0"), "zero byte");
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
