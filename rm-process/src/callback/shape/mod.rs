//! What a type looks like to serde, learnt without any derive beyond serde's own.
//!
//! Main type: [`Shape`]. It describes a type, and neither converts nor checks values.
//! It re-exports, and does nothing else.

mod access;
mod buffered;
mod explore;
mod fault;
mod fill;
mod model;
mod named;
mod probe;
mod written;

#[cfg(test)]
mod tests;

pub use model::{Field, Form, Shape, Tagging, TypeDef, TypeKind, Variant, VariantForm};
