//! Tests of bodies in files: identity around the threshold, refusals, and that nothing stays open.

use std::io::Seek;
use std::os::fd::AsRawFd;

use rustix::io::FdFlags;

use super::*;
use crate::value;

const THRESHOLD: usize = 10_000;

/// What makes a file one that can never change.
const SEALS: [SealFlags; 3] = [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE];

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).expect("below 256")).collect()
}

fn collect(bytes: &[u8], chunk: usize, max: usize) -> Result<Body, FrameError> {
    let mut writer = SpillWriter::new(THRESHOLD, max);
    for piece in bytes.chunks(chunk) {
        if writer.write_all(piece).is_err() {
            break;
        }
    }
    writer.finish()
}

fn encode(value: &str, max: u64) -> Result<Body, FrameError> {
    Body::build(max, |writer| Ok(value::encode(value, writer, Default::default())?))
}

fn sealed(bytes: &[u8]) -> (OwnedFd, u64) {
    match collect(bytes, bytes.len(), usize::MAX).expect("a body") {
        Body::Sealed { fd, len } => (fd, len),
        Body::Inline(_) => panic!("{} bytes were kept within", bytes.len()),
    }
}

fn memfd(len: u64, seals: &[SealFlags]) -> OwnedFd {
    let file = create().expect("a file in memory");
    rustix::fs::ftruncate(&file, len).expect("room");
    rustix::fs::fcntl_add_seals(&file, seals.iter().copied().collect()).expect("an unsealed file");
    file
}

fn check_identity(len: usize, chunk: usize) {
    let bytes = pattern(len);
    match collect(&bytes, chunk, len).unwrap() {
        Body::Inline(found) => {
            assert!(len <= THRESHOLD, "{len} bytes were kept within");
            assert_eq!(found, bytes);
        }
        Body::Sealed { fd, len: announced } => {
            assert!(len > THRESHOLD, "{len} bytes were put into a file");
            let mapping = Mapping::of(fd, announced, len as u64).unwrap();
            assert!(*mapping == *bytes, "{len} bytes in pieces of {chunk} changed");
        }
    }
}

#[test]
fn a_body_comes_out_as_it_went_in_whatever_its_size_and_its_pieces() {
    for len in [0, 1, THRESHOLD - 1, THRESHOLD, THRESHOLD + 1, 3 * FILE_BUFFER + 17] {
        for chunk in [1, 1_000, THRESHOLD, FILE_BUFFER, 1_000_000] {
            check_identity(len, chunk);
        }
    }
    for chunk in [100_000, 64 << 20] {
        check_identity(64 << 20, chunk);
    }
}

#[test]
fn a_value_is_encoded_within_or_beside_the_frame() {
    let short = encode("short", 1 << 20).unwrap();
    assert!(
        matches!(short, Body::Inline(bytes) if bytes == serde_brief::to_vec(&"short").unwrap())
    );
    let long = "long ".repeat(SPILL_THRESHOLD);
    let Body::Sealed { fd, len } = encode(&long, 1 << 20).unwrap() else {
        panic!("a long value was kept within");
    };
    let mapping = Mapping::of(fd, len, 1 << 20).unwrap();
    let found: String = value::decode(&mapping, Default::default()).unwrap();
    assert_eq!(found, long);
}

#[test]
fn a_body_above_the_maximum_is_refused_within_and_beside_the_frame() {
    for max in [0, THRESHOLD / 2, THRESHOLD * 2] {
        for chunk in [1, max + 1] {
            let error = collect(&pattern(max + 1), chunk, max).unwrap_err();
            assert!(matches!(error, FrameError::ValueTooLarge { max: at } if at == max), "{error}");
        }
    }
    for max in [0, SPILL_THRESHOLD / 2, SPILL_THRESHOLD * 2] {
        let error = encode(&"x".repeat(max + 1), max as u64).unwrap_err();
        assert!(matches!(error, FrameError::ValueTooLarge { max: at } if at == max), "{error}");
    }
}

