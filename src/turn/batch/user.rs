//! Who the peer of a batch is, and whether it may do what it asks for. Only on listeners with users.
//!
//! Always holds: at each batch the peer is judged by the users of now, so what was taken from it is gone with the next
//! message. Never: a cost for others; whoever may use all routes is looked at once a batch.

use super::{Batch, Fact};
use crate::base::{CloseReason, Text};
use crate::identity::Standing;
use crate::metrics::Counter;
use crate::service::Service;
use crate::session::Protocol;
use crate::turn::Io;
use crate::wire::{Header, Hello, Status};

/// What a connection is told whose user is gone.
pub(in crate::turn) const REMOVED: &str = "this user, or what proved it, is not known any more";

impl<S: Service, I: Io> Batch<'_, S, I> {
    /// Whether it is known who the peer is.
    pub(super) fn recognise(&mut self) -> Result<bool, CloseReason> {
        match self.shared.effects.people.standing(self.id.slot) {
            Standing::Nobody => Ok(false),
            Standing::User { is_restricted } => {
                self.restrict(is_restricted);
                Ok(true)
            }
            Standing::Removed => {
                self.shared.metrics.add(Counter::UsersRemoved, 1);
                self.shared.desk.refusal = Some(REMOVED.into());
                Err(CloseReason::Unauthenticated)
            }
        }
    }

    fn restrict(&mut self, is_restricted: bool) {
        self.state.set_to(Fact::Restricted, is_restricted);
    }

    /// A HELLO says who the peer is.
    #[cold]
    pub(super) fn identify(&mut self, hello: &Hello<'_>) -> Result<(), CloseReason> {
        let now_ms = self.shared.now.whole_ms();
        match self.shared.effects.people.judge_hello(self.id.slot, hello.token, now_ms) {
            Ok(standing) => {
                self.restrict(standing == Standing::User { is_restricted: true });
                Ok(())
            }
            Err(refusal) => {
                let counter =
                    if refusal.is_throttled { Counter::HellosThrottled } else { Counter::HellosFailed };
                self.shared.metrics.add(counter, 1);
                self.shared.metrics.add(Counter::FailuresForgotten, refusal.is_other_forgotten.into());
                self.shared.desk.refusal = Some(refusal.text.as_str().to_owned().into());
                self.shared.desk.reconnect_after_ms = refusal.reconnect_after_ms;
                Err(CloseReason::Unauthenticated)
            }
        }
    }

    /// Whether nothing is unusual about this message but that its user may not use all routes, and it may use this one:
    /// then it need not be read again.
    pub(super) fn is_only_restricted(&self, message: &[u8]) -> bool {
        let header = match (self.framing.protocol, message) {
            (Protocol::Line, _) => self.framing.line_route,
            (Protocol::Frame | Protocol::Bare, [first, second, ..]) => {
                Header::from_bits(u16::from_be_bytes([*first, *second]))
            }
            (Protocol::Frame | Protocol::Bare, _) => return false,
        };
        self.state.is_only_restricted() && self.may_use(self.framing.protocol.route_of(header))
    }

    fn may_use(&self, route: u16) -> bool {
        !self.state.has(Fact::Restricted)
            || self.shared.effects.people.user(self.id.slot).is_some_and(|user| user.may_use(route))
    }

    /// Whether its user may use this route.
    #[expect(clippy::result_large_err, reason = "a text on the stack, on the cold path")]
    pub(super) fn check_permission(&self, route: u16) -> Result<(), (Status, Text)> {
        if self.may_use(route) {
            return Ok(());
        }
        self.shared.metrics.add(Counter::Forbidden, 1);
        let name = self.shared.effects.people.user(self.id.slot).map_or("", |user| user.name());
        Err((Status::FORBIDDEN, Text::of(format_args!("user {name} may not use route {route}"))))
    }
}
