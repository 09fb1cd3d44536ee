//! The times of a stream's samples, where items are cut anew.
//!
//! Main type: [`Stamps`]. An item that begins within an input, or was held back, carries the time of
//! its own first frame and what else the header of that input says.

use std::collections::VecDeque;
use std::time::Duration;

use rm_core::DataHeader;

/// Most headers that are held: tiny inputs must not take more memory than the frames held back.
const MAX_INPUTS: usize = 65_536;

/// Headers of the inputs that frames came from.
#[derive(Default)]
pub(crate) struct Stamps {
    /// The number of an input's first frame, and its header.
    inputs: VecDeque<(u64, DataHeader)>,
}

impl Stamps {
    /// Notes that the input of `header` begins with this frame of the stream. Where too many are noted,
    /// its frames have the times that follow from the last one.
    pub(crate) fn note(&mut self, frame: u64, header: &DataHeader) {
        // An input without frames gives its place to the next one.
        if self.inputs.back().is_some_and(|(last, _)| *last == frame) {
            self.inputs.pop_back();
        }
        if self.inputs.len() < MAX_INPUTS {
            self.inputs.push_back((frame, header.clone()));
        }
    }

    /// The header for an item that begins with a frame, at so many frames a second. `None` where no
    /// input is known that holds it.
    pub(crate) fn at(&self, frame: u64, sample_rate: u32) -> Option<DataHeader> {
        let index = self.inputs.partition_point(|(first, _)| *first <= frame).checked_sub(1)?;
        let (first, header) = &self.inputs[index];
        let nanos = u128::from(frame - first) * 1_000_000_000 / u128::from(sample_rate.max(1));
        let mut header = header.clone();
        header.timestamp += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(header)
    }

    /// Forgets inputs of which only frames before this one are held.
    pub(crate) fn forget_before(&mut self, frame: u64) {
        while self.inputs.get(1).is_some_and(|(first, _)| *first <= frame) {
            self.inputs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rm_core::{DataMetadata, RuntimeData};
    use std::time::SystemTime;

    #[test]
    fn an_item_has_the_time_of_its_first_frame() {
        let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let header = |ms: u64| {
            let item = RuntimeData::new(DataMetadata::Json, "1").unwrap();
            item.with_timestamp(begin + Duration::from_millis(ms)).into_parts().0
        };
        let mut stamps = Stamps::default();
        assert!(stamps.at(0, 1_000).is_none());
        stamps.note(0, &header(0));
        stamps.note(100, &header(70));
        stamps.note(100, &header(200));
        let at = |stamps: &Stamps, frame| {
            stamps.at(frame, 1_000).unwrap().timestamp.duration_since(begin).unwrap().as_millis()
        };
        assert_eq!((at(&stamps, 0), at(&stamps, 99), at(&stamps, 130)), (0, 99, 230));
        stamps.forget_before(99);
        assert_eq!(at(&stamps, 50), 50);
        stamps.forget_before(100);
        assert!(stamps.at(50, 1_000).is_none());
        assert_eq!(at(&stamps, 100), 200);
    }

    #[test]
    fn where_too_many_inputs_are_noted_times_follow_from_the_last_one() {
        let header = |ms: u64| {
            let item = RuntimeData::new(DataMetadata::Json, "1").unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
            item.with_timestamp(time).into_parts().0
        };
        let mut stamps = Stamps::default();
        let most = MAX_INPUTS as u64;
        for frame in 0..2 * most {
            stamps.note(frame, &header(2 * frame));
        }
        assert_eq!(stamps.inputs.len(), MAX_INPUTS);
        let at = |stamps: &Stamps, frame| stamps.at(frame, 1_000).unwrap().timestamp;
        assert_eq!(at(&stamps, most - 1), header(2 * (most - 1)).timestamp);
        assert_eq!(at(&stamps, most + 9), header(2 * (most - 1) + 10).timestamp);
        stamps.forget_before(most);
        stamps.note(2 * most, &header(7));
        assert_eq!(at(&stamps, 2 * most), header(7).timestamp);
    }
}
