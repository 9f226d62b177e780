//! Questions to the loops about their connections, asked of all at once and never waited for.
//!
//! ```text
//!   Handle::inspect --one question each--> loops       Inspection::is_complete()   again and again, until it is or
//!                                                      Inspection::into_answers()  until the asker has had enough
//! ```
//!
//! Always holds: asking takes no lock and costs a loop that is asked too often nothing. A loop that is stuck answers
//! nothing and keeps nobody from what the others say. Never: a wait; who has a clock looks again.

use super::{Handle, Unreached};
use crate::base::{ConnId, Token};
use crate::mailbox::{Awaited, Fate, Mailbox, NotAsked};
pub use crate::mailbox::{By, Closed, Connection, Happened, LoopEvent, Only, Question, Report};
use std::sync::Arc;

/// Why there is no report of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoReport {
    /// It works on another question, or has not come to it.
    #[error("event loop {shard} has another question to answer first; ask again later")]
    Busy {
        /// Which loop.
        shard: u16,
    },
    /// It has ended.
    #[error("event loop {shard} has ended")]
    Over {
        /// Which loop.
        shard: u16,
    },
    /// It has not answered yet.
    #[error("event loop {shard} did not answer in time")]
    Late {
        /// Which loop.
        shard: u16,
    },
}

/// What loops were asked, and what has come back.
#[derive(Debug)]
pub struct Inspection {
    asked: Vec<Asked>,
}

#[derive(Debug)]
enum Asked {
    Waits { shard: u16, awaited: Awaited },
    Done(Result<Report, NoReport>),
}

impl Asked {
    fn of(shard: u16, mailbox: &Mailbox, question: Question) -> Asked {
        match mailbox.ask(question) {
            Ok(awaited) => Asked::Waits { shard, awaited },
            Err(NotAsked::Busy) => Asked::Done(Err(NoReport::Busy { shard })),
            Err(NotAsked::Over) => Asked::Done(Err(NoReport::Over { shard })),
        }
    }

    fn look(&mut self) {
        let Asked::Waits { shard, awaited } = self else { return };
        match awaited.take() {
            Fate::Waiting => {}
            Fate::Answered(report) => *self = Asked::Done(Ok(report)),
            Fate::Dropped => *self = Asked::Done(Err(NoReport::Over { shard: *shard })),
        }
    }
}

impl Inspection {
    /// Takes what has come, and tells whether nothing more is to be waited for.
    pub fn is_complete(&mut self) -> bool {
        self.asked.iter_mut().for_each(Asked::look);
        self.asked.iter().all(|asked| matches!(asked, Asked::Done(_)))
    }

    /// What every loop that was asked has said until now. Who has said nothing is not asked any more.
    pub fn into_answers(mut self) -> Vec<Result<Report, NoReport>> {
        self.asked.iter_mut().for_each(Asked::look);
        let answers = self.asked.into_iter().map(|asked| match asked {
            Asked::Waits { shard, .. } => Err(NoReport::Late { shard }),
            Asked::Done(answer) => answer,
        });
        answers.collect()
    }
}

impl Handle {
    /// Asks every loop about its connections. A loop answers one question at a time, a little of it in each turn, and
    /// refuses others meanwhile.
    pub fn inspect(&self, question: &Question) -> Inspection {
        let mailboxes = (0..).zip(self.mailboxes());
        Inspection {
            asked: mailboxes.map(|(shard, mailbox)| Asked::of(shard, mailbox, question.clone())).collect(),
        }
    }

    /// Asks for one connection: the loop that has it answers [`Report::Connection`].
    ///
    /// # Errors
    ///
    /// [`Unreached::NoSuchShard`].
    pub fn inspect_one(&self, id: ConnId) -> Result<Inspection, Unreached> {
        let Some(mailbox) = self.mailboxes().nth(id.shard.into()) else {
            return Err(Unreached::NoSuchShard { shard: id.shard, shards: self.shards() });
        };
        let question = Question::Connection(Token { generation: id.generation, slot: id.slot });
        Ok(Inspection { asked: vec![Asked::of(id.shard, mailbox, question)] })
    }

    fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.shared.group.mailboxes()
    }
}
