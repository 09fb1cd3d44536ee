//! Tests on the cgroups of the machine, as far as this user may make some.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::limits::Prepared;
use crate::sys;

const MAX_MEMORY: u64 = 32 << 20;

/// A name that no other test has, of this run or of another.
fn fresh_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{RUNTIME_PREFIX}test-{}-{number}", std::process::id())
}

fn fresh() -> Cgroups {
    Cgroups::new(&fresh_name())
}

/// As on a machine without a v2 hierarchy.
fn fresh_v1() -> Cgroups {
    Cgroups::within(Own { v2: None, ..Own::of_this_process() }, &fresh_name())
}

/// Whether the test has to be skipped, which it then says.
fn skip(why: Option<&CgroupError>) -> bool {
    if let Some(why) = why {
        eprintln!("skipped: {why}");
    }
    why.is_some()
}

/// A shell in a cgroup, which is killed at the latest when this is dropped.
struct Shell<'a> {
    child: Child,
    cgroup: &'a Cgroup,
}

impl<'a> Shell<'a> {
    fn start(cgroup: &'a Cgroup, script: &str) -> Self {
        let mut prepared = Prepared::default();
        let v2 = cgroup.birthplace().expect("a new cgroup can be entered");
        let v1 = cgroup.tasks().expect("a new cgroup can be entered");
        for procs in v2.map(|birthplace| birthplace.procs).into_iter().chain(v1) {
            prepared.enter(procs);
        }
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        sys::prepare(&mut command, prepared);
        Self { child: command.spawn().expect("sh is there"), cgroup }
    }

    /// Waits until the script has said "ready"; the rest of what it says can be read then.
    fn ready(&mut self) -> BufReader<std::process::ChildStdout> {
        let mut output = BufReader::new(self.child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a pipe can be read");
        assert_eq!(line, "ready\n");
        output
    }

    fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("nobody else waits")
    }
}

