//! What the driver does with worker processes: it starts them, hears them, and starts those again whose
//! manifest says so.
//!
//! Main type: [`WorkerState`]. A worker that is started again goes on where the one before has ended:
//! its channels have kept what was not done. An item that has ended its worker twice is set aside when
//! it comes a third time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use rm_bridge::{
    ExecutorType, ExitReason, ExitStatus, FailureReport, Incoming, InputReport, ItemPlace,
    NodeReport, Restart, Restarts, WorkCode, Worker, WorkerError, WorkerEvent, WorkerFailure,
};
use rm_core::{RuntimeData, WireHeader};
use zerocopy::FromBytes;

use super::driver::{Driver, Notice};
use super::failures::keep;
use super::follow::follow;
use super::{Shared, lock};
use crate::error::SessionError;
use crate::event::{DeadLetter, SessionEvent};
use crate::progress::{InitProgress, InitStatus};
use crate::wiring;

/// How often an item may end its worker.
const LIVES: u32 = 2;

/// What a worker is and has done.
pub(super) struct WorkerState {
    pub(super) handle: Option<Worker>,
    pub(super) ready: bool,
    pub(super) last: InitProgress,
    pub(super) finished: Option<(NodeReport, Vec<InputReport>)>,
    restarts: Restarts,
    /// The restart under way, from 1; 0 for none.
    attempt: u32,
    started: Instant,
    /// Its node's last words, or that it took too long.
    failure: Option<WorkerFailure>,
    timed_out: Option<(u64, Duration)>,
    /// The item that was in work at its last end.
    resume: Option<ItemPlace>,
    /// How often an item has ended it.
    kills: HashMap<ItemPlace, u32>,
}

impl WorkerState {
    /// The workers of a session, before they are started.
    pub(super) fn all(shared: &Shared) -> Result<Vec<Self>, SessionError> {
        let plan = &shared.plan;
        let state = |&place: &usize| {
            let (node, node_type) = wiring::name_of(plan, place);
            let (status, message) = (InitStatus::Starting, "starting its process".to_owned());
            let restarts = Restarts::new(plan.nodes[place].restart);
            Ok(Self {
                handle: None,
                ready: false,
                last: InitProgress { node, node_type, status, progress: 0.0, message },
                finished: None,
                restarts: restarts.map_err(|source| SessionError::Backoff {
                    node: plan.nodes[place].id.clone(),
                    source,
                })?,
                attempt: 0,
                started: Instant::now(),
                failure: None,
                timed_out: None,
                resume: None,
                kills: HashMap::new(),
            })
        };
        plan.workers.iter().map(state).collect()
    }

    fn set_aside(&self) -> Vec<ItemPlace> {
        let twice = self.kills.iter().filter(|(_, kills)| **kills >= LIVES);
        twice.map(|(place, _)| *place).collect()
    }
}

impl Driver {
    pub(super) fn start_worker(&mut self, index: usize) {
        let shared = Arc::clone(&self.shared);
        let state = &mut self.workers[index];
        (state.ready, state.failure, state.timed_out) = (false, None, None);
        (state.last.status, state.last.progress) = (InitStatus::Starting, 0.0);
        state.last.message = "starting its process".to_owned();
        state.started = Instant::now();
        let params = lock(&shared.params)[shared.plan.workers[index]].to_string();
        let epoch = shared.epoch.load(Ordering::Acquire);
        let set_aside = state.set_aside();
        let (step, resume) = (state.last.clone(), state.resume);
        let timeout = self.init_timeout();
        let mut spec = wiring::worker(&shared, index, timeout);
        (spec.config.params, spec.config.epoch, spec.config.set_aside) = (params, epoch, set_aside);
        // Only what was not acknowledged comes again.
        spec.config.resume = resume.filter(|place| {
            let input = spec.config.inputs.get(usize::from(place.input));
            let plane = shared.plane();
            let position = input
                .zip(plane.as_ref())
                .and_then(|(input, plane)| plane.named(&input.channel)?.seat_position(input.seat?));
            position.is_some_and(|position| position <= place.sequence)
        });
        self.tell_step(step);
        let (executor, notices) = (self.executor.clone(), self.sender.clone());
        self.followers.spawn(follow(index, executor, spec, notices));
    }

