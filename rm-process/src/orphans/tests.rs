//! Tests of the hunt, with parents that are killed. A parent is this test binary, started again.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::{Child, Command, Stdio};

use rustix::process::{WaitId, WaitIdOptions};
use tempfile::TempDir;

use super::*;
use crate::identity::{Owner, RUNTIME_ENV};
use crate::record::{Record, VERSION};

/// Against hangs only.
const WATCHDOG: Duration = Duration::from_secs(20);

const ROOT_ENV: &str = "RM_PROCESS_TEST_ROOT";
const NESTED_ENV: &str = "RM_PROCESS_TEST_NESTED";
const NOBODY: u32 = 65534;

/// A process known while it surely exists; killed when dropped, so that a failing test leaves
/// nothing.
struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    fn new(pid: u32) -> Self {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty()).expect("it lives");
        Self { pid, pidfd }
    }

    fn is_alive(&self) -> bool {
        let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::event::poll(&mut watched, Some(&Timespec::default())).expect("poll") == 0
    }

    fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        wait_gone(&self.pidfd, Instant::now() + WATCHDOG).expect("poll");
        assert!(!self.is_alive(), "{} does not die", self.pid);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// A process of this binary that has a runtime, and what lives below it.
struct Parent {
    child: Child,
    id: String,
    descendants: Vec<Process>,
}

impl Parent {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it");
        let lines =
            BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let ready =
            lines.into_iter().find_map(|line| Some(line.split_once("ready ")?.1.to_owned()));
        let ready = ready.expect("the parent says who it is");
        let (id, pids) = ready.split_once(' ').expect("id and pids");
        let pids = pids.split(' ').map(|pid| pid.parse().expect("a pid"));
        Self { child, id: id.to_owned(), descendants: pids.map(Process::new).collect() }
    }

    /// Leaves a zombie until this is dropped.
    fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        let dead = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(Pid::from_child(&self.child)), dead).expect("it ends");
    }

    fn living(&self) -> usize {
        self.descendants.iter().filter(|process| process.is_alive()).count()
    }

    fn pids(&self) -> Vec<u32> {
        self.descendants.iter().map(|process| process.pid).collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn again(test: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    let name = format!("orphans::tests::{test}");
    command.args(["--exact", &name, "--ignored", "--nocapture"]).env(ROOT_ENV, root);
    command
}

fn parent(root: &Path) -> Command {
    again("be_a_parent", root)
}

/// Starts a descendant that left session and group, and one that stayed, tells who they are and
/// waits to be killed.
#[test]
#[ignore = "the parent that other tests start and kill"]
fn be_a_parent() {
    let Some(root) = std::env::var_os(ROOT_ENV) else { return };
    let record = Record::create_in(&[root.clone().into()]).unwrap();
    let marker = crate::identity::marker_of(record.id(), std::env::var_os(RUNTIME_ENV).as_deref());
    let mut pids = Vec::new();
    let mut nested = None;
    if std::env::var_os(NESTED_ENV).is_some() {
        let mut inner = parent(root.as_ref());
        let inner = Parent::start(inner.env(RUNTIME_ENV, &marker).env_remove(NESTED_ENV));
        pids.extend([inner.child.id()].into_iter().chain(inner.pids()));
        nested = Some(inner);
    }
    let script = "setsid sleep 1000 & echo $!; sleep 1000 & echo $!; exec sleep 1000 >&2";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).env(RUNTIME_ENV, marker).stdout(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    pids.push(shell.id());
    let lines = BufReader::new(shell.stdout.take().unwrap()).lines().take(2);
    pids.extend(lines.map(|line| line.unwrap().parse::<u32>().unwrap()));
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    println!("\nready {} {}", record.id(), pids.join(" "));
    shell.wait().unwrap();
    drop(nested);
}

/// A sweep by another process.
#[test]
#[ignore = "the sweeper that other tests start"]
fn be_a_sweeper() {
    let Some(root) = std::env::var_os(ROOT_ENV) else { return };
    println!("\nresult {:?}", sweep(root.as_ref()));
}

fn sweep_elsewhere(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| Some(line.split_once("result ")?.1.to_owned())).expect("a result")
}

fn root() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("records");
    (folder, root)
}

fn sweep(root: &Path) -> Swept {
    let no_cgroups = |path: &Path| panic!("{} is none", path.display());
    sweep_in(&[root.to_owned()], no_cgroups).expect("it sweeps")
}

