//! How the server is, in a word and a sentence.
//!
//! Always holds: what is worst is said first: a dead loop, one that is stuck, a drain. Never: a judgement of figures; that is
//! the conditions'.

use super::beat::seconds;
use crate::base::limits::WATCHDOG_TURN;
use crate::control::metrics::Scrape;
use crate::server::{DrainProgress, Handle, LoopState};
use serde::Serialize;

/// The word, and the sentence behind it.
#[derive(Debug, Serialize)]
pub(super) struct State {
    name: &'static str,
    text: String,
}

impl State {
    pub(super) fn of(handle: &Handle, scrape: &Scrape) -> State {
        if let Some(shard) = scrape.dead {
            let text = format!("event loop {shard} died, with its connections; the others drain");
            return State { name: "loop_dead", text };
        }
        let limit = scrape.capacity.stall.max(WATCHDOG_TURN);
        let longest = scrape.states.iter().enumerate().max_by_key(|(_, state)| state.turn);
        if let Some((shard, LoopState { turn: Some(turn), visiting, .. })) = longest
            && *turn >= limit
        {
            let mut text = format!(
                "event loop {shard} is held up: its turn has been running for {:.1} s",
                turn.as_secs_f64()
            );
            if let Some(visiting) = visiting {
                text += &format!(", at connection {visiting} last");
            }
            return State { name: "stalled", text };
        }
        if let Some(drain) = handle.drain_progress() {
            let (left, grace) = (drain.left.as_secs(), drain.grace.as_secs());
            let text = format!(
                "no newcomers; {} of {} connections left, {left} s of {grace} s left",
                scrape.connections, drain.began_with
            );
            return State { name: "draining", text };
        }
        State { name: "serving", text: "newcomers are taken, and every event loop turns".to_owned() }
    }
}

/// How far the drain is.
#[derive(Debug, Serialize)]
pub(super) struct DrainShown {
    running_s: f64,
    left_s: f64,
    grace_s: f64,
    began_with: u64,
}

impl DrainShown {
    pub(super) fn of(progress: DrainProgress) -> DrainShown {
        DrainShown {
            running_s: seconds(progress.running),
            left_s: seconds(progress.left),
            grace_s: seconds(progress.grace),
            began_with: progress.began_with,
        }
    }
}
