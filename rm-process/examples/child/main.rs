//! A child for the tests, and an example of how to write one. Its first argument says what it
//! does; it does not choose its protocol version or write its own frames.
//!
//! `echo` is the plain case, `serve` one with tokio that answers many calls at once; what it can be
//! asked is in `rm-process/tests/it/ask.rs`.

use std::error::Error;
use std::io::Write;
use std::process::{Command, Stdio};

use rm_process::child::{self, blocking};
use rm_process::{BackendOptions, CommandSpec, ProcessManager, SubprocessIpcBackend};

#[path = "../../tests/it/ask.rs"]
mod ask;
mod serve;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("echo") => echo(),
        Some("serve") => serve::run(),
        Some("gets-ready") => gets_ready(),
        Some("gives-up") => gives_up(),
        Some("hangs-up") => hangs_up(),
        Some("leaves") => leaves(),
        Some("closes-under-a-callback") => closes_under_a_callback(),
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
    let mut requests = blocking::connect::<String>()?;
    while let Some(request) = requests.next() {
        let text = request.message()?;
        request.into_responder().reply(&text)?;
    }
    Ok(())
}

/// Loads, gets ready, and waits for the word to end.
fn gets_ready() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<()>()?;
    requests.handle().progress(0.5, "half of it")?;
    requests.handle().ready()?;
    while requests.next().is_some() {}
    Ok(())
}

/// Closes its channel and lives on.
fn hangs_up() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    drop(blocking::connect::<()>()?);
    loop {
        std::thread::park();
    }
}

/// Closes its connections when it is asked to, while another thread waits for a callback.
fn closes_under_a_callback() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<()>()?;
    let own = requests.handle().clone();
    let calling = std::thread::spawn(move || {
        own.block_on(own.callbacks().call::<_, ()>("test.Never", &())).is_err()
    });
    requests.next().ok_or("nobody asked")?.into_responder().reply(&())?;
    drop(requests);
    match calling.join() {
        Ok(true) => Ok(()),
        other => Err(format!("the callback did not fail: {other:?}").into()),
    }
}

/// Starts a grandchild, tells its pid when asked, and ends in good order as soon as its channel does.
fn leaves() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<u64>()?;
    let grandchild = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?;
    while let Some(request) = requests.next() {
        request.into_responder().reply(&u64::from(grandchild.id()))?;
    }
    Ok(())
}

/// Cannot load what it needs, and says so.
fn gives_up() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let requests = blocking::connect::<()>()?;
    requests.handle().failed("no model at models/large")?;
    drop(requests);
    std::process::exit(1)
}

/// Tells of itself what it is told to tell, and answers with the order when that is done.
fn puppet() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<String>()?;
    let own = requests.handle().clone();
    let work = own.work().ok_or("no page")?;
    while let Some(request) = requests.next() {
        let order = request.message()?;
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("progress", message) => own.progress(0.5, message)?,
            ("fraction", number) => own.progress(number.parse()?, "")?,
            ("ready", _) => own.ready()?,
            ("fail", message) => own.failed(message)?,
            ("begin", item) => work.begin(item.parse()?),
            ("end", _) => work.end(),
            ("abort", _) => std::process::abort(),
            _ => {}
        }
        request.into_responder().reply(&order)?;
    }
    Ok(())
}

/// Writes as many bytes to stdout and to stderr as it is told, without line ends, then says so.
fn shout() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<u64>()?;
    let request = requests.next().ok_or("no order came")?;
    let bytes = request.message()?;
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
    request.into_responder().reply(&bytes)?;
    Ok(())
}

/// Never answers and ignores that its channel closes.
fn deaf() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let _requests = blocking::connect::<()>()?;
    loop {
        std::thread::park();
    }
}

/// Leaves out the folder that the shell itself has open while it lists.
const LIST_DESCRIPTORS: &str =
    "for fd in /proc/$$/fd/*; do [ -e \"$fd\" ] && echo \"${fd##*/}\"; done; exit 0";

/// Tells when asked which descriptors it has: before it connects, and what a grandchild then inherits.
fn descriptors() -> Result<(), Box<dyn Error>> {
    let own = open_descriptors()?;
    let mut requests = blocking::connect::<serde_json::Value>()?;
    let listing =
        Command::new("sh").args(["-c", LIST_DESCRIPTORS]).stderr(Stdio::null()).output()?;
    let inherited = String::from_utf8(listing.stdout)?;
    let request = requests.next().ok_or("nobody asked")?;
    request.into_responder().reply(&serde_json::json!([own, inherited]))?;
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

/// Starts a grandchild that ignores everything but SIGKILL, and tells its pid when asked.
fn family() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<u64>()?;
    let grandchild = Command::new("sh")
        .args(["-c", "trap '' HUP TERM INT; exec sleep 1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    // Lives on when the channel closes: only a signal ends it.
    while let Some(request) = requests.next() {
        request.into_responder().reply(&u64::from(grandchild.id()))?;
    }
    loop {
        std::thread::park();
    }
}

/// Is itself a parent: starts a `family`, or what its second argument says, tells the pids of child and
/// grandchild when asked, and waits.
fn parent() -> Result<(), Box<dyn Error>> {
    child::die_with_parent()?;
    let mut requests = blocking::connect::<serde_json::Value>()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _guard = runtime.enter();
    let (family, grandchild) = runtime.block_on(async {
        let kind = std::env::args().nth(2).unwrap_or_else(|| "family".to_owned());
        let spec = CommandSpec::new(std::env::current_exe()?).arg(kind);
        let manager = ProcessManager::new()?;
        let options = BackendOptions::new();
        let family = SubprocessIpcBackend::<u64>::spawn(&manager, spec, options).await?;
        let grandchild = family.call(&0).await?;
        Ok::<_, Box<dyn Error>>((family, grandchild))
    })?;
    while let Some(request) = requests.next() {
        let pids = serde_json::json!([family.process_id(), grandchild]);
        request.into_responder().reply(&pids)?;
    }
    runtime.block_on(family.process().ok_or("it was started here")?.kill());
    Ok(())
}
