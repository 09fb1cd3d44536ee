//! Where the frames of a stream lie in it.
//!
//! Main type: [`Frames`]. It only counts.

/// A grid of frames of whole milliseconds, from the start of the stream on.
///
/// A frame has the samples whose times lie within it, so where its length is no whole number of
/// samples some frames have one sample more than others, and the grid does not drift.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    frame_ms: u64,
    sample_rate: u64,
}

impl Frames {
    pub(super) fn new(frame_ms: u32, sample_rate: u32) -> Self {
        Self { frame_ms: u64::from(frame_ms), sample_rate: u64::from(sample_rate) }
    }

    /// The number of a frame's first sample.
    pub(super) fn first_sample(self, frame: u64) -> u64 {
        (frame * self.frame_ms * self.sample_rate).div_ceil(1_000)
    }

    /// The number of samples in a frame.
    pub(super) fn len(self, frame: u64) -> usize {
        let len = self.first_sample(frame + 1) - self.first_sample(frame);
        usize::try_from(len).expect("a frame of at most a second fits in memory")
    }

    /// When a frame begins, or the stream of `taken` samples ends if that is before.
    pub(super) fn ms(self, frame: u64, taken: u64) -> f64 {
        if self.first_sample(frame) > taken {
            return taken as f64 * 1_000.0 / self.sample_rate as f64;
        }
        (frame * self.frame_ms) as f64
    }

    /// The same in samples.
    pub(super) fn sample(self, frame: u64, taken: u64) -> u64 {
        self.first_sample(frame).min(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_the_samples_whose_times_lie_within_it() {
        for (frame_ms, rate) in [(30, 16_000), (25, 11_025), (1, 44_100), (7, 22_050), (1, 1_000)] {
            let frames = Frames::new(frame_ms, rate);
            let mut sample = 0_u64;
            for frame in 0..500_u64 {
                assert_eq!(frames.first_sample(frame), sample);
                let end_ms = (frame + 1) * u64::from(frame_ms);
                while sample * 1_000 < end_ms * u64::from(rate) {
                    sample += 1;
                }
                assert_eq!(frames.len(frame) as u64, sample - frames.first_sample(frame));
            }
        }
    }

    #[test]
    fn a_stream_may_end_within_a_frame() {
        let frames = Frames::new(30, 8_000);
        assert_eq!((frames.ms(2, 480), frames.sample(2, 480)), (60.0, 480));
        assert_eq!((frames.ms(2, 400), frames.sample(2, 400)), (50.0, 400));
    }
}
