//! A node in a worker process, asked one item at a time or many at once.
//!
//! Main type: [`WorkerNode`]. Each question carries a number, which its answers carry too; a task, the
//! follower, hands them to whom they belong, and tells all who wait when the worker has died. It sleeps
//! until an answer, a word or the end of the process comes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rm_core::{ChannelId, MessageKind, RuntimeData};
use rm_ipc::{ChannelOptions, ReceiveError, Receiver, SharedMemoryChannel};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;

use super::answers::{Answer, Ending, Why};
use super::channels::ChannelRegistry;
use super::convert::publish;
use super::error::{ConversionError, ServiceError};
use super::nodes::Life;
use crate::multiprocess::{Incoming, MultiprocessExecutor, Worker, WorkerEvents, WorkerSpec};
use crate::protocol::{FailedIn, WorkerEvent, WorkerFailure, WorkerInput, WorkerOutput};
use crate::worker::lock;

/// Answers that one caller may leave unread before the worker's others have to wait.
pub(crate) const UNREAD: usize = 16;

/// Makes the two channels of one node, and removes them with it.
pub(crate) struct Channels {
    registry: Arc<ChannelRegistry>,
    ids: [ChannelId; 2],
    input: SharedMemoryChannel,
    output: SharedMemoryChannel,
}

impl Channels {
    pub(crate) fn create(
        registry: &Arc<ChannelRegistry>,
        number: u64,
        options: ChannelOptions,
    ) -> Result<Self, ConversionError> {
        let id = |end| ChannelId::new(format!("node-{number}-{end}")).expect("a short name");
        let ids = [id("in"), id("out")];
        let make = |id: &ChannelId| registry.create(id, options);
        let input = make(&ids[0])?;
        let output = make(&ids[1]).inspect_err(|_| registry.remove(&ids[0]))?;
        Ok(Self { registry: registry.clone(), ids, input, output })
    }

    /// The channels as a worker's configuration names them.
    pub(crate) fn ends(&self) -> (WorkerInput, WorkerOutput) {
        let [input, output] = self.ids.clone();
        let input = WorkerInput { channel: input, from: None, ports: Vec::new(), seat: None };
        (input, WorkerOutput { port: None, channel: output })
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.ids.iter().for_each(|id| self.registry.remove(id));
    }
}

/// Who waits for answers, by the number of the question; `None` once nobody is answered any more.
#[derive(Default)]
struct Pending {
    next: AtomicU64,
    callers: Mutex<Option<HashMap<u64, mpsc::Sender<Answer>>>>,
}

impl Pending {
    fn new() -> Self {
        Self { next: AtomicU64::new(1), callers: Mutex::new(Some(HashMap::new())) }
    }

    fn add(&self, caller: mpsc::Sender<Answer>) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.callers).as_mut()?.insert(number, caller);
        Some(number)
    }

    fn forget(&self, number: u64) {
        lock(&self.callers).as_mut().map(|callers| callers.remove(&number));
    }

    /// Whom a message is for. The last one of an answer takes its place in the map with it.
    fn caller(&self, number: u64, is_last: bool) -> Option<mpsc::Sender<Answer>> {
        let mut callers = lock(&self.callers);
        let callers = callers.as_mut()?;
        if is_last { callers.remove(&number) } else { callers.get(&number).cloned() }
    }

    /// Whoever waits reads what is there, and then that nothing more comes.
    fn end(&self) {
        lock(&self.callers).take();
    }
}

/// Takes a question back that was not asked.
struct Unasked<'a>(&'a Pending, Option<u64>);

impl Drop for Unasked<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.1 {
            self.0.forget(number);
        }
    }
}

/// A node and its worker. Dropping it kills the worker.
pub(crate) struct WorkerNode {
    worker: Worker,
    pending: Arc<Pending>,
    ending: Arc<Ending>,
    finished: Arc<Notify>,
    follower: Mutex<Option<JoinHandle<()>>>,
    channels: Channels,
    /// Held while a question waits for room: one that waits holds one of the few loans that there are.
    asking: tokio::sync::Mutex<()>,
}

