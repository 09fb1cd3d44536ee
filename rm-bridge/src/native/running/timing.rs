//! The timeline of a stage: when its nodes' items came, and on what the time went that they took.
//!
//! Main type: [`Timing`]. All of it does nothing where no timeline is wanted.

use std::time::Instant;

use rm_core::{NodeId, RuntimeData};
use rm_ipc::monotonic_ns;

use super::Running;
use crate::stage::{Destination, Stage};
use crate::timeline::{Arrival, Phase, Recorder, TimelineSink, Which, Work};

pub(super) struct Timing {
    sink: TimelineSink,
    nodes: Vec<(NodeId, Recorder)>,
    inlets: Vec<Way>,
    /// Since when the thread is free for the next item.
    free_ns: u64,
}

/// What is known of an inlet.
struct Way {
    /// Its place among the inlets of its node.
    input: u16,
    /// The items that came by it so far; `None` where they are numbered by their channel.
    count: Option<u64>,
}

impl Timing {
    pub(super) fn of(stage: &Stage) -> Option<Self> {
        let sink = stage.timeline.clone()?;
        let nodes = stage.nodes.iter().map(|node| (node.id.clone(), Recorder::default()));
        let subscribed = |inlet: usize| {
            let mut all = stage.subscriptions.iter().flat_map(|from| &from.destinations);
            all.any(|to| *to == Destination::Node(inlet))
        };
        let ways = stage.inlets.iter().enumerate().map(|(place, inlet)| {
            let before = stage.inlets[..place].iter().filter(|other| other.node == inlet.node);
            let input = u16::try_from(before.count()).unwrap_or(u16::MAX);
            Way { input, count: (!subscribed(place)).then_some(0) }
        });
        let (nodes, inlets) = (nodes.collect(), ways.collect());
        Some(Self { sink, nodes, inlets, free_ns: monotonic_ns() })
    }

    pub(super) fn of_node(&mut self, place: usize) -> &mut Recorder {
        &mut self.nodes[place].1
    }
}

impl Running {
    /// What was sent then has come by a channel.
    pub(super) fn arrival(&self, sent_ns: u64, received_ns: u64) -> Arrival {
        match &self.timing {
            Some(timing) => Arrival { sent_ns, waiting_ns: timing.free_ns, received_ns },
            None => Arrival::default(),
        }
    }

    /// What was sent then has just come.
    pub(super) fn arrival_now(&self, sent_ns: u64) -> Arrival {
        let received_ns = self.timing.as_ref().map_or(0, |_| monotonic_ns());
        self.arrival(sent_ns, received_ns)
    }

    /// What was made then is given to a node by a plain call.
    pub(super) fn called_at(&self, sent_ns: u64) -> Arrival {
        match &self.timing {
            Some(_) => Arrival { sent_ns, ..Arrival::now() },
            None => Arrival::default(),
        }
    }

    /// The thread is free for the next item.
    pub(super) fn note_free(&mut self) {
        if let Some(timing) = &mut self.timing {
            timing.free_ns = monotonic_ns();
        }
    }

    /// A node begins to work on an item.
    pub(super) fn begin_times(
        &mut self,
        inlet: usize,
        item: u64,
        data: &RuntimeData,
        arrival: Arrival,
    ) {
        let Some(timing) = &mut self.timing else { return };
        let way = &mut timing.inlets[inlet];
        let sequence = match &mut way.count {
            Some(count) => {
                *count += 1;
                *count - 1
            }
            None => data.header().sequence,
        };
        let (work, input, bytes) = (Work::Item, way.input, data.payload().len());
        let which = Which { work, input, sequence, item, bytes };
        timing.of_node(self.inlets[inlet].node).begin(which, arrival);
    }

    /// A node begins to make something of nothing.
    pub(super) fn begin_making(&mut self, place: usize, work: Work, item: u64) {
        if let Some(timing) = &mut self.timing {
            timing.of_node(place).begin(Which::of(work, item), Arrival::now());
        }
    }

    pub(super) fn mark(&mut self, place: usize, phase: Phase, bytes: usize) {
        if let Some(timing) = &mut self.timing {
            timing.of_node(place).mark(phase, bytes);
        }
    }

    /// Until now it was a node's own work. Gives the time; 0 where nobody wants to know.
    pub(super) fn mark_rest(&mut self, place: usize) -> u64 {
        let Some(timing) = &mut self.timing else { return 0 };
        timing.of_node(place).mark_rest();
        monotonic_ns()
    }

    /// The work of a node on an item has ended.
    pub(super) fn end_times(&mut self, place: usize, failed: bool) {
        let Some(timing) = &mut self.timing else { return };
        let (node, recorder) = &mut timing.nodes[place];
        // Nothing follows on the last thing sent.
        if !matches!(recorder.last_phase(), Some(Phase::Call | Phase::Send)) {
            recorder.mark_rest();
        }
        recorder.end(failed);
        if let Some(times) = recorder.take_due() {
            (timing.sink)(node, times);
        }
    }

    /// By when something is to be told.
    pub(super) fn times_due(&self) -> Option<Instant> {
        self.timing.as_ref()?.nodes.iter().filter_map(|(_, recorder)| recorder.due()).min()
    }

    /// Tells what has been recorded.
    pub(in crate::native) fn tell_times(&mut self) {
        let Some(timing) = &mut self.timing else { return };
        for (node, recorder) in &mut timing.nodes {
            if let Some(times) = recorder.take() {
                (timing.sink)(node, times);
            }
        }
    }
}
