//! Memory for payloads that is used again once nobody holds the payload any more.
//!
//! Main type: [`Pool`]. In steady state a node that makes items of known size allocates nothing and
//! clears nothing: it writes over a payload that it gave out before. What is still held elsewhere is
//! left alone.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Payloads begin at multiples of this, as in shared memory: a cache line.
const ALIGN: usize = 64;
/// Most payloads that are remembered. More are in use at once where a consumer keeps many; those
/// beyond are allocated and freed one by one.
const MAX_KEPT: usize = 32;

/// Payloads given out before.
#[derive(Default)]
pub(crate) struct Pool {
    kept: VecDeque<Bytes>,
}

/// Memory to be written, with whatever an earlier payload has left in it; given to [`Pool::seal`].
pub(crate) struct Buffer {
    memory: BytesMut,
    len: usize,
}

impl Pool {
    /// `len` bytes, aligned to 64, of any content.
    pub(crate) fn take(&mut self, len: usize) -> Buffer {
        // The oldest is the likeliest to have been dropped, and one that is held may be followed by
        // one that is not.
        for place in 0..self.kept.len() {
            if !self.kept[place].is_unique() {
                continue;
            }
            let memory = self.kept.remove(place).expect("the place is below the length");
            if let Ok(memory) = memory.try_into_mut()
                && memory.len() >= len
            {
                return Buffer { memory, len };
            }
            // It is too short, and so would the others be.
            break;
        }
        let mut memory = BytesMut::zeroed(len.next_multiple_of(ALIGN) + ALIGN);
        let begin = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        // What is cut off leaves a counted handle, which neither freezing nor cloning has to make.
        drop(memory.split_to(begin));
        Buffer { memory, len }
    }

    /// The written memory as a payload.
    pub(crate) fn seal(&mut self, buffer: Buffer) -> Bytes {
        let Buffer { memory, len } = buffer;
        let memory = memory.freeze();
        let payload = memory.slice(..len);
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(memory);
        payload
    }

    /// The written memory as a payload of its first `len` bytes.
    pub(crate) fn seal_first(&mut self, mut buffer: Buffer, len: usize) -> Bytes {
        buffer.len = buffer.len.min(len);
        self.seal(buffer)
    }
}

impl Buffer {
    /// The bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }

    /// The bytes as samples.
    ///
    /// # Panics
    /// If their number is no multiple of the size of one.
    pub(crate) fn samples<T>(&mut self) -> &mut [T]
    where
        T: FromBytes + IntoBytes + KnownLayout + Immutable,
    {
        let bytes = self.bytes();
        <[T]>::mut_from_bytes(bytes)
            .expect("the length is a multiple, and 64 is of every alignment")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocation_counter::measure;

    #[test]
    fn a_payload_that_nobody_holds_is_written_again() {
        let mut pool = Pool::default();
        let mut give = |len: usize, value: u8| {
            let mut buffer = pool.take(len);
            buffer.bytes().fill(value);
            pool.seal(buffer)
        };
        let first = give(100, 1);
        let second = give(100, 2);
        let (place, other) = (first.as_ptr(), second.as_ptr());
        assert!(place.cast::<[u64; 8]>().is_aligned() || place.align_offset(ALIGN) == 0);
        drop(first);
        let third = give(90, 3);
        assert_eq!(third.as_ptr(), place);
        assert_eq!((&second[..], &third[..]), (&[2; 100][..], &[3; 90][..]));
        drop((second, third));
        let longer = give(10_000, 4);
        assert_eq!(longer.len(), 10_000);
        let fourth = give(100, 5);
        assert!([place, other].contains(&fourth.as_ptr()));
    }

    #[test]
    fn steady_work_allocates_nothing() {
        let mut pool = Pool::default();
        let mut held = VecDeque::with_capacity(8);
        let mut turn = || {
            let mut buffer = pool.take(4_000);
            buffer.samples::<f32>().fill(0.5);
            held.push_back(pool.seal(buffer));
            if held.len() == 5 {
                held.pop_front();
            }
        };
        (0..20).for_each(|_| turn());
        assert_eq!(measure(|| (0..100).for_each(|_| turn())).count_total, 0);
    }

    #[test]
    fn no_more_is_remembered_than_it_says() {
        let mut pool = Pool::default();
        let mut held = Vec::new();
        for _ in 0..3 * MAX_KEPT {
            let buffer = pool.take(1);
            held.push(pool.seal(buffer));
        }
        assert_eq!(pool.kept.len(), MAX_KEPT);
    }
}
