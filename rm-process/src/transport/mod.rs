//! Frames over one socket, with descriptors beside them: what both ends of every channel between a
//! parent and a child are made of.
//!
//! Main function: [`open`], which gives an [`Outbox`] and an [`Inbox`]. What is too large for a frame
//! goes beside it in a sealed file, see [`SpillWriter`] and [`Mapping`]. The bytes of a frame are the
//! matter of `protocol`; what its body means is no matter here.

mod inbox;
mod outbox;
mod sealed;
mod socket;

pub(crate) use inbox::{Frame, Inbox};
pub(crate) use outbox::{Outbox, TransportOptions, open};
pub use sealed::PayloadError;
pub(crate) use sealed::{Body, Mapping};
