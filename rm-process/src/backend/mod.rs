//! The parent's side: a child process that is called.
//!
//! Main type: [`SubprocessIpcBackend`]. How a child is brought to life is in `birth`, from outside in
//! `attach`, one that is a Python function in `python`; several of one kind are a `pool`.

mod attach;
#[expect(clippy::module_inception, reason = "it is the module's main type")]
mod backend;
mod birth;
mod error;
mod message;
mod outgoing;
mod peer;
mod pool;
mod python;
mod replies;

pub use attach::Doorway;
pub use backend::{BackendOptions, Liveness, Request, SubprocessIpcBackend};
pub(crate) use birth::{Unheard, hear_both};
pub use error::SubprocessIpcBackendError;
pub use message::KameoChildProcessMessage;
pub(crate) use message::{decode, encode};
pub(crate) use outgoing::OutgoingCall;
pub use peer::ChildStatus;
#[cfg(feature = "kameo")]
pub(crate) use peer::Watch;
pub use pool::{PoolOptions, PoolPlace, PoolReplies, PoolRequest, PoolStatus, SubprocessPool};
pub use python::{PythonHandler, ServedFunction};
pub(crate) use replies::sooner;
pub use replies::{InputSink, RawReplies, ReplyStream};
