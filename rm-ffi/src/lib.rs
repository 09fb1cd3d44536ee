//! The Python wheel: what `remotemedia_runtime` and the worker processes do in Rust.
//!
//! In the order in which data meets them: `functions`, `run` and `session` are what Python calls, with
//! `host` and `task` below them; `registry` knows the node types, and `in_process` runs native nodes
//! for who walks the graph in Python; `convert`, with `array`, `memory`, `audio`, `video` and `json`
//! below it, turns Python objects into items and back; `worker`
//! serves a Python node, which `node` calls, inside its process; `errors` turns every error into an exception. The
//! Python half of the wheel (the SDK, the command line, the exceptions) lies under `python/`.

#![deny(unsafe_code)]
#![allow(
    rustdoc::invalid_rust_codeblocks,
    reason = "what Python shows as help is written in NumPy's style, not in Markdown"
)]

mod array;
mod audio;
mod callbacks;
mod calls;
mod convert;
mod errors;
mod functions;
mod host;
mod in_process;
mod inputs;
mod json;
mod logging;
mod mailbox;
mod memory;
mod node;
mod objects;
mod place;
mod python;
mod registry;
mod run;
mod session;
mod signals;
mod standalone;
mod task;
mod timeline;
mod value;
mod video;
mod worker;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _native {
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "it is Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    use crate::audio::PyAudio;
    #[pymodule_export]
    use crate::callbacks::{PyCall, PyCallContext};
    #[pymodule_export]
    use crate::calls::{PyRequest, serve_calls};
    #[pymodule_export]
    use crate::convert::convert;
    #[pymodule_export]
    use crate::functions::{
        check_manifest, get_available_nodes, get_node_metadata, read_manifest, sweep,
        validate_manifest,
    };
    #[pymodule_export]
    use crate::in_process::{PyNativeNode, as_sent, plan_in_process};
    #[pymodule_export]
    use crate::inputs::PyInputs;
    #[pymodule_export]
    use crate::logging::init_logging;
    #[pymodule_export]
    use crate::mailbox::PyMailbox;
    #[pymodule_export]
    use crate::registry::{bar_runs, check_params, data_types, declare_node};
    #[pymodule_export]
    use crate::run::{execute_pipeline, execute_pipeline_with_input, plan_manifest};
    #[pymodule_export]
    use crate::session::{PyEvents, PySession};
    #[pymodule_export]
    use crate::standalone::serve_node;
    #[pymodule_export]
    use crate::task::PyTask;
    #[pymodule_export]
    use crate::value::{decode_value, encode_value};
    #[pymodule_export]
    use crate::video::PyVideoFrame;
    #[pymodule_export]
    use crate::worker::serve_worker;
}