/// Writes the record of a runtime of a process, without a lock.
fn write_record(root: &Path, owner: Owner, cgroups: Vec<PathBuf>) -> PathBuf {
    let runtime = crate::identity::random_id().expect("a number");
    let folder = empty_record(root, &runtime.to_string());
    let contents = Contents { version: VERSION, runtime, owner, cgroups };
    fs::write(folder.join(record::FILE), serde_json::to_vec(&contents).expect("JSON")).expect("w");
    folder
}

fn empty_record(root: &Path, name: &str) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir_all(&folder).expect("a folder");
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).expect("its mode");
    folder
}

fn dead_owner() -> Owner {
    let own = Owner::this_process().expect("proc");
    Owner { start_ticks: own.start_ticks + 1, ..own }
}

fn sleeper(marker: &str) -> (Child, Process) {
    let mut command = Command::new("sleep");
    let child = command.arg("1000").env(RUNTIME_ENV, marker).spawn().expect("sleep");
    let process = Process::new(child.id());
    (child, process)
}

fn name_of(folder: &Path) -> String {
    folder.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn all_descendants_of_a_killed_parent_are_killed_and_nobody_else() {
    let (_folder, root) = root();
    let mut dead = Parent::start(&mut parent(&root));
    let mut living = Parent::start(&mut parent(&root));
    let (mut child, stranger) = sleeper("0123456789abcdef,junk");
    dead.kill();
    assert_eq!(dead.living(), 3);

    let swept = sweep(&root);
    assert_eq!(dead.living(), 0);
    assert_eq!(swept.runtimes, [dead.id.clone()]);
    let (mut killed, mut expected) = (swept.processes, dead.pids());
    killed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(killed, expected);
    assert!(swept.skipped.is_empty(), "{:?}", swept.skipped);
    assert!(!root.join(&dead.id).exists());
    assert!(root.join(&living.id).join(record::FILE).exists());
    assert_eq!(living.living(), 3);
    assert!(stranger.is_alive());

    living.kill();
    assert_eq!(sweep(&root).runtimes, [living.id.clone()]);
    assert_eq!(living.living(), 0);
    assert!(!root.exists());
    stranger.kill();
    child.wait().unwrap();
}

#[test]
fn nested_runtimes_die_with_the_outer_and_the_outer_lives_on_without_the_inner() {
    let (_folder, root) = root();
    let start = || Parent::start(parent(&root).env(NESTED_ENV, "1"));
    let mut outer = start();
    outer.kill();
    let swept = sweep(&root);
    assert_eq!(outer.living(), 0);
    assert!(swept.runtimes.contains(&outer.id));
    // The inner runtime was alive when its record was looked at, unless it was the later of two.
    sweep(&root);
    assert!(!root.exists());

    let outer = start();
    outer.descendants[0].kill();
    // A zombie, which the living outer runtime has not reaped.
    assert_eq!(outer.living(), 6);
    let swept = sweep(&root);
    assert_eq!(swept.processes.len(), 3);
    assert!(outer.descendants[..4].iter().all(|process| !process.is_alive()));
    assert_eq!(outer.living(), 3);
    assert!(!swept.runtimes.contains(&outer.id));
}

#[test]
fn an_owner_is_dead_by_start_time_or_boot_and_alive_by_both() {
    let (_folder, root) = root();
    let own = Owner::this_process().unwrap();
    let reused = write_record(&root, dead_owner(), Vec::new());
    let boot_id = "00000000-0000-0000-0000-000000000000".to_owned();
    let rebooted = write_record(&root, Owner { boot_id, ..own.clone() }, Vec::new());
    let alive = write_record(&root, own, Vec::new());
    let locked = write_record(&root, dead_owner(), Vec::new());
    let lock = record::lock(&locked).unwrap().unwrap();

    let swept = sweep(&root);
    let mut expected = [name_of(&reused), name_of(&rebooted)];
    expected.sort_unstable();
    let mut runtimes = swept.runtimes;
    runtimes.sort_unstable();
    assert_eq!(runtimes, expected);
    assert!(alive.exists() && locked.exists());
    for skipped in swept.skipped {
        match skipped.reason {
            SkipReason::OwnerAlive { pid } => {
                assert_eq!((&skipped.path, pid), (&alive, std::process::id()));
            }
            SkipReason::Locked => assert_eq!(skipped.path, locked),
            other => panic!("{other}"),
        }
    }
    drop(lock);
    assert_eq!(sweep(&root).runtimes, [name_of(&locked)]);
}

#[test]
fn a_record_that_was_left_half_made_or_half_removed_is_removed() {
    let (_folder, root) = root();
    empty_record(&root, "00000000000000a0");
    fs::write(empty_record(&root, "00000000000000a1").join(record::UNFINISHED), "").unwrap();
    fs::write(empty_record(&root, "00000000000000a2").join(record::UNFINISHED), "{\"ve").unwrap();
    let rewritten = write_record(&root, dead_owner(), Vec::new());
    fs::write(rewritten.join(record::UNFINISHED), "{\"version\":1,").unwrap();
    let held = empty_record(&root, "00000000000000a3");
    let lock = record::lock(&held).unwrap();
    let swept = sweep(&root);
    assert_eq!(swept.runtimes.len(), 4, "{swept:?}");
    assert!(held.exists());
    let skipped = &swept.skipped[..];
    assert!(matches!(skipped, [Skipped { path, reason: SkipReason::Locked }] if *path == held));
    drop(lock);
    sweep(&root);
    assert!(!root.exists());
}

#[test]
fn what_is_no_record_of_this_user_is_left_alone_and_named() {
    let (folder, root) = root();
    let write = |name: &str, text: &str| {
        fs::write(empty_record(&root, name).join(record::FILE), text).unwrap();
    };
    write("00000000000000b0", "");
    write("00000000000000b1", "{\"version\":1,\"runtime\":\"../../etc\"}");
    write("00000000000000b2", "{\"version\":2,\"anything\":[]}");
    let moved = write_record(&root, dead_owner(), Vec::new());
    fs::rename(&moved, root.join("00000000000000b3")).unwrap();
    let more = write_record(&root, dead_owner(), Vec::new());
    fs::write(more.join("notes"), "mine").unwrap();
    fs::write(root.join("README"), "mine").unwrap();
    fs::write(root.join("00000000000000b4"), "a file").unwrap();
    let elsewhere = empty_record(&folder.path().join("elsewhere"), "00000000000000b5");
    symlink(&elsewhere, root.join("00000000000000b5")).unwrap();
    let mut expected = 8;
    if user() == 0 {
        let foreign = write_record(&root, dead_owner(), Vec::new());
        chown(&foreign, Some(NOBODY), Some(NOBODY)).unwrap();
        expected += 1;
    } else {
        eprintln!("not tested: folders of other users; it takes root to make one");
    }
    let swept = sweep(&root);
    assert_eq!(swept.skipped.len(), expected, "{swept:?}");
    assert!(swept.runtimes.is_empty());
    assert!(swept.skipped.iter().all(|skipped| fs::symlink_metadata(&skipped.path).is_ok()));
    assert!(elsewhere.exists());
    let of = |name: &str| swept.skipped.iter().find(|skipped| skipped.path.ends_with(name));
    let text = |name| of(name).unwrap().reason.to_string();
    assert!(text("00000000000000b1").contains("record of format 1"));
    assert!(text("00000000000000b2").contains("has format 2, and only 1"));
    assert!(text("00000000000000b3").contains(&name_of(&moved)));
}

#[test]
fn a_folder_of_records_that_is_not_this_users_alone_is_refused() {
    let check = |root: &Path| {
        let swept = sweep(root);
        assert!(swept.runtimes.is_empty());
        let [Skipped { path, reason: SkipReason::Record(reason) }] = &swept.skipped[..] else {
            panic!("{swept:?}");
        };
        assert_eq!(path, root);
        let error = Record::create_in(&[root.to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), reason.to_string());
        reason.to_string()
    };
    let (folder, root) = root();
    let record = write_record(&root, dead_owner(), Vec::new());
    let link = folder.path().join("link");
    symlink(&root, &link).unwrap();
    assert!(check(&link).contains("0700, not a link"));
    let close = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    close(&root, 0o770);
    assert!(check(&root).contains("0700, not a link"));
    close(&root, 0o700);
    close(folder.path(), 0o777);
    assert!(check(&root).contains("others may rename"));
    close(folder.path(), 0o1777);
    if user() == 0 {
        chown(&root, Some(NOBODY), Some(NOBODY)).unwrap();
        assert!(check(&root).contains("of user 0 alone"));
        chown(&root, Some(0), Some(0)).unwrap();
    }
    assert!(record.exists());
    // The next in the list is taken, and what is wrong with the first is not hidden.
    let next = folder.path().join("next");
    drop(Record::create_in(&[link, next]).unwrap());
    assert_eq!(sweep(&root).runtimes, [name_of(&record)]);
}

#[test]
fn a_sweeper_that_was_started_under_a_dead_runtime_leaves_that_alone() {
    let (_folder, root) = root();
    let record = write_record(&root, dead_owner(), Vec::new());
    let (mut child, marked) = sleeper(&name_of(&record));
    let result = sweep_elsewhere(again("be_a_sweeper", &root).env(RUNTIME_ENV, name_of(&record)));
    assert!(result.contains("reason: OwnRuntime") && marked.is_alive(), "{result}");
    // An ancestor is enough.
    let sweeper = again("be_a_sweeper", &root);
    let mut shell = Command::new("sh");
    shell.args(["-c", "env -u \"$0\" \"$@\"; exit $?", RUNTIME_ENV]).arg(sweeper.get_program());
    shell.args(sweeper.get_args()).env(ROOT_ENV, &root).env(RUNTIME_ENV, name_of(&record));
    let result = sweep_elsewhere(&mut shell);
    assert!(result.contains("reason: OwnRuntime") && marked.is_alive(), "{result}");

    let swept = sweep(&root);
    assert_eq!(swept.processes, [marked.pid]);
    child.wait().unwrap();
    assert!(!root.exists());
}

#[test]
fn another_user_is_neither_found_nor_killed() {
    if user() != 0 || Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("skipped: it takes root and setpriv to be two users");
        return;
    }
    let as_nobody = |command: &Command| {
        let mut changed = Command::new("setpriv");
        changed.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        changed.arg(command.get_program()).args(command.get_args());
        changed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        changed
    };
    let (folder, root) = root();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("copy");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut sweeper = Command::new(&copy);
    sweeper.args(again("be_a_sweeper", &root).get_args()).env(ROOT_ENV, &root);

    // Both have a dead runtime, and by chance or malice of the same name.
    let record = write_record(&root, dead_owner(), Vec::new());
    let id = name_of(&record);
    let (mut own_child, own) = sleeper(&id);
    let mut command = Command::new("sleep");
    let mut nobodys = as_nobody(command.arg("1000").env(RUNTIME_ENV, &id)).spawn().unwrap();
    let nobody = Process::new(nobodys.id());
    // Until it has changed its user.
    while fs::metadata(format!("/proc/{}", nobody.pid)).unwrap().uid() != NOBODY {
        std::thread::yield_now();
    }
    let result = sweep_elsewhere(&mut as_nobody(&sweeper));
    assert!(result.contains("ForeignFolder"), "{result}");
    assert!(own.is_alive() && nobody.is_alive() && record.exists());

    for path in [root.clone(), record.clone(), record.join(record::FILE)] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let result = sweep_elsewhere(&mut as_nobody(&sweeper));
    assert!(result.contains(&format!("processes: [{}]", nobody.pid)), "{result}");
    assert!(own.is_alive() && !nobody.is_alive() && !root.join(&id).exists());
    own.kill();
    own_child.wait().unwrap();
    nobodys.wait().unwrap();
}

