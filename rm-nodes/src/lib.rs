//! The built-in media nodes of the RemoteMedia runtime.
//!
//! Main entry: [`register_all`], which adds every node of this crate to a registry. Nodes are
//! streaming: they keep their state from chunk to chunk, and what they give in total does not
//! depend on how the stream was cut. They are made from their parameters through the registry
//! only. How nodes are connected and run is not decided here.
//!
//! ```
//! use rm_core::{NodeContext, NodeRegistry, Output, RuntimeData};
//!
//! let mut registry = NodeRegistry::new();
//! rm_nodes::register_all(&mut registry)?;
//!
//! let context = NodeContext {
//!     params: serde_json::json!({"format": "i16"}),
//!     ..NodeContext::default()
//! };
//! let mut node = registry.factory("FormatConverterNode").expect("is registered")(&context)?;
//! let mut output = Output::default();
//! node.process(RuntimeData::audio_f32(vec![0.5, -1.0], 48_000, 1)?, &mut output)?;
//! let item = output.drain().next().expect("one item in, one item out");
//! assert_eq!(item.as_audio().and_then(|audio| audio.as_i16()), Some(&[16_384, -32_768][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod audio;
mod define;
mod files;
mod input;
mod pool;
mod stamps;
#[cfg(test)]
mod testing;
mod text;
mod util;
#[cfg(feature = "video")]
mod video;

use rm_core::{NodeRegistry, RegistryError};

/// Adds every node of this crate.
///
/// # Errors
/// [`RegistryError::Duplicate`] if a name is taken already.
pub fn register_all(registry: &mut NodeRegistry) -> Result<(), RegistryError> {
    audio::register_all(registry)?;
    #[cfg(feature = "video")]
    video::register_all(registry)?;
    text::register_all(registry)?;
    util::register_all(registry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::make;

    fn registry() -> NodeRegistry {
        let mut registry = NodeRegistry::new();
        register_all(&mut registry).unwrap();
        registry
    }

    #[test]
    fn the_contracted_names_are_registered() {
        let registry = registry();
        for name in ["VADNode", "ResampleNode", "FormatConverterNode"] {
            assert!(registry.metadata(name).is_some(), "{name}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_every_node() {
        for name in registry().names() {
            let params = serde_json::json!({"path": "sound.wav", "no_such_parameter": 1});
            assert!(make(name, params).is_err(), "{name}");
        }
    }
}
