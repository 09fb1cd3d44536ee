//! Nodes in processes of their own.
//!
//! Main type: [`MultiprocessExecutorBridge`]. How a worker is asked and followed stands in
//! `worker_node`; here is which workers there are and what they are started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use rm_core::{NodeId, RuntimeData, SessionId};
use rm_ipc::ChannelOptions;
use rm_process::Limits;
use rm_process::callback::DynamicCallbackModule;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::answers::{Answers, question};
use super::channels::ChannelRegistry;
use super::error::{BridgeError, ServiceError};
use super::metrics::BridgeMetrics;
use super::nodes::{Life, Nodes, Wanted};
use super::process_map::SessionProcessMap;
use super::worker_node::{Channels, UNREAD, WorkerNode};
use super::{AnswerStream, ExecutorBridge};
use crate::executor::ExecutorType;
use crate::multiprocess::{MultiprocessExecutor, WorkerSpec};
use crate::policy::{CircuitBreaker, ItemPolicy, RetryPolicy};
use crate::protocol::WorkerConfig;

/// What workers are started with.
#[derive(Debug, Clone)]
pub struct MultiprocessBridgeOptions {
    /// The interpreter, or the folder of the virtual environment; `None` for the one that is found.
    pub python: Option<PathBuf>,
    /// Environment variables that workers have besides those that they inherit.
    pub env: BTreeMap<String, String>,
    /// The folder that relative paths start from, which is on the module path too.
    pub base_dir: Option<PathBuf>,
    /// How long the interpreter may take to start, and a node from one word of progress to the next.
    pub init_timeout: Duration,
    /// How long a worker may take to end; then it is killed.
    pub grace: Duration,
    /// What each worker may use.
    pub limits: Limits,
    /// What nodes may call in this process.
    pub callbacks: Arc<DynamicCallbackModule>,
    /// The folder for what Python has to know of the callbacks' types, if it is to know it.
    pub stubs: Option<PathBuf>,
    /// The two channels of each worker.
    pub channel: ChannelOptions,
    /// What a worker does when its node fails on an item, before that is the answer.
    pub policy: ItemPolicy,
    /// How many processes there may be at once; `None` for as many as are asked for.
    pub max_processes: Option<usize>,
}

impl Default for MultiprocessBridgeOptions {
    /// The interpreter that is found, 30 s to start, 5 s to end, one try for each item, no limits.
    fn default() -> Self {
        Self {
            python: None,
            env: BTreeMap::new(),
            base_dir: None,
            init_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            limits: Limits::default(),
            callbacks: Arc::default(),
            stubs: None,
            channel: ChannelOptions::default(),
            policy: ItemPolicy {
                retry: RetryPolicy { max: 0, ..RetryPolicy::default() },
                circuit_breaker: CircuitBreaker { failures: 0, ..CircuitBreaker::default() },
                ..ItemPolicy::default()
            },
            max_processes: None,
        }
    }
}

/// Runs nodes in workers, one process for each.
///
/// A question is written into shared memory once, and the answer is read where the worker wrote it.
/// Answers that are kept hold memory of their worker's channel; of more than
/// [`max_borrowed`](ChannelOptions::max_borrowed) the rest are copies.
///
/// Dropping the bridge kills its workers; [`close`](Self::close) lets them end.
pub struct MultiprocessExecutorBridge {
    executor: Arc<MultiprocessExecutor>,
    session_id: SessionId,
    options: MultiprocessBridgeOptions,
    created_at: SystemTime,
    metrics: Arc<BridgeMetrics>,
    nodes: Nodes<WorkerNode>,
    /// Permits for further processes, if their number is limited.
    places: Option<Arc<Semaphore>>,
    /// Counts workers, so that the channels of each have names of their own.
    started: AtomicU64,
    closed: AtomicBool,
    // Dropped last: the nodes' channels are in it.
    channels: Arc<ChannelRegistry>,
}

impl MultiprocessExecutorBridge {
    /// A bridge without nodes.
    ///
    /// # Errors
    /// [`ServiceError::NodeId`] if `session_id` can be no session's, or [`ServiceError::Conversion`] if
    /// there can be no shared memory.
    pub fn new(
        executor: Arc<MultiprocessExecutor>,
        session_id: impl Into<String>,
        options: MultiprocessBridgeOptions,
    ) -> Result<Self, ServiceError> {
        let places = options.max_processes.map(|max| max.min(Semaphore::MAX_PERMITS));
        Ok(Self {
            executor,
            session_id: SessionId::new(session_id)?,
            created_at: SystemTime::now(),
            metrics: Arc::default(),
            nodes: Nodes::default(),
            places: places.map(|places| Arc::new(Semaphore::new(places))),
            started: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            channels: Arc::new(ChannelRegistry::new()?),
            options,
        })
    }

    /// What it did.
    pub fn metrics(&self) -> &Arc<BridgeMetrics> {
        &self.metrics
    }

    /// Its shared memory.
    pub fn channels(&self) -> &Arc<ChannelRegistry> {
        &self.channels
    }

