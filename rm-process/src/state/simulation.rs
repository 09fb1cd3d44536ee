//! Random lives of a process, each checked after each event.
//!
//! Main type: [`World`], one schedule: a simulated child and a simulated owner on a virtual clock.
//! Events of one instant come in random order, and ticks when they were asked for or a little
//! later. What has to follow from an event is said by [`Specification`]; what is random comes
//! from one seed, so that a seed is a schedule.

mod specification;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::specification::{Specification, Stage};
use super::{Action, Deadline, Event, Lifecycle, LifecycleConfig, Signal};

/// Schedules of a run for which `REMOTEMEDIA_SIM_SCHEDULES` names no other number.
const SCHEDULES: u64 = 100_000;

/// When the owner kills what is left. Few schedules have anything else to do by then.
const HORIZON: Duration = Duration::from_secs(60);

/// SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Mostly of a coarse grid, so that many events share an instant.
    fn pause(&mut self) -> Duration {
        if self.percent(20) {
            return Duration::from_nanos(self.below(3_000_000_000));
        }
        Duration::from_millis(self.choose(&[0, 0, 1, 50, 100, 250, 250, 500, 1000, 2500]))
    }

    /// Up to some seconds after the start.
    fn instant(&mut self) -> Duration {
        self.pause() + self.pause() + self.pause()
    }

    fn grace(&mut self) -> Duration {
        match self.below(12) {
            0 => Duration::MAX,
            1 => Duration::MAX / 2,
            2 => Duration::from_nanos(self.below(1_000_000_000)),
            _ => Duration::from_millis(self.choose(&[0, 1, 250, 251, 400, 500, 501, 1000, 5000])),
        }
    }

    fn init_time(&mut self, is_calm: bool) -> Duration {
        if is_calm {
            return Duration::from_millis(self.choose(&[1000, 5000, 30_000]));
        }
        match self.below(12) {
            0 => Duration::MAX,
            1 => self.pause(),
            _ => {
                Duration::from_millis(self.choose(&[50, 250, 500, 1000, 2500, 5000, 9000, 30_000]))
            }
        }
    }

    /// How long the child takes to react, if it does at all.
    fn reaction(&mut self) -> Option<Duration> {
        self.percent(60).then(|| self.pause())
    }

    fn end(&mut self) -> (Option<i32>, Option<i32>) {
        let ends = [(Some(0), None), (Some(3), None), (None, Some(11)), (None, Some(9))];
        if self.percent(5) { (None, None) } else { self.choose(&ends) }
    }
}

/// What comes to pass at some instant.
#[derive(Debug)]
enum What {
    /// The machine is told of an event.
    Tell(Event),
    /// The child takes its next step.
    Step,
    /// The child dies, unless it has died before.
    Die(Option<i32>, Option<i32>),
    /// The owner kills what is left, so that the schedule ends.
    GiveUp,
}

/// One schedule.
struct World {
    random: Random,
    now: Duration,
    /// With the order among those of one instant.
    queue: Vec<(Duration, u64, What)>,
    machine: Lifecycle,
    specification: Specification,
    has_control: bool,
    /// By how much a tick comes after its time at most.
    most_late: Duration,
    ticked_for: Option<Duration>,
    child_lives: bool,
    steps_to_ready: u64,
    /// Whether mishaps are rare, so that most of a life is lived.
    is_calm: bool,
    is_verbose: bool,
}

