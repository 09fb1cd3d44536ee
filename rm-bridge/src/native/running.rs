//! The thread of a stage at work.
//!
//! Main type: [`Running`].

mod clock;
mod ending;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rm_core::{
    InputSite, MessageKind, NodeError, NodeId, Produced, RuntimeData, SessionId, TraceContext,
};
use rm_ipc::{Latencies, PublishError, ReceiveError};
use tokio::sync::mpsc;

use self::clock::Source;
use self::timing::Timing;
use super::controls::Controls;
use super::{StageError, StageEvent};
use crate::causes::with_causes;
use crate::item_span::{ItemSpan, carry_on};
use crate::outlet::{Outlet, Output};
use crate::policy::{Admission, ItemGuard, Verdict};
use crate::protocol::{FailedIn, ItemFailure, WorkerFailure};
use crate::repeats::Repeats;
use crate::stage::{Destination, Inlet, Publication, Stage, StageNode, Subscription};
use crate::timeline::{Arrival, Phase, Work, publish};
use crate::worker::Watchdog;

/// Tells the session.
pub(super) type Tell = Arc<dyn Fn(StageEvent) + Send + Sync>;

struct RunningNode {
    inner: StageNode,
    guard: ItemGuard,
    watchdog: Option<Watchdog>,
    routes: Vec<Route>,
    output: rm_core::Output,
}

/// One of the ways that a node's items take, and what went there.
struct Route {
    port: Option<String>,
    destination: Destination,
    messages: u64,
    bytes: u64,
    latency: Latencies,
}

struct Reading {
    input: Subscription,
    open: bool,
    repeats: Repeats,
}

pub(super) struct Running {
    name: String,
    session: Option<SessionId>,
    nodes: Vec<RunningNode>,
    inlets: Vec<Inlet>,
    readings: Vec<Reading>,
    stage: Borders,
    controls: Arc<Controls>,
    tell: Tell,
    /// Only where a timeline is wanted.
    timing: Option<Timing>,
    /// The epoch of which the nodes know.
    epoch: u32,
    /// The node that is being called, by its place.
    called: Option<usize>,
    /// How many nodes have finished: those before this place.
    finished: usize,
}

struct Borders {
    publications: Vec<Publication>,
    output: Outlet,
    feed: Option<crate::stage::Feed>,
    bell: Arc<rm_ipc::Doorbell>,
    epoch: Arc<std::sync::atomic::AtomicU32>,
}

impl Borders {
    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }
}

impl Running {
    pub(super) fn new(stage: Stage, controls: Arc<Controls>, tell: Tell) -> Self {
        let routes_of = |place: usize, id: &NodeId| {
            let calls = stage.calls.iter().filter(|call| call.from == place);
            let calls = calls.map(|call| (call.port.clone(), Destination::Node(call.to)));
            let channels = stage.publications.iter().enumerate();
            let channels = channels.filter(|(_, publication)| publication.node == Some(place));
            let channels = channels.map(|(channel, publication)| {
                (publication.port.clone(), Destination::Channel(channel))
            });
            let outputs = stage.outputs.iter().filter(|output| **output == place);
            let outputs = outputs.map(|_| (None, Destination::Output(id.clone())));
            let route = |(port, destination)| Route {
                port,
                destination,
                messages: 0,
                bytes: 0,
                latency: Latencies::new(),
            };
            calls.chain(channels).chain(outputs).map(route).collect::<Vec<_>>()
        };
        let nodes = stage.nodes.iter().enumerate();
        let routes: Vec<_> = nodes.map(|(place, node)| routes_of(place, &node.id)).collect();
        let running = |(inner, routes): (StageNode, _)| RunningNode {
            guard: ItemGuard::new(inner.policy),
            inner,
            watchdog: None,
            routes,
            output: rm_core::Output::default(),
        };
        let timing = Timing::of(&stage);
        let Stage { name, session, nodes, inlets, subscriptions, .. } = stage;
        let Stage { publications, output, feed, bell, epoch, .. } = stage;
        let reading = |input| Reading { input, open: true, repeats: Repeats::default() };
        let stage = Borders { publications, output, feed, bell, epoch };
        Self {
            name,
            session,
            nodes: nodes.into_iter().zip(routes).map(running).collect(),
            inlets,
            readings: subscriptions.into_iter().map(reading).collect(),
            epoch: stage.epoch(),
            called: None,
            finished: 0,
            stage,
            controls,
            tell,
            timing,
        }
    }

