//! Model checking of the handover between sleepers and ringers: every order in which its threads
//! can meet, and every value that the memory model lets a relaxed load see.
//!
//! What is checked is the file that ships. A lost wake-up is a sleeper whom nobody wakes any more,
//! which loom reports as a deadlock; each part of the algorithm is also left out once, to show
//! that its absence is found. The FIFO is modelled by a flag under a lock.

#[path = "../src/handover.rs"]
mod handover;

mod sync {
    //! What `src/sync.rs` is in the library.
    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering, fence};
}

use std::sync::Arc;

use loom::sync::{Condvar, Mutex, MutexGuard};
use loom::thread;
use sync::{AtomicU32, Ordering, fence};

/// What the doorbell is in the library: the word, and the FIFO.
struct Bell {
    algorithm: Algorithm,
    sleeping: AtomicU32,
    token: Mutex<bool>,
    came: Condvar,
}

/// How to wait and how to ring: as shipped, or with something left out.
#[derive(Clone, Copy)]
struct Algorithm {
    wait: fn(&Bell, &mut u32, &dyn Fn() -> bool),
    ring: fn(&Bell),
}

const SHIPPED: Algorithm = Algorithm {
    wait: |bell, round, ready| {
        assert!(handover::wait(&bell.sleeping, round, ready, || bell.sleep()));
    },
    ring: |bell| handover::ring(&bell.sleeping, || bell.wake()),
};

/// One who sleeps on several descriptors, as `Doorbell::arm` has it: rings that have come are taken
/// before the next is asked for, and nobody says that he is awake.
const ARMED: Algorithm = Algorithm {
    wait: |bell, round, ready| {
        loop {
            *bell.token.lock().expect("no thread panics") = false;
            handover::announce(&bell.sleeping, round);
            if ready() {
                break;
            }
            drop(bell.sleep_without_taking());
        }
    },
    ..SHIPPED
};

impl Bell {
    fn new(algorithm: Algorithm) -> Self {
        let (sleeping, token) = (AtomicU32::new(0), Mutex::new(false));
        Self { algorithm, sleeping, token, came: Condvar::new() }
    }

    fn wait(&self, round: &mut u32, ready: impl Fn() -> bool) {
        (self.algorithm.wait)(self, round, &ready);
    }

    fn ring(&self) {
        (self.algorithm.ring)(self);
    }

    fn sleep(&self) -> bool {
        *self.sleep_without_taking() = false;
        true
    }

    fn sleep_without_taking(&self) -> MutexGuard<'_, bool> {
        let mut token = self.token.lock().expect("no thread panics");
        while !*token {
            token = self.came.wait(token).expect("no thread panics");
        }
        token
    }

    fn wake(&self) {
        *self.token.lock().expect("no thread panics") = true;
        self.came.notify_one();
    }
}

/// Runs `model` in every order with at most so many preemptions.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// One sends two messages, the other waits for each.
fn check_one_ringer(algorithm: Algorithm) {
    check(4, move || {
        let bell = Arc::new((Bell::new(algorithm), AtomicU32::new(0)));
        let theirs = bell.clone();
        let ringer = thread::spawn(move || {
            let (bell, published) = &*theirs;
            for message in 1..=2 {
                published.store(message, Ordering::Release);
                bell.ring();
            }
        });
        let (bell, published) = &*bell;
        let mut round = 0;
        for message in 1..=2 {
            bell.wait(&mut round, || published.load(Ordering::Acquire) >= message);
        }
        ringer.join().expect("the ringer ends");
    });
}

/// Two send to one, who waits for either and then for both.
fn check_two_ringers(algorithm: Algorithm) {
    check(3, move || {
        let shared = Arc::new((Bell::new(algorithm), AtomicU32::new(0)));
        let ringers: [_; 2] = std::array::from_fn(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (bell, published) = &*shared;
                published.fetch_add(1, Ordering::Release);
                bell.ring();
            })
        });
        let (bell, published) = &*shared;
        let mut round = 0;
        for messages in 1..=2 {
            bell.wait(&mut round, || published.load(Ordering::Acquire) >= messages);
        }
        for ringer in ringers {
            ringer.join().expect("the ringer ends");
        }
    });
}

