//! The worker's side: what runs inside a worker process, around the node.
//!
//! Main type: [`WorkerRuntime`]. It connects to the session, gives the node its items and sends on
//! what the node makes. It decides what happens when the node fails, and keeps account of what is done,
//! so that a worker that follows this one can go on where it ended. It does not know Python; the
//! wheel's worker loop calls it, without holding the interpreter's lock wherever it waits.

mod control;
mod error;
mod items;
mod output;
mod timing;
mod watchdog;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rm_core::{ChannelId, MessageKind, NodeId, RuntimeData, SessionId};
use rm_ipc::{
    ChannelError, Doorbell, Namespace, Publisher, ReceiveError, SharedMemoryChannel, Subscriber,
};
use rm_process::WorkPage;
use rm_process::child::{self, ChildHandle, Responder, blocking};

pub(crate) use self::control::lock;
pub use self::control::{Cancellation, ParamsChange};
use self::control::{Controls, listen};
pub use self::error::WorkerRuntimeError;
use self::timing::Timing;
pub(crate) use self::watchdog::Watchdog;
use crate::data_plane::end_stream;
use crate::metrics::{InputReport, peak_memory};
use crate::policy::{Admission, ItemGuard};
use crate::protocol::{
    FailedIn, ItemPlace, WorkCode, WorkerConfig, WorkerEvent, WorkerFailure, WorkerRequest,
};
use crate::repeats::Repeats;

/// What a worker is to do next.
#[derive(Debug)]
pub enum Next {
    /// To process an item, and to say by [`done`](WorkerRuntime::done) or
    /// [`failed`](WorkerRuntime::failed) what came of it.
    Item {
        /// The item.
        data: RuntimeData,
        /// Its position, counted from 0 over all inputs.
        index: u64,
        /// Which of the configured inputs it came by.
        input: usize,
        /// The port of the node that it is for, by its place in
        /// [`WorkerInput::ports`](crate::WorkerInput::ports).
        port: usize,
    },
    /// To take new values of parameters, or to refuse them.
    SetParams(ParamsChange),
    /// To drop what the node holds back.
    Flush,
    /// To finish: nothing more will come.
    End,
    /// To end at once: the session is over.
    Stop,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Give the node the same item again. The time to wait has passed.
    Retry,
    /// Go on with the next item.
    Next,
    /// Say so by [`fail`](WorkerRuntime::fail), and end.
    Fail,
}

struct Input {
    subscriber: Subscriber,
    open: bool,
    repeats: Repeats,
    /// Whether the channel is told what is done, because it keeps the rest for a follower.
    seated: bool,
    /// The last message of the stream, to be told done when everything is.
    end: Option<u64>,
    /// Items that were sent and cannot come any more, as far as that was told.
    lost: u64,
}

struct Output {
    port: Option<String>,
    publisher: Publisher,
}

/// The item in work.
struct Work {
    place: ItemPlace,
    index: u64,
    epoch: u32,
    correlation_id: u64,
    timestamp: SystemTime,
    /// Tries of it so far.
    tries: u32,
    /// Things made of it in this try, and in all.
    made: u32,
    sent: u32,
    /// What was made of it before, for other ports.
    base: u32,
}

impl Work {
    /// What is made after the last item.
    fn finish(epoch: u32) -> Self {
        let place = ItemPlace { input: 0, sequence: u64::MAX };
        Self {
            place,
            index: 0,
            epoch,
            correlation_id: 0,
            timestamp: UNIX_EPOCH,
            // Not the work on an item, whose time is watched.
            tries: 0,
            made: 0,
            sent: 0,
            base: 0,
        }
    }
}

/// The answer to the session's call; `None` once it is complete.
type Events = Arc<Mutex<Option<Responder<WorkerEvent>>>>;

/// What a worker works with. All of its ports are joined when it exists.
pub struct WorkerRuntime {
    config: WorkerConfig,
    own: ChildHandle,
    events: Events,
    controls: Arc<Controls>,
    guard: ItemGuard,
    watchdog: Option<Watchdog>,
    bell: Arc<Doorbell>,
    inputs: Vec<Input>,
    /// Where the search for the next item begins, so that no input starves another.
    turn: usize,
    /// The input by which the next item has to come.
    resume: Option<ItemPlace>,
    /// An item of an epoch that the node does not know of yet, and its input.
    held: Option<(usize, RuntimeData)>,
    /// An item that is for further ports, and the next of them.
    again: Option<(RuntimeData, usize)>,
    outputs: Vec<Output>,
    work: Option<Work>,
    /// Only where a timeline is wanted.
    timing: Option<Timing>,
    span: crate::item_span::ItemSpan,
    /// The epoch of which the node knows.
    epoch: u32,
    // Dropped last: everything above lives in it.
    _namespace: Namespace,
}