    pub(super) fn run(
        &mut self,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<StageEvent, StageError> {
        for place in 0..self.nodes.len() {
            let node = &mut self.nodes[place];
            self.called = Some(place);
            let initialized = node.inner.node.initialize();
            self.called = None;
            initialized.map_err(|source| node.error("initialize", source))?;
            node.watch(&self.tell)?;
            self.controls.meter(place).start();
        }
        let ids = self.nodes.iter().map(|node| node.inner.id.clone()).collect();
        (self.tell)(StageEvent::Ready { nodes: ids });
        let places = (0..self.nodes.len()).filter(|place| self.nodes[*place].inner.source);
        let mut sources: Vec<_> = places.map(Source::new).collect();
        loop {
            if self.controls.is_stopped() || !go_on() {
                return Err(self.stopped_error());
            }
            if self.take_word() {
                // A source may have something to give earlier by its new parameters, or in a new epoch.
                sources.iter_mut().for_each(|source| source.not_before = None);
            }
            let mut idle = true;
            for input in 0..self.readings.len() {
                idle &= !self.receive(input)?;
            }
            if self.controls.is_started() {
                // Before the start consumers may still be joining.
                idle &= !self.take_from_feed()?;
                idle &= !self.ask(&mut sources)?;
                idle &= !self.act_on_time()?;
            }
            let open = self.readings.iter().any(|reading| reading.open);
            if sources.is_empty() && !open && self.stage.feed.is_none() {
                break;
            }
            if idle && !self.wait(&sources) {
                self.tell_times();
            }
        }
        self.finish()
    }

    /// Has the nodes drop what they hold back, if the epoch has changed.
    fn notice_epoch(&mut self) {
        let epoch = self.stage.epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.nodes.iter_mut().for_each(|node| node.inner.node.flush());
        }
    }

    /// Does what the session has said; `false` if that was nothing.
    fn take_word(&mut self) -> bool {
        let epoch = self.epoch;
        self.notice_epoch();
        let mut has_said = epoch != self.epoch;
        while let Some(change) = self.controls.next_change() {
            has_said = true;
            let taken = self.nodes[change.node].inner.node.set_params(&change.params);
            // Who asked may be gone.
            let _ = change.answer.send(taken);
        }
        has_said
    }

    /// Waits for something to do; `false` if it is only time to tell what was recorded.
    fn wait(&self, sources: &[Source]) -> bool {
        let controls = &self.controls;
        let due = self.due();
        let begun = controls.is_started();
        let waits_for_start = !begun && (!sources.is_empty() || due.is_some());
        let ready = || {
            let started = controls.is_started();
            controls.is_stopped()
                || controls.has_changes()
                || self.stage.epoch() != self.epoch
                || (started && waits_for_start)
                || self.readings.iter().any(Reading::is_ready)
                || (started && self.stage.feed.as_ref().is_some_and(crate::stage::Feed::is_ready))
        };
        let times = sources.iter().filter_map(|source| source.not_before);
        let times = times.chain(due).filter(|_| begun);
        let deadline = times.chain(self.times_due()).min();
        self.stage.bell.wait(ready, deadline)
    }

    /// The node that is being called.
    pub(super) fn in_call(&self) -> Option<NodeId> {
        self.called.map(|place| self.nodes[place].inner.id.clone())
    }

    fn stopped_error(&self) -> StageError {
        StageError::Stopped { stage: self.name.clone() }
    }

