//! A program as the kernel takes it: path, arguments, environment and folder, each ending in a zero
//! byte.
//!
//! Main type: [`Program`]. It is made of a [`CommandSpec`] before there is a child, because between
//! its birth and its program a child may not allocate. Starting it is done in `sys`.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

/// Where programs are looked for if the child has no `PATH`, as execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A program, ready to be started.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: CString,
    pub(crate) args: Vec<CString>,
    pub(crate) env: Vec<CString>,
    /// Where it starts, if not where this process is.
    pub(crate) directory: Option<CString>,
}

impl Program {
    /// The program called `name`, a path or a name that is looked for in the `PATH` of `env`.
    ///
    /// # Errors
    /// The operating system's error if there is no such program, or one that may not be executed;
    /// `InvalidInput` for a zero byte in any of it.
    pub(crate) fn new(
        name: &OsStr,
        args: &[OsString],
        env: BTreeMap<OsString, OsString>,
        directory: Option<&Path>,
    ) -> io::Result<Self> {
        let path = find(name, env.get(OsStr::new("PATH")).map(OsString::as_os_str))?;
        let args = std::iter::once(name).chain(args.iter().map(OsString::as_os_str));
        let pair = |(mut name, value): (OsString, OsString)| {
            name.push("=");
            name.push(value);
            text(name)
        };
        Ok(Self {
            path: text(path.into_os_string())?,
            args: args.map(|arg| text(arg.to_owned())).collect::<io::Result<_>>()?,
            env: env.into_iter().map(pair).collect::<io::Result<_>>()?,
            directory: directory.map(|folder| text(folder.into())).transpose()?,
        })
    }
}

fn text(text: OsString) -> io::Result<CString> {
    Ok(CString::new(text.into_vec())?)
}

/// The file that a name means. A path is taken as it is, relative to where the child starts.
fn find(name: &OsStr, path: Option<&OsStr>) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let mut refused = Errno::NOENT;
    // A relative folder would mean another one here than in the child.
    let folders = std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)));
    for folder in folders.filter(|folder| folder.is_absolute()) {
        let candidate = folder.join(name);
        match rustix::fs::access(&candidate, Access::EXEC_OK) {
            Ok(()) if candidate.is_file() => return Ok(candidate),
            Err(Errno::ACCESS) => refused = Errno::ACCESS,
            _ => {}
        }
    }
    Err(refused.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_the_path_that_the_child_gets() {
        let found = find(OsStr::new("sh"), Some(OsStr::new("/nonexistent:/bin"))).unwrap();
        assert_eq!(found, Path::new("/bin/sh"));
        let missing = find(OsStr::new("sh"), Some(OsStr::new("/nonexistent"))).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        // A folder is no program, and a path is not looked for.
        let folder = find(OsStr::new("bin"), Some(OsStr::new("/usr"))).unwrap_err();
        assert_eq!(folder.kind(), io::ErrorKind::NotFound);
        assert_eq!(find(OsStr::new("./tool"), None).unwrap(), Path::new("./tool"));
    }

    #[test]
    fn what_the_kernel_cannot_take_is_refused() {
        let program = |arg: &str| {
            let args = [OsString::from(arg)];
            Program::new(OsStr::new("/bin/true"), &args, BTreeMap::new(), None)
        };
        assert_eq!(program("a\0b").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let whole = program("a b").unwrap();
        assert_eq!(whole.args, [c"/bin/true".to_owned(), c"a b".to_owned()]);
    }
}
