//! Frames per second as an exact fraction, and the times of frames at such a rate.
//!
//! Main types: [`Rate`], and [`Pace`] for sources.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use rm_core::Produced;
use serde_json::Value;

/// Frames per second. Film and video for NTSC run at multiples of 1000/1001.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    numerator: u32,
    denominator: u32,
}

impl Rate {
    /// `None` below one frame in 1000 seconds and above 1000 frames a second.
    pub(crate) fn new(numerator: u32, denominator: u32) -> Option<Self> {
        let (frames, seconds) = (u64::from(numerator), u64::from(denominator));
        let known = frames > 0 && seconds > 0;
        let within = frames * 1_000 >= seconds && frames <= seconds * 1_000;
        (known && within).then_some(Self { numerator, denominator })
    }

    /// The exact rate that a rounded one stands for: 29.97 is 30000/1001.
    pub(crate) fn of(fps: f64) -> Option<Self> {
        if !(0.001..=1_000.0).contains(&fps) {
            return None;
        }
        for whole in [24, 30, 48, 60, 120] {
            if (fps - f64::from(whole) / 1.001).abs() < 0.005 {
                return Self::new(whole * 1_000, 1_001);
            }
        }
        let thousandths = (fps * 1_000.0).round() as u32;
        match thousandths % 1_000 {
            0 => Self::new(thousandths / 1_000, 1),
            _ => Self::new(thousandths, 1_000),
        }
    }

    /// A rate as a parameter gives it: a number, or a fraction as `"30000/1001"`.
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        let Value::String(text) = value else { return Self::of(value.as_f64()?) };
        match text.split_once('/') {
            Some((numerator, denominator)) => {
                Self::new(numerator.trim().parse().ok()?, denominator.trim().parse().ok()?)
            }
            None => Self::of(text.trim().parse().ok()?),
        }
    }

    pub(crate) fn numerator(self) -> u32 {
        self.numerator
    }

    pub(crate) fn denominator(self) -> u32 {
        self.denominator
    }

    pub(crate) fn fps(self) -> f32 {
        (f64::from(self.numerator) / f64::from(self.denominator)) as f32
    }

    /// The time of a frame counted from 0, rounded down to nanoseconds; it does not drift.
    pub(crate) fn time_of(self, frame: u64) -> Duration {
        let nanos = u128::from(frame) * u128::from(self.denominator) * 1_000_000_000
            / u128::from(self.numerator);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The first frame that is not before a time.
    pub(crate) fn frame_at(self, time: Duration) -> u64 {
        let frames = time.as_nanos() * u128::from(self.numerator);
        let frame = frames.div_ceil(u128::from(self.denominator) * 1_000_000_000);
        u64::try_from(frame).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => self.numerator.fmt(f),
            denominator => write!(f, "{}/{denominator}", self.numerator),
        }
    }
}

/// The times of the frames of a source: the first is now, each later one exactly so many periods after
/// it.
pub(crate) struct Pace {
    rate: Rate,
    realtime: bool,
    begin: Option<(SystemTime, Instant)>,
    frames: u64,
}

impl Pace {
    /// With `realtime` frames are given when their time has come.
    pub(crate) fn new(rate: Rate, realtime: bool) -> Self {
        Self { rate, realtime, begin: None, frames: 0 }
    }

    /// How many frames have been given.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// The time of the next frame, which counts as given.
    pub(crate) fn stamp(&mut self) -> SystemTime {
        let (begin, _) = *self.begin.get_or_insert_with(|| (SystemTime::now(), Instant::now()));
        let stamp = begin.checked_add(self.rate.time_of(self.frames)).unwrap_or(begin);
        self.frames += 1;
        stamp
    }

    /// When the frame after the last one is due.
    pub(crate) fn next(&self) -> Produced {
        match self.begin {
            Some((_, begin)) if self.realtime => begin
                .checked_add(self.rate.time_of(self.frames))
                .map_or(Produced::More, Produced::At),
            _ => Produced::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rate_is_read_from_numbers_and_fractions() {
        let check = |value: Value, expected: Option<(u32, u32)>| {
            let found = Rate::parse(&value).map(|rate| (rate.numerator, rate.denominator));
            assert_eq!(found, expected, "{value}");
        };
        check(json!(25), Some((25, 1)));
        check(json!(29.97), Some((30_000, 1_001)));
        check(json!(23.976), Some((24_000, 1_001)));
        check(json!(12.5), Some((12_500, 1_000)));
        check(json!("30000/1001"), Some((30_000, 1_001)));
        check(json!("59.94"), Some((60_000, 1_001)));
        for wrong in [json!(0), json!(-1), json!("1/0"), json!("x"), json!(1e9), json!(null)] {
            check(wrong, None);
        }
        assert_eq!(
            Rate::of(f64::from(Rate::new(30_000, 1_001).unwrap().fps())),
            Rate::new(30_000, 1_001)
        );
    }

    #[test]
    fn times_do_not_drift() {
        let rate = Rate::new(30_000, 1_001).unwrap();
        assert_eq!(rate.time_of(30_000 * 100_000), Duration::from_secs(1_001 * 100_000));
        for frame in [0, 1, 7, 1_000_003] {
            let time = rate.time_of(frame);
            assert_eq!(rate.time_of(rate.frame_at(time)), time);
            assert_eq!(rate.frame_at(time + Duration::from_nanos(2)), frame + 1);
        }
    }
}