    /// Takes one item from a channel; `false` if there was none.
    fn receive(&mut self, input: usize) -> Result<bool, StageError> {
        let reading = &mut self.readings[input];
        if !reading.open {
            return Ok(false);
        }
        let data = match reading.input.subscriber.try_recv() {
            Ok(Some(data)) => data,
            Ok(None) => return Ok(false),
            // Streams end by a message; a channel that just closes was taken away.
            Err(ReceiveError::ChannelClosed) => return Err(self.stopped_error()),
            Err(source) => return Err(StageError::Receive { stage: self.name.clone(), source }),
        };
        let count = reading.input.subscriber.missed();
        if count > 0 {
            return Err(StageError::Lost { stage: self.name.clone(), count });
        }
        match data.header().kind {
            MessageKind::Data => {}
            MessageKind::EndOfStream => {
                reading.open = false;
                return Ok(true);
            }
            _ => return Ok(true),
        }
        if reading.repeats.has_come(data.header().origin) {
            let destinations = reading.input.destinations.iter();
            for place in destinations.filter_map(|to| self.inlets.get(inlet_of(to)?)) {
                self.controls.meter(place.node).counts.repeated += 1;
            }
            return Ok(true);
        }
        let (sent_ns, received_ns) = reading.input.subscriber.last_passage_ns();
        let destinations = std::mem::take(&mut reading.input.destinations);
        let arrival = self.arrival(sent_ns, received_ns);
        let delivered = self.deliver_to_all(&destinations, data, arrival);
        self.readings[input].input.destinations = destinations;
        delivered.map(|()| true)
    }

    fn deliver_to_all(
        &mut self,
        destinations: &[Destination],
        data: RuntimeData,
        mut arrival: Arrival,
    ) -> Result<(), StageError> {
        let Some((last, others)) = destinations.split_last() else { return Ok(()) };
        for destination in others {
            self.deliver(destination, data.clone(), arrival)?;
            arrival = self.called_at(arrival.sent_ns);
        }
        self.deliver(last, data, arrival)?;
        self.note_free();
        Ok(())
    }

    fn take_from_feed(&mut self) -> Result<bool, StageError> {
        let Some(feed) = &mut self.stage.feed else { return Ok(false) };
        match feed.items.try_recv() {
            Ok((destination, data, sent_ns)) => {
                let destinations = match destination {
                    Some(destination) => vec![destination],
                    None => feed.destinations.clone(),
                };
                let arrival = self.arrival_now(sent_ns);
                self.deliver_to_all(&destinations, data, arrival)?;
                Ok(true)
            }
            Err(mpsc::error::TryRecvError::Empty) => Ok(false),
            Err(mpsc::error::TryRecvError::Disconnected) => {
                self.stage.feed = None;
                Ok(true)
            }
        }
    }

    fn produce(&mut self, place: usize) -> Result<Produced, StageError> {
        self.notice_epoch();
        let epoch = self.epoch;
        let item = self.controls.meter(place).counts.items_in;
        self.begin_making(place, Work::Produce, item);
        let node = &mut self.nodes[place];
        let began = Instant::now();
        self.called = Some(place);
        let produced = node.inner.node.produce(&mut node.output);
        self.called = None;
        let mut meter = self.controls.meter(place);
        meter.counts.items_in += 1;
        meter.record(began.elapsed());
        drop(meter);
        let produced = produced.map_err(|source| node.error("produce", source));
        if produced.is_err() {
            self.end_times(place, true);
        }
        let produced = produced?;
        self.forward(place, epoch, TraceContext::default())?;
        self.end_times(place, false);
        self.note_free();
        Ok(produced)
    }

    fn process(
        &mut self,
        inlet: usize,
        data: RuntimeData,
        arrival: Arrival,
    ) -> Result<(), StageError> {
        let place = self.inlets[inlet].node;
        // Before any item of the new epoch, by whatever way that comes.
        self.notice_epoch();
        let epoch = data.header().epoch;
        let mut meter = self.controls.meter(place);
        if epoch < self.epoch {
            meter.counts.flushed += 1;
            return Ok(());
        }
        let item = meter.counts.items_in;
        meter.counts.items_in += 1;
        meter.counts.bytes_in += data.payload().len() as u64;
        drop(meter);
        self.begin_times(inlet, item, &data, arrival);
        self.work_on(inlet, item, data)?;
        self.end_times(place, false);
        Ok(())
    }

