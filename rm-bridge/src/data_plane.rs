//! The shared memory of one session.
//!
//! Main type: [`DataPlane`]: a namespace and the channels in it, which the session's process makes
//! and removes, and which stages and workers join.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rm_core::{ChannelId, RuntimeData};
use rm_ipc::{
    ChannelError, ChannelOptions, Doorbell, Namespace, NamespaceError, Policy, PublishError,
    Publisher, SharedMemoryChannel, Subscriber, WakeError,
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
    /// A doorbell without files cannot be made.
    #[error("cannot make a doorbell")]
    Doorbell(#[source] std::io::Error),
}

/// Says that nothing follows. Where a full queue drops items, that waits until it is empty: the end is
/// not to be dropped, and no item for it.
pub(crate) fn end_stream(publisher: &Publisher) -> Result<(), PublishError> {
    if publisher.policy() != Policy::Block {
        publisher.flush(Duration::MAX);
    }
    publisher.publish(&RuntimeData::end_of_stream())
}

/// The shared memory of one session. Dropping it removes it.
#[derive(Debug)]
pub struct DataPlane {
    channels: Vec<SharedMemoryChannel>,
    /// `None` where there is nothing to share.
    namespace: Option<Namespace>,
}

impl DataPlane {
    /// Makes one without channels.
    ///
    /// # Errors
    /// [`DataPlaneError::Namespace`].
    pub fn create() -> Result<Self, DataPlaneError> {
        Ok(Self { channels: Vec::new(), namespace: Some(Namespace::create()?) })
    }

    /// One for a pipeline without channels: it has no shared memory and no folder, and its doorbells
    /// are for this process only.
    pub fn empty() -> Self {
        Self { channels: Vec::new(), namespace: None }
    }

    /// Makes the next channel. Channels are numbered from 0 in the order in which they are made.
    ///
    /// # Errors
    /// [`DataPlaneError::Channel`].
    ///
    /// # Panics
    /// If it is an [`empty`](Self::empty) one.
    pub fn add_channel(
        &mut self,
        id: &ChannelId,
        options: ChannelOptions,
    ) -> Result<(), DataPlaneError> {
        let namespace = self.namespace.as_ref().expect("an empty one gets no channels");
        self.channels.push(SharedMemoryChannel::create(namespace, id, options)?);
        Ok(())
    }

    /// Makes a doorbell for a thread of this process.
    ///
    /// # Errors
    /// [`DataPlaneError::Wake`].
    pub fn doorbell(&self) -> Result<Arc<Doorbell>, DataPlaneError> {
        Ok(Arc::new(match &self.namespace {
            Some(namespace) => Doorbell::create(namespace)?,
            None => Doorbell::local().map_err(DataPlaneError::Doorbell)?,
        }))
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

    /// The channel of that name.
    pub fn named(&self, id: &ChannelId) -> Option<&SharedMemoryChannel> {
        self.channels.iter().find(|channel| channel.channel_id() == id)
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

    /// The folder by which workers open it; `None` for an empty one.
    pub fn folder(&self) -> Option<&Path> {
        self.namespace.as_ref().map(Namespace::folder)
    }

    /// Closes all channels: everybody who waits on one is woken and told.
    pub fn close(&self) {
        self.channels.iter().for_each(SharedMemoryChannel::close);
    }

    /// Removes all of its files and shared memory. What is still mapped stays readable.
    pub fn remove(&self) {
        if let Some(namespace) = &self.namespace {
            namespace.remove();
        }
    }
}
