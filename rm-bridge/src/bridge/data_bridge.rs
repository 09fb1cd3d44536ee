//! Items from one executor to another.
//!
//! Main type: [`DataBridge`]. It carries and buffers items; it does not run nodes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rm_core::RuntimeData;
use tokio::sync::{Notify, Semaphore};

use super::ExecutorBridge;
use super::convert::IPCDataConverter;
use super::error::{BridgeError, ServiceError};
use super::metrics::DataBridgeMetrics;
use crate::executor::ExecutorType;
use crate::worker::lock;

/// Items that are kept for the target, unless another number is asked for.
const DEFAULT_CAPACITY: usize = 100;
/// How long an item waits for room, unless another time is asked for.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Carries items from the nodes of one bridge to those of another.
///
/// Between executors of one kind an item stays where it is. From native to multiprocess it is written
/// into shared memory, once; from multiprocess to native it is read where the worker wrote it.
pub struct DataBridge {
    source_bridge: Arc<dyn ExecutorBridge>,
    target_bridge: Arc<dyn ExecutorBridge>,
    converter: Arc<IPCDataConverter>,
    metrics: Arc<DataBridgeMetrics>,
    /// `None` once it is closed.
    buffer: Mutex<Option<VecDeque<RuntimeData>>>,
    /// A permit for each item that there is room for.
    room: Semaphore,
    filled: Notify,
    timeout: Duration,
}

impl DataBridge {
    /// A bridge that keeps 100 items, and for which an item waits up to 30 s.
    pub fn new(
        source_bridge: Arc<dyn ExecutorBridge>,
        target_bridge: Arc<dyn ExecutorBridge>,
        converter: Arc<IPCDataConverter>,
    ) -> Self {
        Self {
            source_bridge,
            target_bridge,
            converter,
            metrics: Arc::default(),
            buffer: Mutex::new(Some(VecDeque::new())),
            room: Semaphore::new(DEFAULT_CAPACITY),
            filled: Notify::new(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// The same bridge, keeping up to `capacity` items, at least one.
    pub fn with_capacity(mut self, capacity: usize) -> Self {
        self.room = Semaphore::new(capacity.clamp(1, Semaphore::MAX_PERMITS));
        self
    }

    /// The same bridge, for which an item waits up to `timeout`.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What it carried.
    pub fn metrics(&self) -> &Arc<DataBridgeMetrics> {
        &self.metrics
    }

    /// Brings an item to where the target's executor can have it.
    ///
    /// # Errors
    /// [`BridgeError::ConversionFailed`] if it cannot be written into shared memory;
    /// [`BridgeError::BridgeClosed`].
    pub async fn transfer(&self, data: RuntimeData) -> Result<RuntimeData, ServiceError> {
        self.carry(data, Instant::now()).await
    }

    async fn carry(&self, data: RuntimeData, since: Instant) -> Result<RuntimeData, ServiceError> {
        use ExecutorType::{Multiprocess, Native};
        if lock(&self.buffer).is_none() {
            return Err(BridgeError::BridgeClosed.into());
        }
        let len = data.payload().len();
        let ends = (self.source_bridge.executor_type(), self.target_bridge.executor_type());
        let data = match ends {
            (Native, Native) | (Multiprocess, Multiprocess) => data,
            (Native, Multiprocess) => {
                let message = self.converter.to_ipc(data).await.map_err(BridgeError::from)?;
                self.metrics.record_conversion(len);
                self.converter.from_ipc(message).await.map_err(BridgeError::from)?
            }
            // It lies in shared memory, and this process sees it there.
            (Multiprocess, Native) => {
                self.metrics.record_conversion(0);
                data
            }
        };
        self.metrics.record_transfer(len, since.elapsed());
        Ok(data)
    }

    /// Brings an item over and keeps it for [`take`](Self::take). While the buffer is full, it waits
    /// until somebody takes.
    ///
    /// # Errors
    /// [`BridgeError::BackpressureTimeout`] if nobody does in time; otherwise as
    /// [`transfer`](Self::transfer). The item is then not in the buffer.
    pub async fn transfer_with_backpressure(
        &self,
        data: RuntimeData,
    ) -> Result<RuntimeData, ServiceError> {
        let since = Instant::now();
        let room = tokio::time::timeout(self.timeout, self.room.acquire()).await;
        let room = room.map_err(|_| BridgeError::BackpressureTimeout(self.timeout))?;
        let room = room.map_err(|_| BridgeError::BridgeClosed)?;
        let data = self.carry(data, since).await?;
        match &mut *lock(&self.buffer) {
            Some(buffer) => buffer.push_back(data.clone()),
            None => return Err(BridgeError::BridgeClosed.into()),
        }
        room.forget();
        self.filled.notify_one();
        Ok(data)
    }

    /// The oldest item in the buffer, which makes room for another; waits for one.
    ///
    /// # Errors
    /// [`BridgeError::BridgeClosed`].
    pub async fn take(&self) -> Result<RuntimeData, ServiceError> {
        loop {
            // Made before the look, so that what happens after that is not missed.
            let filled = self.filled.notified();
            if let Some(data) = self.try_take()? {
                return Ok(data);
            }
            filled.await;
        }
    }

    /// The oldest item in the buffer, if there is one.
    ///
    /// # Errors
    /// [`BridgeError::BridgeClosed`].
    pub fn try_take(&self) -> Result<Option<RuntimeData>, ServiceError> {
        let mut buffer = lock(&self.buffer);
        let taken = buffer.as_mut().ok_or(BridgeError::BridgeClosed)?.pop_front();
        if taken.is_some() {
            self.room.add_permits(1);
        }
        Ok(taken)
    }

    /// Number of items in the buffer.
    pub fn buffered(&self) -> usize {
        lock(&self.buffer).as_ref().map_or(0, VecDeque::len)
    }

    /// Closes the bridge and returns what is in the buffer, oldest first. Whoever waits for room or
    /// for an item is told. Closing again returns nothing.
    ///
    /// # Errors
    /// None at present.
    pub async fn close(&self) -> Result<Vec<RuntimeData>, ServiceError> {
        let rest = lock(&self.buffer).take();
        self.room.close();
        self.filled.notify_waiters();
        Ok(rest.unwrap_or_default().into())
    }
}

impl std::fmt::Debug for DataBridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataBridge")
            .field("source", &self.source_bridge.executor_type())
            .field("target", &self.target_bridge.executor_type())
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}
