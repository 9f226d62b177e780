//! The turn's [`Io`] over `mio` and the system's clock.

use super::clock::Clock;
use super::lobby::Lobby;
use super::{Entrance, Group};
use crate::base::limits::{CLOSES_PER_TURN, HANDED_PER_SHARD};
use crate::base::{Address, Ms, Time, Token};
use crate::net::{self, Listener, Spare, Stream, Taken};
use crate::turn::{Accepted, Brought, Entered, Io, Seats, deals_away, wants_hand_off};
use mio::{Interest, Registry};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    seats: Arc<Seats>,
    /// Newcomers that are not through yet.
    pub(super) lobby: Lobby,
    /// Streams without an owner, to be closed when their turn comes.
    parting: VecDeque<Stream>,
    /// Streams that this turn may still close.
    closes_left: u32,
    /// Whether a turn has anything to do here besides its events.
    pub(super) has_more: bool,
}

impl World {
    pub(super) fn new(
        registry: Registry,
        mut listeners: Vec<Option<Listener>>,
        group: Arc<Group>,
        shard: u16,
        start: Instant,
        (entrances, deadline): (Arc<[Entrance]>, Duration),
    ) -> io::Result<World> {
        for (index, listener) in (0..).zip(&mut listeners) {
            if let Some(listener) = listener {
                registry.register(listener, poll_token(Token::listener(index)), Interest::READABLE)?;
            }
        }
        let seats = Arc::clone(group.seats(shard).expect("one for each loop"));
        let lobby = Lobby::new(entrances, deadline, Arc::clone(&seats));
        let clock = Clock::since(start);
        Ok(World {
            registry,
            listeners,
            spare: Spare::new(),
            group,
            shard,
            clock,
            seats,
            lobby,
            parting: VecDeque::new(),
            closes_left: CLOSES_PER_TURN,
            has_more: false,
        })
    }

    fn listener(&self, index: u32) -> Option<&Listener> {
        self.listeners.get(index as usize)?.as_ref()
    }

    /// The moment, as deadlines count it.
    pub(super) fn ms(&self) -> Ms {
        self.clock.now().ms()
    }

    /// Closes what earlier turns have left, as far as this one may. Whether anything is left besides events.
    pub(super) fn close_some(&mut self) {
        self.closes_left = CLOSES_PER_TURN;
        while self.closes_left > 0
            && let Some(stream) = self.parting.pop_front()
        {
            self.closes_left -= 1;
            self.close_now(stream);
        }
        self.has_more = !self.lobby.is_idle() || !self.parting.is_empty();
    }

    /// How long the loop may be left alone without an event.
    #[cold]
    pub(super) fn wait_ms(&self, now: Ms) -> Option<u32> {
        if self.parting.is_empty() { self.lobby.wait_ms(now) } else { Some(0) }
    }

    fn close_now(&mut self, stream: Stream) {
        if self.lobby.secured.is_used() {
            self.lobby.secured.forget(&stream);
        }
        // Nobody else holds this descriptor, so closing it takes it from the poller: no call for that.
        drop(stream);
    }

    /// A newcomer of a listener that wants something before the first message.
    #[cold]
    fn accept_to_lobby(&mut self, stream: Stream, address: Address, listener: u32) -> Accepted<Stream> {
        self.has_more = true;
        let now = self.ms();
        // Who is silent at the entrance must not keep others out.
        let has_seat = self.seats.try_take() || self.lobby.evict(now) && self.seats.try_take();
        if !has_seat {
            return Accepted::NoSeat(stream, address);
        }
        let stays = if self.lobby.is_closing() {
            Some(stream)
        } else {
            let others = self.seats.mine().saturating_sub(1) as usize;
            self.hand_off(stream, address, listener, others)
        };
        let Some(stream) = stays else { return Accepted::HandedOff };
        match self.lobby.enter(&self.registry, (stream, address, listener), now) {
            Some((stream, entered, _)) => Accepted::Entered(stream, entered),
            None => Accepted::Kept,
        }
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
        let Some(socket) = self.listener(listener) else { return Accepted::Drained };
        match net::take(socket) {
            Taken::Stream(stream, address) if self.lobby.is_of(listener) => {
                self.accept_to_lobby(stream, address, listener)
            }
            Taken::Stream(stream, address) => Accepted::Stream(stream, address.into()),
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
        if self.lobby.secured.is_used() {
            self.lobby.secured.name(stream, token);
        }
        let (token, both) = (poll_token(token), Interest::READABLE | Interest::WRITABLE);
        match self.registry.register(stream, token, both) {
            // It comes from the lobby. The poller looks again, and tells of what lies there already.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.registry.reregister(stream, token, both)
            }
            registered => registered,
        }
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

    fn take_handed(&mut self) -> Option<(Stream, Entered, u32)> {
        // Whoever comes behind as many as have a place has rung since.
        for _ in 0..HANDED_PER_SHARD {
            let (stream, address, listener) = self.group.take(self.shard)?;
            if !self.lobby.is_of(listener) {
                return Some((stream, address.into(), listener));
            }
            self.has_more = true;
            let through = self.lobby.enter(&self.registry, (stream, address, listener), self.ms());
            if through.is_some() {
                return through;
            }
        }
        None
    }

    fn handle_own(&mut self, name: u32) -> Option<(Stream, Entered, u32)> {
        self.lobby.look_at(name, self.ms())
    }

    fn clear_entrance(&mut self) -> Option<(Stream, Entered, u32)> {
        self.lobby.clear(self.ms())
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

    fn read_secure(&mut self, stream: &mut Stream, into: &mut [IoSliceMut<'_>]) -> io::Result<Brought> {
        self.lobby.secured.read(stream, into)
    }

    fn write_secure(&mut self, stream: &mut Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        self.lobby.secured.write(stream, from)
    }

    fn shut_write_secure(&mut self, stream: &mut Stream) -> io::Result<()> {
        self.lobby.secured.shut_write(stream)
    }

    /// So many a turn: closing a socket takes microseconds, more with a session, and whoever resets a thousand connections
    /// at once must not hold up the others for so long.
    fn close(&mut self, stream: Stream) {
        self.has_more = true;
        if self.closes_left == 0 {
            self.parting.push_back(stream);
            return;
        }
        self.closes_left -= 1;
        self.close_now(stream);
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
