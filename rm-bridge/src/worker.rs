//! The worker's side: what runs inside a worker process, around the node.
//!
//! Main type: [`WorkerRuntime`]. It connects to the session, gives the node its items and sends on
//! what the node makes. It does not know Python; the wheel's worker loop calls it, without holding
//! the interpreter's lock wherever it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rm_core::{DataHeader, MessageKind, RuntimeData, SessionId};
use rm_ipc::{
    ChannelError, Doorbell, Latencies, LoanError, Namespace, NamespaceError, PublishError,
    Publisher, ReceiveError, Ringer, SampleMut, SampleMutUninit, SharedMemoryChannel, Subscriber,
    WakeError,
};
use rm_process::child::{self, ChildError, ChildHandle, Responder, blocking};
use rm_process::{ConnectionError, PythonExecutionError, WorkPage};

use crate::metrics::InputReport;
use crate::protocol::{WorkerConfig, WorkerEvent, WorkerFailure};

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerRuntimeError {
    /// It has no session to work for.
    #[error("no session to work for")]
    Child(#[from] ChildError),
    /// The session cannot be spoken to.
    #[error("control channel failed")]
    Control(#[from] ConnectionError),
    /// What the session said cannot be read, or what this process says cannot be sent.
    #[error("session and worker do not understand each other")]
    Call(#[from] PythonExecutionError),
    /// The session ended before it said what to do.
    #[error("the session ended before it configured this worker")]
    NotConfigured,
    /// The session's shared memory cannot be opened.
    #[error("cannot open the session's shared memory")]
    Namespace(#[from] NamespaceError),
    /// The worker cannot be woken.
    #[error(transparent)]
    Wake(#[from] WakeError),
    /// A channel cannot be joined.
    #[error("cannot join a channel")]
    Channel(#[from] ChannelError),
    /// An item cannot be received.
    #[error("cannot receive an item")]
    Receive(#[from] ReceiveError),
    /// An item cannot be sent.
    #[error("cannot send an item")]
    Publish(#[from] PublishError),
    /// The worker's own thread cannot be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

/// What a worker is to do next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once an item and taken apart at once")]
pub enum Next {
    /// To process an item.
    Item {
        /// The item.
        data: RuntimeData,
        /// Its position, counted from 0 over all inputs.
        index: u64,
        /// Which of the configured inputs it came by.
        input: usize,
    },
    /// To finish: nothing more will come.
    End,
    /// To end at once: the session is over.
    Stop,
}

struct Input {
    subscriber: Subscriber,
    open: bool,
}

/// What a worker works with. All of its ports are joined when it exists.
pub struct WorkerRuntime {
    config: WorkerConfig,
    own: ChildHandle,
    /// The answer to the session's call; `None` once it is given.
    events: Option<Responder<WorkerEvent>>,
    stop: Arc<AtomicBool>,
    bell: Arc<Doorbell>,
    inputs: Vec<Input>,
    /// Where the search for the next item begins, so that no input starves another.
    turn: usize,
    publisher: Option<Publisher>,
    /// Whether an item has been given that is not done.
    is_at_work: bool,
    items_in: u64,
    items_out: u64,
    time: Latencies,
    // Dropped last: everything above lives in it.
    _namespace: Namespace,
}

impl WorkerRuntime {
    /// Ties this process's life to its parent's, introduces it, waits for its configuration and
    /// joins its channels. To be called first thing, on the main thread.
    ///
    /// # Errors
    /// [`WorkerRuntimeError`]: `Child` if this process was not started by a session.
    pub fn connect() -> Result<Self, WorkerRuntimeError> {
        child::die_with_parent()?;
        let mut requests = blocking::connect::<WorkerConfig>()?;
        let own = requests.handle().clone();
        let request = requests.next().ok_or(WorkerRuntimeError::NotConfigured)?;
        let config = request.message()?;
        let events = Some(request.into_responder());
        let namespace = Namespace::open(&config.namespace)?;
        let bell = Arc::new(Doorbell::create(&namespace)?);
        let subscribe = |channel| SharedMemoryChannel::open(&namespace, channel)?.subscriber(&bell);
        let inputs = config.inputs.iter().map(|input| subscribe(&input.channel));
        let inputs = inputs.map(|subscriber| Ok(Input { subscriber: subscriber?, open: true }));
        let inputs = inputs.collect::<Result<_, ChannelError>>()?;
        let publish = |channel| SharedMemoryChannel::open(&namespace, channel)?.publisher(&bell);
        let publisher = config.output.as_ref().map(publish).transpose()?;
        let stop = Arc::new(AtomicBool::new(false));
        listen(requests, stop.clone(), bell.ringer()).map_err(WorkerRuntimeError::Thread)?;
        Ok(Self {
            config,
            own,
            events,
            stop,
            bell,
            inputs,
            turn: 0,
            publisher,
            is_at_work: false,
            items_in: 0,
            items_out: 0,
            time: Latencies::new(),
            _namespace: namespace,
        })
    }

    /// What the session configured.
    pub fn config(&self) -> &WorkerConfig {
        &self.config
    }

    /// By which this process tells of itself and calls the session's process, from any thread.
    pub fn handle(&self) -> &ChildHandle {
        &self.own
    }

    /// Says that the node is ready for items.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Control`] if the session is gone.
    pub fn ready(&self) -> Result<(), WorkerRuntimeError> {
        Ok(self.own.ready()?)
    }

    /// Waits for the next thing to do.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Receive`] for an item that is not valid.
    pub fn next_step(&mut self) -> Result<Next, WorkerRuntimeError> {
        if self.is_at_work {
            self.work().end();
            self.is_at_work = false;
        }
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Ok(Next::Stop);
            }
            let count = self.inputs.len();
            for input in (0..count).map(|offset| (self.turn + offset) % count) {
                if !self.inputs[input].open {
                    continue;
                }
                let data = match self.inputs[input].subscriber.try_recv() {
                    Ok(Some(data)) => data,
                    Ok(None) => continue,
                    // Streams end by a message; a channel that just closes was taken away.
                    Err(ReceiveError::ChannelClosed) => {
                        self.wait_for_stop();
                        return Ok(Next::Stop);
                    }
                    Err(error) => return Err(error.into()),
                };
                if data.header().kind == MessageKind::EndOfStream {
                    self.inputs[input].open = false;
                    continue;
                }
                let index = self.items_in;
                self.items_in += 1;
                self.turn = input + 1;
                self.work().begin(index);
                self.is_at_work = true;
                return Ok(Next::Item { data, index, input });
            }
            if self.inputs.iter().all(|input| !input.open) {
                return Ok(Next::End);
            }
            let inputs = &self.inputs;
            let ready = || {
                self.stop.load(Ordering::Acquire)
                    || inputs.iter().any(|input| input.open && input.subscriber.is_ready())
            };
            self.bell.wait(ready, None);
        }
    }

    /// Lends memory for an item that the node is about to make; `None` if nobody takes its items.
    ///
    /// # Errors
    /// [`LoanError`] if there is no room for it.
    pub fn loan(&self, len: usize) -> Option<Result<SampleMutUninit, LoanError>> {
        self.publisher.as_ref().map(|publisher| publisher.loan_uninit(len))
    }

    /// Sends an item that was made in lent memory. Waits for room.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Publish`]; `ChannelClosed` there means that the session is over.
    pub fn send(&mut self, sample: SampleMut) -> Result<(), WorkerRuntimeError> {
        sample.send().map_err(PublishError::from)?;
        self.items_out += 1;
        Ok(())
    }

    /// Copies an item into the channel and sends it. Waits for room.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn publish(&mut self, data: &RuntimeData) -> Result<(), WorkerRuntimeError> {
        if let Some(publisher) = &self.publisher {
            publisher.publish(data)?;
        }
        self.items_out += 1;
        Ok(())
    }

    /// The header of an item that is made from another one, or from none.
    pub fn stamp(&self, header: &mut DataHeader, made_from: Option<&DataHeader>) {
        header.session_id = Some(self.session_id().clone());
        if let Some(input) = made_from {
            header.timestamp = input.timestamp;
            header.deadline = input.deadline;
            header.correlation_id = input.correlation_id;
            header.trace = input.trace;
        }
    }

    /// The session that this worker belongs to.
    pub fn session_id(&self) -> &SessionId {
        &self.config.session_id
    }

    /// Notes how long the node's work on one item took.
    pub fn record(&mut self, took: Duration) {
        self.time.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Ends the output stream and reports what was done.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn finish(&mut self) -> Result<(), WorkerRuntimeError> {
        if let Some(publisher) = &self.publisher {
            publisher.publish(&RuntimeData::end_of_stream())?;
        }
        let inputs = self.inputs.iter().map(|input| InputReport::of(&input.subscriber)).collect();
        let (items_in, items_out, time) = (self.items_in, self.items_out, self.time.summary());
        self.tell(WorkerEvent::Finished { items_in, items_out, time, inputs })
    }

    /// Reports that the node has failed.
    ///
    /// # Errors
    /// [`WorkerRuntimeError::Control`] if the session is gone.
    pub fn fail(&mut self, failure: WorkerFailure) -> Result<(), WorkerRuntimeError> {
        self.tell(WorkerEvent::Failed(failure))
    }

    /// Gives the one answer to the session's call, and waits until it is on its way: the process may
    /// end next.
    fn tell(&mut self, event: WorkerEvent) -> Result<(), WorkerRuntimeError> {
        if let Some(events) = self.events.take() {
            events.reply(&event)?;
        }
        Ok(self.own.block_on(self.own.flushed())?)
    }

    fn work(&self) -> &WorkPage {
        self.own.work().expect("workers are started by their session")
    }

    /// Waits until the session lets this worker go. Until then its memory stays readable.
    pub fn wait_for_stop(&self) {
        self.bell.wait(|| self.stop.load(Ordering::Acquire), None);
    }
}

/// Starts the thread that hears the session's word to stop, also while the node computes.
fn listen(
    mut requests: blocking::Requests<WorkerConfig>,
    stop: Arc<AtomicBool>,
    ringer: Ringer,
) -> std::io::Result<()> {
    let run = move || {
        // Nothing is to come any more: the word to end, the end of the session and a second call all
        // mean the same.
        let _ = requests.next();
        stop.store(true, Ordering::Release);
        ringer.ring();
        // The node may still call back, and what it did is still to be told.
        std::mem::forget(requests);
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(run).map(drop)
}
