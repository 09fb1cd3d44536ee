//! What the machine promises, written from its history instead of from its state.
//!
//! Main type: [`Specification`]. It remembers what happened and what was sent, recomputes after
//! each event from that alone what has to follow, and panics where the machine differs. It shares
//! no constant, no table and no plan with the machine.

use std::time::Duration;

use super::super::{Action, Deadline, Event, Lifecycle, LifecycleConfig, Signal};
use crate::status::{IllegalTransition, ProcessStatus};

/// A [`ProcessStatus`] without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Idle,
    Initializing,
    Ready,
    Processing,
    Stopping,
    Stopped,
    Error,
}

use Stage::{Error, Idle, Initializing, Processing, Ready, Stopped, Stopping};

/// The arrows of the data model.
const ARROWS: [(Stage, Stage); 14] = [
    (Idle, Initializing),
    (Initializing, Ready),
    (Ready, Processing),
    (Processing, Ready),
    (Stopping, Stopped),
    (Idle, Stopping),
    (Initializing, Stopping),
    (Ready, Stopping),
    (Processing, Stopping),
    (Error, Stopping),
    (Idle, Error),
    (Initializing, Error),
    (Ready, Error),
    (Processing, Error),
];

fn stage(status: &ProcessStatus) -> Stage {
    match status {
        ProcessStatus::Idle => Idle,
        ProcessStatus::Initializing => Initializing,
        ProcessStatus::Ready => Ready,
        ProcessStatus::Processing => Processing,
        ProcessStatus::Stopping => Stopping,
        ProcessStatus::Stopped => Stopped,
        ProcessStatus::Error(_) => Error,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One wish to stop, from when it counts.
#[derive(Debug)]
struct Wish {
    at: Duration,
    grace: Duration,
    can_ask: bool,
}

impl Wish {
    fn term_at(&self) -> Duration {
        let wait = match self.can_ask {
            false => ms(0),
            true if self.grace > ms(500) => self.grace / 2,
            true => self.grace.saturating_sub(ms(250)) / 2,
        };
        self.at.saturating_add(wait)
    }

    fn kill_at(&self) -> Duration {
        self.at.saturating_add(self.grace.saturating_sub(ms(250)))
    }
}

/// The history of one process, and what follows from it.
#[derive(Debug)]
pub(super) struct Specification {
    config: LifecycleConfig,
    pub stage: Stage,
    spawned: Option<Duration>,
    pub spawn_failed: bool,
    pub exits: usize,
    introduced: bool,
    /// The last introduction, start of the initialisation or progress.
    progress: Duration,
    /// Grace periods that were named before the start.
    early: Vec<Duration>,
    wishes: Vec<Wish>,
    kill_wanted: Option<Duration>,
    pub passed: Option<Deadline>,
    /// When a deadline passed that is not a grace period.
    expired: Option<Duration>,
    pub sent: Vec<Action>,
    pub accepted: usize,
    pub refused: usize,
    /// Stages that it has been in.
    pub reached: Vec<Stage>,
}

impl Specification {
    pub(super) fn new(config: LifecycleConfig) -> Self {
        Self {
            config,
            stage: Idle,
            spawned: None,
            spawn_failed: false,
            exits: 0,
            introduced: false,
            progress: ms(0),
            early: Vec::new(),
            wishes: Vec::new(),
            kill_wanted: None,
            passed: None,
            expired: None,
            sent: Vec::new(),
            accepted: 0,
            refused: 0,
            reached: Vec::new(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.spawn_failed || self.exits > 0
    }

    pub(super) fn is_alive(&self) -> bool {
        self.spawned.is_some() && !self.is_over()
    }

    pub(super) fn was_sent(&self, signal: Signal) -> bool {
        self.sent.contains(&Action::Signal(signal))
    }

    /// Neither over nor about to be.
    fn is_open(&self) -> bool {
        self.is_alive() && matches!(self.stage, Idle | Initializing | Ready | Processing)
    }

    fn can_ask(&self) -> bool {
        self.config.has_control && self.introduced
    }

    /// Whether the machine has to accept `event` now.
    pub(super) fn accepts(&self, event: &Event) -> bool {
        use Event::{
            Exited, Expire, Failed, Initialize, Introduced, ItemDone, ItemStarted, Kill, Progress,
            SpawnFailed, Spawned, Stop, Tick,
        };
        if self.is_over() {
            return !matches!(event, Spawned | SpawnFailed(_) | Exited { .. } | Initialize);
        }
        if self.spawned.is_none() {
            return matches!(event, Spawned | SpawnFailed(_) | Stop { .. } | Kill | Tick);
        }
        match event {
            Spawned | SpawnFailed(_) => false,
            Stop { .. } | Kill | Expire(_) | Tick | Exited { .. } => true,
            Initialize => self.stage == Idle,
            _ if !self.is_open() => true,
            Introduced => self.config.has_control && !self.introduced,
            Progress => self.stage == Initializing,
            Event::Ready => self.stage == Initializing || self.stage == Processing,
            ItemStarted => self.stage == Ready,
            ItemDone => self.stage == Processing,
            Failed(_) => true,
        }
    }

    pub(super) fn check_refusal(&mut self, error: &IllegalTransition) {
        let (from, to) = (stage(&error.from), stage(&error.to));
        assert_eq!(from, self.stage);
        assert!(!ARROWS.contains(&(from, to)), "legal, but refused: {error}");
        self.refused += 1;
    }

    /// Takes note of an event that was accepted, and compares what came of it.
    pub(super) fn check(
        &mut self,
        event: &Event,
        now: Duration,
        actions: &[Action],
        machine: &Lifecycle,
    ) {
        let before = self.stage;
        let was_alive = self.is_alive();
        let fired = self.deadline_fires(event, now);
        if fired {
            let deadline = machine.passed().expect("a deadline has passed");
            assert!(self.is_the_deadline(event, deadline), "{deadline:?}");
            self.passed = Some(deadline.clone());
            self.expired = Some(now);
        }
        let stage_after = self.stage_after(event, fired);
        self.remember(event, now);
        self.stage = stage_after;
        self.accepted += 1;
        self.reached.push(stage_after);

        assert_eq!(actions, self.actions(event, before, fired, now));
        let kill_at = self.kill_at();
        self.sent.extend(actions);
        if actions.contains(&Action::Signal(Signal::Kill))
            && self.passed.is_none()
            && self.kill_wanted.is_none()
        {
            // Of two wishes that end at one instant either may be named.
            self.passed = machine.passed().cloned();
            let mut promises = self.wishes.iter().filter(|wish| Some(wish.kill_at()) == kill_at);
            let named = promises.any(|wish| self.passed == Some(Deadline::Grace(wish.grace)));
            assert!(named, "{:?} is no grace period that ends now", self.passed);
        }
        assert!(actions.is_empty() || was_alive || *event == Event::Spawned);
        for action in &self.sent {
            let times = self.sent.iter().filter(|other| *other == action).count();
            assert_eq!(times, 1, "{action:?} comes once");
        }

        assert_eq!(stage(machine.status()), self.stage);
        self.check_arrow(before, event);
        if let (ProcessStatus::Error(text), true) = (machine.status(), fired && before != Error) {
            assert_eq!(Some(text), self.passed.as_ref().map(ToString::to_string).as_ref());
        }
        assert_eq!(machine.passed(), self.passed.as_ref());
        assert_eq!(machine.has_exited(), self.is_over());
        let next = machine.next_deadline();
        assert_eq!(next, self.next_deadline());
        if *event == Event::Tick {
            assert!(next.is_none_or(|next| next > now), "due after its tick: {next:?}");
        }
    }

    /// Whether `event` makes a deadline pass that is not a grace period.
    fn deadline_fires(&self, event: &Event, now: Duration) -> bool {
        let unspoilt = self.passed.is_none() && !self.was_sent(Signal::Kill);
        match event {
            Event::Tick => self.init_deadline() <= now,
            Event::Expire(_) => self.is_alive() && unspoilt,
            _ => false,
        }
    }

    /// Of two deadlines that pass at one instant either may be named.
    fn is_the_deadline(&self, event: &Event, deadline: &Deadline) -> bool {
        let LifecycleConfig { init_timeout, init_limit, .. } = self.config;
        let handshake = self.config.has_control && !self.introduced;
        let at = self.init_deadline();
        match (event, deadline) {
            (Event::Expire(text), Deadline::Caller(passed)) => text == passed,
            (Event::Tick, Deadline::Handshake(time)) => {
                handshake && *time == init_timeout.min(init_limit)
            }
            (Event::Tick, Deadline::Progress(time)) => {
                !handshake && *time == init_timeout && self.progress.saturating_add(*time) == at
            }
            (Event::Tick, Deadline::InitLimit(time)) => {
                let spawned = self.spawned.expect("it was spawned");
                !handshake && *time == init_limit && spawned.saturating_add(*time) == at
            }
            _ => false,
        }
    }

    fn stage_after(&self, event: &Event, fired: bool) -> Stage {
        let present = self.stage;
        match event {
            Event::Spawned if self.early.is_empty() && self.kill_wanted.is_none() => present,
            Event::Spawned => Stopping,
            Event::SpawnFailed(_) => Error,
            Event::Stop { .. } | Event::Kill if self.is_over() => Stopped,
            Event::Stop { .. } | Event::Kill if self.is_alive() => Stopping,
            Event::Exited { code, .. } => match present {
                Stopping => Stopped,
                Error => Error,
                _ if *code == Some(0) => Stopped,
                _ => Error,
            },
            _ if !self.is_open() => present,
            Event::Expire(_) | Event::Tick if fired => Error,
            Event::Initialize => Initializing,
            Event::Ready | Event::ItemDone => Ready,
            Event::ItemStarted => Processing,
            Event::Failed(_) => Error,
            _ => present,
        }
    }

    fn remember(&mut self, event: &Event, now: Duration) {
        match event {
            Event::Spawned => {
                self.spawned = Some(now);
                self.kill_wanted = self.kill_wanted.map(|_| now);
                let early = self.early.iter();
                self.wishes =
                    early.map(|grace| Wish { at: now, grace: *grace, can_ask: false }).collect();
            }
            Event::SpawnFailed(_) => self.spawn_failed = true,
            Event::Exited { .. } => self.exits += 1,
            Event::Stop { grace } if self.spawned.is_none() => self.early.push(*grace),
            Event::Stop { grace } => {
                self.wishes.push(Wish { at: now, grace: *grace, can_ask: self.can_ask() });
            }
            Event::Kill => self.kill_wanted = self.kill_wanted.or(Some(now)),
            Event::Introduced if self.is_open() => {
                self.introduced = true;
                self.progress = now;
            }
            Event::Initialize | Event::Progress if self.is_open() => self.progress = now,
            _ => {}
        }
    }

    /// What has to be done now, after `event`.
    fn actions(&self, event: &Event, before: Stage, fired: bool, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.is_alive() {
            return actions;
        }
        match event {
            Event::Expire(_) if !fired => return actions,
            Event::Tick | Event::Stop { .. } | Event::Spawned | Event::Kill | Event::Expire(_) => {}
            _ => return actions,
        }
        if fired && self.config.abort_at_deadline {
            actions.push(Action::Signal(Signal::Abort));
            return actions;
        }
        if self.kill_at().is_some_and(|at| at <= now) {
            actions.push(Action::Signal(Signal::Kill));
            return actions;
        }
        let is_stop = matches!(event, Event::Stop { .. });
        let untouched = self.passed.is_none() && self.kill_wanted.is_none();
        if is_stop && before != Stopping && self.can_ask() && untouched {
            actions.push(Action::Ask);
        }
        if self.term_at().is_some_and(|at| at <= now) {
            actions.push(Action::Signal(Signal::Terminate));
        }
        actions
    }

    /// When SIGKILL has to be sent, as far as is known.
    fn kill_at(&self) -> Option<Duration> {
        if self.was_sent(Signal::Kill) {
            return None;
        }
        let pause = if self.config.abort_at_deadline { ms(500) } else { ms(0) };
        let expired = self.expired.map(|at| at.saturating_add(pause));
        let wishes = self.wishes.iter().map(Wish::kill_at);
        wishes.chain(expired).chain(self.kill_wanted).min()
    }

    /// When SIGTERM has to be sent, if nothing stronger comes before.
    fn term_at(&self) -> Option<Duration> {
        if self.was_sent(Signal::Terminate) || self.was_sent(Signal::Kill) || self.expired.is_some()
        {
            return None;
        }
        self.wishes.iter().map(Wish::term_at).min()
    }

    /// When the introduction, progress or readiness has to be there.
    fn init_deadline(&self) -> Duration {
        let LifecycleConfig { has_control, init_timeout, init_limit, .. } = self.config;
        let Some(spawned) = self.spawned.filter(|_| self.is_open()) else { return Duration::MAX };
        let limit = spawned.saturating_add(init_limit);
        if has_control && !self.introduced {
            spawned.saturating_add(init_timeout).min(limit)
        } else if self.stage == Initializing {
            self.progress.saturating_add(init_timeout).min(limit)
        } else {
            Duration::MAX
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        if !self.is_alive() {
            return None;
        }
        let times = [Some(self.init_deadline()), self.term_at(), self.kill_at()];
        times.into_iter().flatten().min().filter(|at| *at < Duration::MAX)
    }

    /// Only the data model's arrows are followed, one an event; an exit may also be the end of a
    /// life that nobody ended, and a wish to stop after the end takes two arrows.
    fn check_arrow(&self, before: Stage, event: &Event) {
        let arrow = (before, self.stage);
        let legal = match event {
            Event::Exited { .. } if before != Stopping && before != Error => {
                matches!(self.stage, Stopped | Error)
            }
            Event::Stop { .. } | Event::Kill if self.is_over() => {
                matches!(arrow, (Error | Stopped, Stopped))
            }
            _ => before == self.stage || ARROWS.contains(&arrow),
        };
        assert!(legal, "{before:?} to {:?}", self.stage);
    }
}
