//! The child's side: find the control channel, introduce oneself, and die with the parent.
//!
//! Main functions: [`connect`] and [`die_with_parent`]. Everything here is blocking `std` code:
//! a child needs no async runtime. It does not read configuration; that arrives as values over
//! the channel.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::{ConnectionError, READ_BUFFER};
use crate::handshake::Hello;
use crate::page::WorkPage;
use crate::protocol::{DEFAULT_MAX_FRAME, Down, FrameDecoder, Progress, Up, encode_frame};
use crate::sys;

/// Environment variable that tells a child its control channel and its status page, each as
/// `<descriptor>:<inode>` with a comma between. By the inodes a grandchild that inherits the variable,
/// but not the descriptors, knows that it is not meant.
pub const CONTROL_FD_ENV: &str = "REMOTEMEDIA_CONTROL_FD";

/// Environment variable that tells a child the folder of its own cgroup, with which it can end all of
/// its descendants. Not set where there is none.
pub const CGROUP_ENV: &str = "REMOTEMEDIA_CGROUP";

/// Stack of the thread that waits for the parent's death; it makes three system calls.
const WATCHER_STACK: usize = 64 * 1024;

/// Why this process cannot act as a child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// No parent gave this process a control channel.
    #[error("{CONTROL_FD_ENV} is not set; this program must be started by a runtime")]
    NotAChild,
    /// The variable does not name a control channel of this process.
    #[error("{CONTROL_FD_ENV} is {value:?}, which is no control channel of this process")]
    BadControlChannel {
        /// What it holds.
        value: String,
        /// Why it is wrong, where the operating system said so.
        #[source]
        source: Option<io::Error>,
    },
    /// The control channel was taken before.
    #[error("the control channel is already taken")]
    AlreadyConnected,
    /// The parent could not be told who this is.
    #[error("cannot send the introduction: {0}")]
    Hello(#[source] ConnectionError),
    /// The kernel ties the death of the parent to the thread that asks for it.
    #[error("die_with_parent must be called on the main thread")]
    NotMainThread,
    /// Other processes than this one's descendants are in its process group.
    #[error("this process does not lead its process group, so the group is not its own to kill")]
    NotGroupLeader,
    /// The operating system refused to watch the parent.
    #[error("cannot watch the parent: {0}")]
    Watch(#[source] io::Error),
}

/// Takes the control channel that the parent left for this process and introduces this process.
///
/// The descriptors are closed by exec from here on, so that grandchildren do not inherit them.
///
/// # Errors
/// [`ChildError::NotAChild`] if there is none, [`ChildError::AlreadyConnected`] on the second
/// call, [`ChildError::BadControlChannel`] and [`ChildError::Hello`] if it is not usable.
pub fn connect<Tx: Serialize, Rx: DeserializeOwned>() -> Result<ChildConnection<Tx, Rx>, ChildError>
{
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let value = std::env::var(CONTROL_FD_ENV).map_err(|_| ChildError::NotAChild)?;
    let bad = |source: Option<io::Error>| {
        let value = value.clone();
        ChildError::BadControlChannel { value, source }
    };
    let (control, status) = parse_control(&value).ok_or_else(|| bad(None))?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(ChildError::AlreadyConnected);
    }
    let take = |(fd, inode), kind| {
        sys::take_inherited(fd, (inode, kind)).map_err(|error| bad(Some(error)))
    };
    let socket = take(control, FileType::Socket)?;
    let page = take(status, FileType::RegularFile)?;
    let page = WorkPage::map(&page).map_err(|error| bad(Some(error)))?;
    let connection = ChildConnection::new(socket, page);
    let hello = Hello::of_this_process();
    connection.sender.channel.write(&hello).map_err(ChildError::Hello)?;
    Ok(connection)
}

/// What [`CONTROL_FD_ENV`] holds for these descriptors.
pub(crate) fn format_control(control: (i32, u64), status: (i32, u64)) -> String {
    format!("{}:{},{}:{}", control.0, control.1, status.0, status.1)
}

fn parse_control(value: &str) -> Option<((i32, u64), (i32, u64))> {
    let file = |text: &str| {
        let (fd, inode) = text.split_once(':')?;
        Some((fd.parse().ok()?, inode.parse().ok()?))
    };
    let (control, status) = value.split_once(',')?;
    Some((file(control)?, file(status)?))
}

/// The child's end of its control channel: sends `Tx`, receives `Rx`.
#[derive(Debug)]
pub struct ChildConnection<Tx, Rx> {
    sender: ChildSender<Tx>,
    receiver: ChildReceiver<Rx>,
}

impl<Tx: Serialize, Rx: DeserializeOwned> ChildConnection<Tx, Rx> {
    fn new(socket: OwnedFd, page: WorkPage) -> Self {
        let stream = UnixStream::from(socket);
        let channel = Arc::new(Channel { stream, writing: Mutex::new(()), page });
        Self {
            sender: ChildSender { channel: Arc::clone(&channel), sends: PhantomData },
            receiver: ChildReceiver {
                channel,
                decoder: FrameDecoder::default(),
                buffer: vec![0; READ_BUFFER].into_boxed_slice(),
                stopped: false,
                receives: PhantomData,
            },
        }
    }

