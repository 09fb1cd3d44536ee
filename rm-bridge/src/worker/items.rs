//! The end of the work on an item, whatever it is: done, tried again, left out or set aside.
//!
//! It is decided by the node's [`ItemPolicy`](crate::ItemPolicy), told to whoever is to know, and then
//! acknowledged.

use std::time::Instant;

use rm_core::{MessageKind, RuntimeData, WireHeader};
use zerocopy::IntoBytes;

use super::control::lock;
use super::{Decision, WorkerRuntime, WorkerRuntimeError};
use crate::policy::Verdict;
use crate::protocol::{ItemFailure, ItemPlace, WorkerEvent, WorkerFailure};
use crate::timeline::Phase;

impl WorkerRuntime {
    /// Says that the node is done with the item in work, and that everything it made of it is sent.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn done(&mut self) -> Result<(), WorkerRuntimeError> {
        self.guard.succeeded();
        self.close_item(None)
    }

    /// Says that the node has failed on the item in work, and learns what to do. `transient` says that
    /// the same work may succeed later. Waits before a retry.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Control`] if the session is gone.
    pub fn failed(
        &mut self,
        failure: &WorkerFailure,
        transient: bool,
    ) -> Result<Decision, WorkerRuntimeError> {
        self.watch(None);
        self.mark_rest();
        lock(&self.controls.meter).counts.errors += 1;
        let verdict = self.guard.failed(transient, Instant::now());
        if let Verdict::Retry { delay, .. } = verdict {
            let deadline = Instant::now().checked_add(delay);
            let controls = &self.controls;
            let stale = self.work().epoch;
            self.note_work(self.work().index, self.work().place, true);
            let is_over = || controls.is_over() || controls.epoch() > stale;
            let is_unwanted = self.bell.wait(is_over, deadline);
            self.mark(Phase::Retry);
            if is_unwanted {
                // Nobody wants the item any more.
                lock(&self.controls.meter).counts.flushed += 1;
                self.close_item(None)?;
                return Ok(Decision::Next);
            }
            lock(&self.controls.meter).counts.retries += 1;
            let work = self.work.as_mut().expect("an item is in work");
            work.made = work.base;
            self.begin_try();
            return Ok(Decision::Retry);
        }
        self.span.failed(failure);
        if self.config.replies {
            self.end_times(true);
            self.close_item(Some(failure))?;
            return Ok(Decision::Next);
        }
        if verdict == Verdict::Fail {
            return Ok(Decision::Fail);
        }
        self.skip(failure.clone())?;
        Ok(Decision::Next)
    }

    /// Leaves the item in work out, and reports it.
    pub(super) fn skip(&mut self, failure: WorkerFailure) -> Result<(), WorkerRuntimeError> {
        lock(&self.controls.meter).counts.skipped += 1;
        self.end_times(true);
        if self.config.replies {
            return self.close_item(Some(&failure));
        }
        let work = self.work();
        let (item, sequence, tries) = (work.index, work.place.sequence, work.tries);
        let node = self.config.node_id.clone();
        self.tell(&WorkerEvent::Skipped(ItemFailure { node, item, sequence, tries, failure }))?;
        self.close_item(None)
    }

    pub(super) fn set_aside(
        &mut self,
        place: ItemPlace,
        item: u64,
        data: &RuntimeData,
    ) -> Result<(), WorkerRuntimeError> {
        let header = WireHeader::encode(data.header())?.as_bytes().to_vec().into();
        let payload = data.payload().to_vec().into();
        lock(&self.controls.meter).counts.skipped += 1;
        self.end_times(true);
        self.tell(&WorkerEvent::SetAside { place, item, header, payload })?;
        self.close_item(None)
    }

    /// Ends the work on an item: everything that was made of it has been sent.
    pub(super) fn close_item(
        &mut self,
        failure: Option<&WorkerFailure>,
    ) -> Result<(), WorkerRuntimeError> {
        if self.again.is_some() && failure.is_none() {
            // It is for further ports.
            self.watch(None);
            return Ok(());
        }
        self.again = None;
        if self.config.replies
            && let Some(work) = &self.work
        {
            let (kind, end) = match failure {
                None => (MessageKind::ItemEnd, RuntimeData::end_of_stream()),
                Some(failure) => {
                    let json = serde_json::to_string(failure).unwrap_or_default();
                    let text = RuntimeData::error(json);
                    (MessageKind::Error, text.unwrap_or_else(|_| RuntimeData::end_of_stream()))
                }
            };
            let end = end.with_kind(kind).with_correlation(work.correlation_id);
            // A later time would be the earliest that what is made of the next item can have.
            let end = end.with_timestamp(work.timestamp);
            for output in &self.outputs {
                output.publisher.publish(&end)?;
            }
        }
        self.watch(None);
        self.end_times(false);
        self.tell_due_times()?;
        self.page().end();
        if let Some(work) = self.work.take() {
            std::mem::take(&mut self.span).end(work.tries);
            self.acknowledge(work.place);
        }
        Ok(())
    }

    /// Says that an item need not be given again.
    pub(super) fn acknowledge(&mut self, place: ItemPlace) {
        let input = &mut self.inputs[usize::from(place.input)];
        if input.seated {
            input.subscriber.acknowledge_with(place.sequence, input.repeats.memo());
        }
    }
}
