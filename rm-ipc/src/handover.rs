//! The handover between one who goes to sleep and those who wake him, over one shared word.
//!
//! Main functions: [`wait`] and [`ring`], and what they are made of, [`announce`], [`retract`],
//! [`announced`] and [`answered`]. The word is zero while its owner is awake, and else the round,
//! an odd number that the owner changes each time. How to sleep and how to wake is the caller's;
//! `tests/loom.rs` checks this very file with every order in which threads can meet here.
//!
//! # Why no wake-up is lost
//! The ringer makes its work visible, then passes a full fence, then reads the word. The sleeper
//! sets the word, then passes a full fence, then checks for work. In any order of the two fences
//! at least one sees the other: either the sleeper finds the work, or the ringer finds the word.
//!
//! A ringer clears the word, so that the next one saves the system call, only after it has woken
//! the sleeper: were it killed between the two, nobody would ring again. Meanwhile the sleeper may
//! be in its next round, so the word is cleared only if it still shows the round that was rung.
//!
//! The word is only ever changed by read-modify-write operations. Plain stores would do for its
//! owner, but loom takes a store for one that may come between the read and the write of another's
//! exchange, and the difference is nothing beside a sleep.

use crate::sync::{AtomicU32, Ordering, fence};

/// Says that the owner of `word` is about to sleep; it has to check for work after this. `round`
/// is the owner's own, and zero at first.
pub(crate) fn announce(word: &AtomicU32, round: &mut u32) {
    *round = round.wrapping_add(2) | 1;
    let _ = word.swap(*round, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// Says that the owner of `word` is awake.
pub(crate) fn retract(word: &AtomicU32) {
    let _ = word.swap(0, Ordering::Relaxed);
}

/// The round in which the owner of `word` sleeps or is about to. What it is to find has to be
/// visible before this call.
pub(crate) fn announced(word: &AtomicU32) -> Option<u32> {
    fence(Ordering::SeqCst);
    match word.load(Ordering::Relaxed) {
        0 => None,
        round => Some(round),
    }
}

/// Says that the owner of `word` has been woken from `round`.
pub(crate) fn answered(word: &AtomicU32, round: u32) {
    // If it fails, then the owner is awake already, sleeps again, or was woken by another.
    let _ = word.compare_exchange(round, 0, Ordering::Relaxed, Ordering::Relaxed);
}

/// Waits until `ready` says so; `false` if `sleep` did not sleep, because its time was up.
///
/// `sleep` has to end, or not begin, once this sleep's waker has been called; it may end earlier.
pub(crate) fn wait(
    word: &AtomicU32,
    round: &mut u32,
    mut ready: impl FnMut() -> bool,
    mut sleep: impl FnMut() -> bool,
) -> bool {
    loop {
        announce(word, round);
        let done = ready();
        if done || !sleep() {
            retract(word);
            return done;
        }
    }
}

/// Calls `wake` if the owner of `word` sleeps or is about to.
pub(crate) fn ring(word: &AtomicU32, wake: impl FnOnce()) {
    if let Some(round) = announced(word) {
        wake();
        answered(word, round);
    }
}
