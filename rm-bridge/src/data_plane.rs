//! The shared memory of one session.
//!
//! Main type: [`DataPlane`]: a namespace and the channels in it, which the session's process makes
//! and removes, and which stages and workers join.

use std::path::Path;
use std::sync::Arc;

use rm_core::ChannelId;
use rm_ipc::{
    ChannelError, ChannelOptions, Doorbell, Namespace, NamespaceError, Publisher,
    SharedMemoryChannel, Subscriber, WakeError,
};

/// Why a session's shared memory cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataPlaneError {
    /// There can be no namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A channel cannot be made or joined.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A doorbell cannot be made.
    #[error(transparent)]
    Wake(#[from] WakeError),
}

/// The shared memory of one session. Dropping it removes it.
#[derive(Debug)]
pub struct DataPlane {
    channels: Vec<SharedMemoryChannel>,
    namespace: Namespace,
}

impl DataPlane {
    /// Makes one without channels.
    ///
    /// # Errors
    /// [`DataPlaneError::Namespace`].
    pub fn create() -> Result<Self, DataPlaneError> {
        Ok(Self { channels: Vec::new(), namespace: Namespace::create()? })
    }

    /// Makes the next channel. Channels are numbered from 0 in the order in which they are made.
    ///
    /// # Errors
    /// [`DataPlaneError::Channel`].
    pub fn add_channel(
        &mut self,
        id: &ChannelId,
        options: ChannelOptions,
    ) -> Result<(), DataPlaneError> {
        self.channels.push(SharedMemoryChannel::create(&self.namespace, id, options)?);
        Ok(())
    }

    /// Makes a doorbell for a thread of this process.
    ///
    /// # Errors
    /// [`DataPlaneError::Wake`].
    pub fn doorbell(&self) -> Result<Arc<Doorbell>, DataPlaneError> {
        Ok(Arc::new(Doorbell::create(&self.namespace)?))
    }

    /// Joins a channel as its publisher.
    ///
    /// # Errors
    /// [`DataPlaneError::Channel`].
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn publisher(
        &self,
        channel: usize,
        bell: &Arc<Doorbell>,
    ) -> Result<Publisher, DataPlaneError> {
        Ok(self.channels[channel].publisher(bell)?)
    }

    /// Joins a channel as a subscriber.
    ///
    /// # Errors
    /// [`DataPlaneError::Channel`].
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn subscribe(
        &self,
        channel: usize,
        bell: &Arc<Doorbell>,
    ) -> Result<Subscriber, DataPlaneError> {
        Ok(self.channels[channel].subscriber(bell)?)
    }

    /// One channel. To look at it; who uses it joins it.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn channel(&self, channel: usize) -> &SharedMemoryChannel {
        &self.channels[channel]
    }

    /// How many channels there are.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there are no channels.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Payload bytes that were copied into a channel, instead of being made in it.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn bytes_copied_in(&self, channel: usize) -> u64 {
        self.channels[channel].bytes_copied_in()
    }

    /// The folder by which workers open it.
    pub fn folder(&self) -> &Path {
        self.namespace.folder()
    }

    /// Closes all channels: everybody who waits on one is woken and told.
    pub fn close(&self) {
        self.channels.iter().for_each(SharedMemoryChannel::close);
    }

    /// Removes all of its files and shared memory. What is still mapped stays readable.
    pub fn remove(&self) {
        self.namespace.remove();
    }
}
