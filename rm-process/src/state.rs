//! The life of one supervised process, as a machine over (event, now).
//!
//! Main type: [`Lifecycle`]. Its owner tells it what happened and when, does the [`Action`]s that
//! it answers, and comes back with [`Event::Tick`] at [`Lifecycle::next_deadline`]. It starts
//! nothing, signals nothing and reads no clock; which status may follow which is known by
//! [`ProcessStatus`] alone.
//!
//! Times are durations since the machine was made and never decrease. Deadlines pass at a tick
//! only: what the owner hears before it still counts, however late the tick comes, so a child is
//! not killed for the slowness of its owner, and an exit is never taken for a passed deadline.
//!
//! SIGKILL is sent once and not repeated. The kernel cannot lose it: a process that is still there
//! afterwards is in an uninterruptible sleep, which no second signal ends. The machine has no
//! deadline after it, and waits for the exit as long as that takes.

mod event;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

pub(crate) use self::event::{Action, Deadline, Event, Signal};
use crate::exit::{ExitReason, ExitStatus};
use crate::status::{IllegalTransition, ProcessStatus};

/// How long before the end of the grace period SIGKILL is sent, so that the process is gone at
/// its end.
const KILL_BEFORE_END: Duration = Duration::from_millis(250);

/// From SIGABRT to SIGKILL: Python's faulthandler prints the stacks of all threads meanwhile.
const KILL_AFTER_ABORT: Duration = Duration::from_millis(500);

/// The instant that does not come. Sums of times saturate here.
const NEVER: Duration = Duration::MAX;

/// What does not change in the life of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LifecycleConfig {
    /// Whether the process has a control channel: it introduces itself there, and is asked there
    /// to stop.
    pub has_control: bool,
    /// Longest time without progress, until it is introduced and while it initialises.
    pub init_timeout: Duration,
    /// Longest time from its start until it is ready, whatever progress it reports, and however
    /// late the owner has it initialise itself.
    pub init_limit: Duration,
    /// Whether it gets SIGABRT half a second before the SIGKILL of a passed deadline.
    pub abort_at_deadline: bool,
}

/// The state of one supervised process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lifecycle {
    config: LifecycleConfig,
    status: ProcessStatus,
    phase: Phase,
    introduced: bool,
    spawned_at: Duration,
    progress_at: Duration,
    /// SIGTERM; done also where it is no longer wanted.
    term: Step,
    /// SIGKILL.
    kill: Step,
    /// The grace period that set the time of `kill`.
    grace: Duration,
    passed: Option<Deadline>,
}

/// Whether there is a process.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Not yet. What was wanted of it meanwhile happens as soon as there is one.
    Awaited { stop: Option<Duration>, kill: bool },
    /// Since `spawned_at`.
    Alive,
    /// Not any more, or never.
    Over,
}

/// A signal that is sent once, at the earliest of the times wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Open(Duration),
    Done,
}

impl Step {
    /// Has the step happen at `at`, unless it happens earlier or has happened. Whether it was
    /// moved.
    fn hasten(&mut self, at: Duration) -> bool {
        match self {
            Self::Open(present) if at < *present => {
                *present = at;
                true
            }
            _ => false,
        }
    }

    fn at(self) -> Duration {
        match self {
            Self::Open(at) => at,
            Self::Done => NEVER,
        }
    }

    fn is_due(self, now: Duration) -> bool {
        matches!(self, Self::Open(at) if at <= now)
    }
}

impl Lifecycle {
    /// A process that is yet to be started.
    pub(crate) fn new(config: LifecycleConfig) -> Self {
        Self {
            introduced: !config.has_control,
            config,
            status: ProcessStatus::Idle,
            phase: Phase::Awaited { stop: None, kill: false },
            spawned_at: Duration::ZERO,
            progress_at: Duration::ZERO,
            term: Step::Open(NEVER),
            kill: Step::Open(NEVER),
            grace: NEVER,
            passed: None,
        }
    }

    /// Takes note of `event` and says what to do.
    ///
    /// What the process says while it is stopping, has failed or is gone has crossed with that on
    /// its way, and changes nothing. A wish to stop that comes before the start counts from the
    /// start; one that comes after the end tidies an error away.
    ///
    /// # Errors
    /// [`IllegalTransition`] if the event makes no sense now; the machine is then as it was. An
    /// event that would not change the status (a second exit, progress in `Ready`) is refused as a
    /// change of the status to itself.
    pub(crate) fn handle(
        &mut self,
        event: Event,
        now: Duration,
    ) -> Result<Vec<Action>, IllegalTransition> {
        match self.phase {
            Phase::Awaited { .. } => self.handle_awaited(event, now),
            Phase::Alive => self.handle_alive(event, now),
            Phase::Over => self.handle_over(event),
        }
    }