/// What becomes of a dead runtime's process that runs `script`, which runs itself again, as often
/// as its argument says: a bound, so that it ends if it is not caught.
fn check_caught(script: &str) {
    let (folder, root) = root();
    let file = folder.path().join("script");
    fs::write(&file, script).unwrap();
    for _ in 0..20 {
        let record = write_record(&root, dead_owner(), Vec::new());
        let mut command = Command::new("sh");
        command.arg(&file).arg("20000").env(RUNTIME_ENV, name_of(&record));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let swept = sweep(&root);
        child.wait().unwrap();
        assert!(!swept.processes.is_empty());
        assert_eq!(swept.runtimes, [name_of(&record)]);
        let dead = BTreeSet::from([name_of(&record).parse().unwrap()]);
        assert!(kill_found(&dead).unwrap().is_empty());
    }
}

#[test]
fn a_process_that_forks_and_exits_all_the_time_is_caught() {
    check_caught("[ $1 -gt 0 ] && sh $0 $(($1 - 1)) & exit 0");
}

#[test]
fn a_process_that_replaces_its_program_all_the_time_is_caught() {
    check_caught("[ $1 -gt 0 ] && exec sh $0 $(($1 - 1))");
}

#[test]
fn a_mark_is_found_in_an_environment_of_any_size() {
    let (_folder, root) = root();
    let record = write_record(&root, dead_owner(), Vec::new());
    let mut command = Command::new("sleep");
    // A single variable may have 128 KiB.
    command.arg("1000").env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.envs((0..10).map(|number| (format!("A{number}"), "x".repeat(100_000))));
    let mut child = command.env(RUNTIME_ENV, name_of(&record)).spawn().unwrap();
    assert_eq!(sweep(&root).processes, [child.id()]);
    child.wait().unwrap();
}

