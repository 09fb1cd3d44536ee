//! Nodes in this process, each on a thread of its own.
//!
//! Main type: [`NativeExecutorBridge`]. A node computes and may block, so it never runs on a thread of
//! the async runtime. Nodes of a session share threads instead, in a [`Stage`](crate::Stage).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc as queue};
use std::time::Instant;

use async_trait::async_trait;
use rm_core::{Node, NodeContext, NodeError, NodeRegistry, Output, RuntimeData, did_you_mean};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::answers::{Answer, Answers, Ending, Why, question};
use super::error::ServiceError;
use super::metrics::BridgeMetrics;
use super::nodes::{Life, Nodes, Wanted};
use super::{AnswerStream, ExecutorBridge};
use crate::executor::ExecutorType;

/// Runs native nodes, which a [`NodeRegistry`] makes.
///
/// Sources take no items, so they are refused. Dropping the bridge lets each node end the call that it
/// is at; it then drops the node without [`finish`](rm_core::Node::finish).
///
/// ```
/// use std::sync::Arc;
///
/// use rm_bridge::{ExecutorBridge, NativeExecutorBridge};
/// use rm_core::{Node, NodeError, NodeMetadata, NodeRegistry, Output, RuntimeData};
///
/// struct Count(u32);
///
/// impl Node for Count {
///     fn process(&mut self, _: RuntimeData, output: &mut Output) -> Result<(), NodeError> {
///         self.0 += 1;
///         output.push(RuntimeData::text(self.0.to_string())?);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut registry = NodeRegistry::new();
/// let metadata = NodeMetadata { name: "Count".into(), ..NodeMetadata::default() };
/// registry.register(metadata, |_| Ok(Box::new(Count(0))))?;
///
/// let bridge = NativeExecutorBridge::new(Arc::new(registry));
/// let params = serde_json::json!({});
/// for count in ["1", "2"] {
///     let item = RuntimeData::text("x")?;
///     let answer = bridge.execute_node("counter", "Count", item, &params).await?;
///     assert_eq!(answer.as_text(), Some(count));
/// }
/// # Ok(())
/// # }
/// ```
pub struct NativeExecutorBridge {
    registry: Arc<NodeRegistry>,
    metrics: Arc<BridgeMetrics>,
    nodes: Nodes<NativeNode>,
}

impl NativeExecutorBridge {
    /// A bridge without nodes.
    pub fn new(node_registry: Arc<NodeRegistry>) -> Self {
        Self { registry: node_registry, metrics: Arc::default(), nodes: Nodes::default() }
    }

    /// What it did.
    pub fn metrics(&self) -> &Arc<BridgeMetrics> {
        &self.metrics
    }

    async fn find(&self, wanted: Wanted<'_>) -> Result<Arc<NativeNode>, ServiceError> {
        let Wanted { node_id, node_type, params, .. } = wanted;
        let names = || self.registry.names();
        let unknown = || {
            let hint = did_you_mean(node_type, names());
            ServiceError::Validation(format!("unknown node type {node_type:?}{hint}"))
        };
        let metadata = self.registry.metadata(node_type).ok_or_else(unknown)?;
        let factory = self.registry.factory(node_type).ok_or_else(unknown)?;
        if metadata.source {
            let message = format!(
                "node {node_id} is a {node_type}, which is a source and takes no items; sources run in \
                 sessions"
            );
            return Err(ServiceError::Validation(message));
        }
        let check = |params: &Value| {
            let problems = metadata.check_params(params);
            if problems.is_empty() {
                return Ok(());
            }
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Err(ServiceError::Validation(format!("node {node_id}: {}", problems.join("; "))))
        };
        let context = NodeContext {
            node_id: node_id.to_owned(),
            node_type: node_type.to_owned(),
            params: params.clone(),
            ..NodeContext::default()
        };
        self.nodes.find(wanted, check, NativeNode::start(context, factory)).await
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
        let (answer, incoming) = mpsc::channel(1);
        let answers = Answers::new(&data, incoming, &node.ending, &self.metrics, asked);
        node.send(Job::Process(data, answer))?;
        Ok(answers)
    }
}

impl std::fmt::Debug for NativeExecutorBridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeExecutorBridge").field("nodes", &self.nodes.ids()).finish()
    }
}