/// Two ring, of whom one is killed amid it; the other's message has to arrive.
fn check_killed_ringer(algorithm: Algorithm, ring_and_die: fn(&Bell)) {
    check(3, move || {
        let shared = Arc::new((Bell::new(algorithm), AtomicU32::new(0)));
        let (killed, survivor) = (shared.clone(), shared.clone());
        let killed = thread::spawn(move || ring_and_die(&killed.0));
        let survivor = thread::spawn(move || {
            let (bell, published) = &*survivor;
            published.store(1, Ordering::Release);
            bell.ring();
        });
        let (bell, published) = &*shared;
        let mut round = 0;
        bell.wait(&mut round, || published.load(Ordering::Acquire) == 1);
        killed.join().expect("the killed ringer ends");
        survivor.join().expect("the survivor ends");
    });
}

/// A publisher waits for room, which its subscriber makes twice. As in the library, a word of its
/// own spares the subscriber the way to the bell, and stays set over the whole wait.
fn check_credits(announced: fn(&AtomicU32) -> bool) {
    check(4, move || {
        let bell = Bell::new(SHIPPED);
        let shared = Arc::new((bell, AtomicU32::new(0), AtomicU32::new(0)));
        let theirs = shared.clone();
        let subscriber = thread::spawn(move || {
            let (bell, waiting, taken) = &*theirs;
            for position in 1..=2 {
                taken.store(position, Ordering::Release);
                if announced(waiting) {
                    bell.ring();
                }
            }
        });
        let (bell, waiting, taken) = &*shared;
        let (mut round, mut waits) = (0, 0);
        for room in 1..=2 {
            handover::announce(waiting, &mut waits);
            bell.wait(&mut round, || taken.load(Ordering::Acquire) >= room);
            handover::retract(waiting);
        }
        subscriber.join().expect("the subscriber ends");
    });
}

#[test]
fn no_wake_up_is_lost_with_one_ringer() {
    check_one_ringer(SHIPPED);
    check_one_ringer(ARMED);
}

#[test]
fn no_wake_up_is_lost_with_two_ringers() {
    check_two_ringers(SHIPPED);
    check_two_ringers(ARMED);
}

#[test]
fn no_wake_up_is_lost_by_a_ringer_killed_before_it_wakes() {
    check_killed_ringer(SHIPPED, |bell| {
        let _ = handover::announced(&bell.sleeping);
    });
}

#[test]
fn no_wake_up_is_lost_by_a_ringer_killed_after_it_wakes() {
    check_killed_ringer(SHIPPED, |bell| {
        if handover::announced(&bell.sleeping).is_some() {
            bell.wake();
        }
    });
}

#[test]
fn no_room_is_missed_by_a_waiting_publisher() {
    check_credits(|waiting| handover::announced(waiting).is_some());
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_ringer_without_its_fence_is_caught() {
    let ring: fn(&Bell) = |bell| {
        let round = bell.sleeping.load(Ordering::Relaxed);
        if round != 0 {
            bell.wake();
            handover::answered(&bell.sleeping, round);
        }
    };
    check_one_ringer(Algorithm { ring, ..SHIPPED });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_without_its_fence_is_caught() {
    let wait: fn(&Bell, &mut u32, &dyn Fn() -> bool) = |bell, round, ready| {
        loop {
            *round += 1;
            let _ = bell.sleeping.swap(*round, Ordering::Relaxed);
            if ready() {
                break;
            }
            bell.sleep();
        }
        handover::retract(&bell.sleeping);
    };
    check_one_ringer(Algorithm { wait, ..SHIPPED });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_who_checks_before_it_announces_is_caught() {
    let wait: fn(&Bell, &mut u32, &dyn Fn() -> bool) = |bell, round, ready| {
        while !ready() {
            handover::announce(&bell.sleeping, round);
            bell.sleep();
        }
        handover::retract(&bell.sleeping);
    };
    check_one_ringer(Algorithm { wait, ..SHIPPED });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_ringer_that_clears_any_round_is_caught() {
    let ring: fn(&Bell) = |bell| {
        if handover::announced(&bell.sleeping).is_some() {
            bell.wake();
            let _ = bell.sleeping.swap(0, Ordering::Relaxed);
        }
    };
    check_two_ringers(Algorithm { ring, ..SHIPPED });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_ringer_that_clears_before_it_wakes_is_caught_when_killed() {
    check_killed_ringer(SHIPPED, |bell| {
        fence(Ordering::SeqCst);
        bell.sleeping.swap(0, Ordering::AcqRel);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_subscriber_without_its_fence_is_caught() {
    check_credits(|waiting| waiting.load(Ordering::Relaxed) != 0);
}
