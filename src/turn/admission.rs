//! Who is let in, and how fast: a seat of the server, a place at the listener, a place of the address; and the rate of
//! newcomers, beyond which they wait in the kernel's queue.
//!
//! Always holds: the seat is taken first, by whichever loop accepts; the other two by the loop that keeps the connection, which
//! gives all three back together when the slot is freed.
//! Never: a connection closed for the rate of newcomers.

use super::{Io, Turn};
use crate::base::planted::{Bug, is_planted};
use crate::base::{Address, Ms, Text};
use crate::metrics::Counter;
use crate::service::Service;
use crate::session::Pause;

/// Why a newcomer got no place, with the limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    Server(u32),
    Listener(u32),
    Address(u32),
}

impl NoPlace {
    pub(super) const fn counter(self) -> Counter {
        match self {
            NoPlace::Server(_) => Counter::RefusedFull,
            NoPlace::Listener(_) => Counter::RefusedListener,
            NoPlace::Address(_) => Counter::RefusedAddress,
        }
    }

    pub(super) const fn limit(self) -> u32 {
        match self {
            NoPlace::Server(most) | NoPlace::Listener(most) | NoPlace::Address(most) => most,
        }
    }

    /// What the newcomer is told.
    pub(super) fn text(self) -> Text {
        match self {
            NoPlace::Server(most) => Text::of(format_args!("the limit of {most} connections is reached")),
            NoPlace::Listener(most) => {
                Text::of(format_args!("the limit of {most} connections of this listener is reached"))
            }
            NoPlace::Address(most) => {
                Text::of(format_args!("the limit of {most} connections of one address is reached"))
            }
        }
    }
}

impl<S: Service, I: Io> Turn<S, I> {
    /// Takes what a newcomer with a seat needs besides to be let in, or nothing.
    pub(super) fn take_places(&self, listener: u32, address: Address) -> Result<(), NoPlace> {
        let (quotas, limits) = (&self.shared.quotas, &self.shared.limits);
        if self.table.len() - self.dialed >= self.connections_max {
            return Err(NoPlace::Server(self.seats.max()));
        }
        let form = self.accepting[listener as usize].form;
        let most = self.listeners[usize::from(form)].connections_max;
        if !quotas.take_listener(listener, most) {
            return Err(NoPlace::Listener(most.unwrap_or(u32::MAX)));
        }
        if !quotas.take_address(address, limits, self.shared.now) {
            quotas.give_listener_back(listener);
            return Err(NoPlace::Address(limits.per_address.unwrap_or(u32::MAX)));
        }
        Ok(())
    }

    /// Gives it back, and the seat.
    pub(super) fn give_places_back(&self, listener: u32, address: Address) {
        let (quotas, limits) = (&self.shared.quotas, &self.shared.limits);
        quotas.give_address_back(address, limits, self.shared.now);
        quotas.give_listener_back(listener);
        self.seats.give_back();
    }

    /// Whether the next newcomer of a listener may be taken now. If not, it is looked at again when it may.
    pub(super) fn may_accept(&mut self, listener: u32) -> bool {
        let Some(rate) = self.accept_rate else { return true };
        let Some(until) = self.shared.quotas.wait_for_newcomer(rate, self.shared.now) else { return true };
        self.shared.metrics.add(Counter::AcceptsPaced, 1);
        self.accepting[listener as usize].pace_until(until.plus_us(999).ms());
        self.accept_again = true;
        false
    }

    /// A newcomer was taken from the kernel's queue.
    pub(super) fn note_accept(&self) {
        if let Some(rate) = self.accept_rate {
            self.shared.quotas.note_newcomer(rate, self.shared.now);
        }
    }

    /// Ends the pauses of those whose rate allows more by now.
    #[cold]
    pub(super) fn resume_metered(&mut self, io: &mut I) {
        let now = self.shared.now;
        while let Some((slot, generation)) =
            self.shared.meters.as_mut().and_then(|meters| meters.pop_due(now))
        {
            let is_paused = self.is_paused_for_rate(slot, generation);
            if is_paused && !is_planted(Bug::RatePauseKept) && self.begin_visit(io, slot).resume() {
                self.settle(io, slot, super::Verdict::Again);
            }
        }
        if let Some(mut meters) = self.shared.meters.take() {
            meters.sweep(self.table.len(), |slot, generation| self.is_paused_for_rate(slot, generation));
            self.shared.meters = Some(meters);
        }
    }

    fn is_paused_for_rate(&self, slot: u32, generation: u32) -> bool {
        let entry = self.table.get(slot as usize);
        entry.is_some_and(|entry| entry.generation == generation && entry.pauses.has(Pause::Rate))
    }

    /// When the first of them may go on.
    #[cold]
    pub(super) fn next_metered(&self) -> Option<Ms> {
        self.shared.meters.as_ref().and_then(|meters| meters.next_due())
    }
}
