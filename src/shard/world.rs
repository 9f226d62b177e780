//! The turn's [`Io`] over `mio` and the system's clock.

use crate::base::{Address, Time, Token};
use crate::net::{self, Listener, Spare, Stream, Taken};
use crate::turn::{Accepted, Io};
use mio::{Interest, Registry};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

/// The operating system, as one loop sees it.
#[derive(Debug)]
pub(super) struct World {
    registry: Registry,
    /// `None` once closed.
    listeners: Vec<Option<Listener>>,
    spare: Spare,
    start: Instant,
}

impl World {
    pub(super) fn new(registry: Registry, listeners: Vec<Listener>, start: Instant) -> io::Result<World> {
        let mut open = Vec::with_capacity(listeners.len());
        for (index, mut listener) in (0..).zip(listeners) {
            registry.register(&mut listener, poll_token(Token::listener(index)), Interest::READABLE)?;
            open.push(Some(listener));
        }
        Ok(World { registry, listeners: open, spare: Spare::new(), start })
    }

    fn listener(&self, index: u32) -> Option<&Listener> {
        self.listeners.get(index as usize)?.as_ref()
    }
}

impl Io for World {
    type Stream = Stream;

    #[inline]
    fn now(&mut self) -> Time {
        let elapsed = self.start.elapsed();
        Time(elapsed.as_secs() * 1_000_000 + u64::from(elapsed.subsec_micros()))
    }

    fn accept(&mut self, listener: u32) -> Accepted<Stream> {
        let Some(listener) = self.listener(listener) else { return Accepted::Drained };
        match net::take(listener) {
            Taken::Stream(stream, address) => Accepted::Stream(stream, address),
            Taken::Nothing => Accepted::Drained,
            Taken::Aborted => Accepted::Aborted,
            Taken::Exhausted(error) => Accepted::Exhausted(error),
            Taken::Failed(error) => Accepted::Failed(error),
        }
    }

    fn refuse(&mut self, listener: u32, farewell: &[u8]) -> bool {
        let Some(Some(listener)) = self.listeners.get(listener as usize) else { return false };
        self.spare.refuse(listener, farewell)
    }

    fn close_listener(&mut self, listener: u32) {
        if let Some(mut listener) = self.listeners.get_mut(listener as usize).and_then(Option::take) {
            // Closing alone does not take it from the poller: another descriptor of the socket may be held.
            let _ = self.registry.deregister(&mut listener);
        }
    }

    fn register(&mut self, stream: &mut Stream, token: Token) -> io::Result<()> {
        self.registry.register(stream, poll_token(token), Interest::READABLE | Interest::WRITABLE)
    }

    fn connect(&mut self, to: SocketAddr) -> io::Result<Stream> {
        net::connect(to)
    }

    fn finish_connect(&mut self, stream: &mut Stream) -> io::Result<bool> {
        net::finish_connect(stream)
    }

    fn hand_off(&mut self, stream: Stream, _: Address, _: u32, _: usize) -> Option<Stream> {
        Some(stream)
    }

    fn take_handed(&mut self) -> Option<(Stream, Address, u32)> {
        None
    }

    #[inline]
    fn read(&mut self, stream: &mut Stream, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        net::read(stream, into)
    }

    #[inline]
    fn write(&mut self, stream: &mut Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        net::write(stream, from)
    }

    fn shut_write(&mut self, stream: &mut Stream) -> io::Result<()> {
        stream.shutdown(Shutdown::Write)
    }

    fn close(&mut self, stream: Stream) {
        // Nobody else holds this descriptor, so closing it takes it from the poller: no call for that.
        drop(stream);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits, see the assert in `shard`")]
const fn poll_token(token: Token) -> mio::Token {
    mio::Token(token.to_bits() as usize)
}
