//! The rules of the machine, one by one. Their interplay is tested by the simulation.

use super::Event::{
    Exited, Expire, Failed, Initialize, Introduced, ItemDone, ItemStarted, Kill, Progress, Ready,
    SpawnFailed, Spawned, Stop, Tick,
};
use super::*;

const ASK: Action = Action::Ask;
const TERM: Action = Action::Signal(Signal::Terminate);
const ABORT: Action = Action::Signal(Signal::Abort);
const KILL: Action = Action::Signal(Signal::Kill);

/// A machine whose time is given in milliseconds.
struct Clocked(Lifecycle);

impl Clocked {
    /// 1 s from progress to progress, 3 s for the whole initialisation.
    fn new(has_control: bool, abort_at_deadline: bool) -> Self {
        Self(Lifecycle::new(LifecycleConfig {
            has_control,
            init_timeout: Duration::from_secs(1),
            init_limit: Duration::from_secs(3),
            abort_at_deadline,
        }))
    }

    /// A process with a control channel, after `events` at the instant 0.
    fn after(events: impl IntoIterator<Item = Event>) -> Self {
        let mut machine = Self::new(true, false);
        for event in events {
            machine.at(0, event, &[]);
        }
        machine
    }

    #[track_caller]
    fn at(&mut self, now_ms: u64, event: Event, expected: &[Action]) {
        let name = format!("{event:?}");
        let actions = self.0.handle(event, Duration::from_millis(now_ms));
        assert_eq!(actions.as_deref(), Ok(expected), "{name} at {now_ms} ms");
    }

    #[track_caller]
    fn refused(&mut self, now_ms: u64, event: Event) {
        let before = self.0.clone();
        let name = format!("{event:?}");
        let error = self.0.handle(event, Duration::from_millis(now_ms)).expect_err(&name);
        assert_eq!(self.0, before, "{name}");
        assert_eq!(error.from, before.status, "{name}");
        assert!(!error.from.can_become(&error.to), "{error}");
    }

    /// Ticks at the next deadline, which has to be at `now_ms`.
    #[track_caller]
    fn tick(&mut self, now_ms: u64, expected: &[Action]) {
        assert_eq!(self.0.next_deadline(), Some(Duration::from_millis(now_ms)));
        self.at(now_ms, Tick, expected);
    }

    #[track_caller]
    fn is(&self, status: &str, passed: Option<Deadline>, next: Option<u64>) {
        assert_eq!(self.0.status().to_string(), status);
        assert_eq!(self.0.passed(), passed.as_ref());
        assert_eq!(self.0.next_deadline(), next.map(Duration::from_millis));
    }
}

fn stop(grace_ms: u64) -> Event {
    Stop { grace: Duration::from_millis(grace_ms) }
}

fn killed() -> Event {
    Exited { code: None, signal: Some(9) }
}

#[test]
fn a_quiet_life_has_no_deadline_outside_of_its_initialisation() {
    let mut machine = Clocked::new(true, false);
    machine.is("idle", None, None);
    machine.at(100, Spawned, &[]);
    machine.is("idle", None, Some(1100));
    machine.at(200, Introduced, &[]);
    machine.is("idle", None, None);
    machine.at(300, Initialize, &[]);
    machine.is("initializing", None, Some(1300));
    machine.at(1250, Progress, &[]);
    machine.is("initializing", None, Some(2250));
    machine.at(2200, Progress, &[]);
    machine.is("initializing", None, Some(3100));
    machine.at(3000, Ready, &[]);
    machine.is("ready", None, None);
    machine.at(3000, ItemStarted, &[]);
    machine.is("processing", None, None);
    machine.at(3500, ItemDone, &[]);
    machine.is("ready", None, None);
    machine.at(4000, Exited { code: Some(0), signal: None }, &[]);
    machine.is("stopped", None, None);
    assert!(machine.0.has_exited());
}

#[test]
fn a_passed_init_deadline_kills_and_names_what_was_waited_for() {
    let mut machine = Clocked::after([Spawned]);
    machine.tick(1000, &[KILL]);
    let passed = Deadline::Handshake(Duration::from_secs(1));
    let text = "in error (no introduction over the control channel within 1s of the start)";
    machine.is(text, Some(passed), None);

    let mut machine = Clocked::after([Spawned, Introduced, Initialize]);
    machine.tick(1000, &[KILL]);
    let passed = Deadline::Progress(Duration::from_secs(1));
    machine.is("in error (no progress of the initialisation for 1s)", Some(passed), None);

    let mut machine = Clocked::after([Spawned, Introduced, Initialize]);
    machine.at(900, Progress, &[]);
    machine.at(1800, Progress, &[]);
    machine.at(2700, Progress, &[]);
    machine.tick(3000, &[KILL]);
    let passed = Deadline::InitLimit(Duration::from_secs(3));
    machine.is("in error (not ready within 3s of the start)", Some(passed.clone()), None);
    machine.at(3001, killed(), &[]);
    machine.is("in error (not ready within 3s of the start)", Some(passed), None);
}

