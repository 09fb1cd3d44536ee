//! What the children of ours can be asked, and how they answer.
//!
//! Main types: [`Ask`] and [`Said`]. Nothing is measured here but by the child that measures callbacks.

use std::time::Instant;

use anyhow::Result;
use rm_process::child::{self, ChildHandle, Reply, RequestContext, SubprocessIpcChild, blocking};
use rm_process::{KameoChildProcessMessage, PythonExecutionError};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tokio_stream::StreamExt;

/// A request to a child.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Gives the number back.
    Echo(u64),
    /// Gives so many numbers, one by one.
    Count(u64),
    /// Gives the sum of the bytes.
    Sum(ByteBuf),
    /// Gives so many bytes.
    Fill(usize),
    /// Calls the parent so many times, and gives the nanoseconds that each call took.
    CallBack(u32),
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    Number(u64),
    Bytes(ByteBuf),
    Times(Vec<u64>),
}

impl KameoChildProcessMessage for Ask {
    type Reply = Said;
}

/// The path of the parent's callback that gives its number back.
pub const ECHO: &str = "bench.Echo";

/// A child with tokio.
pub fn serve() -> Result<()> {
    child::die_with_parent()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let child = SubprocessIpcChild::<Ask>::connect().await?;
        let own = child.handle().clone();
        child.serve(move |ask, _: RequestContext| answer(own.clone(), ask)).await;
        Ok(())
    })
}

/// A child without tokio.
pub fn serve_blocking() -> Result<()> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<Ask>()?;
    while let Some(request) = requests.next() {
        if let Ask::Echo(number) = request.message()? {
            request.into_responder().reply(&Said::Number(number))?;
        }
    }
    Ok(())
}

async fn answer(own: ChildHandle, ask: Ask) -> Result<Reply<Said>, PythonExecutionError> {
    Ok(match ask {
        Ask::Echo(number) => Reply::one(Said::Number(number)),
        Ask::Count(to) => {
            Reply::stream(tokio_stream::iter(0..to).map(|number| Ok(Said::Number(number))))
        }
        Ask::Sum(bytes) => Reply::one(Said::Number(sum(&bytes))),
        Ask::Fill(len) => Reply::one(Said::Bytes(vec![1; len].into())),
        Ask::CallBack(calls) => {
            let mut times = Vec::with_capacity(calls as usize);
            for number in 0..u64::from(calls) {
                let began = Instant::now();
                let back = own.callbacks().call::<u64, u64>(ECHO, &number).await;
                let back = back.map_err(|error| PythonExecutionError::handler(&error))?;
                debug_assert_eq!(back, number);
                times.push(began.elapsed().as_nanos() as u64);
            }
            Reply::one(Said::Times(times))
        }
    })
}

/// The sum of all bytes, which no reader of them gets around.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}
