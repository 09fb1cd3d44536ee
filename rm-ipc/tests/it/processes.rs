//! Several processes. The test binary is its own child: `child_entry` does the child's part.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rm_core::RuntimeData;
use rm_ipc::{
    ChannelError, ChannelOptions, Doorbell, LoanError, Namespace, PublishError, ReceiveError,
    SharedMemoryChannel, sweep,
};

use crate::channel::{files_of, id, in_process};

const ROLE: &str = "RM_IPC_TEST_ROLE";
const FOLDER: &str = "RM_IPC_TEST_FOLDER";
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
