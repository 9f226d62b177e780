//! What other threads of the program ask of the loop by its mailbox: messages to connections, and the end of some.
//!
//! They name connections as a program does that has kept their ids: some of them are over.

use super::World;
use crate::base::{ConnId, Time, Token};
use crate::mailbox::{Command, Whom};
use crate::service::Service;
use crate::sim::codec::{MESSAGE, frame};
use crate::sim::io::pick;
use crate::sim::trace::{NOBODY, What};
use crate::sim::weather::Trouble;
use crate::wire::Status;

/// The topic of these messages.
pub(super) const TOPIC: &str = "world.command";

impl<S: Service> World<S> {
    pub(super) fn next_command(&self) -> Option<Time> {
        self.commands.iter().min().copied()
    }

    /// Asks what is due to be asked.
    pub(super) fn command(&mut self) {
        let now = self.io.clock();
        let (due, later): (Vec<Time>, Vec<Time>) = self.commands.iter().partition(|at| **at <= now);
        self.commands = later;
        for _ in due {
            let mut ids: Vec<ConnId> =
                self.witness.with(|notes| notes.conns.values().map(|seen| seen.id).collect());
            ids.sort();
            if ids.is_empty() {
                continue;
            }
            let id = ids[pick(&mut self.rng, ids.len())];
            let to = Token { generation: id.generation, slot: id.slot };
            let is_end = self.rng.chance(300);
            let command = if is_end {
                Command::Close { to, status: Status::application(400), text: "by command".into() }
            } else {
                let topic = TOPIC.as_bytes();
                let mut payload = vec![u8::try_from(topic.len()).unwrap_or(0)];
                payload.extend_from_slice(topic);
                payload.extend_from_slice(&vec![b'm'; pick(&mut self.rng, 500)]);
                Command::Send { to, bytes: frame(MESSAGE, &payload).into(), whom: Whom::Greeted }
            };
            self.io.troubles.note(Trouble::Command);
            self.io.note(NOBODY, What::Command, u64::from(id.generation));
            self.witness.with(|notes| notes.note_target(id, 600, is_end));
            // A full mailbox refuses: nothing else is promised.
            let _ = self.mailbox.post(command);
        }
    }
}
