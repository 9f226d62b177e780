//! Ends that the world decides: who a connection belongs to may no longer be trusted.

use super::{Io, Turn};
use crate::base::{CloseReason, Token};
use crate::service::Service;

impl<S: Service, I: Io> Turn<S, I> {
    /// Ends a connection in order, for this reason. Does nothing if it is gone. Call between [`Turn::begin`] and
    /// [`Turn::end`].
    #[cold]
    pub fn expel(&mut self, io: &mut I, token: Token, why: CloseReason, text: &str) {
        let entry = self.table.get(token.slot as usize);
        if entry.is_none_or(|entry| entry.generation != token.generation || entry.phase.ending().is_some()) {
            return;
        }
        let verdict = self.begin_visit(io, token.slot).finish(why, text);
        self.settle(io, token.slot, verdict);
    }
}
