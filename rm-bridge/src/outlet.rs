//! The queue by which items leave a pipeline.
//!
//! Main types: [`Outlet`], into which stages put items from their threads, and [`Outputs`], from which
//! the session's caller takes them. A full queue holds the stages up; nothing is lost. When a session
//! ends early its queue takes all that is still complete.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rm_core::NodeId;
use rm_core::RuntimeData;
use tokio::sync::Notify;

/// An item that has left the pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The node that made it.
    pub node: NodeId,
    /// The item.
    pub data: RuntimeData,
}

/// Nobody takes items any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes the items of the pipeline any more")]
pub struct OutletClosed;

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Output>,
    limit: usize,
    senders: usize,
    /// Items of an older epoch are dropped.
    epoch: u32,
    flushed: u64,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    room: Condvar,
    arrival: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inner end. Dropping the last clone ends the stream.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
}

/// The outer end.
#[derive(Debug)]
pub struct Outputs {
    shared: Arc<Shared>,
}

/// A queue of at most `depth` items.
pub fn outlet(depth: usize) -> (Outlet, Outputs) {
    let queue = Queue { limit: depth.max(1), senders: 1, ..Queue::default() };
    let shared =
        Arc::new(Shared { queue: Mutex::new(queue), room: Condvar::new(), arrival: Notify::new() });
    (Outlet { shared: Arc::clone(&shared) }, Outputs { shared })
}

impl Outlet {
    /// Puts an item into the queue; blocks the thread while that is full.
    ///
    /// # Errors
    /// [`OutletClosed`] if nobody takes items any more; the item is dropped.
    pub fn send(&self, output: Output) -> Result<(), OutletClosed> {
        let mut queue = self.shared.lock();
        while queue.items.len() >= queue.limit && !queue.closed {
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed {
            return Err(OutletClosed);
        }
        if output.data.header().epoch < queue.epoch {
            queue.flushed += 1;
            return Ok(());
        }
        queue.items.push_back(output);
        drop(queue);
        self.shared.arrival.notify_one();
        Ok(())
    }
}

impl Clone for Outlet {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.senders -= 1;
        if queue.senders == 0 {
            drop(queue);
            self.shared.arrival.notify_one();
        }
    }
}

impl Outputs {
    /// The next item; `None` at the end of the stream. Nothing is lost if the future is dropped.
    pub async fn recv(&self) -> Option<Output> {
        loop {
            let arrival = self.shared.arrival.notified();
            {
                let mut queue = self.shared.lock();
                let ended = queue.senders == 0 || queue.closed;
                if let Some(output) = queue.items.pop_front() {
                    let more = !queue.items.is_empty() || ended;
                    drop(queue);
                    self.shared.room.notify_one();
                    if more {
                        // For another who waits.
                        self.shared.arrival.notify_one();
                    }
                    return Some(output);
                }
                if ended {
                    drop(queue);
                    self.shared.arrival.notify_one();
                    return None;
                }
            }
            arrival.await;
        }
    }

    /// The next item that is there.
    pub fn try_recv(&self) -> Option<Output> {
        let output = self.shared.lock().items.pop_front()?;
        self.shared.room.notify_one();
        Some(output)
    }

    /// Items that wait to be taken.
    pub fn len(&self) -> usize {
        self.shared.lock().items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items dropped because they were of an older epoch.
    pub fn flushed(&self) -> u64 {
        self.shared.lock().flushed
    }

    /// Drops items older than `epoch`, those that wait and those that come.
    pub fn flush(&self, epoch: u32) {
        let mut queue = self.shared.lock();
        queue.epoch = queue.epoch.max(epoch);
        let before = queue.items.len();
        let epoch = queue.epoch;
        queue.items.retain(|output| output.data.header().epoch >= epoch);
        queue.flushed += (before - queue.items.len()) as u64;
        drop(queue);
        self.shared.room.notify_all();
    }

    /// Takes whatever still comes, without a limit: the session ends, and nobody is to be held up.
    pub fn lift_limit(&self) {
        self.shared.lock().limit = usize::MAX;
        self.shared.room.notify_all();
    }

    /// Takes nothing more; what waits can still be taken.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.room.notify_all();
        self.shared.arrival.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str, epoch: u32) -> Output {
        let data = RuntimeData::text(text).expect("a text").with_epoch(epoch);
        Output { node: NodeId::new("node").expect("a short name"), data }
    }

    fn text(output: Option<Output>) -> Option<String> {
        Some(output?.data.as_text()?.to_owned())
    }

    #[tokio::test]
    async fn a_full_queue_holds_its_sender_up_until_it_has_room_and_loses_nothing() {
        let (outlet, outputs) = outlet(2);
        let sender = std::thread::spawn(move || {
            (0..1_000).for_each(|n| outlet.send(output(&n.to_string(), 0)).expect("it is open"));
        });
        for n in 0..1_000 {
            assert!(outputs.len() <= 2);
            let next = outputs.recv().await.expect("the sender goes on");
            assert_eq!(next.data.as_text(), Some(&*n.to_string()));
        }
        assert_eq!(outputs.recv().await, None);
        assert_eq!(outputs.recv().await, None);
        sender.join().expect("it does not panic");
    }

    #[tokio::test]
    async fn a_flush_drops_what_waits_and_what_comes_late() {
        let (outlet, outputs) = outlet(4);
        outlet.send(output("old", 0)).unwrap();
        outputs.flush(1);
        outlet.send(output("late", 0)).unwrap();
        outlet.send(output("new", 1)).unwrap();
        assert_eq!(text(outputs.recv().await).as_deref(), Some("new"));
        assert_eq!((outputs.len(), outputs.flushed()), (0, 2));
    }

    #[tokio::test]
    async fn a_closed_queue_gives_what_it_has_and_takes_nothing_more() {
        let (outlet, outputs) = outlet(1);
        outlet.send(output("kept", 0)).unwrap();
        let blocked = outlet.clone();
        let blocked = std::thread::spawn(move || blocked.send(output("refused", 0)));
        outputs.close();
        assert!(blocked.join().expect("it does not panic").is_err());
        assert_eq!(text(outputs.recv().await).as_deref(), Some("kept"));
        assert_eq!(outputs.recv().await, None);
    }

    #[tokio::test]
    async fn a_queue_without_a_limit_holds_nobody_up() {
        let (outlet, outputs) = outlet(1);
        outlet.send(output("first", 0)).unwrap();
        outputs.lift_limit();
        outlet.send(output("second", 0)).unwrap();
        assert_eq!(outputs.len(), 2);
    }
}