#[test]
fn stacks_are_printed_for_half_a_second_before_a_deadline_kills() {
    let mut machine = Clocked::new(false, true);
    machine.at(0, Spawned, &[]);
    machine.at(0, Initialize, &[]);
    machine.tick(1000, &[ABORT]);
    machine.at(1100, stop(9000), &[]);
    machine.tick(1500, &[KILL]);
    machine.is("stopping", Some(Deadline::Progress(Duration::from_secs(1))), None);
}

#[test]
fn progress_that_comes_before_a_late_tick_counts() {
    let mut machine = Clocked::after([Spawned, Introduced, Initialize]);
    machine.at(1010, Progress, &[]);
    machine.at(1020, Tick, &[]);
    machine.is("initializing", None, Some(2010));
}

#[test]
fn a_deadline_of_the_owner_kills_in_every_living_status_and_keeps_the_first_error() {
    let mut machine = Clocked::after([Spawned, Introduced, Initialize, Ready, ItemStarted]);
    machine.at(5, Expire("item 7 took too long".to_owned()), &[KILL]);
    machine.at(6, Expire("again".to_owned()), &[]);
    let passed = Deadline::Caller("item 7 took too long".to_owned());
    machine.is("in error (item 7 took too long)", Some(passed), None);

    let mut machine = Clocked::after([Spawned, Failed("no such model".to_owned())]);
    machine.is("in error (no such model)", None, None);
    machine.at(5, Expire("still there".to_owned()), &[KILL]);
    machine.is("in error (no such model)", Some(Deadline::Caller("still there".to_owned())), None);

    let mut machine = Clocked::after([Spawned, Introduced]);
    machine.at(0, stop(5000), &[ASK]);
    machine.at(5, Expire("hurry".to_owned()), &[KILL]);
    machine.is("stopping", Some(Deadline::Caller("hurry".to_owned())), None);
}

#[test]
fn a_stop_asks_then_terminates_then_kills() {
    let mut machine = Clocked::after([Spawned, Introduced]);
    machine.at(100, stop(5000), &[ASK]);
    machine.is("stopping", None, Some(2600));
    machine.tick(2600, &[TERM]);
    machine.tick(4850, &[KILL]);
    let passed = Deadline::Grace(Duration::from_secs(5));
    machine.is("stopping", Some(passed.clone()), None);
    machine.at(9000, Kill, &[]);
    machine.at(9999, killed(), &[]);
    machine.is("stopped", Some(passed), None);
}

#[test]
fn who_cannot_be_asked_is_terminated_at_once() {
    let mut machine = Clocked::after([Spawned]);
    machine.at(100, stop(5000), &[TERM]);
    machine.tick(4850, &[KILL]);
    let mut machine = Clocked::new(false, false);
    machine.at(0, Spawned, &[]);
    machine.at(100, stop(5000), &[TERM]);
    machine.tick(4850, &[KILL]);
}

#[test]
fn a_second_stop_only_shortens() {
    let mut machine = Clocked::after([Spawned, Introduced]);
    machine.at(0, Stop { grace: Duration::MAX }, &[ASK]);
    machine.at(100, stop(5000), &[]);
    machine.at(200, stop(60_000), &[]);
    machine.tick(2600, &[TERM]);
    machine.at(3000, stop(1250), &[]);
    machine.tick(4000, &[KILL]);
    machine.is("stopping", Some(Deadline::Grace(Duration::from_millis(1250))), None);

    let mut machine = Clocked::after([Spawned, Introduced]);
    machine.at(0, stop(5000), &[ASK]);
    machine.at(1, stop(0), &[KILL]);
    machine.is("stopping", Some(Deadline::Grace(Duration::ZERO)), None);
}

#[test]
fn a_stop_before_the_start_counts_from_the_start() {
    let mut machine = Clocked::new(true, false);
    machine.at(0, stop(5000), &[]);
    machine.at(0, stop(9000), &[]);
    machine.is("idle", None, None);
    machine.at(100, Spawned, &[TERM]);
    machine.is("stopping", None, Some(4850));

    let mut machine = Clocked::new(true, false);
    machine.at(0, Kill, &[]);
    machine.at(0, stop(5000), &[]);
    machine.at(100, Spawned, &[KILL]);
    machine.is("stopping", None, None);
}

