//! Several processes. The test binary is its own child: `child_entry` does the child's part.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rm_core::{DataHeader, DataMetadata, RuntimeData};
use rm_ipc::{
    ChannelError, ChannelOptions, Doorbell, LoanError, Namespace, NamespaceError, PublishError,
    ReceiveError, SharedMemoryChannel, sweep,
};
use rustix::time::{ClockId, clock_gettime};

use crate::channel::{files_of, id, in_process};

const ROLE: &str = "RM_IPC_TEST_ROLE";
const FOLDER: &str = "RM_IPC_TEST_FOLDER";
/// What a line that a child tells starts with.
const MARK: &str = "told: ";
/// A user who owns nothing here.
const NOBODY: u32 = 65_534;
const WATCHDOG: Duration = Duration::from_secs(60);

/// A child that is killed and reaped when its test ends, however that ends.
struct Peer(Child);

impl Peer {
    fn start(role: &str, folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a test binary"));
        command.args(["--exact", "processes::child_entry", "--nocapture"]);
        command.env(ROLE, role).env(FOLDER, folder).stdout(Stdio::null());
        Self(command.spawn().expect("the test binary runs"))
    }

    /// A child whose lines after [`MARK`] are read.
    fn tells(role: &str, folder: &Path) -> (Self, Lines) {
        let mut command = Command::new(std::env::current_exe().expect("a test binary"));
        command.args(["--exact", "processes::child_entry", "--nocapture"]);
        command.env(ROLE, role).env(FOLDER, folder).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the test binary runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        (Self(child), Lines(lines))
    }

    fn kill(&mut self) {
        self.0.kill().expect("a living child");
        self.0.wait().expect("a child to reap");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a child tells.
struct Lines(BufReader<ChildStdout>);

impl Lines {
    /// The next line after [`MARK`].
    fn next(&mut self) -> String {
        let mut lines = (&mut self.0).lines().map_while(Result::ok);
        let told = lines.find_map(|line| Some(line.strip_prefix(MARK)?.to_owned()));
        told.expect("a child that tells something before it ends")
    }
}

/// Does nothing when run as a test; in a child it plays the role that the environment names.
#[test]
fn child_entry() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let folder = std::env::var(FOLDER).unwrap();
    if role == "full" {
        return in_little_memory();
    }
    if role == "foreign" {
        return as_somebody_else(Path::new(&folder));
    }
    if role == "rival" {
        return with_names_of_others();
    }
    if role == "owner" {
        let namespace = Namespace::create().unwrap();
        let channel =
            SharedMemoryChannel::create(&namespace, &id("there"), ChannelOptions::default())
                .unwrap();
        let bell = Arc::new(Doorbell::create(&namespace).unwrap());
        let _publisher = channel.publisher(&bell).unwrap();
        std::fs::write(Path::new(&folder).join("name"), namespace.id().to_string()).unwrap();
        bell.wait(|| false, None);
    }
    let namespace = Namespace::open(Path::new(&folder)).unwrap();
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let mut there =
        SharedMemoryChannel::open(&namespace, &id("there")).unwrap().subscriber(&bell).unwrap();
    if ["where", "stall", "drain"].contains(&role.as_str()) {
        println!("{MARK}joined");
        if role == "where" {
            println!("{MARK}{}", backing(there.recv().unwrap().payload()));
        } else if role == "stall" {
            bell.wait(|| false, None);
        }
        while there.recv().is_ok() {}
        return;
    }
    let back =
        SharedMemoryChannel::open(&namespace, &id("back")).unwrap().publisher(&bell).unwrap();
    match role.as_str() {
        "echo" => {
            while let Ok(data) = there.recv() {
                back.publish(&data).unwrap();
            }
        }
        "hoard" => {
            let kept: Vec<_> = (0..3).map(|_| there.recv().unwrap()).collect();
            back.publish(&RuntimeData::text("holding").unwrap()).unwrap();
            bell.wait(|| kept.is_empty(), None);
        }
        "loan" => {
            back.publish(&RuntimeData::text("sent").unwrap()).unwrap();
            let loan = back.loan_uninit(100).unwrap();
            back.publish(&RuntimeData::text("loaned").unwrap()).unwrap();
            bell.wait(|| false, None);
            drop(loan);
        }
        other => panic!("no such role: {other}"),
    }
}

/// The file that `memory` is mapped from, by device and inode, and where in it.
fn backing(memory: &[u8]) -> String {
    let address = memory.as_ptr().addr();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
    let found = maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        let (offset, device, inode) = (number(fields.nth(1)?)?, fields.next()?, fields.next()?);
        let at = offset + address.checked_sub(start).filter(|_| address < end)?;
        Some(format!("device {device} inode {inode} offset {at:x} {}", fields.next()?))
    });
    found.expect("a mapping")
}