    /// Its living processes. Waits for those that are being started.
    pub async fn processes(&self) -> SessionProcessMap {
        let options = &self.options;
        let config = serde_json::json!({"max_processes": options.max_processes});
        let mut map = SessionProcessMap::new(self.session_id.as_str(), config);
        map.created_at = self.created_at;
        for node in self.nodes.all().await {
            if !node.ending().has_come() {
                map.add(node.process_id());
            }
        }
        map
    }

    /// Cleans all nodes up, at the same time. Calls that come later are refused by
    /// [`BridgeError::ExecutorNotInitialized`].
    ///
    /// # Errors
    /// The first of those that [`cleanup_node`](ExecutorBridge::cleanup_node) gives; all nodes are gone
    /// all the same.
    pub async fn close(&self) -> Result<(), ServiceError> {
        // Before the nodes are looked for: one that is made later sees it.
        self.closed.store(true, Ordering::SeqCst);
        let mut stops = tokio::task::JoinSet::new();
        for node_id in self.nodes.ids() {
            if let Some(node) = self.nodes.take(&node_id).await {
                let grace = self.options.grace;
                stops.spawn(async move { node.stop(grace).await });
            }
        }
        let mut result = Ok(());
        while let Some(stopped) = stops.join_next().await {
            let stopped = stopped.map_err(|error| ServiceError::Internal(error.to_string()));
            result = result.and(stopped.and_then(std::convert::identity));
        }
        result
    }

    async fn find(&self, wanted: Wanted<'_>) -> Result<Arc<WorkerNode>, ServiceError> {
        let Wanted { node_id, node_type, params, .. } = wanted;
        let start = self.start(node_id, node_type, params);
        // What a node takes is known in its worker.
        self.nodes.find(wanted, |_| Ok(()), start).await
    }

    async fn start(
        &self,
        node_id: &str,
        node_type: &str,
        params: &Value,
    ) -> Result<Arc<WorkerNode>, ServiceError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(BridgeError::ExecutorNotInitialized(self.executor_type()).into());
        }
        let place = self.place(node_id)?;
        let options = &self.options;
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let channels = Channels::create(&self.channels, number, options.channel)?;
        let (input, output) = channels.ends();
        let namespace = self.channels.folder();
        let node_id = NodeId::new(node_id)?;
        let mut config = WorkerConfig::new(self.session_id.clone(), node_id, node_type, namespace);
        if !params.is_null() {
            config.params = params.to_string();
        }
        config.base_dir.clone_from(&options.base_dir);
        (config.inputs, config.outputs) = (vec![input], vec![output]);
        (config.policy, config.replies) = (options.policy, true);
        let spec = WorkerSpec {
            python: options.python.clone(),
            env: options.env.clone(),
            init_timeout: options.init_timeout,
            limits: options.limits.clone(),
            callbacks: options.callbacks.clone(),
            stubs: options.stubs.clone(),
            config,
        };
        WorkerNode::start(&self.executor, spec, channels, place).await
    }

    fn place(&self, node_id: &str) -> Result<Option<OwnedSemaphorePermit>, ServiceError> {
        let Some(places) = &self.places else { return Ok(None) };
        places.clone().try_acquire_owned().map(Some).map_err(|_| {
            let limit = self.options.max_processes.unwrap_or_default();
            ServiceError::TooManyProcesses { node_id: node_id.to_owned(), limit }
        })
    }

    async fn ask(
        &self,
        node_id: &str,
        node_type: &str,
        data: RuntimeData,
        params: &Value,
    ) -> Result<Answers, ServiceError> {
        let asked = Instant::now();
        let data = question(node_id, data)?;
        let node = self.find(Wanted { node_id, node_type, params, anew: false }).await?;
        let len = data.payload().len();
        let (caller, incoming) = mpsc::channel(UNREAD);
        let answers = Answers::new(&data, incoming, node.ending(), &self.metrics, asked);
        let since = Instant::now();
        node.ask(data, caller).await?;
        self.metrics.record_transfer(len, since.elapsed());
        Ok(answers)
    }
}

impl std::fmt::Debug for MultiprocessExecutorBridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MultiprocessExecutorBridge")
            .field("session_id", &self.session_id)
            .field("nodes", &self.nodes.ids())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ExecutorBridge for MultiprocessExecutorBridge {
    async fn execute_node(
        &self,
        node_id: &str,
        node_type: &str,
        input_data: RuntimeData,
        params: &Value,
    ) -> Result<RuntimeData, ServiceError> {
        self.ask(node_id, node_type, input_data, params).await?.only().await
    }

    async fn initialize_node(
        &self,
        node_id: &str,
        node_type: &str,
        params: &Value,
    ) -> Result<(), ServiceError> {
        self.find(Wanted { node_id, node_type, params, anew: true }).await.map(drop)
    }

    async fn cleanup_node(&self, node_id: &str) -> Result<(), ServiceError> {
        match self.nodes.take(node_id).await {
            Some(node) => node.stop(self.options.grace).await,
            None => Ok(()),
        }
    }

    fn executor_type(&self) -> ExecutorType {
        ExecutorType::Multiprocess
    }

    async fn execute_node_stream(
        &self,
        node_id: &str,
        node_type: &str,
        input_data: RuntimeData,
        params: &Value,
    ) -> Result<AnswerStream, ServiceError> {
        Ok(Box::pin(self.ask(node_id, node_type, input_data, params).await?))
    }
}
