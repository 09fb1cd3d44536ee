//! What a child writes to stdout and stderr: read all the time, logged, the last of it kept.
//!
//! Main type: [`Capture`]. Memory is bounded whatever the child prints: 64 KiB kept for each
//! stream, one read buffer, one unfinished line. It writes no files.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe;
use tokio::sync::watch;

/// Bytes of each stream that are kept.
pub(crate) const KEPT: usize = 64 * 1024;

/// Longest piece of a line in one log event; what is longer goes into several.
const MAX_LINE: usize = 8 * 1024;

const READ_BUFFER: usize = 16 * 1024;

/// Most bytes that are read after the child's end: what can lie in a pipe whose size an
/// unprivileged process has raised to the maximum.
const MAX_LEFT_IN_PIPE: usize = 1024 * 1024;

/// The last 64 KiB of one stream.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    kept: Mutex<VecDeque<u8>>,
}

impl Capture {
    fn push(&self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = (kept.len() + bytes.len()).saturating_sub(KEPT);
        kept.drain(..surplus);
        kept.extend(bytes);
    }

    /// What is kept, as text; bytes that are not UTF-8 become replacement characters.
    pub(crate) fn tail(&self) -> String {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }
}

/// Cuts a stream into lines of bounded length.
#[derive(Default)]
struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&str)) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.unfinished.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    self.unfinished.extend_from_slice(&window[..end]);
                    bytes = &bytes[end + 1..];
                    self.flush(true, &mut emit);
                }
                None => {
                    self.unfinished.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.unfinished.len() == MAX_LINE {
                        self.flush(false, &mut emit);
                    }
                }
            }
        }
    }

    fn flush(&mut self, line_ended: bool, emit: &mut impl FnMut(&str)) {
        if line_ended || !self.unfinished.is_empty() {
            let line = String::from_utf8_lossy(&self.unfinished);
            emit(line.trim_end_matches('\r'));
            self.unfinished.clear();
        }
    }
}

/// Whose output it is.
pub(crate) struct Source {
    pub(crate) node: String,
    pub(crate) session: String,
    pub(crate) stream: &'static str,
}

/// Reads one stream of a child until its end, or until the child is dead and the pipe empty.
///
/// A descendant that left the process group may hold the pipe open for ever; `dead` turns true
/// once the child is gone, and then only what already lies in the pipe is read.
pub(crate) async fn drain(
    pipe: pipe::Receiver,
    capture: Arc<Capture>,
    source: Source,
    mut dead: watch::Receiver<bool>,
) {
    let mut lines = Lines::default();
    let mut emit = |line: &str| {
        let Source { node, session, stream } = &source;
        tracing::info!(target: "rm_process::output", node, session, stream, "{line}");
    };
    let mut buffer = vec![0; READ_BUFFER];
    let mut take = |bytes: &[u8]| {
        capture.push(bytes);
        if tracing::enabled!(target: "rm_process::output", tracing::Level::INFO) {
            lines.push(bytes, &mut emit);
        }
    };
    loop {
        let still_read = tokio::select! {
            biased;
            _ = dead.wait_for(|dead| *dead) => false,
            ready = pipe.readable() => ready.is_ok(),
        };
        if !still_read {
            break;
        }
        match pipe.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => take(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    // Read past tokio, which may not have heard yet that something lies in the pipe.
    let mut left = MAX_LEFT_IN_PIPE;
    while left > 0 {
        match rustix::io::read(&pipe, &mut buffer[..]) {
            Ok(0) => break,
            Ok(read) => {
                take(&buffer[..read]);
                left = left.saturating_sub(read);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
    lines.flush(false, &mut emit);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.push(piece, |line| found.push(line.to_owned()));
        }
        lines.flush(false, &mut |line: &str| found.push(line.to_owned()));
        found
    }

    #[test]
    fn lines_come_out_whole_wherever_the_stream_is_split() {
        let text = b"one\r\n\ntwo\nthree";
        for split in 0..=text.len() {
            let (left, right) = text.split_at(split);
            assert_eq!(lines_of(&[left, right]), ["one", "", "two", "three"]);
        }
    }

    #[test]
    fn a_line_without_end_comes_out_in_bounded_pieces() {
        let text = vec![b'x'; MAX_LINE * 3 + 5];
        let lines = lines_of(&[&text]);
        let lengths: Vec<usize> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 5]);
    }

    proptest! {
        #[test]
        fn the_last_bytes_are_kept_whatever_the_pieces(
            pieces in proptest::collection::vec(0_usize..90_000, 0..8)
        ) {
            let capture = Capture::default();
            let mut all = String::new();
            for (index, len) in pieces.into_iter().enumerate() {
                let letter = char::from(b'a' + u8::try_from(index).unwrap());
                let piece: String = std::iter::repeat_n(letter, len).collect();
                capture.push(piece.as_bytes());
                all.push_str(&piece);
            }
            prop_assert_eq!(capture.tail(), &all[all.len().saturating_sub(KEPT)..]);
        }
    }
}