#[async_trait]
impl ExecutorBridge for NativeExecutorBridge {
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
        let Some(node) = self.nodes.take(node_id).await else { return Ok(()) };
        if node.ending.has_come() {
            return Ok(());
        }
        let (answer, done) = oneshot::channel();
        node.send(Job::Finish(answer))?;
        done.await.unwrap_or_else(|_| Err(node.ending.error()))
    }

    fn executor_type(&self) -> ExecutorType {
        ExecutorType::Native
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

enum Job {
    Process(RuntimeData, mpsc::Sender<Answer>),
    SetParams(Value, oneshot::Sender<Result<(), NodeError>>),
    Finish(oneshot::Sender<Result<(), ServiceError>>),
}

/// A node and its thread, which ends when nobody can ask it any more.
struct NativeNode {
    jobs: queue::Sender<Job>,
    ending: Arc<Ending>,
}

impl NativeNode {
    async fn start(
        context: NodeContext,
        factory: rm_core::NodeFactory,
    ) -> Result<Arc<Self>, ServiceError> {
        let node_id = context.node_id.clone();
        let ending = Ending::new(&node_id);
        let (jobs, queue) = queue::channel();
        let (ready, is_ready) = oneshot::channel();
        let own = ending.clone();
        let run = move || {
            let node_id = &context.node_id;
            let make = || {
                let mut node = factory(&context)?;
                node.initialize()?;
                Ok(node)
            };
            match guarded(&own, make) {
                // Who asked may have given up; then there are no jobs either.
                Ok(Ok(node)) => {
                    let _ = ready.send(Ok(()));
                    serve(node_id, node, &queue, &own);
                }
                Ok(Err(error)) => drop(ready.send(Err(failed(node_id, &error)))),
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        std::thread::Builder::new()
            .name(node_id.clone())
            .spawn(run)
            .map_err(|source| ServiceError::Thread { node_id, source })?;
        is_ready.await.unwrap_or_else(|_| Err(ending.error()))?;
        Ok(Arc::new(Self { jobs, ending }))
    }

    fn send(&self, job: Job) -> Result<(), ServiceError> {
        self.jobs.send(job).map_err(|_| self.ending.error())
    }
}

impl Life for NativeNode {
    fn ending(&self) -> &Arc<Ending> {
        &self.ending
    }

    async fn set_params(&self, params: Value) -> Result<(), ServiceError> {
        let (answer, taken) = oneshot::channel();
        self.send(Job::SetParams(params, answer))?;
        let taken = taken.await.map_err(|_| self.ending.error())?;
        taken.map_err(|error| self.ending.refused(error))
    }
}

/// Runs a node until nobody can ask it any more, or it panics. Calls that wait then end with the
/// queue.
fn serve(node_id: &str, mut node: Box<dyn Node>, jobs: &queue::Receiver<Job>, ending: &Ending) {
    let mut output = Output::default();
    for job in jobs {
        match job {
            Job::Process(data, answer) => {
                let Ok(result) =
                    guarded(ending, || node.process_from(Default::default(), data, &mut output))
                else {
                    return;
                };
                let items = output.drain().collect();
                let result = result.map_err(|error| failed(node_id, &error));
                // A caller that has gone wants no answer.
                let _ = answer.try_send(Answer::All(items, result));
            }
            Job::SetParams(params, answer) => {
                let Ok(result) = guarded(ending, || node.set_params(&params)) else { return };
                let _ = answer.send(result);
            }
            Job::Finish(answer) => {
                let result = guarded(ending, || node.finish(&mut output));
                let result = result.and_then(|r| r.map_err(|error| failed(node_id, &error)));
                ending.set(Why::CleanedUp);
                drop(node);
                let _ = answer.send(result);
                return;
            }
        }
    }
}

/// Calls the node. After a panic nobody knows in which state it is.
fn guarded<T>(ending: &Ending, call: impl FnOnce() -> T) -> Result<T, ServiceError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        ending.set(Why::Panicked(message_of(&*payload)));
        ending.error()
    })
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// A node's failure with all of its causes.
fn failed(node_id: &str, error: &NodeError) -> ServiceError {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    ServiceError::NodeExecution { node_id: node_id.to_owned(), message }
}
