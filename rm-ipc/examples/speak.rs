//! Sends each line that is typed to every [`listen`](listen.rs) in other terminals.
//!
//! Run `cargo run -p rm-ipc --example speak`, then in another terminal the command that it prints.
//! Without a listener the first line waits for one. It ends with the input (Ctrl-D).

use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use rm_core::{ChannelId, DataHeader, DataMetadata};
use rm_ipc::{ChannelOptions, Doorbell, Namespace, SharedMemoryChannel, sweep};

fn main() -> Result<(), Box<dyn Error>> {
    // What an earlier run has left, if it was killed.
    sweep()?;
    let namespace = Namespace::create()?;
    let id = ChannelId::new("words")?;
    let channel = SharedMemoryChannel::create(&namespace, &id, ChannelOptions::default())?;
    // Joined now and not at the first line, so that listeners also end if this is killed before it.
    let bell = Arc::new(Doorbell::create(&namespace)?);
    let publisher = channel.publisher(&bell)?;
    eprintln!("cargo run -p rm-ipc --example listen -- {}", namespace.folder().display());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        // Written where it will be read. `publisher.publish` would do it with one copy.
        let mut loan = publisher.loan_uninit(line.len())?;
        loan.bytes_mut().copy_from_slice(line.as_bytes());
        loan.written(&DataHeader::new(DataMetadata::utf8(), 0))?.send()?;
    }
    let own = channel.snapshot();
    eprintln!("{} messages, {} of {} bytes copied", own.messages, own.copied_bytes, own.bytes);
    // What is queued goes with this process.
    if !publisher.flush(Duration::from_secs(5)) {
        eprintln!("{} messages were not taken within five seconds", channel.queued());
    }
    Ok(())
}
