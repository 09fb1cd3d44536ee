//! What data and nodes are: the vocabulary that every other crate of the runtime shares.
//!
//! This crate is pure: no I/O, no async runtime, no unsafe code. It holds typed media data
//! ([`RuntimeData`]), the 256-byte header under which data crosses process borders
//! ([`WireHeader`]), the [`Node`] trait that native nodes implement, and the [`NodeRegistry`]
//! that says which node types exist and which parameters they take. It does not run nodes and
//! does not move data.
//!
//! ```
//! use rm_core::{DataType, RuntimeData};
//!
//! let frame = RuntimeData::audio_f32(vec![0.0; 960], 48_000, 2)?;
//! assert_eq!(frame.data_type(), DataType::Audio);
//! assert_eq!(frame.as_audio().expect("is audio").frames(), 480);
//! # Ok::<(), rm_core::DataError>(())
//! ```

#![forbid(unsafe_code)]

mod clock;
mod data;
mod header;
mod id;
mod metadata;
mod node;
mod params;
mod registry;
mod suggest;
mod wire;

pub use clock::SessionClock;
pub use data::{AudioView, DataError, RuntimeData};
pub use header::{DataHeader, DataType, MessageKind, TraceContext};
pub use id::{ChannelId, IdError, NodeId, RuntimeId, SessionId};
pub use metadata::{
    AudioFormat, AudioLayout, DataMetadata, MetadataError, TensorType, VideoFormat,
};
pub use node::{Node, NodeContext, NodeError, Output, Produced};
pub use params::{ParameterKind, ParameterProblem, ParameterSpec};
pub use registry::{NodeFactory, NodeMetadata, NodeRegistry, RegistryError};
pub use suggest::{did_you_mean, nearest};
pub use wire::{WIRE_HEADER_LEN, WireError, WireHeader};