    fn step(&mut self, index: usize, status: InitStatus, progress: f32, message: String) {
        let last = &mut self.workers[index].last;
        (last.status, last.message) = (status, message);
        last.progress = progress.clamp(0.0, 1.0);
        let step = last.clone();
        self.tell_step(step);
    }

    pub(super) fn worker_started(&mut self, index: usize, worker: Worker) {
        self.shared.timeline.note_process(&self.workers[index].last.node, worker.process_id());
        self.step(index, InitStatus::Connecting, 0.0, "joining its channels".to_owned());
        lock(&self.shared.workers)[index].handle = Some(worker.clone());
        // A flush since its configuration was written has not found it.
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch > 0 {
            let worker = worker.clone();
            self.followers.spawn(async move { drop(worker.flush(epoch).await) });
        }
        self.workers[index].handle = Some(worker);
        self.step(index, InitStatus::LoadingModel, 0.0, "loading".to_owned());
    }

    pub(super) fn worker_not_started(
        &mut self,
        index: usize,
        error: WorkerError,
    ) -> Result<(), SessionError> {
        if self.workers[index].attempt == 0 {
            return Err(error.into());
        }
        let uptime = self.workers[index].started.elapsed();
        self.restart(index, None, uptime, error.into())
    }

    pub(super) fn take_worker(
        &mut self,
        index: usize,
        incoming: Incoming,
    ) -> Result<(), SessionError> {
        match incoming {
            Incoming::Progress(told) => {
                self.step(index, InitStatus::LoadingModel, told.fraction, told.message);
            }
            Incoming::Ready => self.worker_ready(index),
            Incoming::Failed(_) => {}
            Incoming::Value(event) => return self.take_event(index, event),
        }
        Ok(())
    }

    fn worker_ready(&mut self, index: usize) {
        self.step(index, InitStatus::Ready, 1.0, String::new());
        let state = &mut self.workers[index];
        state.ready = true;
        if state.attempt > 0
            && let Some(worker) = &state.handle
        {
            let (node, process_id) = (state.last.node.clone(), worker.process_id());
            self.shared.tell(SessionEvent::NodeRestarted { node, process_id });
        }
    }

    fn take_event(&mut self, index: usize, event: WorkerEvent) -> Result<(), SessionError> {
        let state = &mut self.workers[index];
        match event {
            WorkerEvent::Failed(failure) => {
                let is_final = !self.may_restart(index);
                self.workers[index].failure = Some(failure);
                if is_final {
                    return Err(self.failure_of(index));
                }
                // It has said its last word; one that does not end would hold everything up.
                let grace = self.shared.runtime.config().cleanup_grace_period;
                if let Some(worker) = &self.workers[index].handle {
                    worker.process().start_terminate(grace);
                }
            }
            WorkerEvent::Lost { from, count } => {
                let InitProgress { node, node_type, .. } = state.last.clone();
                return Err(SessionError::ItemsLost { node, node_type, from, count });
            }
            WorkerEvent::Timed(times) => self.shared.timeline.note_items(&state.last.node, times),
            WorkerEvent::TimedOut { item, timeout } => state.timed_out = Some((item, timeout)),
            WorkerEvent::Skipped(failure) => {
                self.shared.note_skipped(failure);
            }
            WorkerEvent::SetAside { place, header, payload, .. } => {
                self.set_aside(index, place, &header, payload.into_vec());
            }
            WorkerEvent::Finished { node: statistics, inputs } => {
                let node = state.last.node.to_string();
                lock(&self.shared.workers)[index].finished = Some(statistics.clone());
                let executor = ExecutorType::Multiprocess;
                state.finished = Some((NodeReport { node, executor, statistics }, inputs));
            }
            WorkerEvent::Done | WorkerEvent::Refused { .. } | WorkerEvent::Statistics(_) => {}
        }
        Ok(())
    }