#[test]
fn a_kill_is_no_deadline() {
    let mut machine = Clocked::after([Spawned, Introduced, Initialize]);
    machine.at(1, Kill, &[KILL]);
    machine.is("stopping", None, None);
    machine.at(2, stop(0), &[]);
    machine.at(2, Expire("too long".to_owned()), &[]);
    machine.at(3, killed(), &[]);
    machine.is("stopped", None, None);
}

#[test]
fn a_failed_process_is_left_to_end_by_itself_until_it_is_stopped() {
    let mut machine = Clocked::after([Spawned, Introduced, Initialize]);
    machine.at(1, Failed("no such model".to_owned()), &[]);
    machine.is("in error (no such model)", None, None);
    machine.at(2, Failed("other".to_owned()), &[]);
    machine.at(2, stop(1000), &[ASK]);
    machine.is("stopping", None, Some(502));
}

#[test]
fn an_error_is_tidied_away_by_a_stop_after_the_end() {
    let mut machine = Clocked::after([Spawned, Exited { code: Some(3), signal: None }]);
    machine.is("in error (exited with code 3)", None, None);
    machine.refused(1, Exited { code: Some(3), signal: None });
    machine.refused(1, Initialize);
    machine.at(1, stop(1000), &[]);
    machine.is("stopped", None, None);
    machine.at(2, Kill, &[]);

    let mut machine = Clocked::after([SpawnFailed("no such file".to_owned())]);
    machine.is("in error (no such file)", None, None);
    machine.refused(1, Spawned);
    machine.refused(1, Exited { code: Some(0), signal: None });
    machine.at(1, Kill, &[]);
    machine.is("stopped", None, None);
}

#[test]
fn words_that_cross_with_the_end_change_nothing() {
    let words = [Introduced, Progress, Ready, ItemStarted, ItemDone, Failed("late".to_owned())];
    let mut stopping = Clocked::after([Spawned, Introduced]);
    stopping.at(0, stop(5000), &[ASK]);
    let failed = Clocked::after([Spawned, Introduced, Failed("first".to_owned())]);
    let stopped = Clocked::after([Spawned, Exited { code: Some(0), signal: None }]);
    for mut machine in [stopping, failed, stopped] {
        for word in &words {
            let before = machine.0.clone();
            machine.at(1, word.clone(), &[]);
            assert_eq!(machine.0, before, "{word:?}");
        }
        machine.refused(1, Initialize);
        machine.refused(1, Spawned);
    }
}

#[test]
fn events_that_make_no_sense_are_refused() {
    let check = |history: &[Event], senseless: &[Event]| {
        let mut machine = Clocked::after(history.iter().cloned());
        for event in senseless {
            machine.refused(1, event.clone());
        }
    };
    let exited = Exited { code: Some(0), signal: None };
    let failed = || Failed("why".to_owned());
    let ready = [Spawned, Introduced, Initialize, Ready];
    check(&[], &[Introduced, Initialize, Progress, Ready, ItemStarted, ItemDone, failed()]);
    check(&[], &[exited, Expire("too long".to_owned())]);
    check(&[Spawned], &[Spawned, SpawnFailed("why".to_owned()), Ready, Progress, ItemDone]);
    check(&[Spawned, Introduced], &[Introduced, Ready, ItemStarted]);
    check(&ready[..3], &[Initialize, ItemStarted, ItemDone, Introduced]);
    check(&ready, &[Initialize, Progress, Ready, ItemDone, Introduced]);
    let mut plain = Clocked::new(false, false);
    plain.at(0, Spawned, &[]);
    plain.refused(0, Introduced);
}

#[test]
fn sigterm_comes_at_half_of_the_grace_and_sigkill_before_its_end() {
    let check = |grace_ms, asked, before_term_ms, before_kill_ms| {
        let plan = StopPlan::new(Duration::from_millis(grace_ms), asked);
        let expected = StopPlan {
            before_term: Duration::from_millis(before_term_ms),
            before_kill: Duration::from_millis(before_kill_ms),
        };
        assert_eq!(plan, expected, "grace of {grace_ms} ms");
    };
    check(5000, true, 2500, 2250);
    check(5000, false, 0, 4750);
    check(500, true, 125, 125);
    check(400, true, 75, 75);
    check(250, true, 0, 0);
    check(0, false, 0, 0);
    let endless = StopPlan::new(Duration::MAX, true);
    assert!(endless.before_kill > endless.before_term / 2);
}
