//! The two system calls of a channel: bytes out and bytes in, each with a descriptor beside them.
//!
//! Main functions: [`send`] and [`receive`]. Neither waits, and neither knows frames.

use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Sends what the socket takes of `bytes` without waiting; the descriptor goes with the first byte.
///
/// At least one byte has gone, and the descriptor with it, unless there is an error: then nothing has.
pub(super) fn send(
    socket: impl AsFd,
    bytes: &[IoSlice<'_>],
    attached: Option<BorrowedFd<'_>>,
) -> Result<usize, Errno> {
    // Without NOSIGNAL a dead peer would end a process that did not ignore SIGPIPE.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(attached) = &attached {
        let rights = SendAncillaryMessage::ScmRights(std::slice::from_ref(attached));
        assert!(control.push(rights), "there is room for one descriptor");
    }
    retry_on_intr(|| rustix::net::sendmsg(&socket, bytes, &mut control, flags))
}

/// What one call has brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// Bytes; none at the end of the stream.
    pub(super) bytes: usize,
    /// Descriptors, close-on-exec.
    pub(super) descriptors: usize,
    /// Whether there were more descriptors than could be taken over.
    pub(super) is_cut: bool,
}

/// Reads what is there without waiting. A call brings the descriptors of one message at most; they
/// come with the message's first byte.
pub(super) fn receive(
    socket: impl AsFd,
    room: &mut [u8],
    attached: &mut VecDeque<OwnedFd>,
) -> Result<Received, Errno> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(room)], &mut control, flags)
    })?;
    let before = attached.len();
    for ancillary in control.drain() {
        // Padding makes room for more than the one.
        if let RecvAncillaryMessage::ScmRights(descriptors) = ancillary {
            attached.extend(descriptors);
        }
    }
    Ok(Received {
        bytes: message.bytes,
        descriptors: attached.len() - before,
        is_cut: message.flags.contains(ReturnFlags::CTRUNC),
    })
}
