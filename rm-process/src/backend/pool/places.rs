//! The places of a pool, and which of them gets a call.
//!
//! Main types: [`Shared`], what all handles of a pool share, and [`Assigned`], a call's claim on a
//! child. Claims are made under one lock, so that of calls that come at once no two see the same child
//! as the one with the fewest.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::keeper::{self, Factory};
use super::{PoolPlace, PoolStatus};
use crate::backend::backend::SubprocessIpcBackend;
use crate::backend::error::SubprocessIpcBackendError;
use crate::backend::message::KameoChildProcessMessage;
use crate::restart::{NotRestarted, Restarts};
use crate::telemetry::metrics::DirectionMetrics;

/// What all handles of a pool share. Its drop ends the children.
pub(super) struct Shared<M> {
    pub(super) factory: Factory<M>,
    /// To how many children an idempotent call is sent at most.
    pub(super) tries: u32,
    pub(super) metrics: Arc<DirectionMetrics>,
    pub(super) retries: AtomicU64,
    table: Mutex<Table<M>>,
    /// Told whenever a place is filled or given up, and when the pool stops.
    changed: Notify,
    keepers: Mutex<JoinSet<()>>,
}

struct Table<M> {
    places: Vec<Place<M>>,
    /// Where the search for the next child begins.
    turn: usize,
    is_stopping: bool,
    /// Why the last place that was given up was, and what had failed there.
    last: Option<(NotRestarted, Arc<SubprocessIpcBackendError>)>,
}

struct Place<M> {
    child: Option<(SubprocessIpcBackend<M>, Arc<Load>)>,
    restarts: u64,
    given_up: Option<NotRestarted>,
}

/// What a child has to do for the pool.
#[derive(Debug, Default)]
pub(super) struct Load {
    calls: AtomicUsize,
    /// Whether it has told that it takes no new calls.
    is_leaving: AtomicBool,
}

impl Load {
    /// How many calls the child has. It may be more than the pool's: it works on a call that was given
    /// up until it lets go of it. A child that hangs would otherwise draw all calls whose callers lose
    /// patience.
    fn of<M: KameoChildProcessMessage>(&self, child: &SubprocessIpcBackend<M>) -> usize {
        self.calls.load(Relaxed).max(child.in_flight())
    }
}

/// A call's claim on a child, as long as the call is in flight.
#[derive(Debug)]
pub(super) struct Assigned {
    load: Arc<Load>,
}

impl Assigned {
    fn new(load: &Arc<Load>) -> Self {
        load.calls.fetch_add(1, Relaxed);
        Self { load: Arc::clone(load) }
    }

    /// The child takes no new calls any more.
    pub(super) fn leave(&self) {
        self.load.is_leaving.store(true, Relaxed);
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.load.calls.fetch_sub(1, Relaxed);
    }
}

impl<M: KameoChildProcessMessage> Place<M> {
    /// How many calls its child has; `None` where it can take none.
    fn load(&self) -> Option<usize> {
        let (child, load) = self.child.as_ref()?;
        if load.is_leaving.load(Relaxed) || !child.is_open() {
            return None;
        }
        Some(load.of(child))
    }
}

impl<M: KameoChildProcessMessage> Shared<M> {
    pub(super) fn new(factory: Factory<M>, tries: u32, size: usize) -> Self {
        let empty = || Place { child: None, restarts: 0, given_up: None };
        let places = std::iter::repeat_with(empty).take(size).collect();
        Self {
            factory,
            tries,
            metrics: Arc::default(),
            retries: AtomicU64::new(0),
            table: Mutex::new(Table { places, turn: 0, is_stopping: false, last: None }),
            changed: Notify::new(),
            keepers: Mutex::default(),
        }
    }

    /// Gives a place its first child, and looks after the place from now on.
    pub(super) fn keep(
        self: &Arc<Self>,
        index: usize,
        child: SubprocessIpcBackend<M>,
        restarts: Restarts,
    ) {
        let watch = child.watch();
        self.table().places[index].child = Some((child, Arc::default()));
        let keeper = keeper::keep(Arc::downgrade(self), index, watch, restarts);
        self.keepers().spawn(keeper);
    }

