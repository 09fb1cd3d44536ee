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

/// The examples of the crate's README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(target_endian = "big")]
compile_error!("samples and tensors are little-endian and are seen where they lie");

mod audio;
mod cast;
mod clock;
mod data;
mod formats;
mod header;
mod id;
mod metadata;
mod node;
mod params;
mod registry;
mod spin;
mod suggest;
mod tensor;
mod trace;
mod video;
mod wire;

pub use audio::{AudioFormat, AudioLayout, AudioSample, AudioView};
pub use clock::{MonotonicStamp, SessionClock};
pub use data::{DataError, RuntimeData};
pub use formats::{AudioFormats, Formats, NodeFormats, Values, VideoFormats};
pub use header::{DataHeader, DataType, MessageKind, Origin};
pub use id::{ChannelId, IdError, NodeId, RuntimeId, SessionId};
pub use metadata::{DataMetadata, MetadataError};
pub use node::{InputSite, Node, NodeContext, NodeError, Output, Produced};
pub use params::{ParameterKind, ParameterProblem, ParameterSpec};
pub use registry::{FormatsOf, NodeClass, NodeFactory, NodeMetadata, NodeRegistry, RegistryError};
pub use spin::{Spin, spin_for};
pub use suggest::{did_you_mean, nearest};
pub use tensor::{TensorElement, TensorType, TensorView};
pub use trace::{TraceContext, TraceContextError};
pub use video::{Plane, Planes, VideoFormat, VideoView};
pub use wire::{WIRE_HEADER_LEN, WireError, WireHeader};