impl WorkerNode {
    /// Starts the worker and waits until its node is ready.
    pub(crate) async fn start(
        executor: &MultiprocessExecutor,
        spec: WorkerSpec,
        channels: Channels,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<Arc<Self>, ServiceError> {
        let node_id = spec.config.node_id.to_string();
        let ending = Ending::new(&node_id);
        // Before the worker can have said anything.
        let answers = channels.output.subscribe().map_err(ConversionError::from)?;
        let (worker, mut events) = executor.start(spec).await?;
        loop {
            let failure = match events.next().await? {
                Some(Incoming::Progress(_)) => continue,
                Some(Incoming::Ready) => break,
                Some(Incoming::Value(WorkerEvent::Failed(failure))) => {
                    failed_to_start(node_id, &failure)
                }
                Some(Incoming::Value(_)) => continue,
                Some(Incoming::Failed(message)) => ServiceError::NodeExecution { node_id, message },
                None => {
                    worker.exited().await;
                    ending.set(Why::Died(Box::new(worker.failure_report()), None));
                    ending.error()
                }
            };
            return Err(failure);
        }
        let (pending, finished) = (Arc::new(Pending::new()), Arc::new(Notify::new()));
        let follower = Follower {
            node_id,
            worker: worker.clone(),
            answers,
            events: Some(events),
            pending: pending.clone(),
            ending: ending.clone(),
            finished: finished.clone(),
            input: channels.input.clone(),
            _place: place,
        };
        let follower = Mutex::new(Some(tokio::spawn(follower.run())));
        let asking = tokio::sync::Mutex::default();
        let node = Self { worker, pending, ending, finished, follower, channels, asking };
        Ok(Arc::new(node))
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.worker.process_id()
    }

    /// Writes a question into the worker's channel, which will be answered to `caller`.
    pub(crate) async fn ask(
        &self,
        question: RuntimeData,
        caller: mpsc::Sender<Answer>,
    ) -> Result<(), ServiceError> {
        let number = self.pending.add(caller).ok_or_else(|| self.ending.error())?;
        let mut unasked = Unasked(&self.pending, Some(number));
        match self.publish(&question.with_correlation(number)).await {
            Ok(()) => {}
            Err(ConversionError::Publish {
                source: rm_ipc::PublishError::ChannelClosed, ..
            }) => return Err(self.ending.error()),
            Err(error) => return Err(error.into()),
        }
        unasked.1 = None;
        Ok(())
    }

    async fn publish(&self, message: &RuntimeData) -> Result<(), ConversionError> {
        let _asking = self.asking.lock().await;
        publish(&self.channels.input, message).await
    }

    /// Lets the node answer what it was asked, and finish, and ends the worker within `grace`.
    pub(crate) async fn stop(&self, grace: Duration) -> Result<(), ServiceError> {
        if self.ending.has_come() {
            self.worker.stop(grace).await;
            return Ok(());
        }
        let deadline = Instant::now().checked_add(grace);
        let finishes = async {
            if self.publish(&RuntimeData::end_of_stream()).await.is_ok() {
                self.finished.notified().await;
            }
        };
        // The rest of the time is for the process to go.
        let _ = tokio::time::timeout(grace / 2, async {
            tokio::select! {
                () = finishes => {}
                _ = self.worker.exited() => {}
            }
        })
        .await;
        let died = self.ending.has_come();
        self.ending.set(Why::CleanedUp);
        let left = deadline.map_or(grace, |end| end.saturating_duration_since(Instant::now()));
        self.worker.stop(left).await;
        let follower = lock(&self.follower).take();
        if let Some(follower) = follower {
            // It ends with the process, and panics with nobody.
            let _ = follower.await;
        }
        if died { Err(self.ending.error()) } else { Ok(()) }
    }
}

impl Drop for WorkerNode {
    fn drop(&mut self) {
        self.ending.set(Why::CleanedUp);
        self.pending.end();
        // The follower ends with the process, and lets go of the shared memory then: a worker that dies
        // makes nothing in it after it was removed.
        self.worker.start_kill();
    }
}

impl Life for WorkerNode {
    fn ending(&self) -> &Arc<Ending> {
        &self.ending
    }