/// Tries whatever another user could.
#[expect(clippy::unwrap_used, reason = "the body of a test, in a process of its own")]
fn as_somebody_else(folder: &Path) {
    assert_eq!(rustix::process::getuid().as_raw(), NOBODY);
    let refused = Namespace::open(folder).unwrap_err();
    assert!(matches!(refused, NamespaceError::ForeignFolder { user: NOBODY, .. }), "{refused}");
    let name = folder.file_name().unwrap().to_str().unwrap();
    let objects = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap());
    let objects = objects.filter(|entry| entry.file_name().to_str().unwrap().contains(name));
    let mut paths: Vec<_> = objects.map(|entry| entry.path()).collect();
    assert!(paths.len() > 2, "{paths:?}");
    paths.extend([folder.to_owned(), folder.join("channel-there"), folder.with_extension("lock")]);
    for path in paths {
        for write in [false, true] {
            let opened = std::fs::OpenOptions::new().read(!write).write(write).open(&path);
            let refused = opened.err().map(|error| error.kind());
            assert_eq!(refused, Some(std::io::ErrorKind::PermissionDenied), "{}", path.display());
        }
    }
    println!("{MARK}refused everything");
}

/// Sends itself what nobody else is to see, on a channel of a name that others have as well.
#[expect(clippy::unwrap_used, reason = "the body of a test, in a process of its own")]
fn with_names_of_others() {
    let namespace = Namespace::create().unwrap();
    let own = SharedMemoryChannel::create(&namespace, &id("there"), in_process()).unwrap();
    let receiver = own.subscribe().unwrap();
    println!("{MARK}{}", namespace.id());
    let text = format!("by {}", std::process::id());
    for _ in 0..1_000 {
        own.publish(&RuntimeData::text(&text).unwrap()).unwrap();
        assert_eq!(receiver.recv().unwrap().as_text(), Some(text.as_str()));
    }
    assert!(receiver.try_recv().unwrap().is_none());
    println!("{MARK}saw its own");
}

/// Fills a small shared-memory file system with messages that are kept.
#[expect(clippy::unwrap_used, reason = "the body of a test, in a process of its own")]
fn in_little_memory() {
    let namespace = Namespace::create().unwrap();
    let channel = SharedMemoryChannel::create(&namespace, &id("full"), in_process()).unwrap();
    let bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let mut subscriber = channel.subscriber(&bell).unwrap();
    let publisher = channel.publisher(&bell).unwrap();
    let (small, large) = (vec![1; 100], vec![2; 256 << 10]);
    let mut kept = Vec::new();
    let refused = loop {
        match publisher.publish(&RuntimeData::binary(large.clone()).unwrap()) {
            Ok(()) => kept.push(subscriber.recv().unwrap()),
            Err(error) => break error,
        }
        assert!(kept.len() < 32, "6 MiB cannot hold that much");
    };
    let PublishError::SystemLimit { source: LoanError::OutOfMemory { len, .. } } = refused else {
        panic!("{refused}")
    };
    assert_eq!(len, large.len());
    assert!(kept.len() > 4, "{}", kept.len());
    // What is there still works, and what is given back can be used again.
    assert!(kept.iter().all(|data| data.payload().as_ref() == large));
    kept.truncate(2);
    for payload in [&small, &large, &small] {
        publisher.publish(&RuntimeData::binary(payload.clone()).unwrap()).unwrap();
        assert_eq!(subscriber.recv().unwrap().payload(), payload);
    }
    let file = "/dev/shm/rest";
    let rest = std::fs::OpenOptions::new().create_new(true).write(true).open(file).unwrap();
    let mut rest = std::io::BufWriter::new(rest);
    while std::io::Write::write_all(&mut rest, &[0; 4096]).is_ok() {}
    let none = SharedMemoryChannel::create(&namespace, &id("more"), ChannelOptions::default())
        .unwrap_err();
    assert!(matches!(none, ChannelError::SystemLimit { available: 0, .. }), "{none}");
    // Running channels go on in the memory that they have.
    for payload in [&small, &large, &small, &large] {
        publisher.publish(&RuntimeData::binary(payload.clone()).unwrap()).unwrap();
        assert_eq!(subscriber.recv().unwrap().payload(), payload);
    }
    // What would need more is refused.
    let more = RuntimeData::binary(vec![3; 4 << 20]).unwrap();
    let refused = publisher.publish(&more).unwrap_err();
    assert!(matches!(refused, PublishError::SystemLimit { .. }), "{refused}");
    println!("refused without a signal");
}

