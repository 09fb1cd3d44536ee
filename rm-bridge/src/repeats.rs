//! Tells what has come before, from a node that was started again.
//!
//! Main type: [`Repeats`]. It relies on what a node makes of one item being the same when it makes it a
//! second time, at least in number.

use rm_core::Origin;

/// What has come by one channel so far, by its origins.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// For each input of the sender the last origin; few, and mostly one.
    last: Vec<Origin>,
}

impl Repeats {
    /// Whether an item of this origin has come before; notes it if not.
    pub(crate) fn has_come(&mut self, origin: Option<Origin>) -> bool {
        let Some(origin) = origin else { return false };
        let Some(last) = self.last.iter_mut().find(|last| last.input == origin.input) else {
            self.last.push(origin);
            return false;
        };
        let is_newer = (origin.sequence, origin.index) > (last.sequence, last.index);
        if is_newer {
            *last = origin;
        }
        !is_newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_beyond_the_last_of_its_input_has_come_before() {
        let mut repeats = Repeats::default();
        let origin = |input, sequence, index| Some(Origin { input, sequence, index });
        let mut come = |origins: &[(u16, u64, u32)]| -> Vec<bool> {
            origins.iter().map(|(i, s, n)| repeats.has_come(origin(*i, *s, *n))).collect()
        };
        assert_eq!(come(&[(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]), [false; 4]);
        assert_eq!(come(&[(0, 0, 0), (0, 1, 0), (1, 0, 0)]), [true; 3]);
        assert_eq!(come(&[(0, 1, 1), (1, 5, 2), (0, u64::MAX, 0)]), [false; 3]);
        assert!(!repeats.has_come(None));
    }
}