impl World {
    fn new(seed: u64, is_verbose: bool) -> Self {
        let mut random = Random(seed);
        // Neighbouring seeds begin with neighbouring states.
        random.0 = random.next();
        let is_calm = random.percent(60);
        let config = LifecycleConfig {
            has_control: random.percent(70),
            init_timeout: random.init_time(is_calm),
            init_limit: random.init_time(is_calm) * if is_calm { 4 } else { 1 },
            abort_at_deadline: random.percent(50),
        };
        if is_verbose {
            eprintln!("{config:?}");
        }
        let most_late = Duration::from_millis(random.choose(&[0, 0, 1, 20, 300]));
        let mut world = Self {
            now: Duration::ZERO,
            queue: Vec::new(),
            machine: Lifecycle::new(config.clone()),
            has_control: config.has_control,
            specification: Specification::new(config),
            most_late,
            ticked_for: None,
            child_lives: false,
            steps_to_ready: random.below(5),
            is_calm,
            is_verbose,
            random,
        };
        world.arrange();
        world
    }

    /// What is certain to be tried, whatever comes of it.
    fn arrange(&mut self) {
        let spawned = self.random.pause();
        let event = match self.random.percent(6) {
            true => Event::SpawnFailed("no such file".to_owned()),
            false => Event::Spawned,
        };
        self.plan(spawned, What::Tell(event));
        self.plan(HORIZON, What::GiveUp);
        for _ in 0..self.random.below(4) {
            let event = match self.random.below(10) {
                0 => Event::Kill,
                1 | 2 => Event::Expire("an item took too long".to_owned()),
                _ => Event::Stop { grace: self.random.grace() },
            };
            let latest = if self.is_calm { 6 } else { 1 };
            let at = self.random.instant() * latest;
            self.plan(at, What::Tell(event));
        }
        // Mistakes: whatever it is, at any time.
        if self.random.percent(30) {
            let mistakes = [
                Event::Introduced,
                Event::Initialize,
                Event::Progress,
                Event::Ready,
                Event::ItemStarted,
                Event::ItemDone,
                Event::Spawned,
                Event::SpawnFailed("again".to_owned()),
                Event::Failed("lost".to_owned()),
                Event::Exited { code: Some(0), signal: None },
                Event::Tick,
            ];
            let index = self.random.below(mistakes.len() as u64) as usize;
            let at = self.random.instant();
            self.plan(at, What::Tell(mistakes[index].clone()));
        }
    }

    /// Whether something goes wrong that does so in `percent` of all cases, where life is not calm.
    fn mishap(&mut self, percent: u64) -> bool {
        self.random.percent(if self.is_calm { percent.div_ceil(5) } else { percent })
    }

    fn plan(&mut self, after: Duration, what: What) {
        let order = self.random.next();
        self.queue.push((self.now + after, order, what));
    }

    /// Plans a word of the child, which takes a while to arrive.
    fn say(&mut self, event: Event) {
        let on_its_way = if self.random.percent(80) { Duration::ZERO } else { self.random.pause() };
        self.plan(on_its_way, What::Tell(event));
    }

    fn run(mut self) -> Specification {
        let mut events = 0;
        while let Some(next) = self.take_next() {
            events += 1;
            assert!(events < 10_000, "the schedule does not end");
            match next {
                What::Tell(event) => self.tell(event),
                What::Step if self.child_lives => self.step(),
                What::Die(code, signal) if self.child_lives => {
                    self.child_lives = false;
                    self.say(Event::Exited { code, signal });
                }
                What::GiveUp if self.child_lives => self.tell(Event::Kill),
                What::Step | What::Die(..) | What::GiveUp => {}
            }
        }
        self.check_end();
        self.specification
    }

    fn take_next(&mut self) -> Option<What> {
        let keys = self.queue.iter().map(|(at, order, _)| (*at, *order));
        let (index, _) = keys.enumerate().min_by_key(|(_, key)| *key)?;
        let (at, _, what) = self.queue.swap_remove(index);
        self.now = at;
        Some(what)
    }

