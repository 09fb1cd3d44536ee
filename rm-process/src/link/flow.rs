//! Credits: how much of a stream may be on its way to a consumer that has not taken it yet.
//!
//! Main types: [`Outflow`] and [`Connection`] at the sender, [`Inflow`] at the receiver. They count
//! bytes and decide; they send nothing and wait for nothing.
//!
//! A stream may have a window of its own unconsumed, and all streams of a connection together may
//! have another. A stream of which nothing is unconsumed may always send one item: so a slow consumer
//! that uses up the connection's window makes others wait for one round trip an item, and never
//! stops them.

/// What an item costs at least, so that empty ones are not without number.
const MIN_COST: u64 = 256;

/// What an item of `len` bytes costs.
pub(crate) fn cost(len: u64) -> u64 {
    len.max(MIN_COST)
}

/// Bytes of all streams that a sender may have unconsumed at the receiver.
#[derive(Debug)]
pub(crate) struct Connection {
    limit: u64,
    unconsumed: u64,
}

impl Connection {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, unconsumed: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.unconsumed >= self.limit
    }
}

/// Bytes of one stream that its sender may have unconsumed at the receiver.
#[derive(Debug)]
pub(crate) struct Outflow {
    limit: u64,
    unconsumed: u64,
}

impl Outflow {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, unconsumed: 0 }
    }

    /// Whether the next item may be sent.
    pub(crate) fn may_send(&self, connection: &Connection) -> bool {
        self.unconsumed == 0 || (self.has_room() && !connection.is_full())
    }

    /// Whether its own window is not used up.
    pub(crate) fn has_room(&self) -> bool {
        self.unconsumed < self.limit
    }

    pub(crate) fn sent(&mut self, cost: u64, connection: &mut Connection) {
        self.unconsumed = self.unconsumed.saturating_add(cost);
        connection.unconsumed = connection.unconsumed.saturating_add(cost);
    }

    /// Takes credit back. A peer that gives more than was sent has lost count; `None` then.
    pub(crate) fn consumed(&mut self, bytes: u64, connection: &mut Connection) -> Option<()> {
        self.unconsumed = self.unconsumed.checked_sub(bytes)?;
        connection.unconsumed -= bytes;
        Some(())
    }

    #[cfg(test)]
    pub(crate) fn has_unconsumed(&self, bytes: u64) -> bool {
        self.unconsumed >= bytes
    }

    /// The stream is over.
    pub(crate) fn close(&self, connection: &mut Connection) {
        connection.unconsumed -= self.unconsumed;
    }
}

/// What one stream has unconsumed at its receiver, and when to tell of what was consumed.
#[derive(Debug)]
pub(crate) struct Inflow {
    limit: u64,
    unconsumed: u64,
    /// Consumed, and not told yet.
    untold: u64,
    /// Whether the sender waits, so that everything is to be told at once.
    is_awaited: bool,
}

impl Inflow {
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, unconsumed: 0, untold: 0, is_awaited: false }
    }

    /// Counts an item that has come; false for one that the sender had no credit for.
    #[must_use]
    pub(crate) fn arrived(&mut self, cost: u64) -> bool {
        let had_credit = self.unconsumed < self.limit;
        self.unconsumed = self.unconsumed.saturating_add(cost);
        had_credit
    }

    /// Counts an item that was consumed. Gives what is to be told: not each item, but half of the
    /// window at a time, so that the sender never waits for what is held back here.
    pub(crate) fn consumed(&mut self, cost: u64) -> Option<u64> {
        self.unconsumed -= cost;
        self.untold += cost;
        if self.is_awaited || self.untold >= self.limit.div_ceil(2) { self.tell() } else { None }
    }

    /// The sender waits. Gives what is to be told.
    pub(crate) fn blocked(&mut self) -> Option<u64> {
        self.is_awaited = true;
        self.tell()
    }

    /// Gives what was consumed and is not told yet.
    pub(crate) fn tell(&mut self) -> Option<u64> {
        let told = std::mem::take(&mut self.untold);
        if told == 0 {
            return None;
        }
        self.is_awaited = false;
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Act {
        Send { stream: usize, len: u64 },
        Consume { stream: usize },
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..4_usize, 0..3000_u64).prop_map(|(stream, len)| Act::Send { stream, len }),
            (0..4_usize).prop_map(|stream| Act::Consume { stream }),
        ]
    }

    /// One stream as both ends see it, with the items between them.
    struct Stream {
        out: Outflow,
        inflow: Inflow,
        queue: std::collections::VecDeque<u64>,
    }

    impl Stream {
        fn told(&mut self, credit: Option<u64>, connection: &mut Connection) {
            if let Some(bytes) = credit {
                self.out.consumed(bytes, connection).expect("no more is told than was sent");
            }
        }
    }

    proptest! {
        #[test]
        fn memory_stays_in_bounds_and_no_stream_waits_for_another(
            acts in prop::collection::vec(act(), 1..400),
            window in 1..4096_u64,
            all in 1..8192_u64,
        ) {
            let mut connection = Connection::new(all);
            let stream = || Stream {
                out: Outflow::new(window),
                inflow: Inflow::new(window),
                queue: std::collections::VecDeque::new(),
            };
            let mut streams = [stream(), stream(), stream(), stream()];
            for act in acts {
                match act {
                    Act::Send { stream, len } => {
                        let stream = &mut streams[stream];
                        if !stream.out.may_send(&connection) {
                            let credit = stream.inflow.blocked();
                            stream.told(credit, &mut connection);
                        }
                        if stream.out.may_send(&connection) {
                            let cost = cost(len);
                            stream.out.sent(cost, &mut connection);
                            prop_assert!(stream.inflow.arrived(cost));
                            stream.queue.push_back(cost);
                        } else {
                            // Only what the consumer has not taken makes a sender wait.
                            prop_assert!(!stream.queue.is_empty());
                        }
                    }
                    Act::Consume { stream } => {
                        let stream = &mut streams[stream];
                        if let Some(cost) = stream.queue.pop_front() {
                            let credit = stream.inflow.consumed(cost);
                            stream.told(credit, &mut connection);
                        }
                    }
                }
                for stream in &streams {
                    prop_assert!(stream.queue.iter().sum::<u64>() < window + cost(3000));
                }
                // Beyond the windows lies one item of each stream at most.
                let queued: u64 = streams.iter().flat_map(|stream| &stream.queue).sum();
                prop_assert!(queued < all + 4 * cost(3000));
            }
        }
    }

    #[test]
    fn a_sender_without_credit_is_found_out() {
        let mut inflow = Inflow::new(1000);
        assert!(inflow.arrived(5000));
        assert!(!inflow.arrived(1));
        let (mut out, mut connection) = (Outflow::new(1000), Connection::new(1000));
        out.sent(500, &mut connection);
        assert!(out.consumed(501, &mut connection).is_none());
    }
}
