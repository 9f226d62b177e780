//! The turn's [`Io`] over `mio` and the system's clock.

use super::Group;
use super::clock::Clock;
use crate::base::{Address, Time, Token};
use crate::net::{self, Listener, Spare, Stream, Taken};
use crate::turn::{Accepted, Io, deals_away, wants_hand_off};
use mio::{Interest, Registry};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// How often an ending loop looks whether a newcomer that is on its way has arrived.
const LAST_LOOKS: u32 = 1000;

/// The operating system and the other loops, as one loop sees them.
#[derive(Debug)]
pub(super) struct World {
    registry: Registry,
    /// By their place in the server's list. `None` if another loop has it, or once closed.
    listeners: Vec<Option<Listener>>,
    spare: Spare,
    group: Arc<Group>,
    shard: u16,
    clock: Clock,
}

impl World {
    pub(super) fn new(
        registry: Registry,
        mut listeners: Vec<Option<Listener>>,
        group: Arc<Group>,
        shard: u16,
        start: Instant,
    ) -> io::Result<World> {
        for (index, listener) in (0..).zip(&mut listeners) {
            if let Some(listener) = listener {
                registry.register(listener, poll_token(Token::listener(index)), Interest::READABLE)?;
            }
        }
        Ok(World { registry, listeners, spare: Spare::new(), group, shard, clock: Clock::since(start) })
    }

    fn listener(&self, index: u32) -> Option<&Listener> {
        self.listeners.get(index as usize)?.as_ref()
    }

    /// Whether nobody can come from another loop any more.
    pub(super) fn is_settled(&self) -> bool {
        self.group.is_settled(self.shard)
    }
}

impl Io for World {
    type Stream = Stream;

    #[inline]
    fn now(&mut self) -> Time {
        self.clock.now()
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
        self.group.close_door(self.shard);
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

    fn hand_off(&mut self, stream: Stream, address: Address, listener: u32, open: usize) -> Option<Stream> {
        let Some((to, least)) = self.group.least_loaded(self.shard) else { return Some(stream) };
        let mine = u32::try_from(open).unwrap_or(u32::MAX);
        let is_lone = self.listener(listener).is_some_and(Listener::is_lone);
        let goes = if is_lone { deals_away(mine, least) } else { wants_hand_off(mine, least) };
        if !goes {
            return Some(stream);
        }
        let refused = self.group.hand_over((stream, address, listener), self.shard, to);
        refused.map(|(stream, ..)| stream)
    }

    fn take_handed(&mut self) -> Option<(Stream, Address, u32)> {
        self.group.take(self.shard)
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

/// A loop that dies, instead of draining, leaves nobody waiting before its door.
impl Drop for World {
    fn drop(&mut self) {
        self.group.close_door(self.shard);
        for _ in 0..LAST_LOOKS {
            while let Some(newcomer) = self.group.take(self.shard) {
                drop(newcomer);
            }
            if self.is_settled() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits, see the assert in `shard`")]
const fn poll_token(token: Token) -> mio::Token {
    mio::Token(token.to_bits() as usize)
}