    async fn set_params(&self, params: serde_json::Value) -> Result<(), ServiceError> {
        let taken = self.worker.set_params(params.to_string()).await;
        taken.map_err(|error| {
            if self.ending.has_come() { self.ending.error() } else { self.ending.refused(error) }
        })
    }
}

/// What a failure before readiness means: a type that cannot be loaded is a mistake of the caller's.
fn failed_to_start(node_id: String, failure: &WorkerFailure) -> ServiceError {
    let message = failure.to_string();
    if failure.during == FailedIn::Load {
        return ServiceError::Validation(format!("node {node_id} {message}"));
    }
    ServiceError::NodeExecution { node_id, message }
}

/// What reads a worker's answers and learns of its end.
struct Follower {
    node_id: String,
    answers: Receiver,
    pending: Arc<Pending>,
    ending: Arc<Ending>,
    finished: Arc<Notify>,
    input: SharedMemoryChannel,
    /// Free for another process once this one has ended.
    _place: Option<OwnedSemaphorePermit>,
    /// `None` once the worker has nothing more to tell.
    events: Option<WorkerEvents>,
    // Dropped last: whoever waits for the end of all workers finds no shared memory of theirs.
    worker: Worker,
}

impl Follower {
    async fn run(mut self) {
        let worker = self.worker.clone();
        let exited = worker.exited();
        tokio::pin!(exited);
        let (mut is_open, mut told) = (true, None);
        loop {
            tokio::select! {
                // What a worker has answered before it died is delivered first.
                biased;
                received = self.answers.recv_async(), if is_open => match received {
                    Ok(sample) => {
                        let Some((caller, number, answer)) = self.address(sample.into_inner())
                        else { continue };
                        tokio::select! {
                            biased;
                            sent = caller.send(answer) => if sent.is_err() {
                                // Nobody reads it any more.
                                self.pending.forget(number);
                            },
                            _ = &mut exited => {
                                // The caller does not get what would follow the gap.
                                self.pending.forget(number);
                                break;
                            }
                        }
                    }
                    Err(ReceiveError::ChannelClosed) => is_open = false,
                    Err(error) => {
                        is_open = false;
                        self.ending.set(Why::Garbled(error));
                        self.worker.start_kill();
                    }
                },
                event = next(&mut self.events), if self.events.is_some() => match event {
                    Some(event) => self.note(event, &mut told),
                    None => self.events = None,
                },
                _ = &mut exited => break,
            }
        }
        while let Some(event) = next(&mut self.events).await {
            self.note(event, &mut told);
        }
        self.ending.set(Why::Died(Box::new(self.worker.failure_report()), told));
        self.pending.end();
        // Whoever waits to ask it something.
        self.input.close();
    }

    /// To whom a message goes, and as what.
    fn address(&self, message: RuntimeData) -> Option<(mpsc::Sender<Answer>, u64, Answer)> {
        let number = message.header().correlation_id;
        let answer = match message.kind() {
            MessageKind::Data => Answer::Item(message),
            MessageKind::ItemEnd => Answer::End,
            MessageKind::Error => Answer::Failed(self.failure(&message)),
            _ => return None,
        };
        let is_last = !matches!(answer, Answer::Item(_));
        Some((self.pending.caller(number, is_last)?, number, answer))
    }

    fn failure(&self, message: &RuntimeData) -> ServiceError {
        let message = message_of(&message.as_error().unwrap_or_default());
        ServiceError::NodeExecution { node_id: self.node_id.clone(), message }
    }

    fn note(&self, event: Incoming, told: &mut Option<Box<WorkerFailure>>) {
        match event {
            Incoming::Value(WorkerEvent::Finished { .. }) => self.finished.notify_one(),
            Incoming::Value(WorkerEvent::Failed(failure)) => *told = Some(Box::new(failure)),
            Incoming::Value(WorkerEvent::TimedOut { item, timeout }) => {
                *told = Some(Box::new(WorkerFailure {
                    during: FailedIn::Process,
                    item: Some(item),
                    error_type: "TimedOut".to_owned(),
                    message: format!("was at it for longer than {timeout:?}"),
                    traceback: String::new(),
                }));
            }
            _ => {}
        }
    }
}

/// What a node said when it failed on an item, with its traceback; what is no [`WorkerFailure`] is taken
/// as it is.
fn message_of(text: &str) -> String {
    let Ok(failure) = serde_json::from_str::<WorkerFailure>(text) else { return text.to_owned() };
    let WorkerFailure { error_type, message, traceback, .. } = failure;
    match traceback.trim_end() {
        "" => format!("{error_type}: {message}"),
        traceback => format!("{error_type}: {message}\n{traceback}"),
    }
}

/// The next event; `None` for ever once none can come.
async fn next(events: &mut Option<WorkerEvents>) -> Option<Incoming> {
    events.as_mut()?.next().await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_type_and_its_traceback() {
        let check = |traceback: &str, expected: &str| {
            let failure = WorkerFailure {
                during: FailedIn::Process,
                item: Some(3),
                error_type: "ValueError".to_owned(),
                message: "a bad item".to_owned(),
                traceback: traceback.to_owned(),
            };
            let text = serde_json::to_string(&failure).unwrap();
            assert_eq!(message_of(&text), expected);
        };
        check("", "ValueError: a bad item");
        check("Traceback:\n  line 1\n", "ValueError: a bad item\nTraceback:\n  line 1");
        assert_eq!(message_of("{\"during\": 7}"), "{\"during\": 7}");
    }
}
