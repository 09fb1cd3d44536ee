//! Shared memory that this crate maps itself. The only file of the crate that holds unsafe code.
//!
//! Peers are processes of the same user. They may be faulty; they are trusted to write only into loans
//! that they hold, and not to shrink files. Under that a payload does not change while it is borrowed:
//! its sender gets the chunk back only when every receiver has dropped it.
//!
//! Main type: [`SharedPage`], one mapped value of atomics. [`populate`] pays for a range of memory
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

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use zerocopy::FromBytes;

use crate::loan::{Raw, RawUninit};

/// A value of atomics that lives in a shared file.
///
/// Every bit pattern is a valid `T` (so the peer cannot make one that is not), and `T` is `Sync`
/// (so that two processes may use it as two threads would).
pub(crate) struct SharedPage<T> {
    place: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: the page is only ever reached through `&T`, and `T: Sync` allows that from any thread.
unsafe impl<T: Sync> Send for SharedPage<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for SharedPage<T> {}

impl<T: FromBytes + Sync> SharedPage<T> {
    /// Maps the start of `file`, which has to be at least as long as `T`.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        let len = size_of::<T>();
        if file.metadata()?.len() < len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("shared page is shorter than {len} bytes"),
            ));
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel picks a free place, so no other mapping is touched.
        let place =
            unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0) }?;
        let place = NonNull::new(place.cast::<T>()).expect("a mapping is never at address zero");
        assert!(place.is_aligned(), "a mapping starts at a page border");
        Ok(Self { place, _owns: PhantomData })
    }
}

impl<T> std::ops::Deref for SharedPage<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the place is aligned and mapped for `size_of::<T>()` bytes until drop, every bit
        // pattern is a `T` by `FromBytes`, and only atomics are changed behind the reference.
        unsafe { self.place.as_ref() }
    }
}

impl<T> Drop for SharedPage<T> {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` with this length, and no reference outlives `self`.
        let result = unsafe { munmap(self.place.as_ptr().cast(), size_of::<T>()) };
        debug_assert!(result.is_ok(), "unmapping a whole own mapping cannot fail");
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

/// Sees populated shared memory as bytes.
pub(crate) fn as_bytes_mut(memory: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    // SAFETY: the memory is a shared mapping, whose bytes the kernel initialises to zero before
    // anybody sees them; `u8` has no invalid value, and the layouts are the same.
    unsafe { &mut *(std::ptr::from_mut(memory) as *mut [u8]) }
}

/// Declares a loan written.
pub(crate) fn assume_written(loan: RawUninit) -> Raw {
    // SAFETY: as in `as_bytes_mut`: every byte of a shared mapping has a value, and every value
    // is a `u8`.
    unsafe { loan.assume_init() }
}
