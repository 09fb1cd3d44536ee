//! What a channel is made with.
//!
//! Main types: [`ChannelOptions`] and [`Policy`]. They are checked once, when the channel is
//! created; who opens it finds them on its control page.

use serde::{Deserialize, Serialize};

use crate::channel::ChannelError;
use crate::control::MAX_SUBSCRIBERS;

/// Most messages that a channel can queue.
const MAX_DEPTH: u32 = 65_536;

/// What happens to a message for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[repr(u32)]
pub enum Policy {
    /// The publisher waits. Nothing is lost. Without a subscriber it waits for one.
    #[default]
    Block = 0,
    /// The oldest message of the subscriber that has no room makes way.
    DropOldest = 1,
    /// The new message is dropped, for all subscribers.
    DropNewest = 2,
    /// A subscriber is given the newest message only: [`DropOldest`](Self::DropOldest) with a depth
    /// of 1, whatever the options say.
    Latest = 3,
}

impl Policy {
    pub(crate) fn from_code(code: u32) -> Self {
        match code {
            1 => Self::DropOldest,
            2 => Self::DropNewest,
            3 => Self::Latest,
            _ => Self::Block,
        }
    }

    /// Whether a full queue gives up its oldest message.
    pub(crate) fn overflows(self) -> bool {
        matches!(self, Self::DropOldest | Self::Latest)
    }
}

/// How much a channel holds, for whom, and what happens when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelOptions {
    /// Most messages queued for the slowest subscriber, from 1 to 65,536.
    pub depth: u32,
    /// Most bytes queued for the slowest subscriber: a power of two. Nothing is reserved for it.
    pub capacity: usize,
    /// Most bytes of one message. `None` is as much as the other options allow: the capacity; where
    /// several messages are queued or kept without being asked for (policies that drop the oldest,
    /// and history), the capacity divided by their number.
    pub max_message: Option<usize>,
    /// Most subscribers at a time, from 1 to [`MAX_SUBSCRIBERS`].
    pub max_subscribers: u32,
    /// How many messages a subscriber may keep without copies, at least 2; beyond that it is
    /// given counted copies.
    pub max_borrowed: u32,
    /// How many of the last messages are given to a subscriber that joins later; at most the depth.
    /// On a retained channel it is the depth, and for seats only.
    pub history: u32,
    /// What happens to a message for which there is no room.
    pub policy: Policy,
    /// Whether one process may both publish and subscribe. Between processes that is a mistake,
    /// which is refused; within one it is the point.
    pub loopback: bool,
    /// Whether the channel stays open when its last publisher or subscriber has left, for others to
    /// follow. It is ended by [`close`](crate::SharedMemoryChannel::close) then.
    pub persistent: bool,
    /// Whether messages are kept until they are acknowledged, for consumers that are restarted: they
    /// take [seats](crate::SharedMemoryChannel::subscriber_at), which outlive them. Depth and capacity
    /// then count what is not acknowledged. Such a channel blocks and is persistent. Beyond its
    /// capacity it keeps memory for as many of the last messages as its depth, whatever their size.
    pub retained: bool,
}

impl Default for ChannelOptions {
    /// 100 messages, 64 MiB, 4 subscribers, 32 borrowed messages, no history; a full channel blocks.
    fn default() -> Self {
        Self {
            depth: 100,
            capacity: 64 << 20,
            max_message: None,
            max_subscribers: 4,
            max_borrowed: 32,
            history: 0,
            policy: Policy::Block,
            loopback: false,
            persistent: false,
            retained: false,
        }
    }
}

impl ChannelOptions {
    /// The options as they take effect.
    pub(crate) fn checked(mut self) -> Result<Self, ChannelError> {
        let capacity = self.capacity;
        if !capacity.is_power_of_two() {
            let next = capacity.checked_next_power_of_two().unwrap_or(1 << (usize::BITS - 1));
            return Err(ChannelError::InvalidCapacity { capacity, next });
        }
        if self.policy == Policy::Latest {
            self.depth = 1;
            self.history = self.history.min(1);
        }
        if self.retained {
            if self.policy != Policy::Block {
                return Err(ChannelError::InvalidOption {
                    name: "retained",
                    value: 1,
                    expected: "0 unless the policy is to block".to_owned(),
                });
            }
            (self.persistent, self.history) = (true, self.depth);
        }
        let within = |name, value: u32, least: u32, most: u32| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let expected = format!("{least} to {most}");
            Err(ChannelError::InvalidOption { name, value: value.into(), expected })
        };
        within("depth", self.depth, 1, MAX_DEPTH)?;
        within("max_subscribers", self.max_subscribers, 1, MAX_SUBSCRIBERS as u32)?;
        within("max_borrowed", self.max_borrowed, 2, MAX_DEPTH)?;
        within("history", self.history, 0, self.depth)?;
        let kept = match self.policy {
            Policy::DropOldest | Policy::Latest => self.depth,
            // What a seat is given again is not acknowledged, and so within the capacity.
            _ if self.retained => 1,
            _ => self.history.max(1),
        };
        let most = capacity / kept as usize;
        let max_message = self.max_message.unwrap_or(most);
        if max_message > most {
            return Err(ChannelError::InvalidOption {
                name: "max_message",
                value: max_message as u64,
                expected: format!("at most {most} bytes, the capacity divided by {kept} messages"),
            });
        }
        self.max_message = Some(max_message);
        Ok(self)
    }
}