#[test]
fn a_full_shared_memory_is_an_error_and_not_a_signal() {
    // In a mount namespace of its own, with a /dev/shm of 6 MiB that goes with it.
    let script = "mount -t tmpfs -o size=6m none /dev/shm && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(std::env::current_exe().expect("a test binary"));
    command.args(["--exact", "processes::child_entry", "--nocapture"]);
    let output = command.env(ROLE, "full").env(FOLDER, "").output().expect("unshare of util-linux");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare:") {
        println!("this machine allows no user namespaces, so there is no small /dev/shm: {text}");
        return;
    }
    assert!(output.status.success() && text.contains("refused without a signal"), "{text}");
}

struct Pair {
    namespace: Namespace,
    channels: [SharedMemoryChannel; 2],
    bell: Arc<Doorbell>,
}

fn pair(options: ChannelOptions) -> Pair {
    let namespace = Namespace::create().expect("a fresh namespace");
    let channels = ["there", "back"].map(|name| {
        SharedMemoryChannel::create(&namespace, &id(name), options).expect("a fresh namespace")
    });
    let bell = Arc::new(Doorbell::create(&namespace).expect("a fresh namespace"));
    Pair { namespace, channels, bell }
}

#[test]
fn frames_of_all_sizes_come_back_from_another_process() {
    let Pair { namespace, channels: [there, back], bell } = pair(ChannelOptions::default());
    let mut echoed = back.subscriber(&bell).unwrap();
    let _echo = Peer::start("echo", namespace.folder());
    let publisher = there.publisher(&bell).unwrap();
    for (n, len) in [0, 1, 64, 3_840, 65_536, 4 << 20, 64, 10 << 20].into_iter().enumerate() {
        let sent = RuntimeData::binary(vec![n as u8; len]).unwrap();
        publisher.publish(&sent).unwrap();
        let received = echoed.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(received.payload(), sent.payload());
    }
    let total = there.bytes();
    assert_eq!((there.copied_bytes(), back.copied_bytes()), (total, total));
    there.close();
    back.close();
}

#[test]
fn a_burst_through_a_shallow_channel_comes_back_complete_and_in_order() {
    let options = ChannelOptions { depth: 2, ..ChannelOptions::default() };
    let Pair { namespace, channels: [there, back], bell } = pair(options);
    let mut echoed = back.subscriber(&bell).unwrap();
    let _echo = Peer::start("echo", namespace.folder());
    let sender_bell = Arc::new(Doorbell::create(&namespace).unwrap());
    let publisher = there.publisher(&sender_bell).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..20_000_u32 {
                let len = (n.wrapping_mul(2_654_435_761) >> 19) as usize;
                let mut payload = vec![n as u8; 4 + len];
                payload[..4].copy_from_slice(&n.to_le_bytes());
                publisher.publish(&RuntimeData::binary(payload).unwrap()).unwrap();
            }
        });
        for n in 0..20_000_u32 {
            let data = echoed.recv_timeout(WATCHDOG).unwrap();
            assert_eq!(data.payload()[..4], n.to_le_bytes());
            assert!(data.payload()[4..].iter().all(|byte| *byte == n as u8));
        }
    });
    there.close();
}

#[test]
fn a_killed_subscriber_that_held_samples_leaves_nothing_behind() {
    let Pair { namespace, channels: [there, back], bell } = pair(ChannelOptions::default());
    let name = namespace.id().to_string();
    let mut told = back.subscriber(&bell).unwrap();
    let mut hoarder = Peer::start("hoard", namespace.folder());
    let publisher = there.publisher(&bell).unwrap();
    for _ in 0..3 {
        publisher.publish(&RuntimeData::binary(vec![0; 1 << 20]).unwrap()).unwrap();
    }
    assert_eq!(told.recv_timeout(WATCHDOG).unwrap().as_text(), Some("holding"));
    hoarder.kill();
    drop((told, publisher, there, back, bell, namespace));
    assert_eq!(files_of(&name), [""; 0]);
}

#[test]
fn what_a_killed_publisher_had_sent_stays_readable() {
    let Pair { namespace, channels: [there, back], bell } = pair(ChannelOptions::default());
    let name = namespace.id().to_string();
    let mut subscriber = back.subscriber(&bell).unwrap();
    let mut loaner = Peer::start("loan", namespace.folder());
    assert_eq!(subscriber.recv_timeout(WATCHDOG).unwrap().as_text(), Some("sent"));
    assert!(bell.wait(|| back.queued() == 1, Some(std::time::Instant::now() + WATCHDOG)));
    loaner.kill();
    assert_eq!(subscriber.recv_timeout(WATCHDOG).unwrap().as_text(), Some("loaned"));
    // Nobody is left who could send more.
    assert_eq!(subscriber.recv_timeout(WATCHDOG).unwrap_err(), ReceiveError::ChannelClosed);
    drop((subscriber, there, back, bell, namespace));
    assert_eq!(files_of(&name), [""; 0]);
}

