//! Shared memory that this crate maps itself. The only file of the crate that holds unsafe code.
//!
//! Peers are processes of the same user. They may be faulty; they are trusted to write only into loans
//! that they hold, and not to shrink files. Under that a payload does not change while it is borrowed:
//! its sender gets the chunk back only when every receiver has dropped it.
//!
//! Main types: [`SharedPage`], one mapped value of atomics, and [`SharedSlots`] behind it. [`populate`] pays for a range of memory
//! before it is written. The samples themselves are mapped by iceoryx2, not here.

#![expect(
    unsafe_code,
    reason = "mapping memory and advising the kernel on it cannot be done otherwise"
)]

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use zerocopy::FromBytes;

use crate::loan::{Raw, RawUninit};

/// The start of a file, mapped for reading and writing.
struct Mapping {
    place: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address and a length; what may be done behind it is its users' matter.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File, len: usize) -> io::Result<Self> {
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("shared file is shorter than {len} bytes"),
            ));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel picks a free place, so no other mapping is touched.
        let place =
            unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0) }?;
        let place = NonNull::new(place.cast()).expect("a mapping is never at address zero");
        Ok(Self { place, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` with this length, and no reference outlives `self`.
        let result = unsafe { munmap(self.place.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "unmapping a whole own mapping cannot fail");
    }
}

/// A value of atomics that lives in a shared file.
///
/// Every bit pattern is a valid `T` (so the peer cannot make one that is not), and `T` is `Sync`
/// (so that two processes may use it as two threads would).
pub(crate) struct SharedPage<T> {
    mapping: Mapping,
    _owns: PhantomData<T>,
}

impl<T: FromBytes + Sync> SharedPage<T> {
    /// Maps the start of `file`, which has to be at least as long as `T`.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        let mapping = Mapping::new(file, size_of::<T>())?;
        assert!(mapping.place.cast::<T>().is_aligned(), "a mapping starts at a page border");
        Ok(Self { mapping, _owns: PhantomData })
    }
}

impl<T> std::ops::Deref for SharedPage<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the place is aligned and mapped for `size_of::<T>()` bytes until drop, every bit
        // pattern is a `T` by `FromBytes`, and only atomics are changed behind the reference.
        unsafe { self.mapping.place.cast().as_ref() }
    }
}

/// Numbers that lie in a shared file, behind a `T`.
pub(crate) struct SharedSlots<T> {
    mapping: Mapping,
    _behind: PhantomData<T>,
}

impl<T> SharedSlots<T> {
    /// Maps `count` numbers, which the file has to be long enough for.
    pub(crate) fn map(file: &File, count: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(align_of::<AtomicU64>())) };
        let mapping = Mapping::new(file, Self::file_len(count))?;
        Ok(Self { mapping, _behind: PhantomData })
    }

    /// Bytes of a file that holds a `T` and `count` numbers.
    pub(crate) const fn file_len(count: usize) -> usize {
        size_of::<T>() + count * size_of::<AtomicU64>()
    }
}

impl<T> std::ops::Deref for SharedSlots<T> {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        let count = (self.mapping.len - size_of::<T>()) / size_of::<AtomicU64>();
        // SAFETY: the mapping is longer than a `T`, as `map` has made it.
        let first = unsafe { self.mapping.place.byte_add(size_of::<T>()) };
        // SAFETY: the place is aligned, because a page border and the size of `T` are, and `count`
        // numbers from there on are mapped until drop; each bit pattern is one, and they are atomic.
        unsafe { std::slice::from_raw_parts(first.as_ptr().cast(), count) }
    }
}

/// Makes the kernel back `memory` with pages now, so that a later write cannot fail.
///
/// # Errors
/// The kernel's error if there is no memory left for it (`EFAULT` on a full shared-memory file
/// system, `ENOMEM` under a memory limit).
pub(crate) fn populate(memory: &mut [MaybeUninit<u8>]) -> rustix::io::Result<()> {
    let page = rustix::param::page_size();
    let before = memory.as_ptr().addr() % page;
    let start = memory.as_mut_ptr().wrapping_sub(before);
    // SAFETY: populating does not change what is mapped or what it holds; the first page of the
    // range is the one in which `memory` starts, so all of it belongs to the same mapping.
    match unsafe { madvise(start.cast(), before + memory.len(), Advice::LinuxPopulateWrite) } {
        // Kernels before 5.14 do not know the advice: there the first write pays.
        Err(rustix::io::Errno::INVAL) => Ok(()),
        result => result,
    }
}

/// Sees lent shared memory as bytes, whatever they are.
pub(crate) fn as_bytes(loan: RawUninit) -> Raw {
    // SAFETY: the memory is a shared mapping, whose bytes the kernel initialises to zero before
    // anybody sees them; `u8` has no invalid value.
    unsafe { loan.assume_init() }
}
