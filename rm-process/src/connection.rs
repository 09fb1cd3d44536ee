//! The parent's end of a control channel.
//!
//! Main type: [`Connection`], which splits into a [`Sender`] and a [`Receiver`]. It carries
//! values, and passes on what the child tells of itself to its supervision; it matches no replies to
//! requests.

use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use crate::protocol::{
    DEFAULT_MAX_FRAME, Down, FrameDecoder, FrameError, Progress, Up, encode_frame,
};
use crate::supervision::Core;

/// Longest text of a child's about itself that is kept, in bytes.
const MAX_TEXT: usize = 8 * 1024;

pub(crate) const READ_BUFFER: usize = 16 * 1024;

/// Why a control channel could not carry a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer has closed the channel or is dead.
    #[error("control channel is closed by the peer")]
    Closed,
    /// The bytes are not a frame, or the value does not fit into one.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The operating system failed.
    #[error("control channel failed: {0}")]
    Io(#[source] io::Error),
}

impl ConnectionError {
    pub(crate) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// What comes from a child.
#[derive(Debug, Clone, PartialEq)]
pub enum Incoming<Rx> {
    /// A value.
    Value(Rx),
    /// It is loading what it needs.
    Progress(Progress),
    /// It has what it needs.
    Ready,
    /// It cannot go on, and why.
    Failed(String),
}

/// The parent's end of the control channel to one child: sends `Tx`, receives `Rx`.
#[derive(Debug)]
pub struct Connection<Tx, Rx> {
    sender: Sender<Tx>,
    receiver: Receiver<Rx>,
}

impl<Tx: Serialize, Rx: DeserializeOwned> Connection<Tx, Rx> {
    pub(crate) fn new(
        reader: FrameReader,
        writer: Arc<Mutex<FrameWriter>>,
        process: Weak<Core>,
    ) -> Self {
        Self {
            sender: Sender { writer, sends: PhantomData },
            receiver: Receiver { reader, process, receives: PhantomData },
        }
    }

    /// Sends one value, see [`Sender::send`].
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub async fn send(&self, value: &Tx) -> Result<(), ConnectionError> {
        self.sender.send(value).await
    }

    /// Receives one value, see [`Receiver::recv`].
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub async fn recv(&mut self) -> Result<Option<Rx>, ConnectionError> {
        self.receiver.recv().await
    }

