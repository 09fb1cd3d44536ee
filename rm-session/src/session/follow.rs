//! Follows one worker from its start to its end, and tells the driver.
//!
//! Main function: [`follow`].

use std::time::Duration;

use rm_bridge::{Incoming, MultiprocessExecutor, WorkerError, WorkerSpec};
use tokio::sync::mpsc::UnboundedSender;

use super::driver::Notice;

/// How long its last words are waited for after its end.
const LAST_WORDS: Duration = Duration::from_millis(400);
/// How long a worker that has closed its control channel may go on living.
const SILENCE: Duration = Duration::from_secs(2);

/// Starts a worker and follows it. Killed before the worker has started, that is killed too.
pub(super) async fn follow(
    index: usize,
    executor: MultiprocessExecutor,
    spec: WorkerSpec,
    notices: UnboundedSender<Notice>,
) {
    let (worker, mut events) = match executor.start(spec).await {
        Ok(started) => started,
        // The session takes notices as long as it lives.
        Err(error) => return drop(notices.send(Notice::NotStarted(index, error))),
    };
    let _ = notices.send(Notice::Started(index, worker.clone()));
    let told = |event: Result<Option<Incoming>, WorkerError>| match event {
        Ok(Some(event)) => notices.send(Notice::Worker(index, event)).is_ok(),
        Ok(None) => false,
        Err(error) => {
            let _ = notices.send(Notice::BadControl(error));
            false
        }
    };
    // Both are watched: a process that the worker left may hold its end of the channel.
    let exited = loop {
        tokio::select! {
            biased;
            event = events.next() => if !told(event) { break false },
            _ = worker.exited() => break true,
        }
    };
    if exited {
        let last_words = async { while told(events.next().await) {} };
        let _ = tokio::time::timeout(LAST_WORDS, last_words).await;
    } else if tokio::time::timeout(SILENCE, worker.exited()).await.is_err() {
        worker.start_kill();
    }
    worker.exited().await;
    let _ = notices.send(Notice::Gone(index));
}
