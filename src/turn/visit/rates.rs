//! What a batch costs of its connection's rates, and the pause that follows if that was too much.
//!
//! Always holds: reading is paused behind a batch, never within one; what was read is handled, then or when the pause is over.
//! Never: called where the server has no rates, and never for a server that we dialed.

use super::Visit;
use crate::base::Time;
use crate::metrics::Counter;
use crate::service::Service;
use crate::session::{Pause, Phase, Protocol, Role};
use crate::turn::batch::Counts;
use crate::turn::{Io, Shared};

impl<S: Service, I: Io> Visit<'_, S, I> {
    /// Whether requests beyond the rates are refused, and not waited for. Its batch begins now.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_metered(&mut self) -> bool {
        let refuses = self.refuses_over_rate();
        if let Some(meters) = self.shared.meters.as_mut() {
            meters.in_hand = self.entry.address.get();
        }
        refuses
    }

    fn refuses_over_rate(&self) -> bool {
        let framing = self.listener.framing;
        self.shared.meters.as_ref().is_some_and(|meters| meters.refuses)
            && framing.role == Role::Server
            && framing.protocol != Protocol::Bare
    }

    /// A batch is over, or a part of a large message has come.
    #[cold]
    #[inline(never)]
    pub(super) fn meter(&mut self, counts: Counts) {
        // Where requests are refused they have been charged, and only control frames, which can't be, are left.
        let units = if self.refuses_over_rate() {
            (u64::from(counts.others), 0)
        } else {
            let bytes_in = self.entry.life.bytes_in.get();
            let bytes =
                self.shared.meters.as_mut().map_or(0, |meters| meters.new_bytes(self.id.slot, bytes_in));
            (u64::from(counts.frames), bytes)
        };
        // Who is to go is read on: it has a deadline.
        if let Some(until) = self.charge(units)
            && self.entry.phase == Phase::Open
        {
            self.wait_for_rate(until);
            self.pause(Pause::Rate);
        }
    }

    fn charge(&mut self, units: (u64, u64)) -> Option<Time> {
        if self.listener.framing.role == Role::Client {
            return None;
        }
        let bursts = u64::from(self.refuses_over_rate());
        let address = self.entry.address.get();
        let Shared { meters, quotas, limits, now, .. } = &mut *self.shared;
        meters.as_mut()?.charge((self.id.slot, address), units, bursts, (quotas, limits, *now))
    }

    fn wait_for_rate(&mut self, until: Time) {
        let (slot, generation, now) = (self.id.slot, self.id.generation, self.shared.now);
        if let Some(meters) = self.shared.meters.as_mut() {
            meters.wait_until(until, slot, generation, now);
        }
    }

    /// The moment has come for which it waited. False if others of its address have taken what came in meanwhile: it
    /// waits on.
    pub(in crate::turn) fn resume(&mut self) -> bool {
        match self.charge((0, 0)) {
            Some(until) => {
                self.wait_for_rate(until);
                false
            }
            None => {
                self.unpause(Pause::Rate);
                true
            }
        }
    }

    /// Takes one message that others send to it. False if its rate does not allow that: it is dropped.
    #[cold]
    pub(in crate::turn) fn takes_delivery(&mut self) -> bool {
        let now = self.shared.now;
        let slot = self.id.slot;
        let may = self.shared.meters.as_mut().is_none_or(|meters| meters.take_delivery(slot, now));
        if !may {
            self.shared.metrics.add(Counter::DeliveriesDropped, 1);
        }
        may
    }
}
