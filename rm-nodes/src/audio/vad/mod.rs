//! Voice activity: which parts of a stream are speech.

mod frames;
mod gate;
mod node;
mod params;
mod scorer;
mod segmenter;

pub(crate) use node::register;
