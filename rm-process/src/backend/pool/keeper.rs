//! What looks after one place of a pool: notices the end of its child, and fills it again.
//!
//! Main function: [`keep`]. Whether and when is decided by [`Restarts`].

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};

use super::places::Shared;
use crate::backend::backend::SubprocessIpcBackend;
use crate::backend::error::SubprocessIpcBackendError;
use crate::backend::message::KameoChildProcessMessage;
use crate::backend::peer::Watch;
use crate::error::ProcessError;
use crate::exit::{ExitReason, ExitStatus};
use crate::restart::{Restart, Restarts};

type Born<M> = Result<SubprocessIpcBackend<M>, SubprocessIpcBackendError>;

/// Starts the child of a place.
pub(super) type Factory<M> =
    Arc<dyn Fn(usize) -> Pin<Box<dyn Future<Output = Born<M>> + Send>> + Send + Sync>;

/// Starts a child for each place at the same time; ends all of them if one cannot be started.
pub(super) async fn start_all<M: KameoChildProcessMessage>(
    factory: &Factory<M>,
    size: usize,
) -> Result<Vec<SubprocessIpcBackend<M>>, SubprocessIpcBackendError> {
    let mut births = JoinSet::new();
    for index in 0..size {
        let factory = Arc::clone(factory);
        births.spawn(async move { (index, factory(index).await) });
    }
    let mut children = Vec::with_capacity(size);
    let mut failure = None;
    while let Some(birth) = births.join_next().await {
        let error = match birth {
            Ok((index, Ok(child))) => {
                children.push((index, child));
                continue;
            }
            Ok((_, Err(error))) => error,
            Err(error) => not_born(&error),
        };
        if failure.is_none() {
            failure = Some(error);
            // Its process is killed with each.
            births.abort_all();
        }
    }
    let Some(failure) = failure else {
        children.sort_by_key(|(index, _)| *index);
        return Ok(children.into_iter().map(|(_, child)| child).collect());
    };
    let processes: Vec<_> =
        children.iter().filter_map(|(_, child)| child.process()).cloned().collect();
    drop(children);
    processes.iter().for_each(|process| process.start_kill());
    for process in processes {
        process.exited().await;
    }
    Err(failure)
}

/// Starts one child.
async fn start<M: KameoChildProcessMessage>(factory: Factory<M>, index: usize) -> Born<M> {
    // Aborts it if this future is dropped.
    let mut birth = JoinSet::new();
    birth.spawn(async move { factory(index).await });
    let born = birth.join_next().await.expect("one was spawned");
    born.unwrap_or_else(|error| Err(not_born(&error)))
}

/// A factory that panics has failed.
fn not_born(error: &JoinError) -> SubprocessIpcBackendError {
    ProcessError::SpawnFailed(format!("what starts a child of the pool failed: {error}")).into()
}

/// Looks after a place until it is given up, or the pool is gone.
pub(super) async fn keep<M: KameoChildProcessMessage>(
    pool: Weak<Shared<M>>,
    index: usize,
    mut watch: Watch,
    mut restarts: Restarts,
) {
    loop {
        let since = Instant::now();
        watch.over().await;
        // From here on it gets no calls. It is kept until its end, since dropping it would kill it.
        let Some(child) = pool.upgrade().and_then(|pool| pool.lose(index)) else { return };
        let (mut exit, mut failure) = watch.end().await;
        drop(child);
        let mut uptime = since.elapsed();
        watch = loop {
            let delay = match restarts.on_exit(&exit, false, uptime, random()) {
                Restart::After { delay, attempt } => {
                    tracing::info!(index, attempt, ?delay, %failure, "a child of a pool ended");
                    delay
                }
                Restart::No { why } => {
                    tracing::warn!(index, %why, %failure, "a child of a pool is not replaced");
                    if let Some(pool) = pool.upgrade() {
                        pool.give_up(index, why, failure);
                    }
                    return;
                }
            };
            tokio::time::sleep(delay).await;
            let Some(factory) = pool.upgrade().map(|pool| Arc::clone(&pool.factory)) else {
                return;
            };
            match start(factory, index).await {
                Ok(child) => {
                    let watch = child.watch();
                    // Where the pool is gone meanwhile, the child is ended here.
                    if let Some(pool) = pool.upgrade() {
                        pool.fill(index, child);
                    }
                    break watch;
                }
                Err(error) => {
                    exit = ExitStatus::from_wait(None, ExitReason::Crash);
                    (uptime, failure) = (Duration::ZERO, error);
                }
            }
        };
    }
}

/// A fresh number from 0 to below 1.
fn random() -> f64 {
    // Without randomness delays are still right.
    let bits = getrandom::u64().unwrap_or_default() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}
