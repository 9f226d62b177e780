//! One thread, one poller, one turn: the only place where a loop meets the operating system, and the only clock.
//!
//! ```text
//!   other threads --Mailbox--> [ poll -> begin -> handle_event ... -> commands -> end ] --> metrics
//! ```
//!
//! Always holds: every socket of the shard is registered once, in both directions, for good. Never: a decision about
//! a connection; those are the turn's. No lock that the loop could wait on.

mod mailbox;
mod world;

pub use mailbox::{Command, Mailbox};

use crate::base::limits::{COMMANDS_PER_TURN, EVENTS_PER_POLL};
use crate::base::{Ms, Token};
use crate::metrics::ShardMetrics;
use crate::service::Service;
use crate::turn::{Io, Readiness, Turn, TurnConfig, Wait};
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Poll, Waker};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use world::World;

/// The waker's token: no connection has it, since their slots are far below.
const WAKER: mio::Token = mio::Token(usize::MAX);

/// An event loop, ready to run on a thread of its own.
pub struct Shard<S: Service> {
    poll: Poll,
    world: World,
    turn: Turn<S, World>,
    mailbox: Arc<Mailbox>,
}

impl<S: Service> Shard<S> {
    /// A loop over these listeners; `start` is the moment that its deadlines count from.
    ///
    /// # Errors
    ///
    /// If the poller can't be made, or a listener can't be registered with it.
    pub fn new(
        config: TurnConfig,
        listeners: Vec<TcpListener>,
        start: Instant,
        make_service: impl FnMut() -> S + Send + 'static,
    ) -> io::Result<Shard<S>> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut world = World::new(poll.registry().try_clone()?, listeners, start)?;
        let now = world.now();
        let turn = Turn::new(config, now, make_service);
        Ok(Shard { poll, world, turn, mailbox: Arc::new(Mailbox::new(waker)) })
    }

    /// Where other threads leave commands.
    pub fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
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
        while !self.turn.is_drained() {
            self.poll(&mut events)?;
            let now = self.world.now();
            self.turn.begin(now);
            for event in &events {
                if event.token() != WAKER {
                    self.turn.handle_event(&mut self.world, token_of(event.token()), readiness_of(event));
                }
            }
            if !self.mailbox.is_empty() {
                self.obey(now.ms());
            }
            self.turn.end(&mut self.world);
        }
        Ok(())
    }

    #[inline]
    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = match self.turn.wait() {
            Wait::Not => Some(Duration::ZERO),
            Wait::Forever => None,
            Wait::Until(due) => Some(Duration::from_millis(u64::from(due.since(self.world.now().ms())))),
        };
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    #[cold]
    fn obey(&mut self, now: Ms) {
        for _ in 0..COMMANDS_PER_TURN {
            match self.mailbox.take() {
                Some(Command::Drain { grace }) => self.turn.begin_drain(&mut self.world, now.after(grace)),
                None => return,
            }
        }
        self.mailbox.wake();
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
