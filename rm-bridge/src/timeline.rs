//! On what the time of each item goes: waiting, waking, the interpreter's lock, work, copies.
//!
//! Main type: [`ItemTimes`], what is known of one node's work on one item. It is recorded only where a
//! session asks for it; without that nothing here runs. Times are nanoseconds of the machine's
//! monotonic clock, which all processes share. What becomes of the records is the session's matter.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rm_core::{NodeId, RuntimeData};
use rm_ipc::{PublishError, Publisher, monotonic_ns};
use serde::{Deserialize, Serialize};

/// Most phases in a record; work that has more goes on in a further one.
const MAX_PHASES: usize = 64;
/// Records that are told together, unless time is up.
const BATCH: usize = 256;
/// How long a record waits to be told, in nanoseconds; longer only while its node is at one item.
const PATIENCE_NS: u64 = 100_000_000;

/// What a node worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Work {
    /// An item that it was given.
    Item,
    /// The same as in the record before, which has become too long.
    More,
    /// What it makes as a source.
    Produce,
    /// What it makes after its last item.
    Finish,
    /// What it does by the clock.
    Timer,
}

/// What a part of the time of an item was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for the lock of the Python interpreter.
    Gil,
    /// Making a Python object of the item, or an item of what the node gave.
    Convert,
    /// The node's own work.
    Compute,
    /// Copying what the node made into shared memory.
    Copy,
    /// Sending what the node made, waiting for room included.
    Send,
    /// The work of the nodes behind it, which are called within it.
    Call,
    /// Waiting to try again.
    Retry,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Gil, Self::Convert, Self::Compute, Self::Copy, Self::Send, Self::Call, Self::Retry];
}

/// A part of the time of an item: from the mark before, or from the item's reception, to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Phase, u64, u64)", into = "(Phase, u64, u64)")]
pub struct Mark {
    /// What it was spent on.
    pub phase: Phase,
    /// When it ended, in nanoseconds.
    pub until_ns: u64,
    /// Bytes that were copied or sent; 0 for other phases.
    pub bytes: u64,
}

impl From<(Phase, u64, u64)> for Mark {
    fn from((phase, until_ns, bytes): (Phase, u64, u64)) -> Self {
        Self { phase, until_ns, bytes }
    }
}

impl From<Mark> for (Phase, u64, u64) {
    fn from(Mark { phase, until_ns, bytes }: Mark) -> Self {
        (phase, until_ns, bytes)
    }
}

/// One node's work on one item, and what came before it. All times are in nanoseconds of the
/// machine's monotonic clock. The queue, the wake-up and the phases follow one another without a
/// gap from when it was sent to when it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ItemTimes {
    /// What was worked on.
    pub work: Work,
    /// Which of the node's inputs the item came by, counted from 0; 0 where it came by none.
    pub input: u16,
    /// Its position among what came by that input, from 0.
    pub sequence: u64,
    /// Its position among all that this process's node was given, from 0.
    pub item: u64,
    /// Bytes of its payload.
    pub bytes: u64,
    /// When its producer sent it.
    pub sent_ns: u64,
    /// Since when the node was free for it.
    pub waiting_ns: u64,
    /// When it was received; not before it was sent, and not before the node was free.
    pub received_ns: u64,
    /// What was done with it since, in order.
    pub phases: Vec<Mark>,
    /// Whether the node has failed on it for good.
    pub failed: bool,
}

impl ItemTimes {
    /// How long it waited for the node to be free.
    pub fn queue_ns(&self) -> u64 {
        self.waiting_ns.saturating_sub(self.sent_ns)
    }

    /// How long it took from when the node waited and the item was there until it was received.
    pub fn wake_ns(&self) -> u64 {
        self.received_ns.saturating_sub(self.sent_ns.max(self.waiting_ns))
    }

    /// When everything was done with it.
    pub fn done_ns(&self) -> u64 {
        self.phases.last().map_or(self.received_ns, |mark| mark.until_ns)
    }

    /// How long it was in `phase`, all times added up.
    pub fn time_in(&self, phase: Phase) -> u64 {
        let mut since = self.received_ns;
        let mut sum = 0_u64;
        for mark in &self.phases {
            if mark.phase == phase {
                sum = sum.saturating_add(mark.until_ns.saturating_sub(since));
            }
            since = mark.until_ns;
        }
        sum
    }

    /// Whether its times are in order, and it is no longer than a record can be.
    pub fn is_valid(&self) -> bool {
        let times = self.phases.iter().map(|mark| mark.until_ns);
        self.sent_ns <= self.received_ns
            && self.waiting_ns <= self.received_ns
            && self.phases.len() <= MAX_PHASES
            && std::iter::once(self.received_ns).chain(times).is_sorted()
    }
}

/// Records of a node, on their way to the session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedItems {
    /// The records, by the time at which they were done.
    pub items: Vec<ItemTimes>,
    /// Work of which there is no record, because there were too many.
    pub dropped: u64,
}

impl TimedItems {
    /// Most records of one node. Later work is only counted.
    pub const MAX: usize = 100_000;

    /// Takes up what has come later, so many records at most; the rest, and what is not valid, is only
    /// counted.
    pub fn extend(&mut self, later: Self, mut room: usize) {
        self.dropped = self.dropped.saturating_add(later.dropped);
        for times in later.items {
            if room > 0 && times.is_valid() {
                room -= 1;
                self.items.push(times);
            } else {
                self.dropped = self.dropped.saturating_add(1);
            }
        }
    }
}