impl WorkerRuntime {
    /// Ties this process's life to its parent's, introduces it, waits for its configuration and
    /// joins its channels. To be called first thing, on the main thread.
    ///
    /// # Errors
    /// [`WorkerRuntimeError`]: `Child` if this process was not started by a session.
    pub fn connect() -> Result<Self, WorkerRuntimeError> {
        child::die_with_parent()?;
        let mut requests = blocking::connect::<WorkerRequest>()?;
        let own = requests.handle().clone();
        let request = requests.next().ok_or(WorkerRuntimeError::NotConfigured)?;
        let WorkerRequest::Serve(config) = request.message()? else {
            return Err(WorkerRuntimeError::NotServed);
        };
        let events: Events = Arc::new(Mutex::new(Some(request.into_responder())));
        let namespace = Namespace::open(&config.namespace)?;
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let open = |channel: &ChannelId| SharedMemoryChannel::open(&namespace, channel);
        let join = |input: &crate::WorkerInput| {
            let channel = open(&input.channel)?;
            let subscriber = match input.seat {
                Some(seat) => channel.subscriber_at(&bell, seat)?,
                None => channel.subscriber(&bell)?,
            };
            let seated = input.seat.is_some();
            let repeats = Repeats::after(subscriber.memo());
            Ok(Input { subscriber, open: true, repeats, seated, end: None, lost: 0 })
        };
        let inputs = config.inputs.iter().map(join).collect::<Result<_, ChannelError>>()?;
        let outputs = config.outputs.iter().map(|output| {
            let publisher = open(&output.channel)?.publisher(&bell)?;
            Ok(Output { port: output.port.clone(), publisher })
        });
        let outputs = outputs.collect::<Result<_, ChannelError>>()?;
        let controls = Arc::new(Controls::new(config.epoch));
        listen(requests, Arc::clone(&controls), bell.ringer())
            .map_err(WorkerRuntimeError::Thread)?;
        let watchdog = match config.policy.timeout {
            Some(timeout) => {
                let tell = overdue(&own, &events, timeout);
                Some(Watchdog::start(timeout, tell).map_err(WorkerRuntimeError::Thread)?)
            }
            None => None,
        };
        Ok(Self {
            guard: ItemGuard::new(config.policy),
            epoch: config.epoch,
            resume: config.resume,
            timing: config.timeline.then(Timing::default),
            config,
            own,
            events,
            controls,
            watchdog,
            bell,
            inputs,
            turn: 0,
            held: None,
            again: None,
            outputs,
            work: None,
            span: Default::default(),
            _namespace: namespace,
        })
    }

    /// What the session configured.
    pub fn config(&self) -> &WorkerConfig {
        &self.config
    }

    /// By which this process tells of itself and calls the session's process, from any thread.
    pub fn handle(&self) -> &ChildHandle {
        &self.own
    }

    /// Tells whether work in progress is still of use.
    pub fn cancellation(&self) -> Cancellation {
        Cancellation { controls: Arc::clone(&self.controls) }
    }

    /// Says that the node is ready for items.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Control`] if the session is gone.
    pub fn ready(&self) -> Result<(), WorkerRuntimeError> {
        lock(&self.controls.meter).start();
        self.own.ready()?;
        // On its way before the first item, which may end the process.
        Ok(self.own.block_on(self.own.flushed())?)
    }

    /// Waits for the next thing to do.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Receive`] for an item that is not valid.
    pub fn next_step(&mut self) -> Result<Next, WorkerRuntimeError> {
        self.note_waiting();
        loop {
            if self.controls.is_over() {
                return Ok(Next::Stop);
            }
            if let Some(change) = self.controls.next_params() {
                return Ok(Next::SetParams(change));
            }
            let epoch = self.controls.epoch();
            if epoch != self.epoch {
                self.epoch = epoch;
                return Ok(Next::Flush);
            }
            if let Some((data, port)) = self.again.take() {
                return Ok(self.give(data, port));
            }
            if let Some((input, data)) = self.held.take() {
                match self.admit(input, data)? {
                    Some(data) => return Ok(self.give(data, 0)),
                    None => continue,
                }
            }
            let count = self.inputs.len();
            let mut nothing_came = true;
            let turn = self.turn;
            for input in (0..count).map(|offset| (turn + offset) % count) {
                let Some(data) = self.receive(input)? else { continue };
                nothing_came = false;
                self.turn = input + 1;
                let epoch = data.header().epoch;
                if epoch > self.epoch {
                    // It may come before the session's word.
                    self.controls.raise_epoch(epoch);
                    self.held = Some((input, data));
                    break;
                }
                if let Some(data) = self.admit(input, data)? {
                    return Ok(self.give(data, 0));
                }
            }
            if !nothing_came {
                continue;
            }
            if self.inputs.iter().all(|input| !input.open) {
                self.work = Some(Work::finish(self.epoch));
                self.begin_times(crate::timeline::Work::Finish, 0);
                self.resume = None;
                return Ok(Next::End);
            }
            let (controls, inputs, resume) = (&self.controls, &self.inputs, self.resume);
            let ready = || {
                controls.is_ready()
                    || controls.epoch() != epoch
                    || inputs.iter().enumerate().any(|(number, input)| {
                        let is_due = resume.is_none_or(|place| usize::from(place.input) == number);
                        input.open && is_due && input.subscriber.is_ready()
                    })
            };
            if !self.bell.wait(ready, self.times_due()) {
                self.tell_times()?;
            }
        }
    }

