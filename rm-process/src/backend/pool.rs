//! Several children of one kind behind one interface.
//!
//! Main type: [`SubprocessPool`]. Which child gets a call is decided in `places`, how calls are made
//! and made again in `calls`, and who takes the place of a dead child in `keeper`. No child is asked
//! whether it is well: only the end of its process or of its connection counts.

mod calls;
mod keeper;
mod places;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::places::Shared;
use super::backend::{BackendOptions, SubprocessIpcBackend};
use super::error::SubprocessIpcBackendError;
use super::message::KameoChildProcessMessage;
use crate::command::CommandSpec;
use crate::exit::ExitStatus;
use crate::restart::{NotRestarted, RestartPolicy, Restarts};
use crate::spawn::ProcessManager;
use crate::telemetry::metrics::DirectionSnapshot;

pub use self::calls::{PoolReplies, PoolRequest};

/// How many children a pool has, and what it does when one ends.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PoolOptions {
    /// How many children.
    pub size: NonZeroUsize,
    /// Which places are filled again, and when. Each place has a row of its own.
    pub restart: RestartPolicy,
    /// To how many children an idempotent call is sent at most, one after the other; at least to one.
    /// By default 3.
    pub tries: u32,
}

impl PoolOptions {
    /// So many children, of which none is replaced.
    pub const fn new(size: NonZeroUsize) -> Self {
        Self { size, restart: RestartPolicy::Never, tries: 3 }
    }

    /// Fills places by this policy.
    pub const fn restart(mut self, policy: RestartPolicy) -> Self {
        self.restart = policy;
        self
    }

    /// Sends an idempotent call to at most so many children.
    pub const fn tries(mut self, tries: u32) -> Self {
        self.tries = tries;
        self
    }
}

/// A number of child processes that take `M`, any of which may answer a call.
///
/// A call goes to the child with the fewest calls in flight; where several have as few, they take
/// turns. A child that ends takes its calls with it, which fail, or are made again to another child if
/// they are [idempotent](PoolRequest::idempotent). Its place is filled by the pool's
/// [`RestartPolicy`]; until then the others get its share. Where there is no other, calls wait, at
/// most until their deadline.
///
/// Clones are the same pool. When the last clone is dropped, and the last stream of replies to an
/// idempotent call, no child is started any more, and each is ended as
/// [a backend](SubprocessIpcBackend) that is dropped; [`shutdown`](Self::shutdown) lets them finish.
///
/// ```no_run
/// use rm_process::{BackendOptions, CommandSpec, PoolOptions, ProcessManager, SubprocessPool};
/// use rm_process::{Backoff, RestartPolicy};
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = ProcessManager::new()?;
/// let size = NonZeroUsize::new(4).ok_or("no children")?;
/// let policy = RestartPolicy::OnFailure { max: 3, backoff: Backoff::default() };
/// let pool = SubprocessPool::<String>::spawn(
///     &manager,
///     |index| CommandSpec::new("./shouter").label(format!("shouter-{index}")),
///     BackendOptions::new(),
///     PoolOptions::new(size).restart(policy),
/// )
/// .await?;
/// let text = "hello".to_owned();
/// println!("{}", pool.call(&text).await?);
/// println!("{}", pool.request(&text).idempotent().timeout(Duration::from_secs(1)).send().await?);
/// pool.shutdown(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[must_use = "the children are ended when the last handle is dropped"]
pub struct SubprocessPool<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Clone for SubprocessPool<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M> std::fmt::Debug for SubprocessPool<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

/// A pool at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Its places.
    pub places: Vec<PoolPlace>,
    /// Calls to the pool, each counted once, however often it was made again.
    pub calls: DirectionSnapshot,
    /// How often a call was made again.
    pub retries: u64,
}