impl Drop for Shell<'_> {
    fn drop(&mut self) {
        let _ = self.cgroup.kill();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two generations below the shell, the last in a session of its own.
const TREE: &str = "sh -c 'setsid sh -c \"echo ready; exec sleep 1000\" & exec sleep 1000' & wait";

/// A tree whose processes together want more than they may.
fn check_memory(cgroups: &Cgroups) {
    let cgroup = cgroups.create("hog", Some(MAX_MEMORY));
    if skip(cgroup.why_not_held()) {
        return;
    }
    assert_eq!((cgroup.oom_kills(), cgroup.is_populated()), (0, false));
    // `tail` keeps what may be the last lines; zeros hold no end of a line.
    let hog = "(sh -c 'head -c 200000000 /dev/zero | tail >/dev/null; exit $?'; exit $?) & wait $!";
    let mut shell = Shell::start(&cgroup, hog);
    let status = shell.wait();
    // Of a v1 cgroup only the hog dies; its shells tell so. A v2 cgroup dies as a whole.
    let code = std::os::unix::process::ExitStatusExt::signal(&status).or(status.code());
    assert!(matches!(code, Some(137 | 9)), "{status}");
    assert!(cgroup.oom_kills() >= 1);
    // Linux tells the peak of a v2 cgroup since 5.19.
    if let Some(peak) = cgroup.peak_memory() {
        assert!((MAX_MEMORY / 2..MAX_MEMORY * 2).contains(&peak), "{peak}");
    }
    assert!(cgroup.current_memory().is_some());
    drop(shell);
    assert!(!cgroup.is_populated());
    assert_eq!(cgroup.remove(), Vec::<PathBuf>::new());
}

/// A tree whose processes are started by that script.
fn check_kill(cgroups: &Cgroups, max_memory: Option<u64>, script: &str) {
    let cgroup = cgroups.create("tree", max_memory);
    if cgroup.folders().next().is_none() {
        skip(cgroup.why_no_tree());
        return;
    }
    let mut shell = Shell::start(&cgroup, script);
    let mut output = shell.ready();
    assert!(cgroup.is_populated());
    cgroup.kill().unwrap();
    // The end comes when the last one that could write is dead.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(shell.wait().code().is_none());
    drop(shell);
    assert_eq!(cgroup.remove(), Vec::<PathBuf>::new());
}

#[test]
fn a_tree_beyond_its_memory_is_killed_by_the_kernel_and_the_kill_is_counted() {
    check_memory(&fresh());
    check_memory(&fresh_v1());
}

#[test]
fn everybody_in_a_tree_is_killed_also_in_sessions_of_their_own() {
    check_kill(&fresh(), None, TREE);
    check_kill(&fresh(), Some(MAX_MEMORY), TREE);
    check_kill(&fresh_v1(), Some(MAX_MEMORY), TREE);
}

#[test]
fn a_tree_that_goes_on_forking_is_killed() {
    let script = "echo ready; while :; do sleep 1000 & done";
    check_kill(&fresh(), Some(MAX_MEMORY), script);
    check_kill(&fresh_v1(), Some(MAX_MEMORY), script);
}

#[test]
fn a_child_is_a_member_of_its_cgroups_from_the_start_and_inherits_no_descriptor() {
    let cgroups = fresh();
    let cgroup = cgroups.create("one", Some(MAX_MEMORY));
    if skip(cgroup.why_no_tree()) {
        return;
    }
    let mut shell = Shell::start(&cgroup, "echo ready; ls /proc/self/fd; cat /proc/self/cgroup");
    let mut seen = String::new();
    shell.ready().read_to_string(&mut seen).unwrap();
    let member = format!("/{}/one\n", cgroups.0.name);
    assert_eq!(seen.matches(&member).count(), cgroup.folders().count(), "{seen}");
    // The standard streams and the descriptor of the listed folder.
    assert!(seen.starts_with("0\n1\n2\n3\n") && !seen.contains("\n4\n"), "{seen}");
    // What the child entered through is closed here too.
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter_map(|fd| fs::read_link(fd.path()).ok());
    let left: Vec<_> =
        open.filter(|path| cgroup.folders().any(|mine| path.starts_with(mine))).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn folders_are_made_when_needed_and_gone_when_everything_is_dropped() {
    let cgroups = fresh();
    let exist = |folders: &[PathBuf]| folders.iter().filter(|folder| folder.exists()).count();
    let mine = cgroups.folders();
    assert_eq!(exist(&mine), 0);
    let cgroup = cgroups.create("one", Some(MAX_MEMORY));
    if skip(cgroup.why_no_tree()) {
        return;
    }
    let folders: Vec<PathBuf> = cgroup.folders().map(Path::to_owned).collect();
    assert_eq!(exist(&mine), folders.len());
    assert!(folders.iter().all(|folder| mine.iter().any(|mine| folder.starts_with(mine))));
    drop(cgroups);
    assert_eq!(exist(&folders), folders.len());
    drop(cgroup);
    assert_eq!(exist(&folders) + exist(&mine), 0);
}

#[test]
fn a_cgroup_with_somebody_alive_is_not_removed_and_says_so() {
    let cgroups = fresh();
    let cgroup = cgroups.create("alive", None);
    if skip(cgroup.why_no_tree()) {
        return;
    }
    let mut shell = Shell::start(&cgroup, TREE);
    let _output = shell.ready();
    let folder = cgroup.folders().next().unwrap().to_owned();
    let rival = Cgroup::new(
        cgroups.0.clone(),
        Ok(V2 { folder: folder.clone(), memory: Ok(()) }),
        None,
        None,
    );
    assert_eq!(rival.remove(), vec![folder.clone()]);
    drop(shell);
    assert_eq!(cgroup.remove(), Vec::<PathBuf>::new());
    assert!(!folder.exists());
}

/// What a runtime leaves that dies before its tree: a folder with the living and one below.
fn check_dead(cgroups: &Cgroups, max_memory: Option<u64>) {
    let cgroup = cgroups.create("orphan", max_memory);
    let Some(folder) = cgroup.folders().next() else {
        skip(cgroup.why_no_tree());
        return;
    };
    let below = folder.join("below");
    fs::create_dir(&below).unwrap();
    let mut shell = Shell::start(&cgroup, TREE);
    let mut output = shell.ready();
    let recorded: Vec<PathBuf> = cgroups.folders().into_iter().filter(|f| f.exists()).collect();
    assert!(!recorded.is_empty());
    for folder in &recorded {
        remove_dead(folder).unwrap();
        assert!(!folder.exists());
        remove_dead(folder).unwrap();
    }
    output.read_to_string(&mut String::new()).unwrap();
    assert!(shell.wait().code().is_none());
}

#[test]
fn what_a_dead_runtime_left_is_killed_and_removed() {
    check_dead(&fresh(), None);
    check_dead(&fresh(), Some(MAX_MEMORY));
    check_dead(&fresh_v1(), Some(MAX_MEMORY));
}

#[test]
fn nothing_but_the_cgroups_of_runtimes_is_removed() {
    let temporary = tempfile::tempdir().unwrap();
    let plain = temporary.path().join("remotemedia-0123");
    fs::create_dir(&plain).unwrap();
    let file = temporary.path().join("remotemedia-file");
    fs::write(&file, "").unwrap();
    let link = temporary.path().join("remotemedia-link");
    let own = Own::of_this_process();
    let target = own.v2.or(own.v1_memory).unwrap_or_else(|| "/".into());
    std::os::unix::fs::symlink(&target, &link).unwrap();
    let check = |folder: &Path, expected: &str| {
        let text = remove_dead(folder).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    };
    check(&plain, "file system of cgroups");
    check(&file, "not a folder");
    check(&link, "not a folder");
    check(&target, "called like");
    check(Path::new("remotemedia-0123"), "called like");
    check(&plain.join(".."), "called like");
    check(&plain.join("../remotemedia-0123"), "called like");
    assert!(plain.exists() && file.exists());
}

#[test]
fn where_nothing_is_mounted_the_reasons_are_given() {
    let cgroups = Cgroups::within(Own::default(), &fresh_name());
    let cgroup = cgroups.create("one", Some(MAX_MEMORY));
    let text = cgroup.why_no_tree().unwrap().to_string();
    assert_eq!(text, "no v2 hierarchy of cgroups is mounted that shows the cgroup of this process");
    let text = cgroup.why_not_held().unwrap().to_string();
    assert!(text.contains(", and no v1 hierarchy of the memory controller is mounted"), "{text}");
    assert!(cgroup.birthplace().unwrap().is_none() && cgroup.tasks().unwrap().is_none());
    assert!(!cgroup.has_kill() && !cgroup.is_populated());
    cgroup.kill().unwrap();
    assert_eq!((cgroup.oom_kills(), cgroup.peak_memory()), (0, None));
    assert_eq!(cgroup.remove(), Vec::<PathBuf>::new());
    assert!(cgroups.create("two", None).why_not_held().is_none());
}

/// A folder like that of a cgroup, with the files that the choice of a place depends on.
fn make_lookalike(folder: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(folder).expect("a temporary folder can be written to");
    for (name, text) in files {
        fs::write(folder.join(name), text).expect("a temporary folder can be written to");
    }
}

/// Why the memory controller is not taken from above a cgroup `parent/own` that has those files.
fn check_beside(parent: &str, own: &[(&str, &str)], expected: &str) {
    let temporary = tempfile::tempdir().expect("there is a temporary folder");
    let parent = temporary.path().join(parent);
    let files = [("cgroup.procs", ""), ("cgroup.controllers", "cpu memory pids")];
    make_lookalike(&parent, &files);
    make_lookalike(&parent.join("own"), &[("cgroup.procs", ""), ("cgroup.controllers", "cpu")]);
    make_lookalike(&parent.join("own"), own);
    let made = make_runtime_v2(&parent.join("own"), "remotemedia-1").expect("it is writable");
    assert_eq!(made.folder, parent.join("own/remotemedia-1"));
    let text = made.memory.expect_err("there is no controller").to_string();
    assert!(text.contains(expected), "{text}");
    assert!(!parent.join("remotemedia-1").exists());
}

#[test]
fn a_place_beside_this_process_is_not_taken_if_that_escapes_a_limit_or_another_runtime() {
    let max = [("memory.max", "max\n"), ("memory.high", "max\n"), ("cpu.max", "max 100000\n")];
    // All is well but that the folder is none of the kernel's, which would make its files.
    check_beside("app.slice", &max, "subtree_control: No such file");
    check_beside("app.slice", &[("memory.max", "1000000\n")], "own has a limit of its own");
    check_beside("app.slice", &[("cpu.max", "50000 100000\n")], "own has a limit of its own");
    check_beside("app.slice", &[("pids.max", "4915\n")], "own has a limit of its own");
    check_beside("remotemedia-0", &max, "own is a child of another runtime");
}

#[test]
fn kills_are_read_from_the_events_of_either_version() {
    let v2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
    assert_eq!(tree::field(v2, "oom_kill"), Some(2));
    let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
    assert_eq!(tree::field(v1, "oom_kill"), Some(1));
    assert_eq!(tree::field("oom_kill\noom_kill x\n", "oom_kill"), None);
}

#[test]
fn names_that_could_be_other_paths_or_files_are_refused() {
    for name in ["", ".", "..", "a/b", "/", "cgroup.procs", "a\n", "a\0"] {
        let cgroup = fresh().create(name, Some(MAX_MEMORY));
        assert!(matches!(cgroup.why_no_tree(), Some(CgroupError::Name { .. })), "{name:?}");
        assert!(matches!(cgroup.why_not_held(), Some(CgroupError::Name { .. })), "{name:?}");
    }
    for name in ["", "remotemedia", "remotemedia-", "remotemedia-../x", "system.slice"] {
        let cgroup = Cgroups::new(name).create("one", None);
        assert!(matches!(cgroup.why_no_tree(), Some(CgroupError::Name { .. })), "{name:?}");
    }
}
