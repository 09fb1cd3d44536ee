//! Sound decoded from bytes that are handed over piece by piece.
//!
//! Main type: [`Pushed`]. Readers of files pull bytes and cannot stop in the middle of a packet, so the
//! reader runs on a thread of its own. Its owner hands over a piece and waits until the reader asks for
//! the next, so that what comes out of a piece depends on the bytes alone. The thread ends with its
//! owner.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use bytes::{Buf, Bytes};

use super::input::Input;
use super::sound::{Sound, SoundError, SoundInfo};

/// What the reader says to its owner.
pub(in crate::audio) enum Event {
    /// The header has been read.
    Begin(SoundInfo),
    /// Interleaved samples.
    Samples(Vec<u8>),
    /// All that has been handed over is read.
    Hungry,
    /// Nothing more will come.
    End(Result<(), SoundError>),
}

/// The bytes as the reader sees them: it waits where there are none.
struct Pieces {
    piece: Bytes,
    /// In a mutex only because readers must be shareable; it is never contended.
    pieces: Mutex<Receiver<Bytes>>,
    events: SyncSender<Event>,
    is_over: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_over {
            if self.events.send(Event::Hungry).is_err() {
                return Err(io::Error::other("nobody wants the sound any more"));
            }
            let pieces = self.pieces.get_mut().expect("nothing panics while it is held");
            match pieces.recv() {
                Ok(piece) => self.piece = piece,
                Err(_) => self.is_over = true,
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// A reader that is given its bytes.
pub(in crate::audio) struct Pushed {
    /// `None` once the last piece has been handed over.
    pieces: Option<Sender<Bytes>>,
    events: Option<Receiver<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl Pushed {
    /// A reader that waits for its first piece.
    ///
    /// # Errors
    /// What the system says when there can be no more threads.
    pub(in crate::audio) fn new() -> io::Result<Self> {
        let (pieces, from) = channel();
        let (to, events) = sync_channel(1);
        let thread = Builder::new().name("rm-decode".to_owned()).spawn(move || run(from, to))?;
        let mut pushed = Self { pieces: Some(pieces), events: Some(events), thread: Some(thread) };
        // It says that it is hungry before its first piece, too.
        pushed.next_event();
        Ok(pushed)
    }

    /// Hands over a piece. All events up to [`Event::Hungry`] or [`Event::End`] are to be taken then.
    pub(in crate::audio) fn push(&mut self, piece: Bytes) {
        if let Some(pieces) = &self.pieces {
            // A reader that has ended needs no more, and says so by its events.
            let _ = pieces.send(piece);
        }
    }

    /// Says that no piece follows. All events up to [`Event::End`] are to be taken then.
    pub(in crate::audio) fn finish(&mut self) {
        self.pieces = None;
    }

    /// The next thing that the reader says; [`Event::End`] once it has ended.
    pub(in crate::audio) fn next_event(&mut self) -> Event {
        let event = self.events.as_ref().and_then(|events| events.recv().ok());
        event.unwrap_or(Event::End(Ok(())))
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        // Without both ends the thread neither waits for bytes nor for somebody who takes samples.
        self.pieces = None;
        self.events = None;
        if let Some(thread) = self.thread.take() {
            // What it failed on is of no concern any more.
            let _ = thread.join();
        }
    }
}

fn run(pieces: Receiver<Bytes>, events: SyncSender<Event>) {
    let input = Pieces {
        piece: Bytes::new(),
        pieces: Mutex::new(pieces),
        events: events.clone(),
        is_over: false,
    };
    let done = decode(input, &events);
    // Nobody listens where the owner is gone.
    let _ = events.send(Event::End(done));
}

fn decode(input: Pieces, events: &SyncSender<Event>) -> Result<(), SoundError> {
    let gone = |_| SoundError::content("nobody wants the sound any more");
    let mut sound = Sound::open(Input::stream(input))?;
    events.send(Event::Begin(sound.info().clone())).map_err(gone)?;
    while let Some(samples) = sound.next_block()? {
        events.send(Event::Samples(samples.to_vec())).map_err(gone)?;
    }
    Ok(())
}
