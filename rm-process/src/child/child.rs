//! A process that is called by its parent.
//!
//! Main type: [`SubprocessIpcChild`]. It hands out requests, or has a handler serve them; what they
//! mean is the caller's matter.

use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;
use tokio::runtime::{EnterGuard, Handle};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::connect::{self, ChildError};
use super::parent::end_with_parent;
use super::request::{IncomingRequest, RequestHandler};
use crate::backend::{KameoChildProcessMessage, Unheard, hear_both};
use crate::callback::CallbackClient;
use crate::connection::ConnectionError;
use crate::failure::{PythonExecutionError, cut_to};
use crate::handshake::{Handshake, IpcLimits};
use crate::link::{IncomingCall, Link, LinkEnd, Peer, Role, Word};
use crate::page::WorkPage;
use crate::protocol::{Control, Failed, Progress};
use crate::telemetry::metrics::{DirectionMetrics, DirectionSnapshot};
use crate::value::{self, ValueError};

/// Longest text that a child sends of itself, in bytes.
const MAX_TEXT: usize = 8 * 1024;

/// A process that serves requests `M` with replies `M::Reply`, and calls its parent's callbacks.
///
/// ```no_run
/// use rm_process::child::{self, Reply, SubprocessIpcChild};
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     child::die_with_parent()?;
///     let child = SubprocessIpcChild::<String>::connect().await?;
///     child.handle().ready()?;
///     child.serve(|text: String, _context| async move { Ok(Reply::one(text.to_uppercase())) }).await;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct SubprocessIpcChild<M> {
    handle: ChildHandle,
    calls: mpsc::UnboundedReceiver<IncomingCall>,
    config: Vec<u8>,
    tasks: [JoinHandle<()>; 2],
    takes: PhantomData<fn() -> M>,
}

/// By which a child tells of itself and calls its parent, from any task or thread.
#[derive(Debug, Clone)]
pub struct ChildHandle {
    requests: Link,
    callbacks: CallbackClient,
    page: Option<Arc<WorkPage>>,
    metrics: Arc<DirectionMetrics>,
    parent: u32,
    runtime: Handle,
}

impl<M> Drop for SubprocessIpcChild<M> {
    fn drop(&mut self) {
        self.handle.requests.drain();
        self.handle.requests.close();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl<M: KameoChildProcessMessage> SubprocessIpcChild<M> {
    /// Takes the connections that the parent left for this process, introduces this process, and waits
    /// for the parent's introduction.
    ///
    /// The descriptors are closed by exec from here on, so that grandchildren do not inherit them.
    ///
    /// # Errors
    /// [`ChildError::NotAChild`] if there are none, [`ChildError::AlreadyConnected`] on the second
    /// call, another [`ChildError`] if they are not usable.
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub async fn connect() -> Result<Self, ChildError> {
        Self::connect_with(IpcLimits::default()).await
    }

    /// [`connect`](Self::connect), with other limits than the default ones.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Panics
    /// As [`connect`](Self::connect).
    pub async fn connect_with(limits: IpcLimits) -> Result<Self, ChildError> {
        limits.check().map_err(|error| ChildError::Runtime(std::io::Error::other(error)))?;
        let channels = connect::connect()?;
        let open = |stream| Unheard::open(stream, &limits).map_err(ChildError::Runtime);
        let (requests, callbacks) = (open(channels.requests)?, open(channels.callbacks)?);
        for end in [&requests, &callbacks] {
            end.introduce(Handshake::of_this_process(limits)).map_err(ChildError::Hello)?;
        }
        let heard = hear_both(requests, callbacks, None).await.map_err(ChildError::Parent)?;
        let (requests, callbacks, mut parent) = heard.into_parts();
        let limits = (limits, parent.limits);
        let (requests_link, calls) = Link::open(Role::Server, requests.outbox, limits);
        let (callbacks_link, _) = Link::open(Role::Caller, callbacks.outbox, limits);
        let tasks = [
            tokio::spawn(requests_link.clone().read(requests.inbox, Arc::new(Parent))),
            tokio::spawn(callbacks_link.clone().read(callbacks.inbox, Arc::new(Parent))),
        ];
        let (parent_id, config) = (parent.pid, std::mem::take(&mut parent.config));
        let callbacks = CallbackClient::new(callbacks_link, parent);
        let handle = ChildHandle {
            requests: requests_link,
            callbacks,
            page: channels.page.map(Arc::new),
            metrics: Arc::default(),
            parent: parent_id,
            runtime: Handle::current(),
        };
        Ok(Self { handle, calls, config, tasks, takes: PhantomData })
    }

    /// By which this process tells of itself and calls its parent.
    pub fn handle(&self) -> &ChildHandle {
        &self.handle
    }

    /// What the parent configured this process with; `None` if it did not.
    ///
    /// # Errors
    /// [`ValueError`] if that is no `C`.
    pub fn config<C: DeserializeOwned>(&self) -> Result<Option<C>, ValueError> {
        read_config(&self.config)
    }

    pub(super) fn take_config(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.config)
    }

    /// Waits for the next request; `None` once the parent has said to end, has closed its end or is
    /// dead. Requests may be answered in any order, and at once.
    pub async fn next(&mut self) -> Option<IncomingRequest<M>> {
        let call = self.calls.recv().await?;
        Some(IncomingRequest::new(call, &self.handle.metrics, self.handle.parent))
    }

    /// Has every request served by `handler`, all of them at once, until the parent says to end or is
    /// gone. What was begun by then is finished first; so long callbacks can be called.
    pub async fn serve(self, handler: impl RequestHandler<M>) {
        // As a task: before tokio polls the future that it blocks on, it asks the operating system for
        // events. The set aborts it when this future is dropped.
        let mut serving = JoinSet::new();
        serving.spawn(self.serve_all(Arc::new(handler)));
        serving.join_all().await;
    }

    async fn serve_all(mut self, handler: Arc<impl RequestHandler<M>>) {
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                request = self.next() => match request {
                    Some(request) => {
                        let handler = Arc::clone(&handler);
                        serving.spawn(async move { request.serve(&*handler).await });
                    }
                    None => break,
                },
                // How a request ended is known to who made it.
                Some(_) = serving.join_next() => {}
            }
        }
        while serving.join_next().await.is_some() {}
        // A parent that is gone takes nothing more.
        let _ = self.handle.requests.flushed().await;
    }
}

