//! Items that a node holds back, in order and within limits.
//!
//! Main type: [`Held`]. When to give them is up to the node.

use std::collections::VecDeque;

use rm_core::{NodeError, Output, ParameterKind, ParameterSpec, RuntimeData};
use serde::{Deserialize, Serialize};

/// The port on which items come out that there was no room for.
pub(super) const DROPPED: &str = "dropped";

/// What is done when there is no room for an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Overflow {
    DropOldest,
    DropNewest,
    Error,
}

/// How much may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Limits {
    max_items: usize,
    max_bytes: u64,
    overflow: Overflow,
}

impl Limits {
    /// The parameters of a node that holds items.
    pub(super) fn parameters(max_items: u64) -> [ParameterSpec; 3] {
        [
            ParameterSpec::optional(
                "max_items",
                ParameterKind::Integer,
                max_items,
                "most items that are held back",
            )
            .range(1.0, 1_000_000.0),
            ParameterSpec::optional(
                "max_bytes",
                ParameterKind::Integer,
                268_435_456,
                "most bytes of payload that are held back; one item is, however large",
            )
            .range(1.0, 1e12)
            .unit("bytes"),
            ParameterSpec::optional(
                "overflow",
                ParameterKind::String,
                "drop_oldest",
                "what is done where there is no room: the item held longest or the new one goes to \
                 the port dropped, or the node fails",
            )
            .choices(["drop_oldest", "drop_newest", "error"]),
        ]
    }

    /// Whether an item of `len` bytes may be held besides so many items of so many bytes.
    fn has_room(self, items: usize, bytes: u64, len: u64) -> bool {
        let fits = items < self.max_items && bytes.saturating_add(len) <= self.max_bytes;
        items == 0 || fits
    }

    /// The error of an item that there is no room for.
    fn exceeded(self, items: usize, bytes: u64, len: u64) -> NodeError {
        let Self { max_items, max_bytes, .. } = self;
        let message = format!(
            "{items} items of {bytes} bytes are held back, and an item of {len} bytes would be above \
             max_items ({max_items}) or max_bytes ({max_bytes})"
        );
        NodeError::Failed { message, source: None }
    }
}

/// Items held back, oldest first, each with a `T` that the node knows of it.
pub(super) struct Held<T> {
    pub(super) limits: Limits,
    items: VecDeque<(T, RuntimeData)>,
    bytes: u64,
}

impl<T> Held<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, items: VecDeque::new(), bytes: 0 }
    }

    /// Says before anything is taken out whether an item of `len` bytes would be too much, where that
    /// is an error: once the oldest items that `goes` is true of are out. A node that fails in the middle
    /// of its work loses what it has given already.
    pub(super) fn check_room(
        &self,
        len: usize,
        mut goes: impl FnMut(&T, &RuntimeData) -> bool,
    ) -> Result<(), NodeError> {
        if self.limits.overflow != Overflow::Error {
            return Ok(());
        }
        let (mut items, mut bytes) = (self.items.len(), self.bytes);
        for (_, item) in self.items.iter().take_while(|(what, item)| goes(what, item)) {
            items -= 1;
            bytes -= item.payload().len() as u64;
        }
        if self.limits.has_room(items, bytes, len as u64) {
            return Ok(());
        }
        Err(self.limits.exceeded(items, bytes, len as u64))
    }

    /// Adds one item; what there is no room for goes to the port [`DROPPED`].
    pub(super) fn push(
        &mut self,
        what: T,
        item: RuntimeData,
        output: &mut Output,
    ) -> Result<(), NodeError> {
        let len = item.payload().len() as u64;
        while !self.limits.has_room(self.items.len(), self.bytes, len) {
            match self.limits.overflow {
                Overflow::DropOldest => {
                    if let Some((_, oldest)) = self.pop() {
                        output.push_to(DROPPED, oldest);
                    }
                }
                Overflow::DropNewest => {
                    output.push_to(DROPPED, item);
                    return Ok(());
                }
                Overflow::Error => {
                    return Err(self.limits.exceeded(self.items.len(), self.bytes, len));
                }
            }
        }
        self.bytes += len;
        self.items.push_back((what, item));
        Ok(())
    }

    /// Takes out the oldest item.
    pub(super) fn pop(&mut self) -> Option<(T, RuntimeData)> {
        let (what, item) = self.items.pop_front()?;
        self.bytes -= item.payload().len() as u64;
        Some((what, item))
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What is known of the oldest item, and the item.
    pub(super) fn first(&self) -> Option<&(T, RuntimeData)> {
        self.items.front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(len: usize) -> RuntimeData {
        RuntimeData::binary(vec![0; len]).unwrap()
    }

    /// The lengths of what is held and what is dropped when items of these lengths come.
    fn check(overflow: Overflow, lens: &[usize], held: &[usize], dropped: &[usize]) {
        let mut items = Held::new(Limits { max_items: 3, max_bytes: 100, overflow });
        let mut output = Output::default();
        for len in lens {
            items.push((), item(*len), &mut output).unwrap();
        }
        let len = |item: RuntimeData| item.payload().len();
        let left: Vec<_> = std::iter::from_fn(|| items.pop()).map(|(_, item)| len(item)).collect();
        assert_eq!(left, held);
        assert_eq!(output.drain().map(len).collect::<Vec<_>>(), dropped);
        assert_eq!(items.bytes, 0);
    }

    #[test]
    fn the_oldest_or_the_newest_goes_where_there_is_no_room() {
        check(Overflow::DropOldest, &[1, 2, 3, 4], &[2, 3, 4], &[1]);
        check(Overflow::DropNewest, &[1, 2, 3, 4], &[1, 2, 3], &[4]);
        check(Overflow::DropOldest, &[50, 40, 70], &[70], &[50, 40]);
        check(Overflow::DropNewest, &[50, 70, 40], &[50, 40], &[70]);
    }

    #[test]
    fn one_item_is_held_however_large() {
        check(Overflow::DropNewest, &[500, 1], &[500], &[1]);
        check(Overflow::DropOldest, &[1, 500, 1], &[1], &[1, 500]);
    }

    #[test]
    fn no_room_can_be_an_error() {
        let limits = Limits { max_items: 1, max_bytes: 100, overflow: Overflow::Error };
        let mut held = Held::new(limits);
        let mut output = Output::default();
        held.push((), item(1), &mut output).unwrap();
        let error = held.push((), item(2), &mut output).unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 items of 1 bytes are held back, and an item of 2 bytes would be above max_items (1) \
             or max_bytes (100)"
        );
    }

    #[test]
    fn room_is_counted_without_what_goes_before() {
        let mut held =
            Held::new(Limits { max_items: 2, max_bytes: 100, overflow: Overflow::Error });
        for (number, len) in [(1, 40), (2, 60)] {
            held.push(number, item(len), &mut Output::default()).unwrap();
        }
        assert!(held.check_room(1, |_, _| false).is_err());
        held.check_room(40, |number, _| *number == 1).unwrap();
        let error = held.check_room(41, |number, _| *number == 1).unwrap_err();
        assert!(error.to_string().starts_with("1 items of 60 bytes are held back"), "{error}");
        held.check_room(500, |_, _| true).unwrap();
        assert_eq!((held.items.len(), held.bytes), (2, 100));
        held.limits.overflow = Overflow::DropNewest;
        held.check_room(1, |_, _| false).unwrap();
    }
}
