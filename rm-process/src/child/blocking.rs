//! A child that has no tokio runtime of its own: requests are taken one by one on any thread.
//!
//! Main functions: [`connect`], and [`carry`] for who has a queue of their own. A thread of its own
//! carries the connections; so the parent's words are heard also while this process computes.

use std::sync::mpsc;
use std::thread::JoinHandle;

use serde::de::DeserializeOwned;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::child::{ChildHandle, SubprocessIpcChild};
use super::connect::ChildError;
use super::request::IncomingRequest;
use crate::backend::KameoChildProcessMessage;
use crate::value::ValueError;

/// The requests to a process, and what it was configured with.
///
/// When it is dropped, what was answered still goes out, then the connections are closed.
#[derive(Debug)]
pub struct Requests<M> {
    carrier: Carrier,
    requests: mpsc::Receiver<IncomingRequest<M>>,
}

/// What carries the connections to the parent.
///
/// When it is dropped, what was answered still goes out, then the connections are closed.
#[derive(Debug)]
pub struct Carrier {
    handle: ChildHandle,
    config: Vec<u8>,
    close: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// As [`SubprocessIpcChild::connect`], for a program without tokio.
///
/// ```no_run
/// use rm_process::child::{self, blocking};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// child::die_with_parent()?;
/// let mut requests = blocking::connect::<String>()?;
/// while let Some(request) = requests.next() {
///     let text = request.message()?.to_uppercase();
///     request.into_responder().reply(&text)?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`SubprocessIpcChild::connect`].
pub fn connect<M: KameoChildProcessMessage>() -> Result<Requests<M>, ChildError> {
    let (sender, requests) = mpsc::channel();
    let mut sender = Some(sender);
    let carrier = carry(move |request| match (request, &sender) {
        // Nobody takes it where the receiver is gone; its drop answers it.
        (Some(request), Some(to)) => drop(to.send(request)),
        _ => sender = None,
    })?;
    Ok(Requests { carrier, requests })
}

/// Connects as [`connect`] does, and has each request taken by `take`, then `None` once the parent has
/// said to end, has closed its end or is dead. `take` runs on the thread that carries the connections:
/// what it does not hand on at once holds up everything.
///
/// # Errors
/// As [`SubprocessIpcChild::connect`].
pub fn carry<M: KameoChildProcessMessage>(
    mut take: impl FnMut(Option<IncomingRequest<M>>) + Send + 'static,
) -> Result<Carrier, ChildError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ChildError::Runtime)?;
    let (connected, connection) = mpsc::sync_channel(1);
    let (close, closed) = oneshot::channel();
    let carry = move || {
        runtime.block_on(async move {
            let mut child = match SubprocessIpcChild::<M>::connect().await {
                Ok(child) => child,
                Err(error) => {
                    // Who asked waits for it.
                    let _ = connected.send(Err(error));
                    return;
                }
            };
            let handle = child.handle().clone();
            let _ = connected.send(Ok((handle.clone(), child.take_config())));
            let deliver = async {
                while let Some(request) = child.next().await {
                    take(Some(request));
                }
                take(None);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = deliver => {}
                _ = closed => {}
            }
            // A parent that is gone takes nothing more.
            let _ = handle.flushed().await;
        });
    };
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(carry);
    let thread = thread.map_err(ChildError::Runtime)?;
    let connected = connection.recv().expect("the carrier answers before it ends");
    let (handle, config) = connected?;
    Ok(Carrier { handle, config, close: Some(close), thread: Some(thread) })
}

impl Carrier {
    /// By which this process tells of itself and calls its parent.
    pub fn handle(&self) -> &ChildHandle {
        &self.handle
    }

    /// As [`SubprocessIpcChild::config`].
    ///
    /// # Errors
    /// [`ValueError`] if it is no `C`.
    pub fn config<C: DeserializeOwned>(&self) -> Result<Option<C>, ValueError> {
        super::child::read_config(&self.config)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(thread) = self.thread.take() {
            // Its panic was printed.
            let _ = thread.join();
        }
    }
}

impl<M: KameoChildProcessMessage> Requests<M> {
    /// By which this process tells of itself and calls its parent.
    pub fn handle(&self) -> &ChildHandle {
        self.carrier.handle()
    }

    /// As [`SubprocessIpcChild::config`].
    ///
    /// # Errors
    /// [`ValueError`] if it is no `C`.
    pub fn config<C: DeserializeOwned>(&self) -> Result<Option<C>, ValueError> {
        self.carrier.config()
    }

    /// Waits for the next request; `None` once the parent has said to end, has closed its end or is
    /// dead. Further requests may be taken before this one is answered.
    #[expect(clippy::should_implement_trait, reason = "as SubprocessIpcChild::next")]
    pub fn next(&mut self) -> Option<IncomingRequest<M>> {
        self.requests.recv().ok()
    }
}