    fn receive(&mut self, number: usize) -> Result<Option<RuntimeData>, WorkerRuntimeError> {
        let input = &mut self.inputs[number];
        if !input.open || self.resume.is_some_and(|place| usize::from(place.input) != number) {
            return Ok(None);
        }
        let received = match input.subscriber.try_recv() {
            Ok(received) => received,
            // Streams end by a message; a channel that just closes was taken away.
            Err(ReceiveError::ChannelClosed) => {
                self.wait_until_over();
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let lost = input.subscriber.missed();
        if lost > input.lost {
            let count = lost - input.lost;
            input.lost = lost;
            let from = self.config.inputs[number].from.clone();
            self.tell(&WorkerEvent::Lost { from, count })?;
            // What comes instead may be the same items under other numbers.
            self.wait_until_over();
            return Ok(None);
        }
        if received.is_some() {
            self.resume = None;
            self.note_reception(number);
        }
        Ok(received)
    }

    /// Gives the item if the node is to have it; otherwise it is dealt with here.
    fn admit(
        &mut self,
        number: usize,
        data: RuntimeData,
    ) -> Result<Option<RuntimeData>, WorkerRuntimeError> {
        let header = data.header();
        let (kind, sequence, epoch) = (header.kind, header.sequence, header.epoch);
        let place = ItemPlace { input: u16::try_from(number).unwrap_or(u16::MAX), sequence };
        let input = &mut self.inputs[number];
        let mut meter = lock(&self.controls.meter);
        let counts = &mut meter.counts;
        match kind {
            MessageKind::Data => {}
            MessageKind::EndOfStream => {
                input.open = false;
                input.end = Some(sequence);
                return Ok(None);
            }
            _ => {
                drop(meter);
                self.acknowledge(place);
                return Ok(None);
            }
        }
        if epoch < self.controls.epoch() {
            counts.flushed += 1;
            drop(meter);
            self.acknowledge(place);
            return Ok(None);
        }
        if input.repeats.has_come(header.origin) {
            counts.repeated += 1;
            drop(meter);
            self.acknowledge(place);
            return Ok(None);
        }
        let index = counts.items_in;
        counts.items_in += 1;
        counts.bytes_in += data.payload().len() as u64;
        drop(meter);
        self.work = Some(Work {
            place,
            index,
            epoch,
            correlation_id: header.correlation_id,
            timestamp: header.timestamp,
            tries: 0,
            made: 0,
            sent: 0,
            base: 0,
        });
        self.begin_times(crate::timeline::Work::Item, data.payload().len());
        if self.config.set_aside.contains(&place) {
            self.set_aside(place, index, &data)?;
            return Ok(None);
        }
        if let Admission::Reject { failures } = self.guard.admit(Instant::now()) {
            let message = format!("not tried: the node has failed on {failures} items in a row");
            let failure = WorkerFailure {
                during: FailedIn::Process,
                item: Some(index),
                error_type: "CircuitOpen".to_owned(),
                message,
                traceback: String::new(),
            };
            self.skip(failure)?;
            return Ok(None);
        }
        Ok(Some(self.begin_span(data)))
    }

    /// Notes that the node is given an item, and tells it to whom it may concern.
    fn give(&mut self, data: RuntimeData, port: usize) -> Next {
        let ports = &self.config.inputs[self.work().place.input as usize].ports;
        if port + 1 < ports.len() {
            self.again = Some((data.clone(), port + 1));
        }
        let work = self.work.as_mut().expect("an item is in work");
        (work.tries, work.base) = (0, work.made);
        // Each port has its own tries. Whether the circuit is open was asked when the item came.
        let _ = self.guard.admit(Instant::now());
        self.begin_try();
        let work = self.work();
        Next::Item { data, index: work.index, input: work.place.input.into(), port }
    }

    fn begin_try(&mut self) {
        let work = self.work.as_mut().expect("an item is in work");
        work.tries += 1;
        let (index, place) = (work.index, work.place);
        self.note_work(index, place, false);
        self.watch(Some(index));
    }

    /// Notes for the session what is in work, in case that this process dies.
    fn note_work(&self, index: u64, place: ItemPlace, is_waiting: bool) {
        self.page().begin_at(index, WorkCode { place, is_waiting }.encode());
    }

    fn watch(&self, item: Option<u64>) {
        match (&self.watchdog, item) {
            (Some(watchdog), Some(item)) => watchdog.begin(item),
            (Some(watchdog), None) => watchdog.end(),
            (None, _) => {}
        }
    }

    fn work(&self) -> &Work {
        self.work.as_ref().expect("an item is in work")
    }

    /// The session that this worker belongs to.
    pub fn session_id(&self) -> &SessionId {
        &self.config.session_id
    }

    /// The node that the items of an input come from, and the port that they are for.
    pub fn site(&self, input: usize, port: usize) -> (Option<&NodeId>, Option<&str>) {
        let input = &self.config.inputs[input];
        (input.from.as_ref(), input.ports.get(port).and_then(Option::as_deref))
    }

    /// Notes how long the node's work on one item took.
    pub fn record(&mut self, took: Duration) {
        lock(&self.controls.meter).record(took);
    }

    /// Ends the output streams and reports what was done.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn finish(&mut self) -> Result<(), WorkerRuntimeError> {
        self.work = None;
        self.end_times(false);
        for output in &self.outputs {
            end_stream(&output.publisher)?;
        }
        self.tell_times()?;
        let inputs = self.inputs.iter().map(|input| InputReport::of(&input.subscriber)).collect();
        let mut node = lock(&self.controls.meter).statistics();
        node.peak_memory_bytes = peak_memory();
        self.tell_last(&WorkerEvent::Finished { node, inputs })?;
        for input in &mut self.inputs {
            if let Some(end) = input.end.filter(|_| input.seated) {
                input.subscriber.acknowledge(end);
            }
        }
        Ok(())
    }

    /// Reports that the node has failed.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Control`] if the session is gone.
    pub fn fail(&mut self, failure: WorkerFailure) -> Result<(), WorkerRuntimeError> {
        self.end_times(true);
        self.tell_times()?;
        self.tell_last(&WorkerEvent::Failed(failure))
    }

    fn tell(&self, event: &WorkerEvent) -> Result<(), WorkerRuntimeError> {
        if let Some(events) = &mut *lock(&self.events) {
            self.own.block_on(events.send(event))?;
        }
        Ok(())
    }

    /// Completes the answer to the session's call, and waits until it is on its way: the process may
    /// end next.
    fn tell_last(&self, event: &WorkerEvent) -> Result<(), WorkerRuntimeError> {
        if let Some(events) = lock(&self.events).take() {
            events.reply(event)?;
        }
        Ok(self.own.block_on(self.own.flushed())?)
    }

    fn page(&self) -> &WorkPage {
        self.own.work().expect("workers are started by their session")
    }

    /// Waits until the session lets this worker go. Until then its memory stays readable. What still
    /// comes, from a node that was started again after its end, has come before.
    pub fn wait_for_stop(&mut self) {
        loop {
            let (controls, inputs) = (&self.controls, &self.inputs);
            let comes = |input: &Input| input.lost != u64::MAX && input.subscriber.is_ready();
            self.bell.wait(|| controls.is_ready() || inputs.iter().any(comes), None);
            if self.controls.is_over() {
                return;
            }
            self.refuse_params();
            for input in &mut self.inputs {
                match input.subscriber.try_recv() {
                    Ok(Some(data)) if input.seated => {
                        input.subscriber.acknowledge(data.header().sequence);
                    }
                    Ok(_) => {}
                    // Nothing comes by it any more.
                    Err(_) => input.lost = u64::MAX,
                }
            }
        }
    }

    fn wait_until_over(&mut self) {
        while !self.controls.is_over() {
            self.bell.wait(|| self.controls.is_ready(), None);
            self.refuse_params();
        }
    }

    fn refuse_params(&self) {
        while let Some(change) = self.controls.next_params() {
            change.refuse("the node has finished");
        }
    }
}

/// What ends a process that is at one item for too long: the session is told, and the abort shows where
/// each thread is.
fn overdue(
    own: &ChildHandle,
    events: &Events,
    timeout: Duration,
) -> impl FnOnce(u64) + Send + 'static {
    let (own, events) = (own.clone(), Arc::clone(events));
    move |item| {
        if let Some(events) = &mut *lock(&events) {
            // A session that is gone needs no word.
            let _ = own.block_on(events.send(&WorkerEvent::TimedOut { item, timeout }));
            let _ = own.block_on(own.flushed());
        }
        std::process::abort();
    }
}
