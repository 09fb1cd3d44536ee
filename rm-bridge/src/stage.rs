//! What a stage is made of, before it runs.
//!
//! Main type: [`Stage`]: native nodes, the calls between them, and the channels at their borders.
//! Running it is [`spawn_stage`](crate::spawn_stage)'s work.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rm_core::{Node, NodeId, RuntimeData, SessionId};
use rm_ipc::{Doorbell, Publisher, Ringer, Subscriber, monotonic_ns};
use tokio::sync::mpsc;

use crate::outlet::Outlet;
use crate::policy::ItemPolicy;
use crate::timeline::TimelineSink;

/// A node of a stage.
pub struct StageNode {
    /// Its id.
    pub id: NodeId,
    /// Its type, for traces.
    pub node_type: String,
    /// The node itself.
    pub node: Box<dyn Node>,
    /// Whether it is asked for items instead of being given them.
    pub source: bool,
    /// What happens when it fails on an item.
    pub policy: ItemPolicy,
}

/// A way by which items come to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inlet {
    /// The node, by its place in the stage.
    pub node: usize,
    /// The node that items come from; `None` for items from outside.
    pub from: Option<NodeId>,
    /// The port of the receiving node, where the connection names one.
    pub port: Option<String>,
}

/// A connection within a stage: each item of one node is given to another by a plain call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The node that makes the item, by its place in the stage.
    pub from: usize,
    /// The port of that node, where the connection names one.
    pub port: Option<String>,
    /// How it gets to the next node, by its place in [`Stage::inlets`]; that node comes after `from`.
    pub to: usize,
}

/// Where an item goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To a node of the stage, by the inlet's place in [`Stage::inlets`].
    Node(usize),
    /// Into a channel, by its place in [`Stage::publications`].
    Channel(usize),
    /// Out of the pipeline, as an item of this node.
    Output(NodeId),
}

/// A channel that the stage reads.
pub struct Subscription {
    /// The receiving end.
    pub subscriber: Subscriber,
    /// Where its items go.
    pub destinations: Vec<Destination>,
    /// Whether the stage goes on reading it, to no purpose, until it is stopped: its sender may be
    /// started again after its end, and would wait for a reader.
    pub kept: bool,
}

/// A channel that the stage writes.
pub struct Publication {
    /// The sending end.
    pub publisher: Publisher,
    /// The node whose items go into it, by its place; `None` where only the feed's do.
    pub node: Option<usize>,
    /// The port of that node, where connections name one.
    pub port: Option<String>,
    /// Whether the stage keeps it until it is stopped, so that what it has sent can be given again to
    /// a reader that is started again.
    pub kept: bool,
}

/// An item, where it goes, and when it was sent, in nanoseconds of the machine's monotonic clock.
pub(crate) type Fed = (Option<Destination>, RuntimeData, u64);

/// How items get from outside into a stage. They are taken once the stage is started.
pub struct Feed {
    pub(crate) items: mpsc::Receiver<Fed>,
    pub(crate) destinations: Vec<Destination>,
}

/// The outside end of a [`Feed`]. Dropping the last clone ends the feed.
#[derive(Clone)]
pub struct FeedSender {
    items: Option<mpsc::Sender<Fed>>,
    ringer: Ringer,
}

impl Feed {
    /// A feed to `destinations` that holds `depth` items, for the stage that waits on `bell`.
    pub fn new(
        depth: usize,
        destinations: Vec<Destination>,
        bell: &Doorbell,
    ) -> (FeedSender, Self) {
        let (sender, items) = mpsc::channel(depth);
        let ringer = bell.ringer();
        (FeedSender { items: Some(sender), ringer }, Self { items, destinations })
    }

    pub(crate) fn is_ready(&self) -> bool {
        !self.items.is_empty() || self.items.is_closed()
    }
}

impl FeedSender {
    /// Gives the stage an item, waiting for room: to one place, or to all where none is named.
    ///
    /// # Errors
    /// The item, if the stage has ended.
    pub async fn send(
        &self,
        to: Option<Destination>,
        data: RuntimeData,
    ) -> Result<(), RuntimeData> {
        let Some(room) = self.room().await else { return Err(data) };
        room.fill(to, data);
        Ok(())
    }

    /// Room for one item, once there is some; `None` if the stage has ended.
    pub async fn room(&self) -> Option<Room<'_>> {
        let items = self.items.as_ref().expect("the sender is taken only by drop");
        Some(Room { place: items.reserve().await.ok()?, ringer: &self.ringer })
    }

    /// Gives the stage an item, to one place, or to all where none is named.
    ///
    /// # Errors
    /// The item, if there is no room or the stage has ended.
    pub fn try_send(
        &self,
        to: Option<Destination>,
        data: RuntimeData,
    ) -> Result<(), Box<RuntimeData>> {
        let items = self.items.as_ref().expect("the sender is taken only by drop");
        let Ok(place) = items.try_reserve() else { return Err(Box::new(data)) };
        place.send((to, data, monotonic_ns()));
        self.ringer.ring();
        Ok(())
    }
}

/// Room for one item in a stage, kept until it is dropped.
#[derive(Debug)]
pub struct Room<'a> {
    place: mpsc::Permit<'a, Fed>,
    ringer: &'a Ringer,
}

impl Room<'_> {
    /// Gives the stage an item, to one place, or to all where none is named.
    pub fn fill(self, to: Option<Destination>, data: RuntimeData) {
        self.place.send((to, data, monotonic_ns()));
        self.ringer.ring();
    }
}

impl Drop for FeedSender {
    fn drop(&mut self) {
        drop(self.items.take());
        self.ringer.ring();
    }
}

/// Native nodes that one thread runs as plain calls, and what lies at their borders.
pub struct Stage {
    /// A name for the thread and for messages.
    pub name: String,
    /// The session that it belongs to, for traces.
    pub session: Option<SessionId>,
    /// The nodes, each after those whose items it gets.
    pub nodes: Vec<StageNode>,
    /// The ways by which items come to them.
    pub inlets: Vec<Inlet>,
    /// The connections among them.
    pub calls: Vec<Call>,
    /// The channels read.
    pub subscriptions: Vec<Subscription>,
    /// The channels written.
    pub publications: Vec<Publication>,
    /// The nodes whose items leave the pipeline, by their place.
    pub outputs: Vec<usize>,
    /// Where items that leave the pipeline go.
    pub output: Outlet,
    /// Items from outside.
    pub feed: Option<Feed>,
    /// Items of an older epoch are dropped; shared by all stages of a session.
    pub epoch: Arc<AtomicU32>,
    /// Who is told on what the time of each item goes, if anybody wants to know.
    pub timeline: Option<TimelineSink>,
    /// What the thread waits on; all its ports have it too.
    pub bell: Arc<Doorbell>,
}
