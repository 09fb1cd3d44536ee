//! Voice activity: which parts of a stream are speech.

mod node;
mod scorer;
mod segmenter;

pub(crate) use node::register;
