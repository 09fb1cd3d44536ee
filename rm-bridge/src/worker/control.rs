//! What a session says to a worker while that works.
//!
//! Main type: [`Controls`], which the thread that hears the session fills and the worker's main thread
//! looks at between two items. Statistics are told by the hearing thread itself, also while the node
//! computes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rm_ipc::Ringer;
use rm_process::child::{Responder, blocking};

use crate::metrics::{NodeMeter, peak_memory};
use crate::protocol::{WorkerEvent, WorkerRequest};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// New values of parameters for the node, and who waits for them to be taken.
#[derive(Debug)]
pub struct ParamsChange {
    params: String,
    answer: Responder<WorkerEvent>,
}

impl ParamsChange {
    /// The values, as a JSON object.
    pub fn params(&self) -> &str {
        &self.params
    }

    /// Says that the node has taken them.
    pub fn accept(self) {
        // Who asked may be gone.
        let _ = self.answer.reply(&WorkerEvent::Done);
    }

    /// Says why the node has not taken them.
    pub fn refuse(self, message: impl Into<String>) {
        let _ = self.answer.reply(&WorkerEvent::Refused { message: message.into() });
    }
}

/// Tells, on any thread, whether work in progress is still of use.
#[derive(Debug, Clone)]
pub struct Cancellation {
    pub(super) controls: Arc<Controls>,
}

impl Cancellation {
    /// Whether the session is over, or has been flushed since `epoch`, that of the item in work.
    pub fn is_cancelled(&self, epoch: u32) -> bool {
        self.controls.is_over() || self.controls.epoch() > epoch
    }
}

/// What the session has said.
#[derive(Debug)]
pub(crate) struct Controls {
    stop: AtomicBool,
    epoch: AtomicU32,
    has_params: AtomicBool,
    params: Mutex<VecDeque<ParamsChange>>,
    pub(crate) meter: Mutex<NodeMeter>,
}

impl Controls {
    pub(crate) fn new(epoch: u32) -> Self {
        Self {
            stop: AtomicBool::new(false),
            epoch: AtomicU32::new(epoch),
            has_params: AtomicBool::new(false),
            params: Mutex::default(),
            meter: Mutex::new(NodeMeter::new()),
        }
    }

    /// Whether the worker is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Items of an older epoch are to be dropped.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Learns of a newer epoch.
    pub(crate) fn raise_epoch(&self, epoch: u32) {
        self.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// The next change of parameters.
    pub(crate) fn next_params(&self) -> Option<ParamsChange> {
        if !self.has_params.load(Ordering::Acquire) {
            return None;
        }
        let mut params = lock(&self.params);
        let next = params.pop_front();
        self.has_params.store(!params.is_empty(), Ordering::Release);
        next
    }

    /// Whether something is to be done other than items.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_over() || self.has_params.load(Ordering::Acquire)
    }

    fn take(&self, request: WorkerRequest, answer: Responder<WorkerEvent>) {
        let event = match request {
            WorkerRequest::Flush { epoch } => {
                self.raise_epoch(epoch);
                WorkerEvent::Done
            }
            WorkerRequest::SetParams { params } => {
                let mut changes = lock(&self.params);
                changes.push_back(ParamsChange { params, answer });
                self.has_params.store(true, Ordering::Release);
                return;
            }
            WorkerRequest::Statistics => {
                let mut statistics = lock(&self.meter).statistics();
                statistics.peak_memory_bytes = peak_memory();
                WorkerEvent::Statistics(statistics)
            }
            WorkerRequest::Serve(_) => {
                WorkerEvent::Refused { message: "this worker serves already".to_owned() }
            }
        };
        // Who asked may be gone.
        let _ = answer.reply(&event);
    }
}

/// Starts the thread that hears the session, also while the node computes.
pub(crate) fn listen(
    mut requests: blocking::Requests<WorkerRequest>,
    controls: Arc<Controls>,
    ringer: Ringer,
) -> std::io::Result<()> {
    let run = move || {
        while let Some(request) = requests.next() {
            let Ok(message) = request.message() else { continue };
            controls.take(message, request.into_responder());
            ringer.ring();
        }
        // The word to end, and the end of the session, mean the same.
        controls.stop.store(true, Ordering::Release);
        ringer.ring();
        // The node may still call back, and what it did is still to be told.
        std::mem::forget(requests);
    };
    std::thread::Builder::new().name("control".to_owned()).spawn(run).map(drop)
}
