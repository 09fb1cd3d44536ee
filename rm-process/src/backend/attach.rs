//! Children that somebody else starts, such as a debugger: they connect to sockets at two paths.
//!
//! Main type: [`Doorway`]. What is said over the sockets is the same as to any other child.

use std::io;
use std::marker::PhantomData;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::net::UnixListener;

use super::backend::{BackendMetrics, BackendOptions, SubprocessIpcBackend};
use super::birth::{Unheard, Wires, hear_both};
use super::error::SubprocessIpcBackendError;
use super::message::KameoChildProcessMessage;
use super::peer::{AttachedPeer, Words};
use crate::child::{CALLBACK_SOCKET_ENV, REQUEST_SOCKET_ENV};
use crate::connection::ConnectionError;
use crate::handshake::HandshakeError;

/// Two sockets in a folder that only this user can enter, and one child that is to come.
///
/// The folder is removed as soon as the child has connected, or when this is dropped.
///
/// ```no_run
/// use rm_process::{BackendOptions, Doorway};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let doorway = Doorway::<String>::open(BackendOptions::new())?;
/// println!("start the child under a debugger with");
/// for (name, path) in doorway.environment() {
///     println!("  {name}={}", path.display());
/// }
/// let child = doorway.accept(Duration::from_secs(600)).await?;
/// println!("{}", child.call(&"hello".to_owned()).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the sockets are removed when this is dropped"]
pub struct Doorway<M> {
    requests: UnixListener,
    callbacks: UnixListener,
    folder: Folder,
    options: BackendOptions,
    takes: PhantomData<fn(&M)>,
}

/// A folder that is removed with everything in it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nobody else can have put anything there.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How often a name for the folder is tried that somebody else has taken.
const TRIES: usize = 16;

impl Folder {
    /// A folder with a name that nobody can guess, in the user's runtime folder or that for temporary
    /// files.
    fn create() -> io::Result<Self> {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let base = own.filter(|own| own.is_absolute()).unwrap_or_else(std::env::temp_dir);
        let mut last = None;
        for _ in 0..TRIES {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let folder = base.join(format!("remotemedia-{:016x}", u64::from_ne_bytes(random)));
            match rustix::fs::mkdir(&folder, Mode::RWXU) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| io::Error::other("no name is free"), Into::into))
    }
}

impl<M: KameoChildProcessMessage> Doorway<M> {
    /// Makes the sockets.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Socket`] if they cannot be made, and
    /// [`Limits`](SubprocessIpcBackendError::Limits).
    ///
    /// # Panics
    /// If called outside a tokio runtime with I/O and time enabled.
    pub fn open(options: BackendOptions) -> Result<Self, SubprocessIpcBackendError> {
        options.limits.check()?;
        let failed = |source| {
            let step = "make the sockets by which a child attaches";
            SubprocessIpcBackendError::Socket { step, source }
        };
        let folder = Folder::create().map_err(failed)?;
        let bind = |name| UnixListener::bind(folder.0.join(name)).map_err(failed);
        let (requests, callbacks) = (bind("requests")?, bind("callbacks")?);
        Ok(Self { requests, callbacks, folder, options, takes: PhantomData })
    }

    /// The environment variables that tell a child where to connect.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        let path = |name| self.folder.0.join(name);
        [(REQUEST_SOCKET_ENV, path("requests")), (CALLBACK_SOCKET_ENV, path("callbacks"))]
    }

    /// Waits until the child has connected and introduced itself, at most for `patience`.
    ///
    /// # Errors
    /// [`SubprocessIpcBackendError::Handshake`], with [`HandshakeError::Silent`] when its time is
    /// over, and [`ForeignUser`](SubprocessIpcBackendError::ForeignUser).
    pub async fn accept(
        self,
        patience: Duration,
    ) -> Result<SubprocessIpcBackend<M>, SubprocessIpcBackendError> {
        let silent = HandshakeError::Silent { waited: patience };
        tokio::time::timeout(patience, self.meet()).await.map_err(|_| silent)?
    }

    async fn meet(self) -> Result<SubprocessIpcBackend<M>, SubprocessIpcBackendError> {
        let requests = welcome(&self.requests).await?;
        let callbacks = welcome(&self.callbacks).await?;
        // Nobody else is to come.
        drop((self.requests, self.callbacks, self.folder));
        let options = self.options;
        let open = |stream| {
            Unheard::open(stream, &options.limits).map_err(|source| {
                let step = "use the sockets of an attached child";
                SubprocessIpcBackendError::Socket { step, source }
            })
        };
        let (requests, callbacks) = (open(requests)?, open(callbacks)?);
        for end in [&requests, &callbacks] {
            end.introduce(options.handshake()).map_err(|error| match error {
                ConnectionError::Closed => HandshakeError::Closed,
                error => HandshakeError::NotAHello(error),
            })?;
        }
        let heard = hear_both(requests, callbacks, None).await?;
        let (metrics, words) = (BackendMetrics::default(), Arc::new(Words::default()));
        let peer = Arc::new(AttachedPeer { words: Arc::clone(&words) });
        let wires = Wires::open(heard, (peer, words), &options, &metrics);
        Ok(SubprocessIpcBackend::new(wires, metrics, None))
    }
}

/// Lets one process of this user in.
async fn welcome(listener: &UnixListener) -> Result<StdUnixStream, SubprocessIpcBackendError> {
    let failed = |source| {
        let step = "take the connection of an attached child";
        SubprocessIpcBackendError::Socket { step, source }
    };
    let (stream, _) = listener.accept().await.map_err(failed)?;
    let (found, expected) =
        (stream.peer_cred().map_err(failed)?.uid(), rustix::process::getuid().as_raw());
    if found != expected {
        return Err(SubprocessIpcBackendError::ForeignUser { found, expected });
    }
    stream.into_std().map_err(failed)
}