/// Makes and removes records for as long as it lives, and says so.
#[test]
#[ignore = "the parent that other tests start and kill"]
fn be_busy() {
    let Some(root) = std::env::var_os(ROOT_ENV) else { return };
    loop {
        let mut record = Record::create_in(&[root.clone().into()]).unwrap();
        record
            .add_cgroup(&Path::new("/nowhere").join(crate::identity::name_of(record.id())))
            .unwrap();
        println!("round");
    }
}

#[test]
fn whenever_a_parent_is_killed_a_sweep_removes_all_of_its_record() {
    let (_folder, root) = root();
    let mut left = 0;
    for rounds in 0..60 {
        let mut parent = again("be_busy", &root).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.filter(|line| line == "round").nth(rounds % 7).is_some());
        parent.kill().unwrap();
        parent.wait().unwrap();
        left += u32::from(root.exists());
        let swept = sweep_in(std::slice::from_ref(&root), |_| Ok(())).unwrap();
        assert!(swept.skipped.is_empty(), "{swept:?}");
        assert!(!root.exists());
    }
    assert!(left > 0, "not once did it leave anything");
}

#[test]
fn sweeps_at_once_do_each_runtime_once_while_others_come_and_go() {
    let (_folder, root) = root();
    let living = Record::create_in(std::slice::from_ref(&root)).unwrap();
    let dead: BTreeSet<_> =
        (0..200).map(|_| name_of(&write_record(&root, dead_owner(), Vec::new()))).collect();
    let swept: Vec<_> = std::thread::scope(|scope| {
        let coming = || {
            for _ in 0..200 {
                drop(Record::create_in(std::slice::from_ref(&root)).unwrap());
            }
        };
        scope.spawn(coming);
        scope.spawn(coming);
        let sweepers: Vec<_> = (0..4).map(|_| scope.spawn(|| sweep(&root))).collect();
        sweepers.into_iter().map(|sweeper| sweeper.join().unwrap()).collect()
    });
    for skipped in swept.iter().flat_map(|swept| &swept.skipped) {
        assert!(matches!(skipped.reason, SkipReason::Locked), "{skipped:?}");
    }
    let done: Vec<_> = swept.into_iter().flat_map(|swept| swept.runtimes).collect();
    assert!(dead.iter().all(|id| done.iter().filter(|done| *done == id).count() == 1));
    assert!(!done.contains(&living.id().to_string()));
    drop(living);
    sweep(&root);
    assert!(!root.exists());
}

