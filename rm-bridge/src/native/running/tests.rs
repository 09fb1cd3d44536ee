//! What an item costs on its way through a stage. Times are printed, not judged; they are worth
//! something with `cargo test --release … -- --nocapture`.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use rm_core::{Node, TraceContext};

use super::*;
use crate::data_plane::DataPlane;
use crate::outlet::outlet;
use crate::policy::ItemPolicy;
use crate::stage::Call;
use crate::timeline::{TimedItems, TimelineSink};

const TRACE: TraceContext = TraceContext { trace_id: [1; 16], span_id: [2; 8], flags: 1 };

/// Gives the same item so many times.
struct Source {
    left: u64,
    item: RuntimeData,
}

impl Node for Source {
    fn process(&mut self, _: RuntimeData, _: &mut rm_core::Output) -> Result<(), NodeError> {
        unreachable!("a source is given nothing")
    }

    fn produce(&mut self, output: &mut rm_core::Output) -> Result<Produced, NodeError> {
        if self.left == 0 {
            return Ok(Produced::End);
        }
        self.left -= 1;
        output.push(self.item.clone());
        Ok(Produced::More)
    }
}

/// Gives on what it is given; what it makes is an item of its own.
struct Same;

impl Node for Same {
    fn process(
        &mut self,
        input: RuntimeData,
        output: &mut rm_core::Output,
    ) -> Result<(), NodeError> {
        output.push(input);
        Ok(())
    }
}

/// A stage of nodes one behind the other, the first of which is a source.
fn running(nodes: Vec<Box<dyn Node>>, timeline: Option<TimelineSink>) -> (Running, DataPlane) {
    let plane = DataPlane::create().expect("shared memory");
    let (output, _) = outlet(1);
    let last = nodes.len() - 1;
    let node = |(place, node)| StageNode {
        id: NodeId::new(format!("n{place}")).expect("a short name"),
        node_type: "Type".to_owned(),
        node,
        source: place == 0,
        policy: ItemPolicy::default(),
    };
    let stage = Stage {
        name: "test".to_owned(),
        session: None,
        nodes: nodes.into_iter().enumerate().map(node).collect(),
        inlets: (1..=last).map(|node| Inlet { node, from: None, port: None }).collect(),
        calls: (0..last).map(|from| Call { from, port: None, to: from }).collect(),
        subscriptions: Vec::new(),
        publications: Vec::new(),
        outputs: Vec::new(),
        output,
        feed: None,
        epoch: Arc::default(),
        timeline,
        bell: plane.doorbell().expect("a doorbell"),
    };
    let controls = Arc::new(Controls::new(stage.nodes.len()));
    controls.start();
    (Running::new(stage, controls, Arc::new(|_| ())), plane)
}

/// Three nodes, the first of which gives so many items of a trace.
fn three(items: u64, trace: TraceContext) -> Vec<Box<dyn Node>> {
    let item = RuntimeData::binary(vec![0; 8]).expect("short").with_trace(trace);
    let source = Box::new(Source { left: items, item });
    vec![source, Box::new(Same), Box::new(Same)]
}

/// What the thread of a stage allocates that carries so many items of a trace through three nodes.
fn allocated(items: u64, trace: TraceContext) -> u64 {
    let (mut running, _plane) = running(three(items, trace), None);
    let began = Instant::now();
    let allocated = measure(|| drop(running.run(&mut || true).expect("nothing fails")));
    println!("{:.1} ns an item", began.elapsed().as_nanos() as f64 / items as f64);
    assert_eq!(running.controls.meter(2).counts.items_in, items);
    allocated.count_total
}

#[test]
fn items_without_a_trace_allocate_nothing_on_their_way() {
    let none = TraceContext::default();
    assert_eq!(allocated(20_000, none), allocated(10_000, none));
}

