//! A child that has no tokio runtime of its own: requests are taken one by one on any thread.
//!
//! Main function: [`connect`]. A thread of its own carries the connections; so the parent's words are
//! heard also while this process computes.

use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::child::{ChildHandle, SubprocessIpcChild};
use super::connect::ChildError;
use super::request::IncomingRequest;
use crate::backend::KameoChildProcessMessage;

/// The requests to a process, and what it was configured with.
///
/// When it is dropped, what was answered still goes out, then the connections are closed.
#[derive(Debug)]
pub struct Requests<M> {
    handle: ChildHandle,
    config: Vec<u8>,
    requests: mpsc::Receiver<IncomingRequest<M>>,
    close: Option<oneshot::Sender<()>>,
    carrier: Option<JoinHandle<()>>,
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
            let (sender, requests) = mpsc::channel();
            let handle = child.handle().clone();
            let _ = connected.send(Ok((handle.clone(), child.take_config(), requests)));
            let deliver = async {
                while let Some(request) = child.next().await {
                    if sender.send(request).is_err() {
                        break;
                    }
                }
                drop(sender);
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
    let carrier = std::thread::Builder::new().name("control".to_owned()).spawn(carry);
    let carrier = carrier.map_err(ChildError::Runtime)?;
    let connected = connection.recv().expect("the carrier answers before it ends");
    let (handle, config, requests) = connected?;
    Ok(Requests { handle, config, requests, close: Some(close), carrier: Some(carrier) })
}

impl<M: KameoChildProcessMessage> Requests<M> {
    /// By which this process tells of itself and calls its parent.
    pub fn handle(&self) -> &ChildHandle {
        &self.handle
    }

    /// As [`SubprocessIpcChild::config`].
    ///
    /// # Errors
    /// [`ValueError`](crate::value::ValueError) if it is no `C`.
    pub fn config<C: serde::de::DeserializeOwned>(
        &self,
    ) -> Result<Option<C>, crate::value::ValueError> {
        super::child::read_config(&self.config)
    }

    /// Waits for the next request; `None` once the parent has said to end, has closed its end or is
    /// dead. Further requests may be taken before this one is answered.
    #[expect(clippy::should_implement_trait, reason = "as SubprocessIpcChild::next")]
    pub fn next(&mut self) -> Option<IncomingRequest<M>> {
        self.requests.recv().ok()
    }
}

impl<M> Drop for Requests<M> {
    fn drop(&mut self) {
        drop(self.close.take());
        if let Some(carrier) = self.carrier.take() {
            // Its panic was printed.
            let _ = carrier.join();
        }
    }
}