    /// A sender, for use from any thread.
    pub fn sender(&self) -> ChildSender<Tx> {
        self.sender.clone()
    }

    /// The receiver, for one thread at a time.
    pub fn receiver(&mut self) -> &mut ChildReceiver<Rx> {
        &mut self.receiver
    }

    /// The two directions, to be used from different threads.
    pub fn split(self) -> (ChildSender<Tx>, ChildReceiver<Rx>) {
        (self.sender, self.receiver)
    }
}

#[derive(Debug)]
struct Channel {
    stream: UnixStream,
    writing: Mutex<()>,
    page: WorkPage,
}

impl Channel {
    fn write<T: Serialize>(&self, value: &T) -> Result<(), ConnectionError> {
        let frame = encode_frame(value, DEFAULT_MAX_FRAME)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = &frame[..];
        while !rest.is_empty() {
            // Without NOSIGNAL a dead parent would end a child that did not ignore SIGPIPE.
            match rustix::net::send(&self.stream, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(error) => {
                    end_with_parent();
                    return Err(ConnectionError::from_io(error.into()));
                }
            }
        }
        Ok(())
    }
}

/// The sending half of a child's control channel.
#[derive(Debug)]
pub struct ChildSender<Tx> {
    channel: Arc<Channel>,
    sends: PhantomData<fn(&Tx)>,
}

impl<Tx> Clone for ChildSender<Tx> {
    fn clone(&self) -> Self {
        Self { channel: Arc::clone(&self.channel), sends: PhantomData }
    }
}

impl<Tx: Serialize> ChildSender<Tx> {
    /// Sends one value; blocks while the parent does not read.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the parent is gone, [`ConnectionError::Frame`] if the value
    /// is too large or cannot be encoded.
    pub fn send(&self, value: &Tx) -> Result<(), ConnectionError> {
        self.channel.write(&Up::Value(value))
    }

    /// Tells that this process is loading what it needs: `fraction` from 0 to 1, and what it does.
    /// Each word of progress gives it its time to load anew.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn progress(
        &self,
        fraction: f32,
        message: impl Into<String>,
    ) -> Result<(), ConnectionError> {
        let progress = Progress { fraction, message: message.into() };
        self.channel.write(&Up::<()>::Progress(progress))
    }

    /// Tells that this process has what it needs.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn ready(&self) -> Result<(), ConnectionError> {
        self.channel.write(&Up::<()>::Ready)
    }

    /// Tells that this process cannot go on, and why. It should end then.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn failed(&self, message: impl Into<String>) -> Result<(), ConnectionError> {
        self.channel.write(&Up::<()>::Failed(message.into()))
    }

    /// Where this process notes the item that it works on, at the cost of a few stores. The parent
    /// looks there when this process has died, or is asked for its status.
    pub fn work(&self) -> &WorkPage {
        &self.channel.page
    }
}

/// The receiving half of a child's control channel.
#[derive(Debug)]
pub struct ChildReceiver<Rx> {
    channel: Arc<Channel>,
    decoder: FrameDecoder,
    buffer: Box<[u8]>,
    /// Whether the word to end has come.
    stopped: bool,
    receives: PhantomData<fn() -> Rx>,
}

impl<Rx: DeserializeOwned> ChildReceiver<Rx> {
    /// Waits for the next value; `None` once the parent has said to end, has closed its end or is
    /// dead.
    ///
    /// # Errors
    /// [`ConnectionError::Frame`] if what came is not an `Rx`.
    pub fn recv(&mut self) -> Result<Option<Rx>, ConnectionError> {
        while !self.stopped {
            match self.decoder.next_frame::<Down<Rx>>()? {
                Some(Down::Value(value)) => return Ok(Some(value)),
                Some(Down::Stop) => {
                    self.stopped = true;
                    break;
                }
                None => {}
            }
            let read = match (&self.channel.stream).read(&mut self.buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Err(error) => return Err(ConnectionError::from_io(error)),
            };
            if read == 0 {
                // First: a parent that is killed in the midst of a frame closes the channel too.
                end_with_parent();
                self.decoder.finish()?;
                self.stopped = true;
            }
            self.decoder.push(&self.buffer[..read]);
        }
        Ok(None)
    }
}

