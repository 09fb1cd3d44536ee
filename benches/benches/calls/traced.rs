//! The same calls where both processes have a subscriber that takes every span.
//!
//! Main type: [`Traced`]. It is a process of its own: a subscriber cannot be taken away again.

use std::io::BufRead;
use std::time::Duration;

use anyhow::Result;
use benches::child::Child;
use tracing_subscriber::layer::SubscriberExt;

use super::ask;
use super::ours::{Ours, Threads};

/// Roles: the parent, and its child.
pub const PARENT: &str = "traced-parent";
pub const CHILD: &str = "traced-child";

/// Takes every span and keeps it until it ends.
fn subscribe() -> Result<()> {
    struct Listener;
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Listener {}
    Ok(tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Listener))?)
}

/// A parent with a subscriber, which has a child with one.
pub struct Traced(Child);

impl Traced {
    pub fn start() -> Result<Self> {
        Ok(Self(Child::start(PARENT, &[])?))
    }

    /// How long each of `calls` calls took that were made one after the other.
    pub fn round_trips(&mut self, calls: u32) -> Result<Vec<Duration>> {
        self.0.say(&calls.to_string())?;
        let took = self.0.hear_figures()?;
        Ok(took.into_iter().map(|ns| Duration::from_nanos(ns as u64)).collect())
    }
}

/// Makes as many calls as each line asks for.
pub fn be_parent() -> Result<()> {
    subscribe()?;
    let ours = Ours::start(CHILD, Threads::Current)?;
    for line in std::io::stdin().lock().lines() {
        let took = ours.round_trips(line?.parse()?)?;
        let took: Vec<_> = took.iter().map(|time| time.as_nanos().to_string()).collect();
        println!("{}", took.join(" "));
    }
    Ok(())
}

/// Serves it.
pub fn be_child() -> Result<()> {
    subscribe()?;
    ask::serve()
}
