//! Prints what [`speak`](speak.rs) sends from another terminal, and how long each message took.
//!
//! Run it with the folder that `speak` prints:
//! `cargo run -p rm-ipc --example listen -- FOLDER`. It ends when `speak` does, also if that is killed.

use std::error::Error;
use std::path::PathBuf;

use rm_core::ChannelId;
use rm_ipc::{Namespace, SharedMemoryChannel, Subscriber};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or("which folder? `speak` prints it")?;
    let namespace = Namespace::open(&folder)?;
    let channel = SharedMemoryChannel::open(&namespace, &ChannelId::new("words")?)?;
    let mut receiver = channel.subscribe()?;
    // An iterator ends when the channel is closed.
    for message in &mut receiver {
        let message = message?;
        println!("{:>4}  {}", message.header().sequence, message.as_text().unwrap_or("not a text"));
    }
    let latency = receiver.with_subscriber(Subscriber::latency);
    println!(
        "{} messages; from sending to reception {:.1} us in the median, {:.1} us at p99",
        latency.count, latency.median_us, latency.p99_us
    );
    Ok(())
}
