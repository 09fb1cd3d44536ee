//! What goes over a control channel around the caller's own values, so that a process can be
//! supervised whatever those are.
//!
//! Main types: [`Down`], from parent to child, and [`Up`], from child to parent. What follows from
//! them is decided in `state`.

use serde::{Deserialize, Serialize};

/// A frame from a parent to its child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Down<T> {
    /// A value of the caller's.
    Value(T),
    /// The word to end.
    Stop,
}

/// A frame from a child to its parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Up<T> {
    /// A value of the caller's.
    Value(T),
    /// It is loading what it needs.
    Progress(Progress),
    /// It has what it needs.
    Ready,
    /// It cannot go on, and why.
    Failed(String),
}

/// How far a process is in loading what it needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// How far it is, from 0 to 1.
    pub fraction: f32,
    /// What it does, in its own words; may be empty.
    pub message: String,
}