#[test]
fn sweep_removes_what_a_killed_owner_left_and_nothing_of_the_living() {
    let folder = tempfile::tempdir().unwrap();
    let alive = Namespace::create().unwrap();
    let mut owner = Peer::start("owner", folder.path());
    let written = folder.path().join("name");
    let started = std::time::Instant::now();
    let name = loop {
        match std::fs::read_to_string(&written) {
            Ok(name) if name.len() == 16 => break name,
            _ => assert!(started.elapsed() < WATCHDOG, "the owner did not start"),
        }
        std::thread::yield_now();
    };
    owner.kill();
    assert!(files_of(&name).len() > 2, "{:?}", files_of(&name));
    // Another test's sweep may have been faster, so what it reports is not asserted.
    sweep().unwrap();
    assert_eq!(files_of(&name), [""; 0]);
    assert!(!files_of(&alive.id().to_string()).is_empty());
}

#[test]
fn a_frame_for_two_processes_is_copied_nowhere_and_lies_in_one_segment() {
    let Pair { namespace, channels: [there, _back], bell } = pair(ChannelOptions::default());
    let publisher = there.publisher(&bell).unwrap();
    let mut consumers = [(); 2].map(|()| Peer::tells("where", namespace.folder()));
    for (_, lines) in &mut consumers {
        assert_eq!(lines.next(), "joined");
    }
    let mut loan = publisher.loan_uninit(10 << 20).unwrap();
    loan.bytes_mut().fill(7);
    let own = backing(loan.bytes_mut());
    loan.written(&DataHeader::new(DataMetadata::Binary, 0)).unwrap().send().unwrap();
    for (_, lines) in &mut consumers {
        assert_eq!(lines.next(), own);
    }
    assert_eq!((there.bytes(), there.lent_bytes(), there.copied_bytes()), (10 << 20, 10 << 20, 0));
    there.close();
}

#[test]
fn another_user_can_open_nothing() {
    if !rustix::process::getuid().is_root() {
        println!("only root can be another user, so this is not tested here");
        return;
    }
    let Pair { namespace, channels: [there, _back], bell } = pair(ChannelOptions::default());
    let _publisher = there.publisher(&bell).unwrap();
    // That user may not be allowed to reach the test binary where it lies.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = folder.path().join("it");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let mut command = Command::new(&binary);
    command.args(["--exact", "processes::child_entry", "--nocapture"]).current_dir("/");
    command.env(ROLE, "foreign").env(FOLDER, namespace.folder()).uid(NOBODY).gid(NOBODY);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("refused everything"), "{text}");
}

#[test]
fn runtimes_with_channels_of_equal_names_do_not_meet() {
    let mut rivals = [(); 3].map(|()| Peer::tells("rival", Path::new("")));
    let names = rivals.each_mut().map(|(_, lines)| lines.next());
    assert!(names[0] != names[1] && names[1] != names[2] && names[2] != names[0], "{names:?}");
    for (rival, lines) in &mut rivals {
        assert_eq!(lines.next(), "saw its own");
        assert!(rival.0.wait().unwrap().success());
    }
    for name in names {
        assert_eq!(files_of(&name), [""; 0]);
    }
}

/// CPU time that the calling thread has used.
fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(used).expect("a time used is not negative")
}

#[test]
fn a_publisher_blocked_by_a_subscriber_uses_no_cpu_and_goes_on_when_that_is_killed() {
    let options = ChannelOptions { depth: 1, ..ChannelOptions::default() };
    let Pair { namespace, channels: [there, _back], bell } = pair(options);
    let publisher = there.publisher(&bell).unwrap();
    let [(mut stalled, mut lines), (_drains, mut others)] =
        ["stall", "drain"].map(|role| Peer::tells(role, namespace.folder()));
    assert_eq!([lines.next(), others.next()], ["joined", "joined"]);
    let data = RuntimeData::text("x").unwrap();
    publisher.publish(&data).unwrap();
    let blocked = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let (started, used) = (Instant::now(), cpu_time());
            publisher.publish(&data).unwrap();
            (started.elapsed(), cpu_time() - used)
        });
        // Nothing happens for a while: that is what is measured.
        let other = Doorbell::create(&namespace).unwrap();
        other.wait(|| publishing.is_finished(), Some(Instant::now() + Duration::from_millis(200)));
        assert!(!publishing.is_finished(), "the stalled one has not taken its message");
        stalled.kill();
        publishing.join().unwrap()
    });
    let (wall, cpu) = blocked;
    assert!(cpu < wall / 5, "{cpu:?} of CPU time in {wall:?}");
    assert_eq!(there.subscriber_count(), 1);
    there.close();
}
