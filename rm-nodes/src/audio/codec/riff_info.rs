//! Tags as RIFF files hold them: the list `INFO` of chunks of text.
//!
//! Main functions: [`read`] and [`write()`]. Names for which RIFF has none are kept as `NAME=value` in
//! chunks of our own, `RMTG`, which other programs leave out.

use super::tags::Tags;

/// RIFF's names, from the Multimedia Programming Interface and Data Specifications 1.0 (1991), and
/// `ITRK`, `IPRT`, which came into use later; the first of several is written.
const NAMES: &[(&[u8; 4], &str)] = &[
    (b"INAM", "title"),
    (b"IART", "artist"),
    (b"IPRD", "album"),
    (b"ICRD", "date"),
    (b"IGNR", "genre"),
    (b"ICMT", "comment"),
    (b"ITRK", "tracknumber"),
    (b"IPRT", "tracknumber"),
    (b"ICOP", "copyright"),
    (b"IMUS", "composer"),
    (b"ILNG", "language"),
    (b"ISFT", "encoder"),
];
const OWN: &[u8; 4] = b"RMTG";

/// Adds the tags of the body of a list, behind its form `INFO`.
pub(super) fn read(mut body: &[u8], tags: &mut Tags) {
    while let Some((head, rest)) = body.split_first_chunk::<8>() {
        let id: [u8; 4] = [head[0], head[1], head[2], head[3]];
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some(value) = rest.get(..len) else {
            return;
        };
        // Chunks begin at even places.
        body = rest.get(len + len % 2..).unwrap_or_default();
        let value = match value.iter().position(|byte| *byte == 0) {
            Some(end) => &value[..end],
            None => value,
        };
        let value = text(value);
        if id == *OWN {
            if let Some((name, value)) = value.split_once('=') {
                tags.add(name, value);
            }
        } else if let Some((_, name)) = NAMES.iter().find(|(known, _)| **known == id) {
            tags.add(name, &value);
        } else if let Ok(name) = std::str::from_utf8(&id) {
            tags.add(name.trim_end(), &value);
        }
    }
}

/// Text as UTF-8, or as Latin-1 where it is none.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// The whole list as a chunk; nothing for no tags.
pub(super) fn write(tags: &Tags) -> Vec<u8> {
    if tags.is_empty() {
        return Vec::new();
    }
    let mut body = b"INFO".to_vec();
    for (name, value) in tags.iter() {
        match NAMES.iter().find(|(_, known)| *known == name) {
            Some((id, _)) => put(&mut body, id, value),
            None => put(&mut body, OWN, &format!("{name}={value}")),
        }
    }
    let mut list = b"LIST".to_vec();
    list.extend(len(body.len()));
    list.extend(body);
    list
}

fn put(body: &mut Vec<u8>, id: &[u8; 4], value: &str) {
    body.extend(id);
    // The 0 at the end counts.
    body.extend(len(value.len() + 1));
    body.extend(value.as_bytes());
    body.push(0);
    if body.len() % 2 == 1 {
        body.push(0);
    }
}

fn len(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("tags are limited to less").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_are_read_back_as_they_were_written() {
        let object =
            json!({"title": "Grüße", "artist": ["a", "bc"], "mood": "x=y", "date": "2026"});
        let tags = Tags::from_json(&object).unwrap();
        let list = write(&tags);
        assert!(list.len().is_multiple_of(2));
        let mut back = Tags::default();
        read(&list[12..], &mut back);
        assert_eq!(back.to_json(), object);
        assert!(write(&Tags::default()).is_empty());
    }

    #[test]
    fn a_list_that_is_cut_or_of_another_encoding_gives_what_it_can() {
        let mut tags = Tags::default();
        read(b"INAM\x03\0\0\0\xfcb\0\0IART\xff\0\0\0a", &mut tags);
        assert_eq!(tags.to_json(), json!({"title": "üb"}));
    }
}