#[test]
fn a_cgroup_is_removed_if_it_is_the_runtimes_and_the_record_stays_until_it_is_gone() {
    let (_folder, root) = root();
    let record = write_record(&root, dead_owner(), Vec::new());
    let id: RuntimeId = name_of(&record).parse().unwrap();
    let [own, busy, gone] = ["own", "busy", "gone"]
        .map(|below| Path::new("/sys/fs/cgroup").join(crate::identity::name_of(id)).join(below));
    let foreign = PathBuf::from("/sys/fs/cgroup/system.slice");
    let mut text: Contents = record::read(&record).unwrap().unwrap();
    text.cgroups = vec![own.clone(), foreign, busy.clone(), gone.clone()];
    fs::write(record.join(record::FILE), serde_json::to_vec(&text).unwrap()).unwrap();
    let remove = |path: &Path| match path {
        path if path == own => Ok(()),
        path if path == busy => Err(io::ErrorKind::ResourceBusy.into()),
        path if path == gone => Err(io::ErrorKind::NotFound.into()),
        path => panic!("{}", path.display()),
    };
    let swept = sweep_in(std::slice::from_ref(&root), remove).unwrap();
    assert_eq!(swept.cgroups, [own]);
    let reasons: Vec<_> = swept.skipped.iter().map(|skipped| skipped.reason.to_string()).collect();
    let expected = [
        "/sys/fs/cgroup/system.slice is not a cgroup of this runtime".to_owned(),
        format!("cannot remove cgroup {}", busy.display()),
    ];
    assert_eq!(reasons, expected);
    assert!(swept.runtimes.is_empty() && record.exists());

    text.cgroups = vec![busy.clone()];
    fs::write(record.join(record::FILE), serde_json::to_vec(&text).unwrap()).unwrap();
    let swept = sweep_in(std::slice::from_ref(&root), |_| Ok(())).unwrap();
    assert_eq!(swept.cgroups, [busy]);
    assert!(!root.exists());
}