/// Ties the life of this process and all its descendants in its process group to the parent's.
///
/// A thread waits on a pidfd of the parent and, when the parent dies in whatever way, kills the
/// whole group with SIGKILL, and where this process has a cgroup of its own everything in that; it
/// needs no lock of the program, so it works also while Python holds the GIL. Call it first thing on
/// the main thread, before any grandchild is started.
///
/// Up to here the kernel sends SIGKILL to this process alone when the parent dies. From here on it
/// sends SIGCONT, which wakes a stopped process so that the thread can do its work. Replacing the
/// program by exec afterwards ends the thread, and with it the protection.
///
/// # Errors
/// [`ChildError::NotMainThread`], [`ChildError::NotGroupLeader`], or [`ChildError::Watch`].
pub fn die_with_parent() -> Result<(), ChildError> {
    // The kernel keeps the parent-death signal per thread, and the one set before exec belongs to
    // the main thread.
    if rustix::thread::gettid() != rustix::process::getpid() {
        return Err(ChildError::NotMainThread);
    }
    if rustix::process::getpgrp() != rustix::process::getpid() {
        return Err(ChildError::NotGroupLeader);
    }
    let cannot = |error: Errno| ChildError::Watch(error.into());
    let parent = rustix::process::getppid();
    // A child of this crate has had this signal since before exec, so its parent was alive until
    // now, and is `parent`. For others it is set here, and the parent is whoever it is now.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(cannot)?;
    let pidfd = match parent.map(|parent| rustix::process::pidfd_open(parent, PidfdFlags::empty()))
    {
        Some(Ok(pidfd)) => pidfd,
        // No parent that can be seen from here (a PID namespace), so none to die with.
        None => return Err(cannot(Errno::SRCH)),
        Some(Err(Errno::SRCH)) => kill_own_group(None),
        Some(Err(error)) => return Err(cannot(error)),
    };
    let cgroup = own_cgroup();
    // The pidfd is the parent's only if the parent still lived when it was opened: its number may
    // have been reused.
    if rustix::process::getppid() != parent {
        kill_own_group(cgroup.as_ref());
    }
    // A second call changes nothing.
    let parent = PARENT.get_or_init(|| Parent { pidfd, cgroup });
    std::thread::Builder::new()
        .name("parent-watch".to_owned())
        .stack_size(WATCHER_STACK)
        .spawn(|| watch(parent))
        .map_err(ChildError::Watch)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::CONT)).map_err(cannot)
}

/// The parent that this process dies with.
struct Parent {
    pidfd: OwnedFd,
    /// By which this process's own cgroup is killed.
    cgroup: Option<File>,
}

static PARENT: OnceLock<Parent> = OnceLock::new();

/// How long after it has closed its end of the control channel a parent is awaited to die.
const DEATH_AFTER_CLOSE: Duration = Duration::from_millis(100);

/// Ends this process with its parent if that is dying. A dying parent closes the control channel a
/// moment before its death shows, and a child that takes that for the word to end would be gone
/// before it could end its descendants.
fn end_with_parent() {
    static AWAITED: OnceLock<()> = OnceLock::new();

    let Some(parent) = PARENT.get() else { return };
    // Once: a parent that lives on after that is watched by the thread alone.
    AWAITED.get_or_init(|| {
        let until = Instant::now() + DEATH_AFTER_CLOSE;
        loop {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now()));
            let mut watched = [PollFd::new(&parent.pidfd, PollFlags::IN)];
            match rustix::event::poll(&mut watched, left.ok().as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => break,
                Ok(_) => kill_own_group(parent.cgroup.as_ref()),
            }
        }
    });
}

fn watch(parent: &Parent) {
    // Signal handlers of the program run on its own threads, not on this small stack. If the mask
    // cannot be set, they may run here too, which is no reason not to watch.
    let _ = SigSet::all().thread_block();
    loop {
        let mut watched = [PollFd::new(&parent.pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut watched, None) {
            Ok(0) | Err(Errno::INTR | Errno::AGAIN | Errno::NOMEM) => {}
            Ok(_) | Err(_) => kill_own_group(parent.cgroup.as_ref()),
        }
    }
}

/// The switch by which everything in this process's own cgroup is killed.
fn own_cgroup() -> Option<File> {
    let folder = std::env::var_os(CGROUP_ENV)?;
    // The variable may have come down to a descendant of the process that is meant. Only that has the
    // control channel, open since before its program began.
    let (control, _) = parse_control(&std::env::var(CONTROL_FD_ENV).ok()?)?;
    if !sys::is_open(control.0, (control.1, FileType::Socket)) {
        return None;
    }
    OpenOptions::new().write(true).open(Path::new(&folder).join("cgroup.kill")).ok()
}

/// Ends this process and everything in its group and its cgroup. Only for the leader of a group.
fn kill_own_group(cgroup: Option<&File>) -> ! {
    if let Some(mut switch) = cgroup {
        let _ = switch.write_all(b"1");
    }
    let own: Pid = rustix::process::getpid();
    let _ = rustix::process::kill_process_group(own, Signal::KILL);
    // Not reached: SIGKILL cannot be ignored, and a process may always signal itself.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_as_it_is_written_and_anything_else_is_refused() {
        let files = ((7, 4711), (8, 12));
        assert_eq!(parse_control(&format_control(files.0, files.1)), Some(files));
        for bad in ["", "7", "7:1", "7:,8:1", ":5,8:1", "x:5,8:1", "7:5:5,8:1", "-:1,8:1", "7:1,"] {
            assert_eq!(parse_control(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_process_without_a_parent_runtime_is_not_a_child() {
        let error = connect::<(), ()>().unwrap_err();
        assert!(matches!(error, ChildError::NotAChild));
    }

    #[test]
    fn dying_with_the_parent_is_refused_on_another_thread() {
        let error = die_with_parent().unwrap_err();
        assert!(matches!(error, ChildError::NotMainThread));
    }
}
