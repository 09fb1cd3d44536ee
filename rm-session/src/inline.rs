//! From plan to result on the calling thread.
//!
//! Main function: [`run_inline`], for plans that [need nothing else](Plan::runs_inline). It starts no
//! thread and makes no file, so it costs little more than the nodes' own work. [`run`](crate::run) does
//! the same for every plan.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use rm_bridge::{ItemFailure, NodeReport, StageEvent, outlet, run_stage};
use rm_core::RuntimeData;

use crate::error::SessionError;
use crate::plan::Plan;
use crate::progress::{InitProgress, InitStatus};
use crate::run::{RunEvent, RunReport, micros};
use crate::runtime::Runtime;
use crate::session::{MAX_SKIPPED, call_of, keep, lock};
use crate::wiring;

/// Most nodes that are called within one another on a stack that may be 8 MiB.
const MAX_NODES: usize = 64;

impl Plan {
    /// Whether [`run_inline`] can run it: all of its nodes are native ones that are called one after
    /// another on one thread, none has a limit of time for an item or acts by the clock, and no timeline
    /// is wanted.
    pub fn runs_inline(&self) -> bool {
        self.workers.is_empty()
            && self.channels.is_empty()
            && !self.timeline
            && self.stages.len() == 1
            && self.nodes.len() <= MAX_NODES
            && self
                .nodes
                .iter()
                .all(|node| node.policy.timeout.is_none() && !node.own_thread && !node.timed)
    }
}

/// Runs a pipeline of native nodes on the calling thread: gives it `input` (each item to each node that
/// takes input from outside), tells `events`, and cleans up. Before each item that is taken or made,
/// `go_on` is asked; if it says no, the run ends.
///
/// It is no session: neither the runtime's table nor its figures know of it.
///
/// # Errors
/// [`SessionError`] if it did not run to its end; [`SessionError::Cancelled`] if it was not to go on.
///
/// # Panics
/// If the plan does not [run inline](Plan::runs_inline).
pub fn run_inline(
    runtime: &Runtime,
    plan: Plan,
    input: Vec<RuntimeData>,
    mut events: impl FnMut(RunEvent),
    mut go_on: impl FnMut() -> bool,
) -> Result<RunReport, SessionError> {
    assert!(plan.runs_inline(), "the plan needs more than one thread");
    let began = Instant::now();
    if plan.inputs.is_empty() && !input.is_empty() {
        return Err(SessionError::NoInput);
    }
    let data_plane = wiring::data_plane(&plan)?;
    let id = wiring::session_id(&data_plane);
    let (outlet, outputs) = outlet(1);
    // Nobody else takes them.
    outputs.lift_limit();
    let epoch = Arc::default();
    let made = wiring::stages(&plan, &runtime.registry, &id, &data_plane, outlet, &epoch)?;
    let (mut stages, mut feeds) = made;
    let stage = stages.pop().expect("it was looked at above");
    let mut input = input.into_iter().map(|item| item.with_session(id.clone()).with_epoch(0));
    let mut next = input.next();

    let told: Arc<Mutex<Told>> = Arc::default();
    let tell = {
        let told = Arc::clone(&told);
        move |event| match event {
            StageEvent::Ready { .. } => lock(&told).ready = Some(Instant::now()),
            StageEvent::Skipped(failure) => {
                let skipped = &mut lock(&told).skipped;
                if skipped.len() < MAX_SKIPPED {
                    skipped.push(failure);
                }
            }
            // How it ends is returned.
            _ => {}
        }
    };
    let mut loaded = false;
    let mut cancelled = false;
    let ended = {
        let mut turn = || {
            if !loaded {
                loaded = true;
                for place in 0..plan.nodes.len() {
                    let step = InitProgress::native(&plan, place, InitStatus::Ready, 1.0);
                    events(RunEvent::Progress(step));
                }
            }
            while let Some(output) = outputs.try_recv() {
                events(RunEvent::Output(output));
            }
            while let (Some(item), Some(feed)) = (next.take(), feeds.first()) {
                if let Err(item) = feed.sender.try_send(None, item) {
                    next = Some(*item);
                    break;
                }
                next = input.next();
            }
            if next.is_none() {
                // The input ends.
                feeds.clear();
            }
            cancelled = !go_on();
            !cancelled
        };
        run_stage(stage, tell, &mut turn)
    };
    // Also after a failure: it is complete.
    while let Some(output) = outputs.try_recv() {
        events(RunEvent::Output(output));
    }
    let (mut nodes, calls) = match ended {
        StageEvent::Finished { nodes, calls, .. } => (nodes, calls),
        StageEvent::Failed(_) if cancelled => return Err(SessionError::Cancelled),
        StageEvent::Failed(error) => {
            let error = SessionError::from(error);
            keep(runtime.config(), &id, &error, None);
            return Err(error);
        }
        StageEvent::Ready { .. } | StageEvent::Skipped(_) => {
            unreachable!("a stage ends by one of those above")
        }
    };
    let total = Instant::now();
    let Told { ready, skipped } = std::mem::take(&mut *lock(&told));
    let ready = ready.unwrap_or(began);
    nodes.sort_by_key(|report: &NodeReport| {
        plan.nodes.iter().position(|node| node.id.as_str() == report.node)
    });
    let calls = plan.edges.iter().filter_map(|edge| call_of(&plan, edge, calls.iter()));
    let connections = calls.cloned().collect();
    Ok(RunReport {
        name: plan.name.clone(),
        nodes,
        connections,
        failures: skipped,
        set_aside: Vec::new(),
        copied_bytes: 0,
        init_time_us: micros(ready.duration_since(began)),
        run_time_us: micros(total.duration_since(ready)),
        total_time_us: micros(total.duration_since(began)),
        warnings: plan.warnings,
        timeline: None,
    })
}

/// What a stage has told while it ran.
#[derive(Default)]
struct Told {
    ready: Option<Instant>,
    skipped: Vec<ItemFailure>,
}