    /// Tells the machine, has its answer checked, and does what it says.
    fn tell(&mut self, event: Event) {
        // An exit cannot be mistaken for that of a process that still runs.
        if matches!(event, Event::Exited { .. }) && self.child_lives {
            return;
        }
        let accepts = self.specification.accepts(&event);
        // Compared where it must not change; a copy for each event would cost time.
        let before = (!accepts).then(|| self.machine.clone());
        let outcome = self.machine.handle(event.clone(), self.now);
        if self.is_verbose {
            let next = self.machine.next_deadline();
            eprintln!("{:?}: {event:?} → {outcome:?}, next {next:?}", self.now);
        }
        match outcome {
            Ok(actions) => {
                assert!(accepts, "{event:?} has to be refused");
                self.specification.check(&event, self.now, &actions, &self.machine);
                self.follow(&event);
                actions.into_iter().for_each(|action| self.obey(action));
            }
            Err(error) => {
                assert!(!accepts, "{event:?} has to be accepted");
                assert_eq!(Some(&self.machine), before.as_ref(), "a refusal changes nothing");
                self.specification.check_refusal(&error);
            }
        }
        self.plan_tick();
    }

    /// A tick for the next deadline, if none is planned. Those for former deadlines still come.
    fn plan_tick(&mut self) {
        let next = self.machine.next_deadline().filter(|at| *at < HORIZON * 2);
        if next == self.ticked_for {
            return;
        }
        self.ticked_for = next;
        let Some(at) = next else { return };
        let wait = at.saturating_sub(self.now);
        if self.random.percent(10) {
            // One that comes too early has to be without effect.
            self.plan(wait.saturating_sub(Duration::from_nanos(1)), What::Tell(Event::Tick));
        }
        let late = Duration::from_nanos(self.random.below(self.most_late.as_nanos() as u64 + 1));
        self.plan(wait + late, What::Tell(Event::Tick));
    }

    /// What else comes of an event that the machine has accepted.
    fn follow(&mut self, event: &Event) {
        match event {
            Event::Spawned => {
                self.child_lives = true;
                if self.mishap(20) {
                    let (code, signal) = self.random.end();
                    let after = self.random.instant();
                    self.plan(after, What::Die(code, signal));
                }
                let introduces =
                    if self.has_control { Event::Introduced } else { Event::Initialize };
                if !self.mishap(10) {
                    let after = self.random.pause();
                    self.plan(after, What::Tell(introduces));
                }
            }
            Event::Introduced if !self.mishap(5) => {
                let after = self.random.pause();
                self.plan(after, What::Tell(Event::Initialize));
            }
            Event::Initialize => self.plan_step(),
            Event::Exited { .. } if self.random.percent(30) => {
                let event = match self.random.below(3) {
                    0 => Event::Exited { code: Some(0), signal: None },
                    1 => Event::Kill,
                    _ => Event::Stop { grace: self.random.grace() },
                };
                let after = self.random.pause();
                self.plan(after, What::Tell(event));
            }
            _ => {}
        }
    }

    /// The child hears, or does not; nothing survives SIGKILL.
    fn obey(&mut self, action: Action) {
        let (reaction, code, signal) = match action {
            Action::Ask => (self.random.reaction(), Some(0), None),
            Action::Signal(Signal::Terminate) => (self.random.reaction(), None, Some(15)),
            Action::Signal(Signal::Abort) => (self.random.reaction(), None, Some(6)),
            Action::Signal(Signal::Kill) => (Some(self.random.pause()), None, Some(9)),
        };
        if let Some(after) = reaction {
            self.plan(after, What::Die(code, signal));
        }
    }

    fn plan_step(&mut self) {
        // Else it hangs.
        if !self.mishap(8) {
            let after = self.random.pause();
            self.plan(after, What::Step);
        }
    }

    /// Progress until it is ready, then item after item; all of it may end in between.
    fn step(&mut self) {
        if self.mishap(8) {
            self.say(Event::Failed("no such model".to_owned()));
            let after = self.random.pause();
            return self.plan(after, What::Die(Some(1), None));
        }
        if self.mishap(8) {
            let (code, signal) = self.random.end();
            return self.plan(Duration::ZERO, What::Die(code, signal));
        }
        match (self.steps_to_ready, self.specification.stage) {
            (0, Stage::Initializing) => self.say(Event::Ready),
            (0, Stage::Ready) => self.say(Event::ItemStarted),
            (0, Stage::Processing) => self.say(Event::ItemDone),
            (0, _) => {}
            _ => {
                self.steps_to_ready -= 1;
                self.say(Event::Progress);
            }
        }
        self.plan_step();
    }

