//! Places in a stream that lie apart by a fixed time, exactly.
//!
//! Main type: [`Grid`]. Where the time is no whole number of frames, places are rounded down one by
//! one, so the distances alternate and nothing drifts: 10 ms at 22050 Hz are 220 and 221 frames in
//! turn.

/// Places that lie `frames / parts` frames apart, beginning with 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Grid {
    frames: u64,
    parts: u64,
}

impl Grid {
    /// Places so many microseconds apart.
    pub(super) fn every_us(us: u64, sample_rate: u32) -> Self {
        Self { frames: us * u64::from(sample_rate), parts: 1_000_000 }
    }

    /// Places so many milliseconds apart.
    pub(super) fn every_ms(ms: u32, sample_rate: u32) -> Self {
        Self::every_us(u64::from(ms) * 1000, sample_rate)
    }

    /// Places so many frames apart.
    pub(super) fn every_frames(frames: u64) -> Self {
        Self { frames, parts: 1 }
    }

    /// The frame at which a place lies.
    pub(super) fn at(&self, index: u64) -> u64 {
        self.after(index, &Self { frames: 0, ..*self })
    }

    /// The frame that lies one step of another grid of the same kind behind a place.
    pub(super) fn after(&self, index: u64, step: &Self) -> u64 {
        debug_assert_eq!(self.parts, step.parts);
        let frames = u128::from(index) * u128::from(self.frames) + u128::from(step.frames);
        u64::try_from(frames / u128::from(self.parts)).unwrap_or(u64::MAX)
    }

    /// The first frame that is not before a place: as [`at`](Self::at), but rounded up.
    pub(super) fn at_least(&self, index: u64) -> u64 {
        self.after(index, &Self { frames: self.parts - 1, ..*self })
    }

    /// Whether every place has a frame of its own.
    pub(super) fn is_distinct(&self) -> bool {
        self.frames >= self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_alternate_and_do_not_drift() {
        let grid = Grid::every_ms(10, 22_050);
        assert_eq!([0, 1, 2, 3].map(|n| grid.at(n)), [0, 220, 441, 661]);
        assert_eq!(grid.at(360_000), 79_380_000);
        assert_eq!(grid.after(1, &Grid::every_ms(20, 22_050)), 661);
        assert_eq!([1, 2].map(|n| grid.at_least(n)), [221, 441]);
        assert_eq!([Grid::every_frames(7).at(3), Grid::every_frames(7).at_least(3)], [21, 21]);
    }

    #[test]
    fn a_step_below_one_frame_is_not_distinct() {
        assert!(Grid::every_us(1_000, 1_000).is_distinct());
        assert!(!Grid::every_us(999, 1_000).is_distinct());
    }
}
