//! One connection that carries many calls: who calls is at one end, who serves them at the other.
//!
//! Main type: [`Link`](link::Link). It numbers calls, matches replies, keeps to the credits of both
//! sides and gives each call exactly one end. It does not know what the payloads mean; `transport`
//! carries the frames.

mod call;
mod context;
mod end;
mod flow;
mod incoming;
#[expect(clippy::module_inception, reason = "it is the module's main type")]
mod link;
mod served;
mod slot;
mod table;

pub(crate) use call::{Caller, Replies, Sink};
pub use context::CallContext;
pub(crate) use context::current_deadline;
pub(crate) use end::{CallEnd, LinkEnd};
pub(crate) use link::{ItemError, Link, NotCalled, Peer, Role, Word};
pub(crate) use served::{Answer, IncomingCall, Input, Responder};
pub use slot::ReplySlot;

#[cfg(test)]
mod tests;
