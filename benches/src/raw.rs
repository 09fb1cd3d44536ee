//! The peer of the data plane: bare iceoryx2 between two processes, with this project's adaptive
//! wake.
//!
//! Main type: [`Raw`], the asking side; [`answer`] is the other one. No header, no checks, no
//! backpressure: what is left is what iceoryx2 itself and a wake cost.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::Service;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use rm_ipc::{BellId, Doorbell, Namespace, Ringer};

use crate::child::{Child, Role};

/// iceoryx2's ports for one thread.
pub type RawIpc = ipc::Service;

/// iceoryx2's ports for several threads, which `rm-ipc` uses.
pub type RawThreadsafe = ipc_threadsafe::Service;

/// An iceoryx2 service as a role of a child process.
pub trait RawService: Service {
    /// The role's name.
    const ROLE: &'static str;
}

impl RawService for RawIpc {
    const ROLE: &'static str = "raw-ipc";
}

impl RawService for RawThreadsafe {
    const ROLE: &'static str = "raw-ipc-threadsafe";
}

/// What this peer needs from the larger messages that it is to carry, in bytes.
const LARGEST: usize = 10 << 20;

type Ports<S> = (Publisher<S, [u8], ()>, Subscriber<S, [u8], ()>);

fn node<S: Service>(namespace: &Namespace) -> Result<Node<S>> {
    let mut config = Config::default();
    // Under the namespace's prefix, so that it is removed with it.
    let prefix = format!("rm{}_raw", namespace.id());
    config.global.prefix = FileName::new(prefix.as_bytes())?;
    let root = namespace.folder().to_str().context("the path is UTF-8")?;
    config.global.set_root_path(&iceoryx2::prelude::Path::new(root.as_bytes())?);
    let builder = NodeBuilder::new().config(&config);
    Ok(builder.signal_handling_mode(SignalHandlingMode::Disabled).create()?)
}

fn service<S: Service>(node: &Node<S>, name: &str) -> Result<PortFactory<S, [u8], ()>> {
    let name: ServiceName = name.try_into()?;
    Ok(node
        .service_builder(&name)
        .publish_subscribe::<[u8]>()
        .payload_alignment(Alignment::new(64).context("a power of two")?)
        .subscriber_max_buffer_size(4)
        .enable_safe_overflow(false)
        .open_or_create()?)
}

fn ports<S: Service>(namespace: &Namespace, names: [&str; 2]) -> Result<Ports<S>> {
    let node = node::<S>(namespace)?;
    let [to, from] = names.map(|name| service(&node, name));
    let publisher = to?.publisher_builder().initial_max_slice_len(LARGEST).create()?;
    Ok((publisher, from?.subscriber_builder().create()?))
}

/// The asking side.
pub struct Raw<S: RawService> {
    publisher: Publisher<S, [u8], ()>,
    subscriber: Subscriber<S, [u8], ()>,
    bell: Doorbell,
    peer: Ringer,
    child: Child,
    _namespace: Namespace,
}

impl<S: RawService> Raw<S> {
    /// Starts the other side.
    ///
    /// # Errors
    /// If it cannot be started or reached.
    pub fn start() -> Result<Self> {
        let namespace = Namespace::create()?;
        let (publisher, subscriber) = ports(&namespace, ["there", "back"])?;
        let bell = Doorbell::create(&namespace)?;
        let folder = namespace.folder().to_str().context("the path is UTF-8")?;
        let mut child = Child::start(S::ROLE, &[folder, &serde_json::to_string(&bell.id())?])?;
        let id: BellId = serde_json::from_str(&child.hear()?)?;
        let peer = Ringer::open(&namespace, id)?;
        Ok(Self { publisher, subscriber, bell, peer, child, _namespace: namespace })
    }

