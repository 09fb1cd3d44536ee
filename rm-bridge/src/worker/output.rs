//! How what a node makes leaves its worker: counted, marked with what it was made from, and not sent
//! a second time where an earlier try of the same item has sent it.

use rm_core::{DataHeader, Origin, RuntimeData};
use rm_ipc::{LoanError, PublishError, SampleMut, SampleMutUninit};

use super::control::lock;
use super::timing::Timing;
use super::{Output, WorkerRuntime, WorkerRuntimeError};
use crate::item_span::ItemSpan;
use crate::protocol::{ItemPlace, WorkerConfig};
use crate::timeline::{self, Phase};

impl WorkerRuntime {
    /// The node is given an item: what it makes of it is of the item's trace.
    pub(super) fn begin_span(&mut self, item: RuntimeData) -> RuntimeData {
        let WorkerConfig { node_id, node_type, session_id, .. } = &self.config;
        let (node, session) = (node_id.as_str(), session_id.as_str());
        self.span = ItemSpan::begin(node, node_type, session, item.header());
        self.span.give(item)
    }

    /// The span of the item in work, for who runs the node to enter; a disabled one if the item's trace
    /// is not sampled, or nobody records it. It ends with the work on the item.
    #[cfg(feature = "opentelemetry")]
    pub fn span(&self) -> tracing::Span {
        self.span.span()
    }

    /// Lends memory for an item that the node is about to make for no port in particular; `None` if
    /// nobody takes these items, or several channels do.
    ///
    /// # Errors
    /// [`LoanError`] if there is no room for it.
    pub fn loan(&self, len: usize) -> Option<Result<SampleMutUninit, LoanError>> {
        let mut takers = self.outputs.iter().filter(|output| output.port.is_none());
        let (taker, other) = (takers.next()?, takers.next());
        other.is_none().then(|| taker.publisher.loan_uninit(len))
    }

    /// Counts a thing made of the item in work; gives what it was made from, or nothing if it need not
    /// be sent: it is there already, or nobody wants it any more.
    fn made(&mut self) -> Option<(Option<Origin>, u32)> {
        let epoch = self.controls.epoch();
        let work = self.work.as_mut()?;
        let index = work.made;
        work.made += 1;
        if index < work.sent {
            return None;
        }
        let mut meter = lock(&self.controls.meter);
        if work.epoch < epoch {
            meter.counts.flushed += 1;
            return None;
        }
        drop(meter);
        let ItemPlace { input, sequence } = work.place;
        let origin = self.config.origins.then_some(Origin { input, sequence, index });
        Some((origin, work.epoch))
    }

    /// Sends an item that was made in lent memory, with this header. Waits for room.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Publish`]; `ChannelClosed` there means that the session is over.
    pub fn send(
        &mut self,
        mut sample: SampleMutUninit,
        mut header: DataHeader,
    ) -> Result<(), WorkerRuntimeError> {
        let Some((origin, epoch)) = self.made() else { return Ok(()) };
        (header.origin, header.epoch) = (origin, epoch);
        header.trace = self.span.trace_of(&header);
        let len = sample.bytes_mut().len();
        self.waiting(|_, timing| {
            let sample: SampleMut = sample.written(&header).map_err(PublishError::from)?;
            let sent = sample.send().map_err(PublishError::from);
            if let Some(Timing { recorder, .. }) = timing {
                recorder.mark(Phase::Send, len);
            }
            sent
        })?;
        self.sent(len, 0);
        Ok(())
    }

    /// Copies an item into the channels of a port and sends it. Waits for room.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn publish(
        &mut self,
        port: Option<&str>,
        data: RuntimeData,
    ) -> Result<(), WorkerRuntimeError> {
        let Some((origin, epoch)) = self.made() else { return Ok(()) };
        let trace = self.span.trace_of(data.header());
        let data = data.with_origin(origin).with_epoch(epoch).with_trace(trace);
        let len = data.payload().len();
        let copies = self.waiting(|outputs, timing| {
            let takers = || outputs.iter().filter(|output| output.port.as_deref() == port);
            let copies = takers().count();
            if copies > 1 {
                // Before any is sent: what one of them cannot carry is to reach none.
                takers().try_for_each(|output| output.publisher.loan_uninit(len).map(drop))?;
            }
            takers().try_for_each(|output| {
                let recorder = timing.as_mut().map(|timing| &mut timing.recorder);
                timeline::publish(&output.publisher, &data, recorder)
            })?;
            Ok::<_, PublishError>(copies)
        })?;
        self.sent(len, copies * len);
        Ok(())
    }

    /// Counts bytes that were copied to make what is published next for a port.
    pub fn note_copied(&self, port: Option<&str>, bytes: u64) {
        let mut takers = self.outputs.iter().filter(|output| output.port.as_deref() == port);
        if let Some(taker) = takers.next().filter(|_| bytes > 0) {
            taker.publisher.note_copied(bytes);
            lock(&self.controls.meter).counts.copied_bytes += bytes;
        }
    }

    /// Notes that what was made last is sent: a later try of the item leaves it out.
    fn sent(&mut self, len: usize, copied: usize) {
        let mut meter = lock(&self.controls.meter);
        meter.counts.items_out += 1;
        meter.counts.bytes_out += len as u64;
        meter.counts.copied_bytes += copied as u64;
        drop(meter);
        if let Some(work) = &mut self.work {
            work.sent = work.made;
        }
    }

    /// Waiting for room is not the node's time.
    fn waiting<T>(&mut self, call: impl FnOnce(&[Output], &mut Option<Timing>) -> T) -> T {
        self.watch(None);
        self.mark_rest();
        self.note_waits(true);
        let result = call(&self.outputs, &mut self.timing);
        self.note_waits(false);
        self.watch(self.work.as_ref().filter(|work| work.tries > 0).map(|work| work.index));
        result
    }

    /// Notes for the session whether the node only waits.
    fn note_waits(&self, is_waiting: bool) {
        if let Some(work) = self.work.as_ref().filter(|work| work.tries > 0) {
            self.note_work(work.index, work.place, is_waiting);
        }
    }

    /// The header of an item that is made from another one, or from none.
    pub fn stamp(&self, header: &mut DataHeader, made_from: Option<&DataHeader>) {
        header.session_id = Some(self.session_id().clone());
        if let Some(input) = made_from {
            header.timestamp = input.timestamp;
            header.deadline = input.deadline;
            header.correlation_id = input.correlation_id;
            header.trace = input.trace;
        }
    }
}
