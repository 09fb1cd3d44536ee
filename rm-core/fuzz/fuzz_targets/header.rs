//! Fuzzes what a receiver decodes from shared memory: a wire header and the payload behind it.
//!
//! Any bytes decode or give a typed error, never a panic. A header that decodes can be written
//! again and reads the same; an item made of it and a payload can be looked at in every way.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rm_core::{DataHeader, RuntimeData, WireHeader};
use zerocopy::{FromBytes, IntoBytes};

fuzz_target!(|bytes: &[u8]| {
    let Ok((wire, payload)) = WireHeader::read_from_prefix(bytes) else {
        return;
    };
    let _ = format!("{wire:?}");
    match wire.decode() {
        Ok(header) => {
            check_round_trip(&header);
            check_item(header, payload);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn check_round_trip(header: &DataHeader) {
    let again = WireHeader::encode(header).expect("what was decoded can be encoded");
    let header = again.decode().expect("what was encoded can be decoded");
    let third = WireHeader::encode(&header).expect("it can be encoded as often as one likes");
    assert_eq!(again.as_bytes(), third.as_bytes());
}

fn check_item(mut header: DataHeader, payload: &[u8]) {
    let payload = Bytes::copy_from_slice(payload);
    look_at(RuntimeData::from_parts(header.clone(), payload.clone()));
    // The size is rarely guessed right.
    header.payload_size = u32::try_from(payload.len()).expect("inputs are short");
    look_at(RuntimeData::from_parts(header, payload));
}

fn look_at(item: Result<RuntimeData, rm_core::DataError>) {
    match item {
        Ok(item) => {
            let _ = (item.as_text(), item.as_error(), item.parse_json());
            let _ = format!("{:?} {:?} {:?}", item.as_audio(), item.as_video(), item.as_tensor());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