    /// The two directions, to be used from different tasks.
    pub fn split(self) -> (Sender<Tx>, Receiver<Rx>) {
        (self.sender, self.receiver)
    }
}

/// The sending half. Clones send over the same channel; when the last one is dropped, the child
/// sees the end of the stream.
#[derive(Debug)]
pub struct Sender<Tx> {
    writer: Arc<Mutex<FrameWriter>>,
    sends: PhantomData<fn(&Tx)>,
}

impl<Tx> Clone for Sender<Tx> {
    fn clone(&self) -> Self {
        Self { writer: Arc::clone(&self.writer), sends: PhantomData }
    }
}

impl<Tx: Serialize> Sender<Tx> {
    /// Sends one value; waits while the child does not read.
    ///
    /// If the returned future is dropped half-way, the value is sent whole or not at all: what is
    /// left of it goes out before the next value.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the child is gone, [`ConnectionError::Frame`] if the value
    /// is too large or cannot be encoded.
    pub async fn send(&self, value: &Tx) -> Result<(), ConnectionError> {
        let frame = encode_frame(&Down::Value(value), DEFAULT_MAX_FRAME)?;
        self.writer.lock().await.write(frame).await
    }
}

/// Tells a child to end.
pub(crate) async fn send_stop(writer: &Mutex<FrameWriter>) -> Result<(), ConnectionError> {
    let frame = encode_frame(&Down::<()>::Stop, DEFAULT_MAX_FRAME)?;
    writer.lock().await.write(frame).await
}

/// The receiving half. What the child tells of its loading takes effect as it is read, so somebody
/// has to be receiving while it loads.
#[derive(Debug)]
pub struct Receiver<Rx> {
    reader: FrameReader,
    process: Weak<Core>,
    receives: PhantomData<fn() -> Rx>,
}

impl<Rx: DeserializeOwned> Receiver<Rx> {
    /// The next value, or `None` once the child has closed its end or is dead. Nothing is lost if
    /// the returned future is dropped.
    ///
    /// # Errors
    /// [`ConnectionError::Frame`] if what came is not an `Rx`.
    pub async fn recv(&mut self) -> Result<Option<Rx>, ConnectionError> {
        loop {
            match self.next().await? {
                Some(Incoming::Value(value)) => return Ok(Some(value)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Like [`recv`](Self::recv), but also gives what the child tells of itself, after the process's
    /// status has followed from it.
    ///
    /// # Errors
    /// [`ConnectionError::Frame`] if what came is not an `Rx`.
    pub async fn next(&mut self) -> Result<Option<Incoming<Rx>>, ConnectionError> {
        let Some(frame) = self.reader.recv::<Up<Rx>>().await? else { return Ok(None) };
        let incoming = match frame {
            Up::Value(value) => return Ok(Some(Incoming::Value(value))),
            Up::Progress(Progress { fraction, message }) => {
                let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
                Incoming::Progress(Progress { fraction, message: cut(message) })
            }
            Up::Ready => Incoming::Ready,
            Up::Failed(message) => Incoming::Failed(cut(message)),
        };
        if let Some(process) = self.process.upgrade() {
            process.heard(&incoming);
        }
        Ok(Some(incoming))
    }
}

/// The start of a text that is kept for as long as the process is known.
fn cut(mut text: String) -> String {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
    text
}

#[derive(Debug)]
pub(crate) struct FrameWriter {
    half: OwnedWriteHalf,
    /// The frame in work, and how much of it is out. It outlives a dropped `send`.
    unsent: Vec<u8>,
    sent: usize,
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        // The end of the stream says it too; but a child waits then whether its parent is dying.
        if self.sent == self.unsent.len()
            && let Ok(frame) = encode_frame(&Down::<()>::Stop, DEFAULT_MAX_FRAME)
        {
            let _ = self.half.try_write(&frame);
        }
    }
}

impl FrameWriter {
    fn new(half: OwnedWriteHalf) -> Self {
        Self { half, unsent: Vec::new(), sent: 0 }
    }

    async fn write(&mut self, frame: Vec<u8>) -> Result<(), ConnectionError> {
        self.flush().await?;
        self.unsent = frame;
        self.sent = 0;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.sent < self.unsent.len() {
            let rest = &self.unsent[self.sent..];
            let written = self.half.write(rest).await;
            self.sent += written.map_err(ConnectionError::from_io)?;
        }
        Ok(())
    }
}

/// Reads frames of any type: the introduction first, the values after it.
#[derive(Debug)]
pub(crate) struct FrameReader {
    half: OwnedReadHalf,
    decoder: FrameDecoder,
    buffer: Box<[u8]>,
}

impl FrameReader {
    pub(crate) fn new(stream: UnixStream) -> (Self, FrameWriter) {
        let (half, writer) = stream.into_split();
        let reader = Self {
            half,
            decoder: FrameDecoder::default(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
        };
        (reader, FrameWriter::new(writer))
    }

    pub(crate) async fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ConnectionError> {
        loop {
            if let Some(value) = self.decoder.next_frame()? {
                return Ok(Some(value));
            }
            let read = match self.half.read(&mut self.buffer).await {
                Ok(read) => read,
                // A peer that died with unread input resets the channel; all it sent came before.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(ConnectionError::from_io(error)),
            };
            if read == 0 {
                self.decoder.finish()?;
                return Ok(None);
            }
            self.decoder.push(&self.buffer[..read]);
        }
    }
}