    /// Claims the child with the fewest calls; waits while there is none and one may come.
    pub(super) async fn claim(
        &self,
    ) -> Result<(SubprocessIpcBackend<M>, Assigned), SubprocessIpcBackendError> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // What changes between the look and the wait is noticed.
            changed.as_mut().enable();
            if let Some(claimed) = self.try_claim()? {
                return Ok(claimed);
            }
            changed.await;
        }
    }

    fn try_claim(
        &self,
    ) -> Result<Option<(SubprocessIpcBackend<M>, Assigned)>, SubprocessIpcBackendError> {
        let mut table = self.table();
        if table.is_stopping {
            return Err(SubprocessIpcBackendError::ShuttingDown);
        }
        let size = table.places.len();
        let in_turn = (0..size).map(|step| (table.turn + step) % size);
        let loads = in_turn.filter_map(|index| Some((table.places[index].load()?, index)));
        // The first of several least ones is given.
        let least = loads.min_by_key(|(load, _)| *load);
        if let Some((_, index)) = least
            && let Some((child, load)) = &table.places[index].child
        {
            let claimed = (child.clone(), Assigned::new(load));
            table.turn = (index + 1) % size;
            return Ok(Some(claimed));
        }
        if let Some((why, last)) = &table.last
            && table.places.iter().all(|place| place.given_up.is_some())
        {
            let (why, last) = (*why, Arc::clone(last));
            return Err(SubprocessIpcBackendError::PoolEmpty { why, last });
        }
        Ok(None)
    }

    /// Takes the child of a place out; `None` if the pool stops, so that the place is not to be filled
    /// again.
    pub(super) fn lose(&self, index: usize) -> Option<SubprocessIpcBackend<M>> {
        let mut table = self.table();
        if table.is_stopping {
            return None;
        }
        let (child, _) = table.places[index].child.take()?;
        Some(child)
    }

    /// Fills a place again, unless the pool stops, as which the child is given back.
    pub(super) fn fill(&self, index: usize, child: SubprocessIpcBackend<M>) {
        let mut table = self.table();
        if table.is_stopping {
            drop(table);
            drop(child);
            return;
        }
        let place = &mut table.places[index];
        place.restarts += 1;
        place.child = Some((child, Arc::default()));
        drop(table);
        self.changed.notify_waiters();
    }

    /// Leaves a place empty for good.
    pub(super) fn give_up(&self, index: usize, why: NotRestarted, last: SubprocessIpcBackendError) {
        let mut table = self.table();
        table.places[index].given_up = Some(why);
        table.last = Some((why, Arc::new(last)));
        drop(table);
        self.changed.notify_waiters();
    }

    /// Makes no more calls and starts no more children; gives the children that there are.
    pub(super) fn stop(&self) -> Vec<SubprocessIpcBackend<M>> {
        let mut table = self.table();
        table.is_stopping = true;
        let present = table.places.iter().filter_map(|place| place.child.as_ref());
        let children = present.map(|(child, _)| child.clone()).collect();
        drop(table);
        self.keepers().abort_all();
        self.changed.notify_waiters();
        children
    }

    /// Waits until nothing looks after the places any more.
    pub(super) async fn dismiss_keepers(&self) {
        let mut keepers = std::mem::take(&mut *self.keepers());
        keepers.shutdown().await;
    }

    pub(super) fn status(&self) -> PoolStatus {
        // Copied first, so that calls do not wait for the counting.
        let places: Vec<_> = {
            let table = self.table();
            let copied = table.places.iter().map(|place| {
                let child = place.child.as_ref();
                let child = child.map(|(child, load)| (child.clone(), Arc::clone(load)));
                (child, place.restarts, place.given_up)
            });
            copied.collect()
        };
        let places = places.into_iter().map(|(child, restarts, given_up)| {
            let child = child.as_ref();
            PoolPlace {
                process_id: child.map(|(child, _)| child.process_id()),
                in_flight: child.map_or(0, |(child, load)| load.of(child)),
                restarts,
                given_up,
                calls: child.map(|(child, _)| child.request_metrics()).unwrap_or_default(),
            }
        });
        PoolStatus {
            places: places.collect(),
            calls: self.metrics.snapshot(),
            retries: self.retries.load(Relaxed),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<M>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keepers(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> std::fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubprocessPool").field("tries", &self.tries).finish_non_exhaustive()
    }
}
