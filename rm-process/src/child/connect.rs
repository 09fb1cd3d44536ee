//! Finding the connections that a parent left for this process.
//!
//! Main function: [`connect`]. They are inherited, or are sockets at paths; what is said over them is
//! not known here.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;

use crate::connection::ConnectionError;
use crate::handshake::HandshakeError;
use crate::page::WorkPage;
use crate::sys;

/// Environment variable that tells a child the socket by which it is called, its status page and the
/// socket by which it calls, each as `<descriptor>:<inode>` with a comma between. By the inodes a
/// grandchild that inherits the variable, but not the descriptors, knows that it is not meant.
pub const CONTROL_FD_ENV: &str = "REMOTEMEDIA_CONTROL_FD";

/// Environment variable that tells a process that was started by somebody else the path of the socket
/// by which it is called.
pub const REQUEST_SOCKET_ENV: &str = "REMOTEMEDIA_REQUEST_SOCKET";

/// Environment variable that tells a process that was started by somebody else the path of the socket
/// by which it calls.
pub const CALLBACK_SOCKET_ENV: &str = "REMOTEMEDIA_CALLBACK_SOCKET";

/// Why this process cannot act as a child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// No parent gave this process a control channel.
    #[error(
        "neither {CONTROL_FD_ENV} nor {REQUEST_SOCKET_ENV} is set; this program must be started by \
         a runtime, or told where one listens"
    )]
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
    /// Nobody listens where the variable says, or not for this process.
    #[error("cannot connect to {}, named by {variable}: {source}", path.display())]
    BadSocket {
        /// Which variable.
        variable: &'static str,
        /// What it holds.
        path: PathBuf,
        /// Why it cannot be used.
        #[source]
        source: io::Error,
    },
    /// The control channel was taken before.
    #[error("the control channel is already taken")]
    AlreadyConnected,
    /// The parent could not be told who this is.
    #[error("cannot send the introduction: {0}")]
    Hello(#[source] ConnectionError),
    /// The parent does not speak this protocol.
    #[error("the parent is not usable: {0}")]
    Parent(#[source] HandshakeError),
    /// The connections cannot be used from a runtime.
    #[error("cannot use the control channel: {0}")]
    Runtime(#[source] io::Error),
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

/// What a parent left for this process.
pub(super) struct Channels {
    pub(super) requests: UnixStream,
    pub(super) callbacks: UnixStream,
    /// `None` where the parent did not start this process.
    pub(super) page: Option<WorkPage>,
}

/// Takes the connections that the parent left for this process, once.
///
/// The descriptors are closed by exec from here on, so that grandchildren do not inherit them.
pub(super) fn connect() -> Result<Channels, ChildError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    let take = || {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(ChildError::AlreadyConnected);
        }
        Ok(())
    };
    if TAKEN.load(Ordering::SeqCst) {
        return Err(ChildError::AlreadyConnected);
    }
    let Some(value) = std::env::var_os(CONTROL_FD_ENV) else {
        let requests = dial(REQUEST_SOCKET_ENV)?;
        let callbacks = dial(CALLBACK_SOCKET_ENV)?;
        take()?;
        return Ok(Channels { requests, callbacks, page: None });
    };
    let value = value.to_string_lossy().into_owned();
    let bad = |source: Option<io::Error>| {
        let value = value.clone();
        ChildError::BadControlChannel { value, source }
    };
    let [requests, page, callbacks] = parse_control(&value).ok_or_else(|| bad(None))?;
    take()?;
    let inherited = |(fd, inode), kind| {
        sys::take_inherited(fd, (inode, kind)).map_err(|error| bad(Some(error)))
    };
    let requests = inherited(requests, FileType::Socket)?.into();
    let page = inherited(page, FileType::RegularFile)?;
    let callbacks = inherited(callbacks, FileType::Socket)?.into();
    let page = WorkPage::map(&page).map_err(|error| bad(Some(error)))?;
    Ok(Channels { requests, callbacks, page: Some(page) })
}

/// Connects to a socket of this user's.
fn dial(variable: &'static str) -> Result<UnixStream, ChildError> {
    let path = PathBuf::from(std::env::var_os(variable).ok_or(ChildError::NotAChild)?);
    let dial = || {
        let stream = UnixStream::connect(&path)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        if peer.uid != rustix::process::getuid() {
            return Err(io::Error::other("another user listens there"));
        }
        Ok(stream)
    };
    dial().map_err(|source| ChildError::BadSocket { variable, path: path.clone(), source })
}

/// What [`CONTROL_FD_ENV`] holds for these descriptors.
pub(crate) fn format_control(files: [(i32, u64); 3]) -> String {
    files.map(|(fd, inode)| format!("{fd}:{inode}")).join(",")
}

pub(super) fn parse_control(value: &str) -> Option<[(i32, u64); 3]> {
    let file = |text: &str| {
        let (fd, inode) = text.split_once(':')?;
        Some((fd.parse().ok()?, inode.parse().ok()?))
    };
    let mut files = value.split(',').map(file);
    let found = [files.next()??, files.next()??, files.next()??];
    files.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_as_it_is_written_and_anything_else_is_refused() {
        let files = [(7, 4711), (8, 12), (9, 1)];
        assert_eq!(parse_control(&format_control(files)), Some(files));
        for bad in [
            "",
            "7",
            "7:1",
            "7:1,8:1",
            "7:,8:1,9:1",
            ":5,8:1,9:1",
            "x:5,8:1,9:1",
            "7:5:5,8:1,9:1",
            "-:1,8:1,9:1",
            "7:1,8:1,",
            "7:1,8:1,9:1,10:1",
        ] {
            assert_eq!(parse_control(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_process_without_a_parent_runtime_is_not_a_child() {
        let error = connect().err().unwrap();
        assert!(matches!(error, ChildError::NotAChild));
    }
}