/// A place of a pool at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolPlace {
    /// The operating system's number of the child; `None` while there is none.
    pub process_id: Option<u32>,
    /// Calls of the pool that it has not ended.
    pub in_flight: usize,
    /// How often the place was filled after the end of a child.
    pub restarts: u64,
    /// Why the place stays empty, if it does.
    pub given_up: Option<NotRestarted>,
    /// What became of the calls to the child that has the place.
    pub calls: DirectionSnapshot,
}

impl<M: KameoChildProcessMessage> SubprocessPool<M> {
    /// Starts all children at once, the place `n` with the command `spec(n)`, and waits until each has
    /// told that it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub async fn spawn(
        manager: &ProcessManager,
        spec: impl Fn(usize) -> CommandSpec + Send + Sync + 'static,
        backend: BackendOptions,
        options: PoolOptions,
    ) -> Result<Self, SubprocessIpcBackendError> {
        let manager = manager.clone();
        let factory = move |index| {
            let (manager, spec, backend) = (manager.clone(), spec(index), backend.clone());
            async move { SubprocessIpcBackend::spawn_ready(&manager, spec, backend).await }
        };
        Self::start(factory, options).await
    }

    /// Starts all children at once by `factory`, which is given the number of the place, from 0, and
    /// is called again for each child that takes the place of another.
    ///
    /// If the returned future is dropped, the processes are killed. What `factory` gives has to be a
    /// child of its own each time; one whose process somebody else started cannot be ended by the pool.
    ///
    /// # Errors
    /// The first error of `factory`; no process that it has given is left then.
    /// [`SubprocessIpcBackendError::Backoff`] if the restart policy cannot be followed.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub async fn start<F, B>(
        factory: F,
        options: PoolOptions,
    ) -> Result<Self, SubprocessIpcBackendError>
    where
        F: Fn(usize) -> B + Send + Sync + 'static,
        B: Future<Output = Result<SubprocessIpcBackend<M>, SubprocessIpcBackendError>>
            + Send
            + 'static,
    {
        let restarts = Restarts::new(options.restart)?;
        let factory: keeper::Factory<M> = Arc::new(move |index| Box::pin(factory(index)));
        let children = keeper::start_all(&factory, options.size.get()).await?;
        let shared = Arc::new(Shared::new(factory, options.tries, children.len()));
        for (index, child) in children.into_iter().enumerate() {
            shared.keep(index, child, restarts.clone());
        }
        Ok(Self { shared })
    }

    /// Calls one child for one reply, as [`SubprocessIpcBackend::call`].
    ///
    /// # Errors
    /// As [`PoolRequest::send`].
    pub async fn call(&self, message: &M) -> Result<M::Reply, SubprocessIpcBackendError> {
        self.request(message).send().await
    }

    /// Calls one child for a stream of replies, as [`SubprocessIpcBackend::stream`].
    ///
    /// # Errors
    /// As [`PoolRequest::stream`].
    pub async fn stream(&self, message: &M) -> Result<PoolReplies<M>, SubprocessIpcBackendError> {
        self.request(message).stream().await
    }

    /// A call to be made, for more than [`call`](Self::call) and [`stream`](Self::stream) can say.
    pub fn request<'a>(&'a self, message: &'a M) -> PoolRequest<'a, M> {
        PoolRequest::new(&self.shared, message)
    }

    /// Lets all children finish what they have begun, at the same time, and waits for their ends: no
    /// calls are made and no children started any more, and those that are just being started are
    /// killed. For the rest as [`SubprocessIpcBackend::shutdown`]; gives the ends of the children that
    /// there were.
    ///
    /// If the returned future is dropped, no calls are made all the same.
    pub async fn shutdown(&self, grace: Duration) -> Vec<ExitStatus> {
        let mut endings = JoinSet::new();
        for child in self.shared.stop() {
            endings.spawn(async move { child.shutdown(grace).await });
        }
        self.shared.dismiss_keepers().await;
        endings.join_all().await.into_iter().flatten().collect()
    }

    /// What its children do, and what became of its calls.
    pub fn status(&self) -> PoolStatus {
        self.shared.status()
    }
}