    /// When [`Event::Tick`] has to come at the latest, unless another event comes before. It may
    /// be too far away for a clock of the operating system, which is as good as never.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let init = self.init_deadline().map_or(NEVER, |(at, _)| at);
        let at = init.min(self.term.at()).min(self.kill.at());
        (at < NEVER).then_some(at)
    }

    /// Where the process is in its life.
    pub(crate) fn status(&self) -> &ProcessStatus {
        &self.status
    }

    /// The deadline because of which the process was sent SIGABRT or SIGKILL, if it was one.
    pub(crate) fn passed(&self) -> Option<&Deadline> {
        self.passed.as_ref()
    }

    /// Whether the process is gone, or could not be started: nothing more will happen to it.
    #[cfg(test)]
    pub(crate) fn has_exited(&self) -> bool {
        self.phase == Phase::Over
    }

    fn handle_awaited(
        &mut self,
        event: Event,
        now: Duration,
    ) -> Result<Vec<Action>, IllegalTransition> {
        let Phase::Awaited { stop, kill } = &mut self.phase else { return Ok(Vec::new()) };
        match event {
            Event::Spawned => {
                let (stop, kill) = (*stop, *kill);
                self.phase = Phase::Alive;
                self.spawned_at = now;
                self.progress_at = now;
                return Ok(match stop {
                    _ if kill => self.kill(),
                    Some(grace) => self.stop(grace, now),
                    None => Vec::new(),
                });
            }
            Event::SpawnFailed(text) => {
                self.status.become_next(ProcessStatus::Error(text))?;
                self.end();
            }
            Event::Stop { grace } => *stop = Some(stop.map_or(grace, |other| other.min(grace))),
            Event::Kill => *kill = true,
            Event::Tick => {}
            _ => return Err(self.senseless()),
        }
        Ok(Vec::new())
    }

    fn handle_alive(
        &mut self,
        event: Event,
        now: Duration,
    ) -> Result<Vec<Action>, IllegalTransition> {
        use ProcessStatus::{Error, Initializing, Processing, Ready, Stopped, Stopping};
        match event {
            Event::Stop { grace } => return Ok(self.stop(grace, now)),
            Event::Kill => return Ok(self.kill()),
            Event::Expire(text) => return Ok(self.expire(Deadline::Caller(text), now)),
            Event::Tick => return Ok(self.tick(now)),
            Event::Exited { code, signal } => {
                // Neither the time nor the finer reason has any influence on the status.
                let timestamp = SystemTime::UNIX_EPOCH;
                let ended_well = code == Some(0);
                let reason = if ended_well { ExitReason::Normal } else { ExitReason::Crash };
                let exit = ExitStatus { code, signal, timestamp, reason };
                self.status = self.status.after_exit(&exit);
                self.end();
            }
            Event::Spawned | Event::SpawnFailed(_) => return Err(self.senseless()),
            Event::Initialize => {
                self.status.become_next(Initializing)?;
                // The time that the owner took is not held against the process.
                self.progress_at = now;
            }
            // From here on these are words of the process, which may cross with its end.
            _ if matches!(self.status, Stopping | Stopped | Error(_)) => {}
            Event::Introduced if !self.introduced => {
                self.introduced = true;
                self.progress_at = now;
            }
            Event::Progress if self.status == Initializing => self.progress_at = now,
            Event::Ready => self.status.become_next(Ready)?,
            Event::ItemStarted => self.status.become_next(Processing)?,
            Event::ItemDone if self.status == Processing => self.status.become_next(Ready)?,
            Event::Failed(text) => self.status.become_next(Error(text))?,
            Event::Introduced | Event::Progress | Event::ItemDone => return Err(self.senseless()),
        }
        Ok(Vec::new())
    }

    fn handle_over(&mut self, event: Event) -> Result<Vec<Action>, IllegalTransition> {
        match event {
            Event::Stop { .. } | Event::Kill if self.status != ProcessStatus::Stopped => {
                self.status.become_next(ProcessStatus::Stopping)?;
                self.status.become_next(ProcessStatus::Stopped)?;
            }
            Event::Initialize => self.status.become_next(ProcessStatus::Initializing)?,
            Event::Spawned | Event::SpawnFailed(_) | Event::Exited { .. } => {
                return Err(self.senseless());
            }
            _ => {}
        }
        Ok(Vec::new())
    }

    fn stop(&mut self, grace: Duration, now: Duration) -> Vec<Action> {
        let can_ask = self.config.has_control && self.introduced;
        // Refused only where it is stopping already.
        let is_new = self.status.become_next(ProcessStatus::Stopping).is_ok();
        // Whoever gets SIGABRT has nothing left to do but to print its stacks, in peace.
        let is_aborting = self.term == Step::Done;

        let plan = StopPlan::new(grace, can_ask);
        let term_at = now.saturating_add(plan.before_term);
        let kill_at = term_at.saturating_add(plan.before_kill);
        self.term.hasten(term_at);
        if self.kill.hasten(kill_at) {
            self.grace = grace;
        }

        let mut actions = Vec::new();
        if is_new && can_ask && !is_aborting && !self.kill.is_due(now) {
            actions.push(Action::Ask);
        }
        actions.extend(self.escalate(now));
        actions
    }

    fn kill(&mut self) -> Vec<Action> {
        // Refused only where it is stopping already.
        let _ = self.status.become_next(ProcessStatus::Stopping);
        self.send_kill()
    }

    fn tick(&mut self, now: Duration) -> Vec<Action> {
        match self.init_deadline() {
            Some((at, deadline)) if at <= now => self.expire(deadline, now),
            _ => self.escalate(now),
        }
    }

    fn expire(&mut self, deadline: Deadline, now: Duration) -> Vec<Action> {
        if self.passed.is_some() || self.kill == Step::Done {
            return Vec::new();
        }
        // Refused where it is stopping or has failed, which it then still is.
        let _ = self.status.become_next(ProcessStatus::Error(deadline.to_string()));
        self.passed = Some(deadline);
        if !self.config.abort_at_deadline {
            return self.send_kill();
        }
        self.term = Step::Done;
        self.kill.hasten(now.saturating_add(KILL_AFTER_ABORT));
        vec![Action::Signal(Signal::Abort)]
    }

    /// Sends what is due.
    fn escalate(&mut self, now: Duration) -> Vec<Action> {
        if self.kill.is_due(now) {
            self.passed.get_or_insert(Deadline::Grace(self.grace));
            self.send_kill()
        } else if self.term.is_due(now) {
            self.term = Step::Done;
            vec![Action::Signal(Signal::Terminate)]
        } else {
            Vec::new()
        }
    }

    fn send_kill(&mut self) -> Vec<Action> {
        self.term = Step::Done;
        match std::mem::replace(&mut self.kill, Step::Done) {
            Step::Open(_) => vec![Action::Signal(Signal::Kill)],
            Step::Done => Vec::new(),
        }
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        self.term = Step::Done;
        self.kill = Step::Done;
    }

    /// When the process is to be introduced, to make progress or to be ready, whichever it is.
    fn init_deadline(&self) -> Option<(Duration, Deadline)> {
        use ProcessStatus::{Error, Initializing, Stopped, Stopping};
        if self.phase != Phase::Alive || matches!(self.status, Stopping | Stopped | Error(_)) {
            return None;
        }
        let LifecycleConfig { init_timeout, init_limit, .. } = self.config;
        if !self.introduced {
            let time = init_timeout.min(init_limit);
            return Some((self.spawned_at.saturating_add(time), Deadline::Handshake(time)));
        }
        if self.status != Initializing {
            return None;
        }
        let limit_at = self.spawned_at.saturating_add(init_limit);
        let progress_by = self.progress_at.saturating_add(init_timeout);
        Some(if limit_at <= progress_by {
            (limit_at, Deadline::InitLimit(init_limit))
        } else {
            (progress_by, Deadline::Progress(init_timeout))
        })
    }

    /// The refusal of an event that would not change the status.
    fn senseless(&self) -> IllegalTransition {
        IllegalTransition { from: self.status.clone(), to: self.status.clone() }
    }
}

/// When the steps of a termination come.
#[derive(Debug, PartialEq, Eq)]
struct StopPlan {
    /// From the start until SIGTERM.
    before_term: Duration,
    /// From SIGTERM until SIGKILL; zero leaves SIGTERM out.
    before_kill: Duration,
}

impl StopPlan {
    fn new(grace: Duration, asked: bool) -> Self {
        let kill_at = grace.saturating_sub(KILL_BEFORE_END);
        let half = grace / 2;
        let before_term = match asked {
            false => Duration::ZERO,
            true if half < kill_at => half,
            // So short that SIGKILL comes in the first half: SIGTERM takes the middle before it.
            true => kill_at / 2,
        };
        Self { before_term, before_kill: kill_at - before_term }
    }
}
