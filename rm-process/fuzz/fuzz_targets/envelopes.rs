//! Fuzzes what a process reads out of a frame: which call it belongs to, and which word it is.
//!
//! Any bytes give an envelope or a typed error, never a panic, and whatever the payload says of its
//! own length takes no memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rm_process::protocol::{Control, FrameError, Payload, decode_envelope};

fuzz_target!(|body: &[u8]| {
    match decode_envelope(body) {
        Ok(envelope) => {
            if let Control::Sync(Payload::Inline(bytes)) | Control::Stream(Payload::Inline(bytes)) =
                envelope.inner
            {
                assert!(bytes.len() <= body.len());
            }
        }
        Err(FrameError::Decode(_) | FrameError::TooDeep { .. }) => {}
        Err(error) => panic!("{error}"),
    }
});