    /// Gives an item to its node as often as it takes, and sends on what that makes of it.
    fn work_on(&mut self, inlet: usize, item: u64, data: RuntimeData) -> Result<(), StageError> {
        let place = self.inlets[inlet].node;
        let (epoch, sequence) = (data.header().epoch, data.header().sequence);
        let node = &mut self.nodes[place];
        if let Admission::Reject { failures } = node.guard.admit(Instant::now()) {
            let message = format!("not tried: the node has failed on {failures} items in a row");
            self.skip(place, item, sequence, 0, "CircuitOpen", message);
            return Ok(());
        }
        let session = self.session.as_ref().map_or("", SessionId::as_str);
        let (id, node_type) = (node.inner.id.as_str(), node.inner.node_type.as_str());
        let span = ItemSpan::begin(id, node_type, session, data.header());
        let data = span.give(data);
        let retries = node.guard.policy().retry.max > 0;
        let (mut given, mut tries) = (data, 0);
        loop {
            tries += 1;
            let kept = retries.then(|| given.clone());
            let Some(error) = self.try_item(inlet, item, given, &span) else {
                self.nodes[place].guard.succeeded();
                // Those who get what was made are not part of this node's work.
                let trace = span.end(tries);
                return self.forward(place, epoch, trace);
            };
            self.mark_rest(place);
            let node = &mut self.nodes[place];
            node.output.clear();
            self.controls.meter(place).counts.errors += 1;
            match (node.guard.failed(error.is_transient(), Instant::now()), kept) {
                (Verdict::Retry { delay, .. }, Some(kept)) => {
                    let is_wanted = self.wait_to_retry(delay, epoch)?;
                    self.mark(place, Phase::Retry, 0);
                    if !is_wanted {
                        return Ok(());
                    }
                    self.controls.meter(place).counts.retries += 1;
                    given = kept;
                }
                (Verdict::Skip, _) => {
                    span.failed(&error);
                    span.end(tries);
                    let kind = if error.is_transient() { "Transient" } else { "NodeError" };
                    self.skip(place, item, sequence, tries, kind, with_causes(&error));
                    return Ok(());
                }
                _ => {
                    span.failed(&error);
                    span.end(tries);
                    let error = node.error(&format!("process item {item}"), error);
                    self.end_times(place, true);
                    return Err(error);
                }
            }
        }
    }

    /// Gives an item to its node, once.
    fn try_item(
        &mut self,
        inlet: usize,
        item: u64,
        data: RuntimeData,
        span: &ItemSpan,
    ) -> Option<NodeError> {
        let Inlet { node: place, from, port } = &self.inlets[inlet];
        let site = InputSite { from: from.as_ref(), port: port.as_deref() };
        let node = &mut self.nodes[*place];
        if let Some(watchdog) = &node.watchdog {
            watchdog.begin(item);
        }
        let began = Instant::now();
        self.called = Some(*place);
        let processed = span.within(|| node.inner.node.process_from(site, data, &mut node.output));
        self.called = None;
        let took = began.elapsed();
        if let Some(watchdog) = &node.watchdog {
            watchdog.end();
        }
        self.controls.meter(*place).record(took);
        processed.err()
    }

    /// Waits before an item is tried again; `false` if nobody wants it any more.
    fn wait_to_retry(&self, delay: std::time::Duration, epoch: u32) -> Result<bool, StageError> {
        let deadline = Instant::now().checked_add(delay);
        let is_over = || self.controls.is_stopped() || self.stage.epoch() > epoch;
        if !self.stage.bell.wait(is_over, deadline) {
            return Ok(true);
        }
        if self.controls.is_stopped() { Err(self.stopped_error()) } else { Ok(false) }
    }

    fn skip(
        &mut self,
        place: usize,
        item: u64,
        sequence: u64,
        tries: u32,
        error_type: &str,
        message: String,
    ) {
        self.end_times(place, true);
        self.controls.meter(place).counts.skipped += 1;
        let failure = WorkerFailure {
            during: FailedIn::Process,
            item: Some(item),
            error_type: error_type.to_owned(),
            message,
            traceback: String::new(),
        };
        let node = self.nodes[place].inner.id.clone();
        (self.tell)(StageEvent::Skipped(ItemFailure { node, item, sequence, tries, failure }));
    }

