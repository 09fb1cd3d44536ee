//! Calls to Python functions, and callbacks out of them.
//!
//! Main type: [`Functions`]. What happens within Python is timed there, in `bench_calls.py`, in one
//! process with its peers.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::python_folder;
use rm_process::{BackendOptions, ProcessManager, PythonHandler, SubprocessIpcBackend};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::ours::{Threads, callbacks};

/// Children that serve functions of `bench_calls.py`.
pub struct Functions {
    plain: SubprocessIpcBackend<Value>,
    asynchronous: SubprocessIpcBackend<Value>,
    measure: SubprocessIpcBackend<Value>,
    measure_async: SubprocessIpcBackend<Value>,
    // Ends last: the children's tasks are its.
    runtime: Runtime,
}

/// Which function is called.
#[derive(Clone, Copy)]
pub enum Function {
    Plain,
    Async,
}

impl Functions {
    pub fn start(python: &Path) -> Result<Self> {
        let runtime = Threads::Current.runtime()?;
        let start = |function: &str| {
            let mut handler = PythonHandler::new("bench_calls", function);
            handler.python = Some(python.to_owned());
            handler.python_path = vec![python_folder()];
            let options = BackendOptions::new().callbacks(callbacks()?);
            runtime.block_on(async {
                let manager = ProcessManager::new()?;
                Ok::<_, anyhow::Error>(
                    SubprocessIpcBackend::spawn_python(&manager, handler, options).await?,
                )
            })
        };
        let (plain, asynchronous) = (start("echo")?, start("echo_async")?);
        let (measure, measure_async) = (start("measure")?, start("measure_async")?);
        Ok(Self { plain, asynchronous, measure, measure_async, runtime })
    }

    /// How long each of `calls` calls took that were made one after the other.
    pub fn round_trips(&self, function: Function, calls: u32) -> Result<Vec<Duration>> {
        let child = match function {
            Function::Plain => &self.plain,
            Function::Async => &self.asynchronous,
        };
        self.runtime.block_on(async {
            let mut times = Vec::with_capacity(calls as usize);
            for number in 0..calls {
                let message = json!(number);
                let began = Instant::now();
                let back = child.call(&message).await?;
                times.push(began.elapsed());
                anyhow::ensure!(back == message, "{back} for {number}");
            }
            Ok(times)
        })
    }

    /// How long each round trip took that Python made: over `what`, from a function of this kind.
    pub fn within(&self, function: Function, what: &str, calls: u32) -> Result<Vec<Duration>> {
        let child = match function {
            Function::Plain => &self.measure,
            Function::Async => &self.measure_async,
        };
        let request = json!({"what": what, "calls": calls});
        let times = self.runtime.block_on(child.call(&request))?;
        let times = times.as_array().context("a list of times")?.iter();
        times
            .map(|time| time.as_u64().map(Duration::from_nanos).context("a time is a number"))
            .collect()
    }
}
