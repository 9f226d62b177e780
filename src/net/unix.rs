//! Listening at a path: the socket's file, what may be there already, and its end.
//!
//! Always holds: only a file that is a socket on which nobody listens is replaced; only the file that we made is
//! removed, and before listening ends, so that nobody finds a file of ours that refuses.

use super::ListenOptions;
use mio::net::UnixListener;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

/// The file of a listening socket. Removed with it.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: at this path there may be another file by now.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket's file");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Binds and listens.
///
/// The kernel buffers 208 KiB for a connection in each direction unless `net.core.wmem_default` says otherwise: an
/// accepted unix socket inherits no buffer sizes.
pub(super) fn listen(path: &Path, options: &ListenOptions) -> io::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = stream_socket()?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path, &address)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let file = SocketFile::of(path)?;
    // Until it listens, connecting is refused, whatever the mode.
    options.file.apply(path)?;
    socket.listen(options.backlog)?;
    let listener = StdUnixListener::from(std::os::fd::OwnedFd::from(socket));
    Ok((UnixListener::from_std(listener), file))
}

fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes what a server left behind that did not end in order. Such a file refuses connections.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        // Connecting to such a file is refused, too: it must be told apart before.
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    // A queue that is full says "would block": somebody listens.
    match stream_socket()?.connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing a socket's file on which nobody listens");
            fs::remove_file(path)
        }
        Ok(()) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let path = place("stale");
        let (listener, file) = listen(&path, &ListenOptions::default()).unwrap();
        let error = listen(&path, &ListenOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "somebody listens");
        // Without its file being removed, as after a crash.
        drop(listener);
        std::mem::forget(file);
        assert!(path.exists());
        let (again, file) = listen(&path, &ListenOptions::default()).unwrap();
        assert!(stream_socket().unwrap().connect(&SockAddr::unix(&path).unwrap()).is_ok());
        drop((file, again));
        assert!(!path.exists());
    }

    #[test]
    fn the_file_is_removed_at_the_end() {
        let path = place("end");
        let (listener, file) = listen(&path, &ListenOptions::default()).unwrap();
        assert!(path.exists());
        drop(file);
        assert!(!path.exists());
        drop(listener);
        // What somebody else put there in the meantime stays.
        let (_listener, file) = listen(&path, &ListenOptions::default()).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        if identity(&path).unwrap() != file.identity {
            drop(file);
            assert!(path.exists());
        }
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let path = place("file");
        fs::write(&path, "dear").unwrap();
        let error = listen(&path, &ListenOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "dear");
        fs::remove_file(&path).unwrap();
    }
}
