//! Something that threads have one after another, each waiting no longer than it wants to.
//!
//! Main type: [`Turn`], a mutex whose lock can be waited for until a time. It is made for long holds:
//! who has it may be asleep.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::namespace::lock;

pub(crate) struct Turn<T> {
    /// Out while somebody has it.
    value: Mutex<Option<T>>,
    is_back: Condvar,
}

/// One's turn. Dropping it ends it.
pub(crate) struct Held<'a, T> {
    value: Option<T>,
    turn: &'a Turn<T>,
}

const HELD: &str = "is given back only on drop";

impl<T> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(Some(value)), is_back: Condvar::new() }
    }

    /// Waits for one's turn; `None` if `deadline` comes first.
    pub(crate) fn take(&self, deadline: Option<Instant>) -> Option<Held<'_, T>> {
        let mut value = lock(&self.value);
        loop {
            if let Some(value) = value.take() {
                return Some(Held { value: Some(value), turn: self });
            }
            value = match deadline {
                None => self.is_back.wait(value).unwrap_or_else(|poisoned| poisoned.into_inner()),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.is_back.wait_timeout(value, left);
                    waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0
                }
            };
        }
    }

    /// The value, of which nobody else can have a turn now.
    #[cfg(feature = "tokio")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        let value = self.value.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        value.as_mut().expect("nobody else has a reference")
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(HELD)
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        *lock(&self.turn.value) = self.value.take();
        self.turn.is_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_does_not_get_its_turn_in_time_goes_without() {
        let turn = Turn::new(1);
        let mut held = turn.take(None).unwrap();
        let deadline = Instant::now() + Duration::from_millis(2);
        assert!(turn.take(Some(deadline)).is_none());
        assert!(Instant::now() >= deadline);
        *held += 1;
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| *turn.take(None).unwrap());
            drop(held);
            assert_eq!(waits.join().unwrap(), 2);
        });
    }
}
