//! Nodes for any kind of data.

pub(crate) mod pass_through;