    /// The other side.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// Lends `size` bytes, has `write` write them, sends them, and waits for the answer, which has
    /// to name `tag`, as the first and the last byte do.
    ///
    /// # Errors
    /// What iceoryx2 says, or a wrong answer.
    pub fn round_trip(&self, size: usize, write: impl FnOnce(&mut [u8]), tag: u8) -> Result<()> {
        let sample = self.publisher.loan_slice_uninit(size)?;
        // Every byte of the chunk is memory of the kernel's, which has a value.
        #[expect(unsafe_code, reason = "bare iceoryx2 has no other way not to write it all")]
        // SAFETY: shared memory is initialised by the kernel, and `u8` has no invalid value.
        let mut sample = unsafe { sample.assume_init() };
        write(sample.payload_mut());
        sample.send()?;
        self.peer.ring();
        loop {
            if let Some(answer) = self.subscriber.receive()? {
                return check(answer.payload(), tag);
            }
            self.bell.wait(|| self.subscriber.has_samples().unwrap_or(true), None);
        }
    }
}

/// The other side: reads the first and the last byte of what comes, and answers with both.
///
/// # Errors
/// What iceoryx2 says, or if `role` is not one of this module's.
pub fn answer(role: &Role) -> Result<()> {
    match role.name.as_str() {
        RawIpc::ROLE => answer_on::<RawIpc>(&role.args),
        RawThreadsafe::ROLE => answer_on::<RawThreadsafe>(&role.args),
        other => bail!("there is no role {other}"),
    }
}

fn answer_on<S: Service>(args: &[String]) -> Result<()> {
    let [folder, bell] = args else { bail!("expected a folder and a doorbell") };
    let namespace = Namespace::open(Path::new(folder))?;
    let own = Doorbell::create(&namespace)?;
    let (publisher, subscriber) = ports::<S>(&namespace, ["back", "there"])?;
    let peer = Ringer::open(&namespace, serde_json::from_str(bell)?)?;
    println!("{}", serde_json::to_string(&own.id())?);
    loop {
        if let Some(sample) = subscriber.receive()? {
            let answer = publisher.loan_slice_uninit(ANSWER)?;
            answer.write_from_slice(&ends(sample.payload())).send()?;
            peer.ring();
        } else {
            own.wait(|| subscriber.has_samples().unwrap_or(true), None);
        }
    }
}

/// Length of an answer, in bytes.
pub const ANSWER: usize = 4;

/// Writes `tag` to the first and the last byte.
pub fn touch(bytes: &mut [u8], tag: u8) {
    if let [first, .., last] = bytes {
        (*first, *last) = (tag, tag);
    }
}

/// The answer to a message: its first and its last byte.
pub fn ends(bytes: &[u8]) -> [u8; ANSWER] {
    let end = |byte: Option<&u8>| byte.copied().unwrap_or_default();
    [end(bytes.first()), end(bytes.last()), 0, 0]
}

/// Checks an answer to a message that was touched with `tag`.
///
/// # Errors
/// If it is another one.
pub fn check(answer: &[u8], tag: u8) -> Result<()> {
    ensure!(answer == [tag, tag, 0, 0], "answer {answer:?} to a message with {tag} at both ends");
    Ok(())
}

/// Makes a service with a publisher, opens it with a second node, joins with a subscriber, and
/// tells how long the four steps took. Both ends are in this process and end with this call.
///
/// # Errors
/// What iceoryx2 says.
pub fn join(namespace: &Namespace, turn: usize) -> Result<[Duration; 4]> {
    let nodes = [node::<RawThreadsafe>(namespace)?, node::<RawThreadsafe>(namespace)?];
    let name = format!("bare-{turn}");
    let began = Instant::now();
    let created = service(&nodes[0], &name)?;
    let at_create = began.elapsed();
    let _publisher = created.publisher_builder().initial_max_slice_len(4096).create()?;
    let at_publisher = began.elapsed();
    let opened = service(&nodes[1], &name)?;
    let at_open = began.elapsed();
    let _subscriber = opened.subscriber_builder().create()?;
    let at_subscriber = began.elapsed();
    Ok([at_create, at_publisher - at_create, at_open - at_publisher, at_subscriber - at_open])
}