    fn set_aside(&mut self, index: usize, place: ItemPlace, header: &[u8], payload: Vec<u8>) {
        let node = self.workers[index].last.node.clone();
        let inputs = wiring::inputs(&self.shared.plan, index);
        let from = inputs.into_iter().nth(usize::from(place.input)).and_then(|input| input.from);
        let header = WireHeader::read_from_bytes(header).ok().and_then(|wire| wire.decode().ok());
        let data = header.and_then(|header| RuntimeData::from_parts(header, payload.into()).ok());
        let sequence = place.sequence;
        tracing::error!(%node, sequence, "an item has ended its node twice and is set aside");
        if let Some(data) = data {
            self.shared.note_dead_letter(DeadLetter { node, sequence, from, data });
        }
    }

    fn may_restart(&self, index: usize) -> bool {
        !matches!(self.workers[index].restarts.policy(), rm_bridge::RestartPolicy::Never)
    }

    /// A worker's process has ended.
    pub(super) fn worker_gone(&mut self, index: usize) -> Result<(), SessionError> {
        let state = &mut self.workers[index];
        let Some(worker) = state.handle.take() else { return Ok(()) };
        lock(&self.shared.workers)[index].handle = None;
        if state.finished.is_some() {
            return Ok(());
        }
        let report = worker.failure_report();
        state.resume = None;
        if let Some(item) = &report.end.item {
            let WorkCode { place, is_waiting } = WorkCode::decode(item.place);
            state.resume = Some(place);
            // One that only waits is not killed by its item.
            if !is_waiting {
                *state.kills.entry(place).or_default() += 1;
            }
        }
        let uptime = state.started.elapsed();
        let error = self.error_of(index, &report);
        self.restart(index, Some(report), uptime, error)
    }

    /// Starts a worker again if its policy says so; fails with `error` if not.
    fn restart(
        &mut self,
        index: usize,
        report: Option<FailureReport>,
        uptime: Duration,
        error: SessionError,
    ) -> Result<(), SessionError> {
        self.shared.timeline.note_end(&self.workers[index].last.node, &error);
        // A node that was never ready is not worth another try.
        let state = &mut self.workers[index];
        let was_ready = state.ready || state.attempt > 0;
        let exit = report.as_ref().and_then(|report| report.exit.clone());
        // One that could not even be started has failed as well.
        let exit = exit.unwrap_or(ExitStatus {
            code: None,
            signal: None,
            timestamp: SystemTime::now(),
            reason: ExitReason::Crash,
        });
        if !was_ready {
            return Err(error);
        }
        let Restart::After { delay, attempt } =
            state.restarts.on_exit(&exit, false, uptime, fraction())
        else {
            return Err(error);
        };
        keep(self.shared.runtime.config(), &self.shared.id, &error, report.as_ref());
        state.attempt = attempt;
        state.ready = false;
        lock(&self.shared.workers)[index].restarts += 1;
        let node = state.last.node.clone();
        tracing::warn!(%node, attempt, ?delay, %error, "a node's process is started again");
        if let Some(report) = report {
            let report = Box::new(report);
            self.shared.tell(SessionEvent::NodeRestarts { node, attempt, delay, report });
        }
        let notices = self.sender.clone();
        self.followers.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = notices.send(Notice::Due(index));
        });
        Ok(())
    }

    fn failure_of(&self, index: usize) -> SessionError {
        let state = &self.workers[index];
        let InitProgress { node, node_type, .. } = state.last.clone();
        let failure = Box::new(state.failure.clone().expect("it has failed"));
        SessionError::Node { node, node_type, failure }
    }

    /// Why a worker has ended.
    fn error_of(&self, index: usize, report: &FailureReport) -> SessionError {
        let state = &self.workers[index];
        if state.failure.is_some() {
            return self.failure_of(index);
        }
        let InitProgress { node, node_type, message: last, .. } = state.last.clone();
        let report = Box::new(report.clone());
        if let Some((item, timeout)) = state.timed_out {
            return SessionError::ItemTimeout { node, node_type, item, timeout, report };
        }
        let is_late = report.exit.as_ref().is_some_and(|exit| exit.reason == ExitReason::Timeout);
        if is_late && !state.ready {
            let timeout = self.init_timeout();
            return SessionError::InitTimeout { node, node_type, timeout, last, report };
        }
        let when = if state.ready { "while running" } else { "before it was ready" };
        SessionError::Crashed { node, node_type, when, report }
    }
}

/// A number from 0 to below 1, for delays that are not to coincide.
fn fraction() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library seeds each of these anew.
    let bits = RandomState::new().hash_one(0);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
