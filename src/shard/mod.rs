//! One thread, one poller, one turn: the only place where a loop meets the operating system, and the only clock.
//!
//! ```text
//!   other threads --Mailbox--> [ poll -> begin -> handle_event ... -> end ] --> metrics
//! ```
//!
//! Loops of one server know each other by their [`Group`]: newcomers are handed to whoever has fewer.
//!
//! Always holds: every socket of the shard is registered once, in both directions, for good. Never: a decision about
//! a connection; those are the turn's. No lock that the loop could wait on.

mod clock;
mod group;
mod lobby;
mod pin;
#[cfg(feature = "tls")]
mod secured;
#[cfg(not(feature = "tls"))]
#[path = "unsecured.rs"]
mod secured;
mod world;

pub use group::Group;
pub use lobby::Entrance;
pub use pin::pin_thread;

use crate::base::limits::{EVENTS_PER_POLL, LOBBY_MAX, TLS_STEPS_PER_TURN};
use crate::base::{CloseReason, Ms, Time, Token};
use crate::mailbox::Mailbox;
use crate::metrics::{Recorder, ShardMetrics};
use crate::net::Listener;
use crate::service::Service;
use crate::turn::{Io, Readiness, Turn, TurnConfig, Wait};
use mio::event::Event;
use mio::{Events, Poll, Waker};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use world::World;

/// The waker's token: no connection has it, since their slots are far below.
const WAKER: mio::Token = mio::Token(usize::MAX);

/// A loop's poller, and the mailbox that wakes it: made before the loop's thread, so that loops know each other's
/// mailboxes from the start.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    mailbox: Arc<Mailbox>,
}

impl Poller {
    /// A poller with nothing registered but its own waker.
    ///
    /// # Errors
    ///
    /// If the system has no descriptors for it.
    fn new() -> io::Result<Poller> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mailbox = Mailbox::new(move || {
            // A waker can only fail when its poller is gone, and then there is nobody to wake.
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "cannot wake an event loop");
            }
        });
        Ok(Poller { poll, mailbox: Arc::new(mailbox) })
    }

    /// Where other threads leave letters for the loop.
    fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }
}

/// An event loop, ready to run on a thread of its own.
pub struct Shard<S: Service> {
    poll: Poll,
    world: World,
    turn: Turn<S, World>,
}

impl<S: Service> Shard<S> {
    /// A loop of this group, over these listeners: by their place in the server's list, `None` where another loop
    /// listens, and with what each of them wants before the first message. `start` is the moment that its deadlines count from, the same for all loops. The mailbox and the seats of
    /// `config` are the group's.
    ///
    /// # Errors
    ///
    /// If a listener can't be registered.
    pub fn new(
        poller: Poller,
        config: TurnConfig,
        listeners: Vec<Option<Listener>>,
        entrances: Arc<[Entrance]>,
        group: Arc<Group>,
        start: Instant,
        make_service: impl FnMut() -> S + Send + 'static,
    ) -> io::Result<Shard<S>> {
        debug_assert!(Arc::ptr_eq(&poller.mailbox, &config.mailbox), "another loop's mailbox");
        let poll = poller.poll;
        let entrances = (entrances, config.limits.entrance);
        let registry = poll.registry().try_clone()?;
        let mut world = World::new(registry, listeners, group, config.shard, start, entrances)?;
        let now = world.now();
        let turn = Turn::new(config, now, make_service);
        world.lobby.count_in(Recorder::beside(turn.metrics()));
        Ok(Shard { poll, world, turn })
    }

    /// The loop's figures.
    pub fn metrics(&self) -> Arc<ShardMetrics> {
        self.turn.metrics()
    }

    /// Runs until it is drained.
    ///
    /// # Errors
    ///
    /// If the poller fails.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        while !(self.turn.is_drained() && self.world.is_settled()) {
            self.poll(&mut events)?;
            let now = self.world.now();
            self.turn.begin(now);
            for event in &events {
                if event.token() != WAKER {
                    self.turn.handle_event(&mut self.world, token_of(event.token()), readiness_of(event));
                }
            }
            if self.world.has_more {
                self.tend_world(now);
            }
            self.turn.end(&mut self.world);
        }
        Ok(())
    }

    /// What comes without an event: newcomers that have to be looked at, those whose time is over, streams to be closed.
    #[cold]
    fn tend_world(&mut self, turn_began: Time) {
        if !self.world.lobby.is_idle() {
            self.tend_lobby(turn_began);
        }
        self.world.close_some();
    }

    /// Live connections had the turn so far: handshakes get as much time, and one step at least.
    fn tend_lobby(&mut self, turn_began: Time) {
        let began = self.world.now();
        let live_us = began.since_us(turn_began);
        let mut steps = 0;
        for _ in 0..LOBBY_MAX {
            if steps == 0 || steps < TLS_STEPS_PER_TURN && self.world.now().since_us(began) < live_us {
                steps += u32::from(self.world.lobby.grant_step());
            }
            let Some(name) = self.world.lobby.next_pending() else { break };
            self.turn.handle_event(
                &mut self.world,
                Token { generation: 0, slot: name },
                Readiness::default(),
            );
        }
        let now = self.world.ms();
        self.world.lobby.end_turn(now);
        if self.world.lobby.secured.has_certificates() {
            self.look_at_certificates(now);
        }
    }

    /// Ends connections whose certificates no longer count.
    #[cold]
    fn look_at_certificates(&mut self, now: Ms) {
        self.world.lobby.secured.begin_look(now);
        while let Some((token, why)) = self.world.lobby.secured.next_over() {
            let is_revoked = why == CloseReason::CertificateRevoked;
            let text =
                if is_revoked { "your certificate was revoked" } else { "your certificate has expired" };
            self.turn.expel(&mut self.world, token, why, text);
        }
    }

    /// No longer than the world may be left alone.
    #[cold]
    fn until_more(&self, timeout: Option<Duration>) -> Option<Duration> {
        let wait = self.world.wait_ms(self.turn.ms()).map(|ms| Duration::from_millis(ms.into()));
        match (timeout, wait) {
            (Some(timeout), Some(wait)) => Some(timeout.min(wait)),
            (one, None) | (None, one) => one,
        }
    }

    #[inline]
    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        let mut timeout = match self.turn.wait() {
            Wait::Not => Some(Duration::ZERO),
            Wait::Forever => None,
            Wait::Until(due) => Some(Duration::from_millis(u64::from(due.since(self.turn.ms())))),
        };
        if self.world.has_more {
            timeout = self.until_more(timeout);
        }
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }
}

/// On targets of 64 bits a poller's token carries both halves of ours.
const _: () = assert!(size_of::<usize>() == 8, "tokens need 64 bits");

fn token_of(token: mio::Token) -> Token {
    Token::from_bits(token.0 as u64)
}

#[inline]
fn readiness_of(event: &Event) -> Readiness {
    Readiness {
        readable: event.is_readable(),
        writable: event.is_writable(),
        read_closed: event.is_read_closed(),
        hangup: event.is_error() || event.is_write_closed(),
    }
}
