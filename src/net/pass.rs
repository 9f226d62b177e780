//! Descriptors from one process to another, over a unix socket (SCM_RIGHTS, unix(7)).
//!
//! Always holds: one descriptor travels with one byte, so none is lost between two reads; what arrives closes on exec.
//! Never: more than one in a message, whose bound differs between systems.

use super::QUIETLY;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The byte that a descriptor travels with.
const WITH_IT: [u8; 1] = *b"F";

/// Passes a descriptor. The other side has one of its own, of the same socket.
///
/// # Errors
///
/// As sendmsg(2).
pub fn pass(stream: &UnixStream, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    let fits = control.push(SendAncillaryMessage::ScmRights(&fds));
    debug_assert!(fits, "the space is for one");
    sendmsg(stream, &[IoSlice::new(&WITH_IT)], &mut control, QUIETLY)?;
    Ok(())
}

/// Takes a descriptor that was passed.
///
/// # Errors
///
/// As recvmsg(2); if what came was none; if this process has no place for one more.
pub fn receive(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, CLOSE_ON_EXEC)?;
    if got.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = control.drain().filter_map(|message| {
        if let RecvAncillaryMessage::ScmRights(fds) = message { Some(fds) } else { None }
    });
    match fds.next().and_then(|mut fds| fds.next()) {
        Some(fd) if byte == WITH_IT => {
            #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
            rustix::io::fcntl_setfd(fd.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
            Ok(fd)
        }
        _ if got.flags.contains(ReturnFlags::CTRUNC) => Err(io::Error::other(
            "a descriptor was passed for which this process has no place; raise ulimit -n",
        )),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no descriptor was passed where one was announced",
        )),
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

/// Waits until there is something to accept or to read, for as long as it takes; a signal ends it early.
///
/// # Errors
///
/// As poll(2).
pub fn wait_readable(socket: &impl AsFd) -> io::Result<()> {
    match poll(&mut [PollFd::new(socket, PollFlags::IN)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the process at the other end may act for us: it is our user's, or root's. Where the system does not tell, the
/// mode of the socket's file has decided.
///
/// # Errors
///
/// As getsockopt(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn is_ours(stream: &impl AsFd, us: u32) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid.is_root() || peer.uid.as_raw() == us)
}

/// Whether the process at the other end may act for us: it is our user's, or root's. Where the system does not tell, the
/// mode of the socket's file has decided.
///
/// # Errors
///
/// None here.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn is_ours(_stream: &impl AsFd, _us: u32) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    #[test]
    fn a_descriptor_arrives_and_is_of_the_same_socket() {
        let (here, there) = UnixStream::pair().unwrap();
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        listeners.iter().for_each(|listener| pass(&here, listener.as_fd()).unwrap());
        (&here).write_all(b"no descriptor").unwrap();
        for listener in &listeners {
            let again = TcpListener::from(receive(&there).unwrap());
            assert_eq!(again.local_addr().unwrap(), listener.local_addr().unwrap());
        }
        assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(here);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_asks_is_known_by_its_user() {
        let (here, _there) = UnixStream::pair().unwrap();
        let us = rustix::process::getuid().as_raw();
        assert!(is_ours(&here, us).unwrap());
        assert_eq!(is_ours(&here, us + 1).unwrap(), us == 0, "root may, others may not");
    }
}
