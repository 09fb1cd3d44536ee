//! Pays for shared memory before it is written, so that a full file system is an error and not a signal.
//!
//! Main type: [`Populated`], what one publisher has paid for. How a chunk is paid for is in `segment`.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use crate::loan::LoanError;
use crate::segment;
use crate::shared::available_memory;

/// Size of the chunks that a publisher starts with; they grow with the messages, by powers of two.
pub(crate) const FIRST_CHUNK: usize = 4096;

/// Shared memory that has to be free beside a message for which new memory may be needed, in bytes.
const MARGIN: u64 = 256 << 10;

/// Memory that has been paid for, so that it is not paid for again.
#[derive(Default)]
pub(crate) struct Populated {
    /// How many bytes from the start of each chunk, by address.
    chunks: BTreeMap<usize, usize>,
    /// The last one of them.
    last: (usize, usize),
    /// Largest payload so far, rounded up; beyond it iceoryx2 maps a new segment.
    size_class: usize,
    /// Whether the last loan was of memory that had been paid for.
    settled: bool,
}

impl Populated {
    /// Checks that there is memory left before iceoryx2 writes a header into what may be a chunk
    /// that nobody has paid for: the first one, one of a larger size, or one after such a one.
    pub(crate) fn check_memory(&self, len: usize) -> Result<(), LoanError> {
        if self.settled && len <= self.size_class {
            return Ok(());
        }
        let out = |reason| Err(LoanError::OutOfMemory { len, reason });
        match available_memory() {
            Ok(available) if available < len as u64 + MARGIN => {
                out(format!("{available} bytes are available, {MARGIN} more than that are needed"))
            }
            Ok(_) => Ok(()),
            Err(error) => out(error.to_string()),
        }
    }

    /// Pays for a chunk, unless that has been done.
    ///
    /// # Errors
    /// The kernel's, if there is no memory left.
    pub(crate) fn pay_for(&mut self, memory: &mut [MaybeUninit<u8>]) -> rustix::io::Result<()> {
        let size_class = memory.len().next_power_of_two().max(FIRST_CHUNK);
        if size_class > self.size_class {
            *self = Self { size_class, ..Self::default() };
        }
        let chunk = memory.as_ptr().addr();
        // The chunk that was given back last is lent first, so it mostly is the same.
        if self.last.0 == chunk && self.last.1 >= memory.len() {
            self.settled = true;
            return Ok(());
        }
        let paid = self.chunks.entry(chunk).or_default();
        self.settled = *paid >= memory.len();
        if !self.settled {
            segment::populate(memory)?;
            *paid = memory.len();
        }
        self.last = (chunk, *paid);
        Ok(())
    }
}
