//! The channels of one bridge, by name.
//!
//! Main type: [`ChannelRegistry`]. They come and go with the nodes that they lead to, unlike those of
//! a session's [`DataPlane`](crate::DataPlane), which are made once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

use rm_core::ChannelId;
use rm_ipc::{ChannelOptions, Namespace, Receiver, SharedMemoryChannel};

use super::error::ConversionError;
use crate::worker::lock;

/// Channels in a namespace of their own, which is removed with this.
#[derive(Debug)]
pub struct ChannelRegistry {
    channels: Mutex<HashMap<ChannelId, SharedMemoryChannel>>,
    // Dropped last: the channels live in it.
    namespace: Namespace,
}

impl ChannelRegistry {
    /// Makes one without channels.
    ///
    /// # Errors
    /// [`ConversionError::Namespace`] if there can be no shared memory.
    pub fn new() -> Result<Self, ConversionError> {
        Ok(Self { channels: Mutex::default(), namespace: Namespace::create()? })
    }

    /// Makes a channel.
    ///
    /// # Errors
    /// [`ConversionError::Channel`] if it cannot be made, for instance because there is one of that
    /// name.
    pub fn create(
        &self,
        id: &ChannelId,
        options: ChannelOptions,
    ) -> Result<SharedMemoryChannel, ConversionError> {
        let channel = SharedMemoryChannel::create(&self.namespace, id, options)?;
        lock(&self.channels).insert(id.clone(), channel.clone());
        Ok(channel)
    }

    /// A handle on a channel, which publishes through it if it is asked to.
    ///
    /// # Errors
    /// [`ConversionError::ChannelNotFound`].
    pub fn get_publisher(&self, id: &str) -> Result<SharedMemoryChannel, ConversionError> {
        let channels = lock(&self.channels);
        let channel = channels.iter().find(|(own, _)| own.as_str() == id);
        channel
            .map(|(_, channel)| channel.clone())
            .ok_or_else(|| ConversionError::ChannelNotFound(id.to_owned()))
    }

    /// Subscribes to a channel.
    ///
    /// # Errors
    /// [`ConversionError::ChannelNotFound`], or `Subscribe` if it has been subscribed to.
    pub fn get_subscriber(&self, id: &str) -> Result<Receiver, ConversionError> {
        Ok(self.get_publisher(id)?.subscribe()?)
    }

    /// Closes a channel and forgets it: who waits on it is told.
    pub fn remove(&self, id: &ChannelId) {
        if let Some(channel) = lock(&self.channels).remove(id) {
            channel.close();
        }
    }

    /// How many channels there are.
    pub fn len(&self) -> usize {
        lock(&self.channels).len()
    }

    /// Whether there is no channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The folder by which other processes open it.
    pub fn folder(&self) -> &Path {
        self.namespace.folder()
    }
}