#[test]
fn a_body_that_was_refused_in_part_does_not_come_out_without_that_part() {
    let mut writer = SpillWriter::new(THRESHOLD, 3);
    writer.write_all(b"ab").unwrap();
    assert!(writer.write_all(b"cd").is_err());
    assert!(writer.write_all(b"e").is_err());
    assert!(matches!(writer.finish(), Err(FrameError::ValueTooLarge { max: 3 })));
}

#[test]
fn a_body_in_a_file_can_never_change_and_closes_on_exec() {
    let (fd, len) = sealed(&pattern(20_000));
    assert!(rustix::fs::ftruncate(&fd, len - 1).is_err());
    assert!(rustix::fs::ftruncate(&fd, len + 1).is_err());
    let mut file = File::from(fd);
    file.rewind().unwrap();
    assert!(file.write(b"x").is_err());
    assert!(rustix::io::fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
}

#[test]
fn a_file_that_could_still_change_is_refused() {
    for missing in SEALS {
        let seals: Vec<_> = SEALS.into_iter().filter(|seal| *seal != missing).collect();
        let error = Mapping::of(memfd(100, &seals), 100, 1000).unwrap_err();
        assert!(matches!(error, PayloadError::NotSealed), "{error} without {missing:?}");
    }
    let file = tempfile::tempfile().unwrap();
    file.set_len(100).unwrap();
    let error = Mapping::of(file.into(), 100, 1000).unwrap_err();
    assert!(matches!(error, PayloadError::NotSealed));
}

#[test]
fn a_file_of_another_length_than_announced_is_refused() {
    for announced in [99, 101, 5_000, 100 << 20] {
        let error = Mapping::of(memfd(100, &SEALS), announced, 1 << 30).unwrap_err();
        assert!(
            matches!(error, PayloadError::WrongLength { found: 100, announced: at } if at == announced),
            "{error}"
        );
    }
    let error = Mapping::of(memfd(0, &SEALS), 0, 1000).unwrap_err();
    assert!(matches!(error, PayloadError::Empty));
    for len in [1001, u64::MAX] {
        let error = Mapping::of(memfd(1001, &SEALS), len, 1000).unwrap_err();
        assert!(matches!(error, PayloadError::TooLarge { max: 1000, .. }));
    }
}

#[test]
fn a_descriptor_that_is_no_file_is_refused() {
    let (pipe, _writer) = std::io::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let device = File::open("/dev/zero").unwrap();
    let folder = File::open("/").unwrap();
    for fd in [OwnedFd::from(pipe), socket.into(), device.into(), folder.into()] {
        let error = Mapping::of(fd, 100, 1000).unwrap_err();
        assert!(matches!(error, PayloadError::NotAFile), "{error}");
    }
}

#[test]
fn nothing_stays_open_or_mapped_when_a_body_is_dropped() {
    let (fd, len) = sealed(&pattern(30_000));
    let inode = rustix::fs::fstat(&fd).unwrap().st_ino;
    let number = fd.as_raw_fd();
    assert!(is_open(inode));
    let mapping = Mapping::of(fd, len, 1 << 20).unwrap();
    assert!(!is_open(inode), "descriptor {number} outlives the call");
    assert!(is_mapped(inode));
    drop(mapping);
    assert!(!is_mapped(inode));

    let (fd, len) = sealed(&pattern(30_000));
    let inode = rustix::fs::fstat(&fd).unwrap().st_ino;
    Mapping::of(fd, len + 1, 1 << 20).unwrap_err();
    assert!(!is_open(inode) && !is_mapped(inode));
}

/// Whether a descriptor of this process is the payload of that inode. Other tests have theirs.
fn is_open(inode: u64) -> bool {
    let mut all = std::fs::read_dir("/proc/self/fd").expect("a mounted /proc").flatten();
    all.any(|entry| {
        let is_payload = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().contains("remotemedia-payload"));
        is_payload
            && std::fs::metadata(entry.path())
                .is_ok_and(|found| std::os::unix::fs::MetadataExt::ino(&found) == inode)
    })
}

fn is_mapped(inode: u64) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a mounted /proc");
    maps.lines().any(|line| {
        line.contains("remotemedia-payload")
            && line.split_whitespace().nth(4) == Some(inode.to_string().as_str())
    })
}
