//! Children that are born without a copy of this process's memory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;

use rustix::pipe::PipeFlags;

use super::*;
use crate::cgroup::Cgroups;
use crate::identity::{name_of, random_id};

/// What a shell script prints that is started in `directory`, or why it cannot be.
fn run(
    script: &str,
    directory: Option<&Path>,
    birthplace: Option<&Birthplace>,
) -> io::Result<String> {
    let args = [OsString::from("-c"), script.into()];
    let env = BTreeMap::from([("GIVEN".into(), "by us".into())]);
    let program = Program::new(OsStr::new("/bin/sh"), &args, env, directory)?;
    start(&program, birthplace)
}

fn start(program: &Program, birthplace: Option<&Birthplace>) -> io::Result<String> {
    let null = apart(std::fs::File::open("/dev/null")?.into())?;
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let writer = apart(writer)?;
    let child = launch(&Launch {
        program,
        streams: [null.as_fd(), writer.as_fd(), writer.as_fd()],
        legacy: &Legacy::default(),
        dies_with_parent: true,
        birthplace,
    })?;
    drop(writer);
    let mut output = String::new();
    std::fs::File::from(reader).read_to_string(&mut output)?;
    let (status, _) = wait(child.pidfd.as_fd()).expect("it is this process's child");
    assert!(status.success(), "{status}: {output}");
    Ok(output)
}

#[test]
fn a_child_has_its_arguments_its_environment_and_its_folder_and_nothing_else() {
    let env = || BTreeMap::from([("GIVEN".into(), "by us".into()), ("B".into(), "2".into())]);
    let program = |name: &str, args: &[OsString]| {
        Program::new(OsStr::new(name), args, env(), Some(Path::new("/usr"))).unwrap()
    };
    let shown = start(&program("/usr/bin/env", &[]), None).unwrap();
    assert_eq!(shown, "B=2\nGIVEN=by us\n");
    let folder = start(&program("/usr/bin/readlink", &["/proc/self/cwd".into()]), None).unwrap();
    assert_eq!(folder, "/usr\n");
    let said = start(&program("/usr/bin/printf", &["%s|%s".into(), "a b".into(), "".into()]), None);
    assert_eq!(said.unwrap(), "a b|");
}

#[test]
fn a_child_begins_with_the_signals_that_programs_expect_and_leads_its_group() {
    // By exec, because a shell blocks signals for a while on its own account.
    let signals = run("exec grep -E '^Sig(Blk|Ign)' /proc/self/status", None, None).unwrap();
    let lines: Vec<&str> = signals.lines().collect();
    assert_eq!(lines[0], "SigBlk:\t0000000000000000");
    // What is ignored stays so, but for SIGPIPE, which Rust ignores for itself.
    let ignored = |line: &str| u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = ignored(own.lines().find(|line| line.starts_with("SigIgn")).unwrap());
    let pipe = 1 << (libc::SIGPIPE - 1);
    assert_eq!((ignored(lines[1]), own & pipe), (own & !pipe, pipe));
    let ids = run("exec cut -d' ' -f1,5 /proc/self/stat", None, None).unwrap();
    let (pid, group) = ids.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
    // This thread's own mask is as it was.
    let mask = SigSet::thread_get_mask().unwrap();
    assert!(!mask.contains(nix::sys::signal::Signal::SIGTERM));
}

#[test]
fn a_step_that_fails_is_named_and_leaves_no_child() {
    let missing = run("true", Some(Path::new("/no/such/folder")), None).unwrap_err();
    assert!(missing.to_string().starts_with("it cannot change to its working directory: "));
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);

    let nothing = Program::new(OsStr::new("/no/such/program"), &[], BTreeMap::new(), None);
    let error = start(&nothing.unwrap(), None).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::NOENT));
    let text = Program::new(OsStr::new("/etc/passwd"), &[], BTreeMap::new(), None).unwrap();
    let error = start(&text, None).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::ACCESS));
}

#[test]
fn a_child_is_in_its_cgroup_from_the_start_also_where_it_has_to_move_there() {
    let cgroups = Cgroups::new(&name_of(random_id().unwrap()));
    let cgroup = cgroups.create("born", None);
    let Some(birthplace) = cgroup.birthplace().unwrap() else {
        eprintln!("not tested here: {}", cgroup.why_no_tree().unwrap());
        return;
    };
    let script = "grep ^0:: /proc/$$/cgroup";
    let born = run(script, None, Some(&birthplace)).unwrap();
    assert!(born.ends_with("/born\n"), "{born}");
    // The kernel refuses a birth in what is no cgroup, as it does where it cannot do that at all.
    let folder = std::fs::File::open("/").unwrap().into();
    let elsewhere = Birthplace { folder, procs: birthplace.procs.try_clone().unwrap() };
    let moved = run(script, None, Some(&elsewhere)).unwrap();
    assert_eq!(moved, born);
    assert!(cgroup.remove().is_empty());
}