/// Takes what the nodes of stages have recorded, each by its id. It is called from their threads.
pub type TimelineSink = Arc<dyn Fn(&NodeId, TimedItems) + Send + Sync>;

/// How an item came to a node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Arrival {
    pub(crate) sent_ns: u64,
    pub(crate) waiting_ns: u64,
    pub(crate) received_ns: u64,
}

impl Arrival {
    /// It has just been made.
    pub(crate) fn now() -> Self {
        let now = monotonic_ns();
        Self { sent_ns: now, waiting_ns: now, received_ns: now }
    }
}

/// Which item it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Which {
    pub(crate) work: Work,
    pub(crate) input: u16,
    pub(crate) sequence: u64,
    pub(crate) item: u64,
    pub(crate) bytes: usize,
}

impl Which {
    /// What a node makes of nothing, for the n-th time.
    pub(crate) fn of(work: Work, item: u64) -> Self {
        Self { work, input: 0, sequence: item, item, bytes: 0 }
    }
}

/// Records the work of one node.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    current: Option<ItemTimes>,
    made: TimedItems,
    /// Records in all, those that are told already included.
    count: usize,
    /// By when what is recorded is to be told, and whether it is time to.
    due_ns: Option<u64>,
    is_due: bool,
}

impl Recorder {
    /// The work on an item begins.
    pub(crate) fn begin(&mut self, which: Which, arrival: Arrival) {
        let Which { work, input, sequence, item, bytes } = which;
        if self.count == TimedItems::MAX {
            self.made.dropped += 1;
            return;
        }
        self.count += 1;
        let Arrival { sent_ns, waiting_ns, received_ns } = arrival;
        // What was sent by a clock that is ahead is not to make a negative time.
        let received_ns = received_ns.max(sent_ns).max(waiting_ns);
        let (bytes, phases) = (bytes as u64, Vec::with_capacity(8));
        self.current = Some(ItemTimes {
            work,
            input,
            sequence,
            item,
            bytes,
            sent_ns,
            waiting_ns,
            received_ns,
            phases,
            failed: false,
        });
    }

    /// Until now it was in this phase.
    pub(crate) fn mark(&mut self, phase: Phase, bytes: usize) {
        let Some(current) = &mut self.current else { return };
        let until_ns = monotonic_ns().max(current.done_ns());
        // Each thing that is copied or sent is told for itself.
        let is_one = !matches!(phase, Phase::Copy | Phase::Send);
        match current.phases.last_mut() {
            Some(last) if is_one && last.phase == phase => last.until_ns = until_ns,
            _ => current.phases.push(Mark { phase, until_ns, bytes: bytes as u64 }),
        }
        if current.phases.len() == MAX_PHASES {
            self.go_on();
        }
    }

    /// Until now it was the node's own work, or the rest of a conversion.
    pub(crate) fn mark_rest(&mut self) {
        let is_converting = self.last_phase() == Some(Phase::Convert);
        self.mark(if is_converting { Phase::Convert } else { Phase::Compute }, 0);
    }

    /// What was marked last of the work on the item.
    pub(crate) fn last_phase(&self) -> Option<Phase> {
        self.current.as_ref()?.phases.last().map(|mark| mark.phase)
    }

    /// Goes on in a further record.
    fn go_on(&mut self) {
        let Some(full) = &self.current else { return };
        let ItemTimes { input, sequence, item, .. } = *full;
        let now = full.done_ns();
        let bytes = usize::try_from(full.bytes).unwrap_or(usize::MAX);
        let which = Which { work: Work::More, input, sequence, item, bytes };
        self.end(false);
        self.begin(which, Arrival { sent_ns: now, waiting_ns: now, received_ns: now });
    }

    /// The work on it has ended.
    pub(crate) fn end(&mut self, failed: bool) {
        let Some(mut current) = self.current.take() else { return };
        current.failed = failed;
        let now = current.done_ns();
        self.made.items.push(current);
        let due = *self.due_ns.get_or_insert(now.saturating_add(PATIENCE_NS));
        self.is_due = self.made.items.len() >= BATCH || due <= now;
    }

    /// By when what is recorded is to be told, if anything is.
    pub(crate) fn due(&self) -> Option<Instant> {
        let left = self.due_ns?.saturating_sub(monotonic_ns());
        Instant::now().checked_add(Duration::from_nanos(left))
    }

    /// What is to be told, if it is time to.
    pub(crate) fn take_due(&mut self) -> Option<TimedItems> {
        if self.is_due { self.take() } else { None }
    }

    /// What is to be told, if there is anything.
    pub(crate) fn take(&mut self) -> Option<TimedItems> {
        (self.due_ns, self.is_due) = (None, false);
        let made = std::mem::take(&mut self.made);
        (!made.items.is_empty() || made.dropped > 0).then_some(made)
    }
}

/// Copies an item into a channel and sends it; notes how long each took.
pub(crate) fn publish(
    publisher: &Publisher,
    data: &RuntimeData,
    recorder: Option<&mut Recorder>,
) -> Result<(), PublishError> {
    let Some(recorder) = recorder else { return publisher.publish(data) };
    let bytes = data.payload().len();
    let sample = publisher.copy_in(data)?;
    recorder.mark(Phase::Copy, bytes);
    let sent = sample.send();
    recorder.mark(Phase::Send, bytes);
    Ok(sent?)
}
