//! A child for the tests, and an example of how to write one. Its first argument says what it
//! does; it does not choose its protocol version or write its own frames.
//!
//! `echo` is the plain case: introduce oneself, answer until the parent closes the channel.

use std::error::Error;
use std::io::Write;
use std::process::{Command, Stdio};

use rm_process::{CommandSpec, ProcessManager, child};

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("echo") => echo(),
        Some("gets-ready") => gets_ready(),
        Some("gives-up") => gives_up(),
        Some("hangs-up") => hangs_up(),
        Some("leaves") => leaves(),
        Some("puppet") => puppet(),
        Some("shout") => shout(),
        Some("deaf") => deaf(),
        Some("descriptors") => descriptors(),
        Some("family") => family(),
        Some("parent") => parent(),
        other => Err(format!("no such behaviour: {other:?}").into()),
    }
}

/// Sends back what it receives.
fn echo() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut connection = child::connect::<String, String>()?;
    let sender = connection.sender();
    while let Some(text) = connection.receiver().recv()? {
        sender.send(&text)?;
    }
    Ok(())
}

/// Loads, gets ready, and waits for the word to end.
fn gets_ready() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let (sender, mut receiver) = child::connect::<(), ()>()?.split();
    sender.progress(0.5, "half of it")?;
    sender.ready()?;
    while receiver.recv()?.is_some() {}
    Ok(())
}

/// Closes its channel and lives on.
fn hangs_up() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    drop(child::connect::<(), ()>()?);
    loop {
        std::thread::park();
    }
}

/// Starts a grandchild, tells its pid, and ends in good order as soon as its channel does.
fn leaves() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let (sender, mut receiver) = child::connect::<u32, ()>()?.split();
    let grandchild = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?;
    sender.send(&grandchild.id())?;
    while receiver.recv()?.is_some() {}
    Ok(())
}

/// Cannot load what it needs, and says so.
fn gives_up() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let connection = child::connect::<(), ()>()?;
    connection.sender().failed("no model at models/large")?;
    std::process::exit(1)
}

/// Tells of itself what it is told to tell, and answers with the order when that is done.
fn puppet() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let (sender, mut receiver) = child::connect::<String, String>()?.split();
    while let Some(order) = receiver.recv()? {
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("progress", message) => sender.progress(0.5, message)?,
            ("fraction", number) => sender.progress(number.parse()?, "")?,
            ("ready", _) => sender.ready()?,
            ("fail", message) => sender.failed(message)?,
            ("begin", item) => sender.work().begin(item.parse()?),
            ("end", _) => sender.work().end(),
            ("abort", _) => std::process::abort(),
            _ => {}
        }
        sender.send(&order)?;
    }
    Ok(())
}

/// Writes as many bytes to stdout and to stderr as it is told, without line ends, then says so.
fn shout() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let (sender, mut receiver) = child::connect::<u64, u64>()?.split();
    let bytes = receiver.recv()?.ok_or("no order came")?;
    let block = vec![b'x'; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        let len = left.min(1 << 16);
        let piece = &block[..usize::try_from(len)?];
        std::io::stdout().write_all(piece)?;
        std::io::stderr().write_all(piece)?;
        left -= len;
    }
    std::io::stdout().write_all(b"end of stdout")?;
    std::io::stdout().flush()?;
    std::io::stderr().write_all(b"end of stderr")?;
    sender.send(&bytes)?;
    Ok(())
}

/// Never reads its channel and ignores that it closes.
fn deaf() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let _connection = child::connect::<(), ()>()?;
    loop {
        std::thread::park();
    }
}

/// Leaves out the folder that the shell itself has open while it lists.
const LIST_DESCRIPTORS: &str =
    "for fd in /proc/$$/fd/*; do [ -e \"$fd\" ] && echo \"${fd##*/}\"; done; exit 0";

/// Tells which descriptors it has: before it connects, and what a grandchild then inherits.
fn descriptors() -> Result<(), Box<dyn Error>> {
    let own = open_descriptors()?;
    let connection = child::connect::<(Vec<i32>, String), ()>()?;
    let listing =
        Command::new("sh").args(["-c", LIST_DESCRIPTORS]).stderr(Stdio::null()).output()?;
    let inherited = String::from_utf8(listing.stdout)?;
    connection.sender().send(&(own, inherited))?;
    Ok(())
}

fn open_descriptors() -> Result<Vec<i32>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        found.push(name.parse()?);
    }
    // The folder that was read is closed again by now; its link leads nowhere.
    found.retain(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    found.sort_unstable();
    Ok(found)
}

/// Starts a grandchild that ignores everything but SIGKILL, and tells its pid.
fn family() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let (sender, mut receiver) = child::connect::<u32, ()>()?.split();
    let grandchild = Command::new("sh")
        .args(["-c", "trap '' HUP TERM INT; exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    sender.send(&grandchild.id())?;
    // Lives on when the channel closes: only a signal ends it.
    while receiver.recv()?.is_some() {}
    loop {
        std::thread::park();
    }
}

/// Is itself a parent: starts a `family`, or what its second argument says, tells the pids of child and grandchild, and waits.
fn parent() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let (sender, mut receiver) = child::connect::<(u32, u32), ()>()?.split();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _guard = runtime.enter();
    let (process, _connection) = runtime.block_on(async {
        let kind = std::env::args().nth(2).unwrap_or_else(|| "family".to_owned());
        let spec = CommandSpec::new(std::env::current_exe()?).arg(kind);
        let (process, mut connection) = ProcessManager::new()?.spawn::<(), u32>(spec).await?;
        let grandchild = connection.recv().await?.ok_or("the family did not answer")?;
        sender.send(&(process.process_id(), grandchild))?;
        Ok::<_, Box<dyn Error>>((process, connection))
    })?;
    while receiver.recv()?.is_some() {}
    runtime.block_on(process.kill());
    Ok(())
}
