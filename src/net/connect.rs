//! Connections that we begin, without waiting for them, and those that we end by force.

use super::{Endpoint, Stream, source};
use crate::base::limits::SOCKET_BUFFER_BYTES;
use core::net::{IpAddr, SocketAddr};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Begins to connect. The stream becomes writable once it is decided; then [`finish_connect`] tells how.
///
/// It gets what listeners give to theirs: small messages leave at once, urgent bytes stay in the stream, and the kernel
/// buffers a bounded amount.
///
/// # Errors
///
/// If there is no socket to be had, or the system knows at once that it can't be.
pub fn connect(to: SocketAddr) -> io::Result<Stream> {
    let stream = connect_from(&to.into(), None)?;
    let socket = SockRef::from(&stream);
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    Ok(stream)
}

/// Begins to connect to an address or a path, from the address `source` if there is one, which must be this host's. The
/// stream becomes writable once it is decided; then [`finish_connect`] tells how.
///
/// Small messages leave at once, and urgent bytes stay in the stream; how much the kernel buffers is left to it. A
/// source address of a unix socket means nothing.
///
/// # Errors
///
/// [`WouldBlock`](ErrorKind::WouldBlock) if the queue of a unix listener is full, on Linux: nothing was begun, and
/// nobody tells when there is room. (Elsewhere that is
/// [`ConnectionRefused`](ErrorKind::ConnectionRefused), as if nobody listened.)
/// [`AddrNotAvailable`](ErrorKind::AddrNotAvailable) if no port is left, or `source` is not an address of this host.
/// Otherwise as [`connect`].
pub fn connect_from(to: &Endpoint, source: Option<IpAddr>) -> io::Result<Stream> {
    let socket = match to {
        Endpoint::Ip(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            socket.set_out_of_band_inline(true)?;
            if let Some(source) = source {
                source::bind(&socket, source)?;
            }
            begin(&socket, &(*address).into())?;
            socket
        }
        Endpoint::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            begin(&socket, &SockAddr::unix(path)?)?;
            socket
        }
    };
    Ok(Stream::from_std(socket.into()))
}

fn begin(socket: &Socket, to: &SockAddr) -> io::Result<()> {
    match socket.connect(to) {
        Err(error) if is_in_progress(&error) => Ok(()),
        decided => decided,
    }
}

/// EINPROGRESS, for which std has no stable name. The second number is that of the BSDs and macOS.
fn is_in_progress(error: &io::Error) -> bool {
    const EINPROGRESS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 115 } else { 36 };
    error.raw_os_error() == Some(EINPROGRESS)
}

/// Whether a stream that we began to connect is connected by now.
///
/// # Errors
///
/// Why it could not be.
pub fn finish_connect(stream: &Stream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    // Not the stream's own question, which refuses the address of a unix socket.
    match SockRef::from(stream).peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Closes by a reset: what is unsent is thrown away, the peer's next read fails, and no port is kept waiting. A unix
/// socket knows no resets, and is just closed.
///
/// # Errors
///
/// Whatever the system says to the option; the stream is closed all the same.
#[expect(clippy::needless_pass_by_value, reason = "closing is the point")]
pub fn reset(stream: Stream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    /// Waits until it is decided, a second at the most.
    fn connected(stream: &Stream) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(1);
        while !finish_connect(stream)? {
            assert!(Instant::now() < end, "not decided in a second");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn path(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn addresses_and_paths_are_connected_to() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let path = path("connect");
        let unix = UnixListener::bind(&path).unwrap();
        let mut heard = [0; 4];
        let mut stream = connect_from(&tcp.local_addr().unwrap().into(), None).unwrap();
        connected(&stream).unwrap();
        assert_eq!(stream.write(b"tide").unwrap(), 4);
        tcp.accept().unwrap().0.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"tide");
        let mut stream = connect_from(&Endpoint::Unix(path.clone()), None).unwrap();
        connected(&stream).unwrap();
        assert_eq!(stream.write(b"gate").unwrap(), 4);
        unix.accept().unwrap().0.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"gate");
        std::fs::remove_file(&path).unwrap();
        let error = connect_from(&Endpoint::Unix(path), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_refusal_is_told() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let told = connect_from(&address.into(), None).and_then(|stream| connected(&stream));
        assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    /// Linux has all of 127.0.0.0/8; elsewhere it would have to be set up first.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_source_is_what_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Endpoint::Ip(listener.local_addr().unwrap());
        let source = IpAddr::from([127, 0, 1, 7]);
        let stream = connect_from(&to, Some(source)).unwrap();
        connected(&stream).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), source);
        // RFC 5737: nobody's.
        let error = connect_from(&to, Some(IpAddr::from([192, 0, 2, 1]))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_unix_queue_is_told_apart() {
        let path = path("full");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(1).unwrap();
        let to = Endpoint::Unix(path.clone());
        let tries: Vec<_> = (0..8).map(|_| connect_from(&to, None)).collect();
        assert!(tries[0].is_ok());
        let error = tries.into_iter().find_map(Result::err).expect("eight don't fit into a queue of one");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_reset_is_one_for_the_peer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect_from(&listener.local_addr().unwrap().into(), None).unwrap();
        connected(&stream).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        reset(stream).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
