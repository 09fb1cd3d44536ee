//! Memory that two processes share: the status page, one small page by which the parent knows the item
//! in work without being told, and large payloads, which never change.
//!
//! Main types: [`WorkPage`], by which the child writes with plain stores, [`StatusPage`], by which the
//! parent reads, on demand or after the child's death, and [`SealedMemory`]. Nothing here carries
//! messages or wakes anybody.

#![allow(unsafe_code, reason = "one of the two files of the crate that may hold unsafe code")]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use crate::transport::PayloadError;

/// Bytes that are shared: one page on most machines; only its start is used.
const LEN: usize = 4096;

/// What both processes see. All zero is a page on which nothing has been written.
#[repr(C)]
#[derive(Debug)]
struct Page {
    /// The item in work, plus one; zero while there is none.
    item: AtomicU64,
    /// When work on it began, in nanoseconds of the monotonic clock.
    since_ns: AtomicU64,
    /// What else the child says of it.
    place: AtomicU64,
}

/// The item that a process works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ItemInWork {
    /// Its position, counted from 0 over all inputs.
    pub item: u64,
    /// What the process says of where it came from, in a code of its own; 0 where it says nothing.
    #[serde(default)]
    pub place: u64,
    /// How long it has been in work, or had been when the process ended.
    pub for_time: Duration,
}

#[derive(Debug)]
struct Mapping {
    place: NonNull<Page>,
}

// SAFETY: what is behind the address is made of atomics and stays mapped as long as this value.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(page: &OwnedFd, protection: ProtFlags) -> io::Result<Self> {
        let found = rustix::fs::fstat(page)?.st_size;
        if usize::try_from(found).is_ok_and(|len| len < LEN) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A file that cannot shrink any more cannot take the memory away from under its reader.
        let seals = rustix::fs::fcntl_get_seals(page)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the kernel picks a free place, so no other mapping is touched.
        let place = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), LEN, protection, MapFlags::SHARED, page, 0)
        }?;
        let place = NonNull::new(place.cast()).expect("a mapping is never at address zero");
        Ok(Self { place })
    }

    fn page(&self) -> &Page {
        // SAFETY: the place is at a page border and mapped for more than a `Page` until drop, the file
        // cannot shrink, every bit pattern is a `Page`, and its fields are atomic. A read-only mapping
        // is only handed to code that loads.
        unsafe { self.place.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` with this length, and no reference outlives `self`.
        let result = unsafe { rustix::mm::munmap(self.place.as_ptr().cast(), LEN) };
        debug_assert!(result.is_ok(), "unmapping a whole own mapping cannot fail");
    }
}

/// The parent's view.
#[derive(Debug)]
pub(crate) struct StatusPage {
    mapping: Mapping,
}

impl StatusPage {
    /// A new page, and the file by which the child maps it.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("remotemedia-status", flags)?;
        rustix::fs::ftruncate(&file, LEN as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = Mapping::new(&file, ProtFlags::READ)?;
        Ok((Self { mapping }, file))
    }

    /// The item in work. What the child writes is not believed further than that.
    pub(crate) fn item(&self, now: Duration) -> Option<ItemInWork> {
        let page = self.mapping.page();
        let item = page.item.load(Ordering::Acquire).checked_sub(1)?;
        let since = Duration::from_nanos(page.since_ns.load(Ordering::Relaxed));
        let place = page.place.load(Ordering::Relaxed);
        Some(ItemInWork { item, place, for_time: now.saturating_sub(since) })
    }
}

/// The child's view: where it notes what it works on.
#[derive(Debug)]
pub struct WorkPage {
    mapping: Mapping,
}

impl WorkPage {
    pub(crate) fn map(page: &OwnedFd) -> io::Result<Self> {
        Ok(Self { mapping: Mapping::new(page, ProtFlags::READ | ProtFlags::WRITE)? })
    }

    /// Notes that work on an item begins; `item` is its position, counted from 0 over all inputs.
    pub fn begin(&self, item: u64) {
        self.begin_at(item, 0);
    }

    /// As [`begin`](Self::begin), with what the parent is to know of where the item came from.
    pub fn begin_at(&self, item: u64, place: u64) {
        let page = self.mapping.page();
        let now = u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX);
        page.since_ns.store(now, Ordering::Relaxed);
        page.place.store(place, Ordering::Relaxed);
        page.item.store(item.saturating_add(1), Ordering::Release);
    }

    /// Notes that the item in work is done.
    pub fn end(&self) {
        self.mapping.page().item.store(0, Ordering::Release);
    }
}

/// A whole file in memory that nobody can change any more, mapped to be read.
#[derive(Debug)]
pub(crate) struct SealedMemory {
    place: NonNull<u8>,
    len: usize,
}

// SAFETY: nobody writes to the memory, and it stays mapped as long as this value.
unsafe impl Send for SealedMemory {}
// SAFETY: as above.
unsafe impl Sync for SealedMemory {}

impl SealedMemory {
    /// Maps a file that is sealed against every change and has exactly `len` bytes, above zero.
    pub(crate) fn map(file: BorrowedFd<'_>, len: usize) -> Result<Self, PayloadError> {
        let failed = |error: rustix::io::Errno| PayloadError::Map(error.into());
        // Files that know no seals answer with an error, and have none.
        let seals = rustix::fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE) {
            return Err(PayloadError::NotSealed);
        }
        // After the seals, so that it stays true.
        let found = u64::try_from(rustix::fs::fstat(file).map_err(failed)?.st_size).unwrap_or(0);
        if found != len as u64 {
            return Err(PayloadError::WrongLength { announced: len as u64, found });
        }
        // Private: Linux before 6.7 takes a shared one for one that may be written to later. Populated:
        // all of it is about to be read, and a fault for each page takes longer than to copy it.
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: the kernel picks a free place, so no other mapping is touched.
        let place =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ, flags, file, 0) };
        let place = NonNull::new(place.map_err(failed)?.cast());
        Ok(Self { place: place.expect("a mapping is never at address zero"), len })
    }

    /// What is in the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the place is mapped for this many bytes until drop; the seals keep the file from
        // being changed or cut by anybody, the mapping cannot be written to, and any byte is a `u8`.
        unsafe { std::slice::from_raw_parts(self.place.as_ptr(), self.len) }
    }
}

impl Drop for SealedMemory {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` with this length, and no reference outlives `self`.
        let result = unsafe { rustix::mm::munmap(self.place.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "unmapping a whole own mapping cannot fail");
    }
}

/// The clock that parent and child share.
pub(crate) fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_sees_the_item_in_work_and_how_long_it_takes() {
        let (status, file) = StatusPage::create().unwrap();
        let work = WorkPage::map(&file).unwrap();
        assert_eq!(status.item(monotonic()), None);
        work.begin(0);
        let later = monotonic() + Duration::from_secs(5);
        let seen = status.item(later).unwrap();
        assert_eq!(seen.item, 0);
        assert!(seen.for_time >= Duration::from_secs(5));
        work.end();
        assert_eq!(status.item(later), None);
    }

    #[test]
    fn a_page_cannot_be_taken_away_or_replaced_by_something_else() {
        let (_status, file) = StatusPage::create().unwrap();
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        let other = tempfile();
        assert!(WorkPage::map(&other).is_err());
    }

    fn tempfile() -> OwnedFd {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("unsealed", flags).expect("a file in memory");
        rustix::fs::ftruncate(&file, LEN as u64).expect("room");
        file
    }
}
