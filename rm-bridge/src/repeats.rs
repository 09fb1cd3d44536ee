//! Tells what has come before, from a node that was started again.
//!
//! Main type: [`Repeats`]. It relies on what a node makes of one item being the same when it makes it a
//! second time, at least in number.
//!
//! A node acknowledges an item when everything that was made of it is sent, before it takes the next one.
//! So what it makes again is of the one item in work at its death, which is the one of which the last
//! thing came, or one after it: to know the last origin is enough.

use rm_core::Origin;

/// What has come by one channel so far, by its origins.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    last: Option<Origin>,
}

impl Repeats {
    /// Set in a memo where there is an origin: no index has as many bits.
    const IS_SOME: u64 = 1 << 63;

    /// Goes on after another reader of the same channel, who has left this memo.
    pub(crate) fn after(memo: [u64; 2]) -> Self {
        let [sequence, rest] = memo;
        let origin = Origin { input: (rest >> 32) as u16, sequence, index: rest as u32 };
        Self { last: (rest & Self::IS_SOME != 0).then_some(origin) }
    }

    /// What the next reader has to know.
    pub(crate) fn memo(&self) -> [u64; 2] {
        self.last.map_or([0; 2], |last| {
            [last.sequence, Self::IS_SOME | u64::from(last.input) << 32 | u64::from(last.index)]
        })
    }

    /// Whether an item of this origin has come before; notes it if not.
    pub(crate) fn has_come(&mut self, origin: Option<Origin>) -> bool {
        let Some(origin) = origin else { return false };
        let has_come = self.last.is_some_and(|last| {
            last.input == origin.input
                && (origin.sequence, origin.index) <= (last.sequence, last.index)
        });
        if !has_come {
            self.last = Some(origin);
        }
        has_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(repeats: &mut Repeats, origins: &[(u16, u64, u32)]) -> Vec<bool> {
        let origin = |&(input, sequence, index)| Some(Origin { input, sequence, index });
        origins.iter().map(|place| repeats.has_come(origin(place))).collect()
    }

    #[test]
    fn what_is_not_beyond_the_last_has_come_before() {
        let mut repeats = Repeats::default();
        assert_eq!(come(&mut repeats, &[(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]), [false; 4]);
        assert_eq!(come(&mut repeats, &[(0, 1, 0), (0, 1, 1)]), [true; 2]);
        assert_eq!(come(&mut repeats, &[(0, 1, 2), (1, 0, 0), (0, u64::MAX, 0)]), [false; 3]);
        assert!(!repeats.has_come(None));
    }

    #[test]
    fn a_successor_goes_on_where_its_predecessor_ended() {
        let mut first = Repeats::default();
        assert_eq!(Repeats::after(first.memo()).last, None);
        come(&mut first, &[(u16::MAX, u64::MAX, u32::MAX)]);
        let mut second = Repeats::after(first.memo());
        assert_eq!(second.last, first.last);
        assert_eq!(come(&mut second, &[(u16::MAX, u64::MAX, u32::MAX)]), [true]);
    }
}
