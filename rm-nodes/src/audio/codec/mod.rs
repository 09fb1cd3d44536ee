//! Sound as bytes of files and streams: what reads and writes their formats.

#[cfg(feature = "codecs")]
mod coded;
#[cfg(feature = "codecs")]
mod flac;
mod input;
#[cfg(feature = "codecs")]
mod opus;
mod pushed;
mod riff_info;
mod sound;
mod tags;
#[cfg(feature = "codecs")]
mod vorbis;
mod wav;
mod writer;

#[cfg(test)]
#[cfg(feature = "codecs")]
pub(super) mod tests;

pub(super) use input::Input;
pub(super) use pushed::{Event, Pushed};
pub(super) use sound::{Sound, SoundError, SoundInfo, frame_bytes};
pub(super) use tags::Tags;
pub(super) use writer::{FileWriter, StreamWriter, WriteFormat};