pub(super) fn read_config<C: DeserializeOwned>(config: &[u8]) -> Result<Option<C>, ValueError> {
    if config.is_empty() {
        return Ok(None);
    }
    let options = value::DecodeOptions { root: "config", ..Default::default() };
    value::decode(config, options).map(Some)
}

impl ChildHandle {
    /// Waits on a plain thread for what is done by the connections' runtime, such as a callback's
    /// reply or room for an item.
    ///
    /// # Panics
    /// If called within a tokio runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let come = {
            let _entered = self.runtime.enter();
            // To wake this thread takes longer than most answers.
            rm_core::spin_for(|| {
                let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                match polled {
                    Poll::Ready(come) => Some(come),
                    Poll::Pending => None,
                }
            })
        };
        come.unwrap_or_else(|| self.runtime.block_on(future))
    }

    /// Lets this thread make what needs the connections' runtime, such as a future with a deadline,
    /// until the guard is dropped.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Tells that this process is loading what it needs: `fraction` from 0 to 1, and what it does, of
    /// which the first 8 KiB are sent. Each word of progress gives it its time to load anew.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the parent is gone.
    pub fn progress(
        &self,
        fraction: f32,
        message: impl Into<String>,
    ) -> Result<(), ConnectionError> {
        let mut message = message.into();
        cut_to(&mut message, MAX_TEXT);
        self.requests.say(Control::Progress(Progress { fraction, message }))
    }

    /// Tells that this process has what it needs.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the parent is gone.
    pub fn ready(&self) -> Result<(), ConnectionError> {
        self.requests.say(Control::Ready)
    }

    /// Tells that this process cannot go on, and why. It should end then.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the parent is gone.
    pub fn failed(&self, message: impl Into<String>) -> Result<(), ConnectionError> {
        self.say_failed(Failed::from(message))
    }

    /// [`failed`](Self::failed), with a type that the parent finds in
    /// [`ProcessError::InitFailed`](crate::ProcessError::InitFailed).
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the parent is gone.
    pub fn failed_with(&self, error: PythonExecutionError) -> Result<(), ConnectionError> {
        self.say_failed(Failed { message: error.to_string(), error: Some(Box::new(error)) })
    }

    fn say_failed(&self, failed: Failed) -> Result<(), ConnectionError> {
        self.requests.say(Control::Failed(failed.cut(MAX_TEXT)))
    }

    /// Waits until everything that was told or answered is on its way.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the parent is gone.
    pub async fn flushed(&self) -> Result<(), ConnectionError> {
        self.requests.flushed().await
    }

    /// Where this process notes the item that it works on, at the cost of a few stores. The parent
    /// looks there when this process has died, or is asked for its status. `None` where the parent did
    /// not start this process.
    pub fn work(&self) -> Option<&WorkPage> {
        self.page.as_deref()
    }

    /// What the parent can be called for.
    pub fn callbacks(&self) -> &CallbackClient {
        &self.callbacks
    }

    /// Counters and times of the requests served.
    pub fn metrics(&self) -> DirectionSnapshot {
        self.metrics.snapshot()
    }

    /// The parent's number as it sees it itself.
    pub fn parent_id(&self) -> u32 {
        self.parent
    }
}

/// The parent, for the child's ends of the connections.
struct Parent;

impl Peer for Parent {
    fn heard(&self, _: Word) {}

    fn gone(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Its death is watched by a thread of its own, see `die_with_parent`.
        Box::pin(std::future::pending())
    }

    fn explain(&self, end: LinkEnd) -> Pin<Box<dyn Future<Output = LinkEnd> + Send + '_>> {
        Box::pin(async {
            // First: a parent that is killed in the midst of a frame closes the channel too. If the
            // runtime is ending, so is this process.
            let _ = tokio::task::spawn_blocking(end_with_parent).await;
            end
        })
    }
}
