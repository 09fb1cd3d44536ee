//! A parent of ours with one child, on a runtime of a chosen kind.
//!
//! Main type: [`Ours`].

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use benches::child::FLAG;
use rm_process::callback::{
    CallbackStream, DynamicCallbackModule, PythonExecutionError, TypedCallbackHandler,
};
use rm_process::{BackendOptions, CommandSpec, ProcessManager, SubprocessIpcBackend};
use tokio::runtime::{Builder, Runtime};

use super::ask::{Ask, Said};

/// On what the parent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// On the calling thread alone.
    Current,
    /// On threads of the runtime's own; calls are made there.
    Multi,
}

/// A parent with one child.
pub struct Ours {
    child: SubprocessIpcBackend<Ask>,
    threads: Threads,
    // Ends last: the child's tasks are its.
    runtime: Runtime,
}

/// The callback that gives its number back.
pub struct Echo;

#[async_trait::async_trait]
impl TypedCallbackHandler<u64> for Echo {
    type Response = u64;

    async fn handle_callback(
        &self,
        number: u64,
    ) -> Result<CallbackStream<u64>, PythonExecutionError> {
        Ok(Box::pin(tokio_stream::once(Ok(number))))
    }

    fn type_name(&self) -> &'static str {
        "Echo"
    }
}

/// What children may call.
pub fn callbacks() -> Result<DynamicCallbackModule> {
    let mut callbacks = DynamicCallbackModule::new();
    callbacks.register_handler("bench", Echo)?;
    Ok(callbacks)
}

impl Threads {
    pub fn runtime(self) -> std::io::Result<Runtime> {
        match self {
            Self::Current => Builder::new_current_thread().enable_all().build(),
            Self::Multi => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
        }
    }
}

impl Ours {
    /// This binary in the role `role` as a child.
    pub fn start(role: &str, threads: Threads) -> Result<Self> {
        let runtime = threads.runtime()?;
        let spec = CommandSpec::new(std::env::current_exe()?).args([FLAG, role]);
        let options = BackendOptions::new().callbacks(callbacks()?);
        let child = runtime.block_on(async {
            SubprocessIpcBackend::spawn(&ProcessManager::new()?, spec, options)
                .await
                .map_err(anyhow::Error::from)
        })?;
        Ok(Self { child, threads, runtime })
    }

    /// Runs `work` where calls are made.
    pub fn run<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        work: impl FnOnce(SubprocessIpcBackend<Ask>) -> F,
    ) -> Result<T> {
        let work = work(self.child.clone());
        match self.threads {
            Threads::Current => self.runtime.block_on(work),
            Threads::Multi => self.runtime.block_on(self.runtime.spawn(work))?,
        }
    }

    /// How long each of `calls` calls took that were made one after the other.
    pub fn round_trips(&self, calls: u32) -> Result<Vec<Duration>> {
        self.run(async move |child| {
            let mut times = Vec::with_capacity(calls as usize);
            for number in 0..u64::from(calls) {
                let began = Instant::now();
                echo(&child, number).await?;
                times.push(began.elapsed());
            }
            Ok(times)
        })
    }

    /// How long each of `calls` calls took that the child made.
    pub fn callbacks(&self, calls: u32) -> Result<Vec<Duration>> {
        self.run(async move |child| match child.call(&Ask::CallBack(calls)).await? {
            Said::Times(times) => Ok(times.into_iter().map(Duration::from_nanos).collect()),
            other => bail!("not what was asked for: {other:?}"),
        })
    }
}

/// One call, checked.
pub async fn echo(child: &SubprocessIpcBackend<Ask>, number: u64) -> Result<()> {
    let back = child.call(&Ask::Echo(number)).await?;
    ensure!(matches!(back, Said::Number(back) if back == number), "{back:?} for {number}");
    Ok(())
}
