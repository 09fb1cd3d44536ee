//! How long a wait may spin before it sleeps.
//!
//! Main type: [`Spin`]. It decides; who waits, looks and keeps the time, or lets [`spin_for`] do it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

thread_local! {
    static OWN: RefCell<Spin> = RefCell::default();
}

/// Looks for as long as it pays on this thread whether what is waited for has come. Between two looks
/// it does nothing.
pub fn spin_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let budget = OWN.with_borrow_mut(Spin::next_budget);
    if budget.is_zero() {
        return None;
    }
    let end = Instant::now() + budget;
    loop {
        let found = look();
        let is_over = found.is_some() || Instant::now() >= end;
        if is_over {
            OWN.with_borrow_mut(|spin| spin.record(budget, found.is_some()));
            return found;
        }
        for _ in 0..16 {
            std::hint::spin_loop();
        }
    }
}

/// Decides how long a wait spins before it sleeps.
///
/// Waking a halted core costs tens of microseconds, so a spin that is answered pays; one that is
/// not burns the core that the answer may need. The budget is kept on a hit and halved on a miss.
/// Below 6 µs it is zero; from there one wait in 16, and after each further miss in twice as many
/// up to 2,048, tries again.
#[derive(Debug)]
pub struct Spin {
    budget: Duration,
    waits: u32,
    probe_every: u32,
}

impl Default for Spin {
    fn default() -> Self {
        Self { budget: Self::BUDGET, waits: 0, probe_every: Self::FIRST_PROBE }
    }
}

impl Spin {
    /// How long a wait spins at most.
    pub const BUDGET: Duration = Duration::from_micros(50);
    const LEAST: Duration = Duration::from_micros(6);
    const FIRST_PROBE: u32 = 16;
    const LAST_PROBE: u32 = 2_048;

    /// How long the next wait may spin; zero if it should not.
    pub fn next_budget(&mut self) -> Duration {
        if !self.budget.is_zero() {
            return self.budget;
        }
        self.waits += 1;
        if self.waits < self.probe_every {
            return Duration::ZERO;
        }
        self.waits = 0;
        Self::BUDGET
    }

    /// Takes note of a wait that could spin for `spun`: whether what it waited for came in that time.
    pub fn record(&mut self, spun: Duration, hit: bool) {
        if hit {
            *self = Self::default();
        } else if !self.budget.is_zero() {
            let half = spun / 2;
            self.budget = if half < Self::LEAST { Duration::ZERO } else { half };
        } else if !spun.is_zero() {
            self.probe_every = (self.probe_every * 2).min(Self::LAST_PROBE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spin_gives_up_after_misses_and_probes_ever_more_rarely() {
        let mut spin = Spin::default();
        let mut budgets = Vec::new();
        for _ in 0..5 {
            let budget = spin.next_budget();
            budgets.push(budget.as_micros());
            spin.record(budget, false);
        }
        assert_eq!(budgets, [50, 25, 12, 6, 0]);
        let mut probes = Vec::new();
        for wait in 5_u32..10_000 {
            let budget = spin.next_budget();
            if !budget.is_zero() {
                probes.push(wait);
            }
            spin.record(budget, false);
        }
        let gaps: Vec<_> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps[..7], [32, 64, 128, 256, 512, 1024, 2048]);
        assert!(gaps[7..].iter().all(|gap| *gap == 2048));
        spin.record(Spin::BUDGET, true);
        assert_eq!(spin.next_budget(), Spin::BUDGET);
    }

    #[test]
    fn what_comes_within_the_budget_is_found_and_what_never_comes_ends_the_look() {
        let mut looks = 0;
        let found = spin_for(|| {
            looks += 1;
            (looks == 3).then_some("it came")
        });
        assert_eq!((found, looks), (Some("it came"), 3));
        assert_eq!(spin_for(|| None::<()>), None);
    }
}
