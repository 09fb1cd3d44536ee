//! One way to run a node, whatever executes it.
//!
//! Main type: the trait [`ExecutorBridge`], with [`NativeExecutorBridge`] for nodes in this process and
//! [`MultiprocessExecutorBridge`] for nodes in workers; [`DataBridge`] carries items from one to the
//! other. A bridge answers single calls. It is not what sessions use: in a pipeline items go from node
//! to node by themselves, and the caller is not between them.

mod answers;
mod audio;
mod channels;
mod convert;
mod data_bridge;
mod error;
mod metrics;
mod multiprocess;
mod native;
mod nodes;
mod process_map;
mod worker_node;

use std::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;
use rm_core::RuntimeData;
use serde_json::Value;

pub use self::audio::{AudioBuffer, AudioSamples};
pub use self::channels::ChannelRegistry;
pub use self::convert::{IPCDataConverter, IPCMessage, SampleRef};
pub use self::data_bridge::DataBridge;
pub use self::error::{BridgeError, ConversionError, ServiceError};
pub use self::metrics::{
    BridgeMetrics, BridgeStats, DataBridgeMetrics, DataBridgeStats, NodeExecutions,
};
pub use self::multiprocess::{MultiprocessBridgeOptions, MultiprocessExecutorBridge};
pub use self::native::NativeExecutorBridge;
pub use self::process_map::SessionProcessMap;
use crate::executor::ExecutorType;

/// What a node makes of one item, in order. An error is the last thing that comes.
///
/// Dropping it discards what is still to come, and disturbs no other call.
pub type AnswerStream = Pin<Box<dyn Stream<Item = Result<RuntimeData, ServiceError>> + Send>>;

/// Runs nodes in one kind of executor. What callers see does not depend on which.
///
/// A node is known by its id. The first call that names it makes it, unless
/// [`initialize_node`](Self::initialize_node) has; from then on it keeps its state between calls, which
/// it is given one at a time in the order in which they come. Its type stays; parameters that later
/// calls give other values are changed in the living node, and those that they do not name stay.
///
/// An error of a node is that call's only. A node that panics, or whose process ends, fails all calls
/// that wait for it, and answers none until it is initialised anew.
///
/// Changes of parameters hold for the call that brings them and for later ones; of earlier calls, those
/// that still wait may be given them as well.
///
/// Answers carry the correlation id of their question, and its session where they name none. Questions
/// to a worker go through one channel, on which time does not run backwards: a timestamp that is earlier
/// than the last one's is raised to that.
#[async_trait]
pub trait ExecutorBridge: Send + Sync {
    /// Gives a node one item, and returns the one that it makes of it.
    ///
    /// # Errors
    /// [`ServiceError::NodeExecution`] if the node fails on it, [`ServiceError::NoAnswer`] or
    /// [`ServiceError::SeveralAnswers`] if it makes none or several, and what
    /// [`initialize_node`](Self::initialize_node) gives if it has to be made first.
    async fn execute_node(
        &self,
        node_id: &str,
        node_type: &str,
        input_data: RuntimeData,
        params: &Value,
    ) -> Result<RuntimeData, ServiceError>;

    /// Makes a node and lets it load what it needs. A living node of this type stays as it is; one
    /// that has panicked or died is made anew.
    ///
    /// # Errors
    /// [`ServiceError::Validation`] if there is no such type, or the parameters are not what it takes;
    /// [`ServiceError::NodeExecution`] if the node cannot load.
    async fn initialize_node(
        &self,
        node_id: &str,
        node_type: &str,
        params: &Value,
    ) -> Result<(), ServiceError>;

    /// Ends a node: it answers what it was asked before, finishes, so that its files are complete, and
    /// is gone when this returns. Items that it gives at its finish are nobody's answer and are
    /// dropped. Without such a node there is nothing to do.
    ///
    /// # Errors
    /// [`ServiceError::NodeExecution`] if it fails to finish; it is gone all the same.
    async fn cleanup_node(&self, node_id: &str) -> Result<(), ServiceError>;

    /// What runs the nodes.
    fn executor_type(&self) -> ExecutorType;

    /// Gives a node one item, and returns everything that it makes of it. What is not read holds the
    /// node up, where it makes more of one item than is worth keeping in memory.
    ///
    /// Bridges whose nodes make exactly one item of each need not implement it.
    ///
    /// # Errors
    /// As [`execute_node`](Self::execute_node), if the node cannot be asked. Its own failure comes in
    /// the stream.
    async fn execute_node_stream(
        &self,
        node_id: &str,
        node_type: &str,
        input_data: RuntimeData,
        params: &Value,
    ) -> Result<AnswerStream, ServiceError> {
        let only = self.execute_node(node_id, node_type, input_data, params).await?;
        Ok(Box::pin(answers::Only(Some(only))))
    }
}
