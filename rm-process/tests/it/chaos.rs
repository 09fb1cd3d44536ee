//! Kills parents, children and grandchildren at random moments, and checks after each kill that
//! nobody and nothing is left that should be gone.
//!
//! The test [`nobody_survives_whoever_is_killed_whenever`] works through scenes: a parent in a
//! process of its own, whose part is in `parent`, starts children of all kinds, and ends them or lets
//! them be. What is killed and checked is in `scene`, what the operating system shows of it in
//! `remains`. `REMOTEMEDIA_CHAOS_KILLS` says how many are killed, `REMOTEMEDIA_CHAOS_SEED` which, how
//! and when, as far as that is in our hands: the seed fixes the choices, the scheduler the rest.

mod parent;
mod remains;
mod scene;

use std::collections::BTreeMap;
use std::time::Duration;

use parent::Play;
use scene::Scene;

const KILLS: &str = "REMOTEMEDIA_CHAOS_KILLS";
const SEED: &str = "REMOTEMEDIA_CHAOS_SEED";

/// Numbers that depend on the seed alone: splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A time that is as likely to be short as to be long: below 2^`from` to 2^`to` nanoseconds.
    pub fn moment(&mut self, from: u64, to: u64) -> Duration {
        let scale = from + self.below(to - from + 1);
        Duration::from_nanos(self.below(1 << scale))
    }
}

/// Who was killed, and how long it took until nobody was left.
#[derive(Default)]
pub struct Toll {
    kills: u64,
    by_victim: BTreeMap<String, u64>,
    /// From the death of a parent until all had gone who go by themselves.
    departures: Vec<Duration>,
}

impl Toll {
    pub fn add(&mut self, victim: &str) {
        self.kills += 1;
        *self.by_victim.entry(victim.to_owned()).or_default() += 1;
    }

    pub fn departed(&mut self, time: Duration) {
        self.departures.push(time);
    }
}

impl std::fmt::Display for Toll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut times = self.departures.clone();
        times.sort_unstable();
        let at = |part: usize| times.get((times.len() * part / 100).min(times.len() - 1));
        let [median, p99, max] = [50, 99, 100].map(|part| at(part).copied().unwrap_or_default());
        write!(f, "{} kills: {:?}; ", self.kills, self.by_victim)?;
        write!(f, "gone after a parent's death in {median:.1?} (p99 {p99:.1?}, max {max:.1?})")
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn nobody_survives_whoever_is_killed_whenever() {
    let (kills, seed) = (number(KILLS, 100), number(SEED, 0x5EED));
    println!("chaos with seed {seed}");
    // Built first, where that is still to be done.
    let _ = crate::support::child("family");
    let mut random = Random::new(seed);
    let mut toll = Toll::default();
    let plays = [killed_household, killed_household, left_household, killed_while_spawning];
    while toll.kills < kills {
        let play = plays[random.below(plays.len() as u64) as usize];
        play(&mut random, &mut toll, kills);
    }
    assert_eq!(remains::of_this_test(), [""; 0]);
    println!("{toll}");
}

/// Kills some of those whom a living parent has started, and then the parent.
fn killed_household(random: &mut Random, toll: &mut Toll, kills: u64) {
    let mut scene = Scene::begin(Play::Household, true, random);
    if random.below(3) > 0 {
        scene.let_pass(random.moment(16, 29));
        for _ in 0..random.below(6) {
            if toll.kills < kills {
                scene.kill_some(random, toll);
            }
        }
    }
    scene.let_pass(random.moment(10, 29));
    scene.kill_parent(random, toll);
}

/// Kills some, and lets the parent end in good order.
fn left_household(random: &mut Random, toll: &mut Toll, kills: u64) {
    let mut scene = Scene::begin(Play::Household, false, random);
    scene.let_pass(random.moment(16, 29));
    for _ in 0..1 + random.below(6) {
        if toll.kills < kills {
            scene.kill_some(random, toll);
        }
    }
    scene.end(random);
}

/// Kills a parent that does nothing but start children and end them.
fn killed_while_spawning(random: &mut Random, toll: &mut Toll, _: u64) {
    let mut scene = Scene::begin(Play::Storm, true, random);
    scene.await_children(random.below(30) as usize);
    scene.let_pass(random.moment(10, 24));
    scene.kill_parent(random, toll);
}
