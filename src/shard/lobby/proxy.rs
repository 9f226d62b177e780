//! A look at what may be a newcomer's PROXY header: its bytes are looked at where they lie in the kernel, and taken only
//! when the header is whole, so that not one byte behind it is.

use super::refusal::{Refusal, shown};
use crate::base::limits::INTERRUPTED_RETRIES;
use crate::net::{self, Stream};
use crate::wire::{ProxyHeader, ProxySource, decode_proxy};
use std::io::{self, ErrorKind, IoSliceMut};

/// Whose connection it is, once that can be told; `None`: more must come, and an edge will tell.
pub(super) fn look(stream: &Stream, scratch: &mut [u8]) -> Result<Option<ProxySource>, Refusal> {
    let seen = match patiently(|| net::peek(stream, scratch)) {
        Ok(0) => return Err(Refusal::Gone),
        Ok(seen) => seen,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(_) => return Err(Refusal::Gone),
    };
    let first = &scratch[..seen];
    match decode_proxy(first) {
        Ok(ProxyHeader::NeedMore) => Ok(None),
        Ok(ProxyHeader::Complete { used, source }) => {
            let taken = patiently(|| net::read(stream, &mut [IoSliceMut::new(&mut scratch[..used])]));
            // They were just there, and nobody else reads them.
            if taken.ok() == Some(used) { Ok(Some(source)) } else { Err(Refusal::Failed) }
        }
        Err(error) => Err(Refusal::BadProxyHeader(error, shown(first))),
    }
}

fn patiently(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut result = call();
    for _ in 0..INTERRUPTED_RETRIES {
        match &result {
            Err(error) if error.kind() == ErrorKind::Interrupted => result = call(),
            Ok(_) | Err(_) => break,
        }
    }
    result
}