    fn check_end(&self) {
        let done = &self.specification;
        assert_ne!(done.spawn_failed, done.exits == 1, "spawn failure or exit");
        assert!(done.exits <= 1, "one exit");
        assert!(!self.child_lives, "the child survived");
        assert!(matches!(done.stage, Stage::Stopped | Stage::Error), "{:?}", done.stage);
        let harmed = done.was_sent(Signal::Kill) || done.was_sent(Signal::Abort);
        assert!(harmed || done.passed.is_none(), "a deadline passed, but nobody was harmed");
        assert_eq!(self.machine.next_deadline(), None);
    }
}

/// Prints how to run the schedule again if it fails, also by a panic of the machine itself.
struct Reproduction(u64);

impl Drop for Reproduction {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "reproduce with its course: \
                 REMOTEMEDIA_SIM_SEED={seed} cargo test -p rm-process simulation"
            );
        }
    }
}

/// What a run has to come by, and whether this schedule did.
fn coverage(done: &Specification) -> [(&'static str, bool); 16] {
    let killed = done.was_sent(Signal::Kill);
    let passed = done.passed.as_ref();
    [
        ("refused", done.refused > 0),
        ("spawn failed", done.spawn_failed),
        ("ready", done.reached.contains(&Stage::Ready)),
        ("processing", done.reached.contains(&Stage::Processing)),
        ("asked", done.sent.contains(&Action::Ask)),
        ("terminated", done.was_sent(Signal::Terminate)),
        ("aborted", done.was_sent(Signal::Abort)),
        ("killed by a deadline", killed && passed.is_some()),
        ("killed by the owner", killed && passed.is_none()),
        ("handshake", matches!(passed, Some(Deadline::Handshake(_)))),
        ("progress", matches!(passed, Some(Deadline::Progress(_)))),
        ("init limit", matches!(passed, Some(Deadline::InitLimit(_)))),
        ("grace", matches!(passed, Some(Deadline::Grace(_)))),
        ("caller", matches!(passed, Some(Deadline::Caller(_)))),
        ("stopped", done.stage == Stage::Stopped),
        ("error", done.stage == Stage::Error),
    ]
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is {text:?}, expected a whole number")))
}

/// Without variables always the same schedules. `REMOTEMEDIA_SIM_SEED` alone runs the one schedule
/// of that seed and prints its course, with `REMOTEMEDIA_SIM_SCHEDULES` as many from there on.
#[test]
fn every_schedule_keeps_the_promises_of_the_machine() {
    let seed = number("REMOTEMEDIA_SIM_SEED");
    let default = if seed.is_some() { 1 } else { SCHEDULES };
    let schedules = number("REMOTEMEDIA_SIM_SCHEDULES").unwrap_or(default);
    let first = seed.unwrap_or(0);
    let begin = Instant::now();
    let mut covered = BTreeMap::new();
    let mut events = 0;
    for seed in first..first.saturating_add(schedules) {
        let reproduction = Reproduction(seed);
        let done = World::new(seed, schedules == 1).run();
        drop(reproduction);
        events += done.accepted + done.refused;
        for (what, came_by) in coverage(&done) {
            *covered.entry(what).or_insert(0) += u64::from(came_by);
        }
    }
    eprintln!("{schedules} schedules, {events} events, {:.1?}: {covered:?}", begin.elapsed());
    for (what, times) in covered {
        assert!(schedules < SCHEDULES || times > schedules / 100, "{what} only {times} times");
    }
}