#[test]
fn items_of_a_trace_that_nobody_records_allocate_nothing_either() {
    for flags in [0, 1] {
        let trace = TraceContext { flags, ..TRACE };
        assert_eq!(allocated(20_000, trace), allocated(10_000, trace));
    }
}

#[test]
fn each_work_of_each_node_is_told_once_where_a_timeline_is_wanted() {
    let items = 10_000;
    let told: Arc<Mutex<TimedItems>> = Arc::default();
    let kept = Arc::clone(&told);
    let sink: TimelineSink = Arc::new(move |_, times| {
        kept.lock().expect("no panic").extend(times, usize::MAX);
    });
    let (mut running, _plane) = running(three(items, TraceContext::default()), Some(sink));
    let began = Instant::now();
    running.run(&mut || true).expect("nothing fails");
    running.tell_times();
    println!("{:.1} ns an item, timed", began.elapsed().as_nanos() as f64 / items as f64);
    let told = told.lock().expect("no panic");
    assert!(told.items.iter().all(crate::timeline::ItemTimes::is_valid));
    let count = |work| told.items.iter().filter(|times| times.work == work).count() as u64;
    let counts = [Work::Produce, Work::Item, Work::Finish].map(count);
    assert_eq!((counts, told.dropped), ([items + 1, 2 * items, 3], 0));
}

/// Fails at the end, or as a source at once.
struct Fails;

impl Node for Fails {
    fn process(&mut self, _: RuntimeData, _: &mut rm_core::Output) -> Result<(), NodeError> {
        Ok(())
    }

    fn produce(&mut self, output: &mut rm_core::Output) -> Result<Produced, NodeError> {
        self.finish(output).map(|()| Produced::End)
    }

    fn finish(&mut self, _: &mut rm_core::Output) -> Result<(), NodeError> {
        Err(NodeError::Failed { message: "no".to_owned(), source: None })
    }
}

#[test]
fn work_on_no_item_that_fails_is_told_too() {
    let item = RuntimeData::binary(vec![0; 8]).expect("short");
    let source: Box<dyn Node> = Box::new(Source { left: 0, item });
    let cases: [(Vec<Box<dyn Node>>, _); 2] =
        [(vec![Box::new(Fails)], Work::Produce), (vec![source, Box::new(Fails)], Work::Finish)];
    for (nodes, work) in cases {
        let told: Arc<Mutex<TimedItems>> = Arc::default();
        let kept = Arc::clone(&told);
        let sink: TimelineSink = Arc::new(move |_, times| {
            kept.lock().expect("no panic").extend(times, usize::MAX);
        });
        let (mut running, _plane) = running(nodes, Some(sink));
        assert!(running.run(&mut || true).is_err());
        running.tell_times();
        let told = told.lock().expect("no panic");
        let failed: Vec<_> = told.items.iter().filter(|times| times.failed).collect();
        let [failed] = failed.as_slice() else { panic!("{told:?}") };
        assert_eq!(failed.work, work);
    }
}

/// Gives an item at the beginning, and ends a while later.
struct Paced {
    until: Option<Instant>,
}

impl Node for Paced {
    fn process(&mut self, _: RuntimeData, _: &mut rm_core::Output) -> Result<(), NodeError> {
        unreachable!("a source is given nothing")
    }

    fn produce(&mut self, output: &mut rm_core::Output) -> Result<Produced, NodeError> {
        let Some(until) = self.until else {
            output.push(RuntimeData::binary(vec![1]).expect("short"));
            let until = Instant::now() + Duration::from_millis(40);
            self.until = Some(until);
            return Ok(Produced::At(until));
        };
        assert!(Instant::now() >= until, "the source was asked before its time");
        Ok(Produced::End)
    }
}

/// Holds items back for some time, also at the end.
struct Held {
    delay: Duration,
    items: Vec<(Instant, RuntimeData)>,
    given_at: Arc<Mutex<Vec<Instant>>>,
}

