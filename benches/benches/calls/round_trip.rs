//! Round trips of one small message, in turn for all sides, so that noise hits them alike.
//!
//! Main type: [`Side`]. What is compared with what is decided in `main`.

use std::time::Duration;

use anyhow::Result;
use benches::{Times, median};

/// Batches that each side makes, and calls in each.
const ROUNDS: usize = 40;
const BATCH: u32 = 200;
/// Calls before each batch that are not counted: the side before has left nothing warm.
const WARM: u32 = 20;

type Batch<'a> = Box<dyn FnMut(u32) -> Result<Vec<Duration>> + 'a>;

/// One way to send a message there and back.
pub struct Side<'a> {
    name: &'static str,
    batch: Batch<'a>,
    times: Times,
    /// The median of each batch, in microseconds.
    rounds: Vec<f64>,
}

impl<'a> Side<'a> {
    /// A side of which `batch` makes as many round trips as it is told, and gives what each took.
    pub fn new(
        name: &'static str,
        batch: impl FnMut(u32) -> Result<Vec<Duration>> + 'a,
    ) -> Result<Self> {
        Ok(Self { name, batch: Box::new(batch), times: Times::new()?, rounds: Vec::new() })
    }

    fn measure(&mut self) -> Result<()> {
        (self.batch)(WARM)?;
        let times = (self.batch)(BATCH)?;
        self.rounds.push(median(times.iter().map(|time| time.as_secs_f64() * 1e6)));
        times.into_iter().try_for_each(|time| self.times.add(time))
    }

    /// How many times as long it takes as `other`, in the middle of all rounds.
    fn to(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(own, other)| own / other))
    }
}

/// Measures all sides in turn.
pub fn measure(sides: &mut [Side<'_>]) -> Result<()> {
    for _ in 0..ROUNDS {
        sides.iter_mut().try_for_each(Side::measure)?;
    }
    Ok(())
}

/// One line for each side, with its relation to the first one. Gives the relations.
pub fn print(title: &str, sides: &[Side<'_>]) -> Vec<(&'static str, f64)> {
    println!("\n{title:<46} {:>10} {:>10} {:>8}", "median us", "p99 us", "ratio");
    let relation = |side: &Side<'_>| {
        let ratio = side.to(&sides[0]);
        let (median, p99) = (side.times.median_us(), side.times.p99_us());
        println!("{:<46} {median:>10.1} {p99:>10.1} {ratio:>7.2}x", side.name);
        (side.name, ratio)
    };
    sides.iter().map(relation).collect()
}
