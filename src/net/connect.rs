//! Connections that we begin, without waiting for them.

use super::Stream;
use crate::base::limits::SOCKET_BUFFER_BYTES;
use core::net::SocketAddr;
use std::io::{self, ErrorKind};

/// Begins to connect. The stream becomes writable once it is decided; then [`finish_connect`] tells how.
///
/// It gets what listeners give to theirs: small messages leave at once, urgent bytes stay in the stream, and the kernel
/// buffers a bounded amount.
///
/// # Errors
///
/// If there is no socket to be had, or the system knows at once that it can't be.
pub fn connect(to: SocketAddr) -> io::Result<Stream> {
    let stream = Stream::connect(to)?;
    let socket = socket2::SockRef::from(&stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    Ok(stream)
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
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