impl Node for Held {
    fn process(&mut self, input: RuntimeData, _: &mut rm_core::Output) -> Result<(), NodeError> {
        self.items.push((Instant::now() + self.delay, input));
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        self.items.first().map(|(due, _)| *due)
    }

    fn on_time(&mut self, now: Instant, output: &mut rm_core::Output) -> Result<(), NodeError> {
        let (due, item) = self.items.remove(0);
        assert!(now >= due, "the node was called before its time");
        self.given_at.lock().expect("no panic").push(now);
        output.push(item);
        Ok(())
    }

    fn finishes_on_time(&self) -> bool {
        true
    }

    fn finish(&mut self, _: &mut rm_core::Output) -> Result<(), NodeError> {
        assert!(self.items.is_empty(), "the node was finished before its time");
        Ok(())
    }
}

#[test]
fn nodes_are_called_by_the_clock_while_nothing_comes_and_before_they_finish() {
    for delay in [5, 80].map(Duration::from_millis) {
        let given_at: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let held = Held { delay, items: Vec::new(), given_at: Arc::clone(&given_at) };
        let nodes: Vec<Box<dyn Node>> =
            vec![Box::new(Paced { until: None }), Box::new(held), Box::new(Same)];
        let (mut running, _plane) = running(nodes, None);
        let began = Instant::now();
        running.run(&mut || true).expect("nothing fails");
        let given_at = given_at.lock().expect("no panic").clone();
        assert_eq!(given_at.len(), 1);
        assert!(given_at[0] >= began + delay);
        assert_eq!(running.controls.meter(2).counts.items_in, 1);
    }
}

#[test]
fn a_stage_that_waits_for_the_clock_can_be_stopped() {
    let delay = Duration::from_secs(600);
    let held = Held { delay, items: Vec::new(), given_at: Arc::default() };
    let item = RuntimeData::binary(vec![1]).expect("short");
    let nodes: Vec<Box<dyn Node>> = vec![Box::new(Source { left: 1, item }), Box::new(held)];
    let (mut running, _plane) = running(nodes, None);
    let controls = Arc::clone(&running.controls);
    let bell = running.stage.bell.ringer();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while controls.meter(1).counts.items_in == 0 {
                std::thread::yield_now();
            }
            controls.stop();
            bell.ring();
        });
        assert!(matches!(running.run(&mut || true), Err(StageError::Stopped { .. })));
    });
}

/// Is always due, until it has finished.
struct Ticks {
    finished: bool,
}

impl Node for Ticks {
    fn process(
        &mut self,
        input: RuntimeData,
        output: &mut rm_core::Output,
    ) -> Result<(), NodeError> {
        output.push(input);
        Ok(())
    }

    fn due(&self) -> Option<Instant> {
        Some(Instant::now())
    }

    fn on_time(&mut self, _: Instant, output: &mut rm_core::Output) -> Result<(), NodeError> {
        assert!(!self.finished, "the node was called after it had finished");
        output.push_to("ticks", RuntimeData::binary(vec![1]).expect("short"));
        Ok(())
    }

    fn finish(&mut self, _: &mut rm_core::Output) -> Result<(), NodeError> {
        self.finished = true;
        Ok(())
    }
}

#[test]
fn a_node_that_has_finished_is_not_called_by_the_clock_while_another_one_is_waited_for() {
    let given_at: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let delay = Duration::from_millis(20);
    let held = Held { delay, items: Vec::new(), given_at: Arc::clone(&given_at) };
    let item = RuntimeData::binary(vec![1]).expect("short");
    let source = Box::new(Source { left: 1, item });
    let nodes: Vec<Box<dyn Node>> =
        vec![source, Box::new(Ticks { finished: false }), Box::new(held)];
    let (mut running, _plane) = running(nodes, None);
    running.run(&mut || true).expect("nothing fails");
    assert_eq!(given_at.lock().expect("no panic").len(), 1);
    // What went to a port with which nobody is connected does not count.
    assert_eq!(running.controls.meter(1).counts.items_out, 1);
}
