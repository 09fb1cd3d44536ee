//! The child's side: find the connections, introduce oneself, serve, call, and die with the parent.
//!
//! Main type: [`SubprocessIpcChild`], for programs with tokio; [`blocking`] is for those without.
//! First of all, [`die_with_parent`].

pub mod blocking;
#[expect(clippy::module_inception, reason = "it is the module's main type")]
mod child;
mod connect;
mod parent;
mod request;

pub use child::{ChildHandle, SubprocessIpcChild};
pub(crate) use connect::format_control;
pub use connect::{CALLBACK_SOCKET_ENV, CONTROL_FD_ENV, ChildError, REQUEST_SOCKET_ENV};
pub use parent::{CGROUP_ENV, die_with_parent};
pub use request::{IncomingRequest, InputStream, Reply, RequestContext, RequestHandler, Responder};
