//! The timeline of a worker: when its node's items came, and on what the time went that they took.
//!
//! All of it does nothing where no timeline is wanted.

use std::time::Instant;

use rm_ipc::monotonic_ns;

use super::{WorkerRuntime, WorkerRuntimeError};
use crate::protocol::WorkerEvent;
use crate::timeline::{Arrival, Phase, Recorder, Which, Work};

#[derive(Debug, Default)]
pub(super) struct Timing {
    pub(super) recorder: Recorder,
    /// Of the item that came last.
    arrival: Arrival,
}

impl WorkerRuntime {
    /// Whether it is recorded on what the time of items goes.
    pub fn is_timed(&self) -> bool {
        self.timing.is_some()
    }

    /// Notes that what was done with the item in work since the last such note, or since it was
    /// received, was this. What is not noted counts as the node's own work; sending is noted here.
    pub fn mark(&mut self, phase: Phase) {
        if let Some(timing) = &mut self.timing {
            timing.recorder.mark(phase, 0);
        }
    }

    pub(super) fn mark_rest(&mut self) {
        if let Some(timing) = &mut self.timing {
            timing.recorder.mark_rest();
        }
    }

    /// The node is free for its next item.
    pub(super) fn note_waiting(&mut self) {
        if let Some(timing) = &mut self.timing {
            timing.arrival.waiting_ns = monotonic_ns();
        }
    }

    /// A message has come by an input.
    pub(super) fn note_reception(&mut self, input: usize) {
        if let Some(timing) = &mut self.timing {
            let passage = self.inputs[input].subscriber.last_passage_ns();
            (timing.arrival.sent_ns, timing.arrival.received_ns) = passage;
        }
    }

    /// The work begins that is to be done next.
    pub(super) fn begin_times(&mut self, work: Work, bytes: usize) {
        let (Some(timing), Some(next)) = (&mut self.timing, &self.work) else { return };
        if work == Work::Finish {
            return timing.recorder.begin(Which::of(work, 0), Arrival::now());
        }
        let (input, sequence, item) = (next.place.input, next.place.sequence, next.index);
        timing.recorder.begin(Which { work, input, sequence, item, bytes }, timing.arrival);
    }

    /// The work on an item has ended.
    pub(super) fn end_times(&mut self, failed: bool) {
        if let Some(timing) = &mut self.timing {
            timing.recorder.mark_rest();
            timing.recorder.end(failed);
        }
    }

    /// By when something is to be told.
    pub(super) fn times_due(&self) -> Option<Instant> {
        self.timing.as_ref()?.recorder.due()
    }

    /// Tells the session what has been recorded, if it is time to.
    pub(super) fn tell_due_times(&mut self) -> Result<(), WorkerRuntimeError> {
        match self.timing.as_mut().and_then(|timing| timing.recorder.take_due()) {
            Some(times) => self.tell(&WorkerEvent::Timed(times)),
            None => Ok(()),
        }
    }

    /// Tells the session what has been recorded.
    pub(super) fn tell_times(&mut self) -> Result<(), WorkerRuntimeError> {
        match self.timing.as_mut().and_then(|timing| timing.recorder.take()) {
            Some(times) => self.tell(&WorkerEvent::Timed(times)),
            None => Ok(()),
        }
    }
}