    /// Sends on what a node has made of something of an epoch and a trace.
    fn forward(&mut self, place: usize, epoch: u32, trace: TraceContext) -> Result<(), StageError> {
        if self.nodes[place].output.is_empty() {
            return Ok(());
        }
        let mut made = std::mem::take(&mut self.nodes[place].output);
        let emitted = Instant::now();
        let emitted_ns = self.mark_rest(place);
        for (port, data) in made.drain_ports() {
            let is_for = |route: &Route| route.port.as_deref() == port;
            let mut left = self.nodes[place].routes.iter().filter(|route| is_for(route)).count();
            if left == 0 && port.is_some() {
                // Nobody is connected with a port that is there for whoever wants it.
                continue;
            }
            let mut meter = self.controls.meter(place);
            meter.counts.items_out += 1;
            meter.counts.bytes_out += data.payload().len() as u64;
            drop(meter);
            let data = carry_on(data.with_epoch(epoch).with_origin(None), trace);
            let mut data = Some(data);
            for route in 0..self.nodes[place].routes.len() {
                let way = &mut self.nodes[place].routes[route];
                if !is_for(way) {
                    continue;
                }
                left -= 1;
                let data = if left == 0 { data.take() } else { data.clone() };
                let data = data.expect("taken by the last only");
                way.messages += 1;
                way.bytes += data.payload().len() as u64;
                way.latency.record(u64::try_from(emitted.elapsed().as_nanos()).unwrap_or(u64::MAX));
                let destination = way.destination.clone();
                let bytes = data.payload().len();
                if let Destination::Channel(_) = destination {
                    self.controls.meter(place).counts.copied_bytes += bytes as u64;
                }
                let arrival = self.called_at(emitted_ns);
                self.deliver(&destination, data, arrival)?;
                match destination {
                    Destination::Node(_) => self.mark(place, Phase::Call, 0),
                    Destination::Output(_) => self.mark(place, Phase::Send, bytes),
                    Destination::Channel(_) => {}
                }
            }
        }
        self.nodes[place].output = made;
        Ok(())
    }

    fn deliver(
        &mut self,
        destination: &Destination,
        data: RuntimeData,
        arrival: Arrival,
    ) -> Result<(), StageError> {
        match destination {
            Destination::Node(inlet) => self.process(*inlet, data, arrival),
            Destination::Channel(channel) => self.publish(*channel, &data),
            Destination::Output(node) => {
                let output = Output { node: node.clone(), data };
                // Nobody takes the items any more: the session is over.
                self.stage.output.send(output).map_err(|_| self.stopped_error())
            }
        }
    }

    fn publish(&mut self, channel: usize, data: &RuntimeData) -> Result<(), StageError> {
        let Publication { publisher, node, .. } = &self.stage.publications[channel];
        let recorder = self.timing.as_mut().zip(*node).map(|(timing, node)| timing.of_node(node));
        let published = publish(publisher, data, recorder);
        published.map_err(|source| self.not_published(channel, source))
    }

    fn not_published(&self, channel: usize, source: PublishError) -> StageError {
        if matches!(source, PublishError::ChannelClosed) {
            return self.stopped_error();
        }
        let node = self.stage.publications[channel].node;
        let node = node.map(|place| self.nodes[place].inner.id.to_string());
        StageError::Publish { node: node.unwrap_or_else(|| "input".to_owned()), source }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.controls.refuse_changes();
    }
}

impl Reading {
    fn is_ready(&self) -> bool {
        self.open && self.input.subscriber.is_ready()
    }
}

impl RunningNode {
    fn error(&self, action: &str, source: NodeError) -> StageError {
        StageError::Node { node: self.inner.id.clone(), action: action.to_owned(), source }
    }

    /// Has the time of each item watched, where it is limited.
    fn watch(&mut self, tell: &Tell) -> Result<(), StageError> {
        let Some(timeout) = self.inner.policy.timeout else { return Ok(()) };
        let (tell, node) = (Arc::clone(tell), self.inner.id.clone());
        let overdue = move |item| {
            tell(StageEvent::Failed(StageError::TimedOut { node, item, timeout }));
        };
        let watchdog = Watchdog::start(timeout, overdue);
        let watchdog = watchdog.map_err(|source| {
            let message = "its time cannot be watched".to_owned();
            self.error("initialize", NodeError::Failed { message, source: Some(source.into()) })
        })?;
        self.watchdog = Some(watchdog);
        Ok(())
    }
}

fn inlet_of(destination: &Destination) -> Option<usize> {
    match destination {
        Destination::Node(inlet) => Some(*inlet),
        _ => None,
    }
}
