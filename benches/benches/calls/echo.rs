//! The peers: bare Unix sockets between this process and another one, without frames or calls.
//!
//! Main types: [`Blocking`], with plain threads, and [`Async`], with tokio at both ends. Their children
//! answer each message of [`MESSAGE`] bytes with as many.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use anyhow::Result;
use benches::child::{Child, inherited_socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use super::ask::sum;

/// Length of a message, in bytes: about that of the frame of a small call.
pub const MESSAGE: usize = 64;

/// Roles of children.
pub const BLOCKING: &str = "echo-blocking";
pub const ASYNC: &str = "echo-async";
pub const ITEMS: &str = "echo-items";
pub const SUM: &str = "echo-sum";

/// A socket whose ends are read and written by plain threads.
pub struct Blocking {
    stream: UnixStream,
    buffer: Vec<u8>,
    _child: Child,
}

impl Blocking {
    pub fn echo() -> Result<Self> {
        Self::start(BLOCKING, &[])
    }

    /// A child that answers with `items` messages, each written by itself.
    pub fn items(items: usize) -> Result<Self> {
        Self::start(ITEMS, &[&items.to_string()])
    }

    /// A child that takes `len` bytes, and answers with one message of their sum.
    pub fn sum(len: usize) -> Result<Self> {
        Self::start(SUM, &[&len.to_string()])
    }

    fn start(role: &str, args: &[&str]) -> Result<Self> {
        let (stream, child) = Child::start_on_socket(role, args)?;
        Ok(Self { stream, buffer: Vec::new(), _child: child })
    }

    /// Sends a message and waits for `answers` of them.
    pub fn round_trip(&mut self, answers: usize) -> Result<()> {
        self.stream.write_all(&[1; MESSAGE])?;
        self.buffer.resize(MESSAGE * answers, 0);
        Ok(self.stream.read_exact(&mut self.buffer)?)
    }

    /// Sends all of `bytes` and waits for one message.
    pub fn send(&mut self, bytes: &[u8]) -> Result<u64> {
        self.stream.write_all(bytes)?;
        let mut answer = [0; MESSAGE];
        self.stream.read_exact(&mut answer)?;
        let (number, _) = answer.split_first_chunk().expect("a message is longer");
        Ok(u64::from_le_bytes(*number))
    }
}

/// Answers each message with `items` of them.
pub fn answer(items: usize) -> Result<()> {
    let mut stream = inherited_socket()?;
    let mut message = [0; MESSAGE];
    while stream.read_exact(&mut message).is_ok() {
        for _ in 0..items {
            stream.write_all(&message)?;
        }
    }
    Ok(())
}

/// Answers `len` bytes with their sum.
pub fn answer_sum(len: usize) -> Result<()> {
    let mut stream = inherited_socket()?;
    let mut bytes = vec![0; len];
    while stream.read_exact(&mut bytes).is_ok() {
        let mut message = [0; MESSAGE];
        message[..8].copy_from_slice(&sum(&bytes).to_le_bytes());
        stream.write_all(&message)?;
    }
    Ok(())
}

/// A socket with tokio at both ends, each on one thread.
pub struct Async {
    runtime: Runtime,
    stream: tokio::net::UnixStream,
    _child: Child,
}

impl Async {
    pub fn echo() -> Result<Self> {
        let (stream, child) = Child::start_on_socket(ASYNC, &[])?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let stream = to_tokio(&runtime, stream)?;
        Ok(Self { runtime, stream, _child: child })
    }

    /// Makes `calls` round trips one after the other, each with `took` told of it.
    pub fn round_trips(
        &mut self,
        calls: u32,
        mut took: impl FnMut(std::time::Duration) -> Result<()>,
    ) -> Result<()> {
        let Self { runtime, stream, .. } = self;
        runtime.block_on(async {
            let mut message = [1; MESSAGE];
            for _ in 0..calls {
                let began = std::time::Instant::now();
                stream.write_all(&message).await?;
                stream.read_exact(&mut message).await?;
                took(began.elapsed())?;
            }
            Ok(())
        })
    }

    /// Sends `calls` messages, each written by itself, while as many are read.
    pub fn at_once(&mut self, calls: usize) -> Result<()> {
        let Self { runtime, stream, .. } = self;
        runtime.block_on(async {
            let (mut reader, mut writer) = stream.split();
            let write = async {
                for _ in 0..calls {
                    writer.write_all(&[1; MESSAGE]).await?;
                }
                anyhow::Ok(())
            };
            let read = async {
                let mut left = calls * MESSAGE;
                let mut buffer = vec![0; 16 * 1024];
                while left > 0 {
                    left -= reader.read(&mut buffer).await?;
                }
                anyhow::Ok(())
            };
            tokio::try_join!(write, read)?;
            Ok(())
        })
    }
}

fn to_tokio(runtime: &Runtime, stream: UnixStream) -> Result<tokio::net::UnixStream> {
    stream.set_nonblocking(true)?;
    let _entered = runtime.enter();
    Ok(tokio::net::UnixStream::from_std(stream)?)
}

/// Answers each message with one, by tokio.
pub fn answer_async() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut stream = to_tokio(&runtime, inherited_socket()?)?;
    runtime.block_on(async {
        let mut message = [0; MESSAGE];
        while stream.read_exact(&mut message).await.is_ok() {
            stream.write_all(&message).await?;
        }
        Ok(())
    })
}
