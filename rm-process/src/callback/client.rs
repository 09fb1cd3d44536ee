//! The child's side of callbacks.
//!
//! Main type: [`CallbackClient`], which calls what the parent has registered.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::envelope::TypedCallbackEnvelope;
use crate::backend::{OutgoingCall, RawReplies, ReplyStream, SubprocessIpcBackendError, sooner};
use crate::failure::PythonExecutionError;
use crate::handshake::Handshake;
use crate::link::{CallContext, Caller, Link, current_deadline};
use crate::telemetry::metrics::{DirectionMetrics, DirectionSnapshot};
use crate::telemetry::{CallInfo, CallKind};
use crate::value;

/// Calls what the parent has registered, from any task or thread. Clones use the same connection.
#[derive(Debug, Clone)]
pub struct CallbackClient {
    caller: Caller,
    paths: Arc<[String]>,
    stubs: Option<Arc<Path>>,
    peer_pid: u32,
    metrics: Arc<DirectionMetrics>,
}

impl CallbackClient {
    pub(crate) fn new(link: Link, parent: Handshake) -> Self {
        Self {
            caller: Caller::new(link),
            paths: parent.callbacks.into(),
            stubs: parent.stubs.map(Arc::from),
            peer_pid: parent.pid,
            metrics: Arc::default(),
        }
    }

    /// The paths that can be called.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The folder with the types of the callbacks for Python, if the parent has written one; see
    /// [`stubs`](super::stubs).
    pub fn stubs(&self) -> Option<&Path> {
        self.stubs.as_deref()
    }

    /// Calls for one reply.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError`]; what the handler returned is
    /// [`Remote`](SubprocessIpcBackendError::Remote) in it.
    pub async fn call<C: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        request: &C,
    ) -> Result<R, SubprocessIpcBackendError> {
        self.stream(path, request).await?.one().await
    }

    /// Calls for a stream of replies.
    ///
    /// # Errors
    /// As [`call`](Self::call) if the call cannot be made; what happens to it later comes as the
    /// stream's last item.
    pub async fn stream<C: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        request: &C,
    ) -> Result<ReplyStream<R>, SubprocessIpcBackendError> {
        let mut data = Vec::new();
        value::encode(request, &mut data, Default::default()).map_err(|source| {
            let (type_name, source) = (std::any::type_name::<C>(), source.into());
            SubprocessIpcBackendError::Encode { type_name, source }
        })?;
        let raw = self.raw(path, data.into(), CallContext::default()).await?;
        Ok(ReplyStream::new(raw))
    }

    /// Calls with a request that is serialised already. The deadline is the sooner of the context's and
    /// that of the call that this task serves.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn raw(
        &self,
        path: &str,
        request: Bytes,
        mut context: CallContext,
    ) -> Result<RawReplies, SubprocessIpcBackendError> {
        context.deadline = sooner(context.deadline, current_deadline());
        let info = CallInfo { kind: CallKind::Callback, path, peer_pid: self.peer_pid };
        let outgoing = OutgoingCall::begin(self.caller.clone(), context, info, &self.metrics, None);
        if !self.paths.iter().any(|known| known == path) {
            let (path, known) = (path.to_owned(), self.paths.to_vec());
            let failure = PythonExecutionError::NoSuchCallback { path, known };
            return Err(outgoing.failed(SubprocessIpcBackendError::Remote(failure)));
        }
        let envelope = TypedCallbackEnvelope {
            callback_path: path.to_owned(),
            correlation_id: 0,
            callback_data: request,
        };
        let (outgoing, body) = outgoing.encode(&envelope).await?;
        outgoing.call(body).await
    }

    /// Counters and times of the calls made.
    pub fn metrics(&self) -> DirectionSnapshot {
        self.metrics.snapshot()
    }
}
