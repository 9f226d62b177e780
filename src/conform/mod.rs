//! Does a server speak the protocol? Every golden vector that one connection can show, against any address.
//!
//! ```text
//!   tests/data/vectors.txt --> case: what is sent, what must come --> talk: one connection --> Verdict
//!                               (vectors)                              (expect judges what comes)
//! ```
//!
//! Always holds: a case is one connection of its own, and says nothing about others; every wait ends after
//! [`Target::timeout`]; what is sent is what stands in the file, moved to the server's own routes at most.
//! Never: a server's own words, or how fast it is. Texts, ids and further fields may be what they like.

mod expect;
mod talk;
mod vectors;
mod words;

use crate::client::Error;
use crate::wire::{Control, Hello};
use std::time::Duration;
use talk::{Pace, Talk};
use vectors::{Case, On};

/// A case with at most so many bytes to send is played a second time, byte by byte.
const BYTE_BY_BYTE_MAX: usize = 256;

/// The server to ask, and what it serves.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its listener for frames: `HOST:PORT`, or `unix:PATH`.
    pub frames: String,
    /// Its listener for lines, if it has one; without, those cases are skipped.
    pub lines: Option<String>,
    /// The routes that the cases need.
    pub routes: Routes,
    /// How long anything may take that must come.
    pub timeout: Duration,
    /// Only cases whose name contains this.
    pub only: Option<String>,
}

/// Routes of a server, `0..=16_383`, all different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Replies with the request's body. Default: 1.
    pub echo: u16,
    /// Takes and never replies. Default: 2.
    pub one_way: u16,
    /// Is not served. Default: 16,383.
    pub missing: u16,
}

impl Default for Routes {
    fn default() -> Self {
        Routes { echo: vectors::ECHO, one_way: vectors::ONE_WAY, missing: vectors::MISSING }
    }
}

/// How a case went.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// All that must come came, and nothing else.
    Ok,
    /// It could not be asked: why.
    Skipped(String),
    /// Something else came.
    Failed(Failure),
}

/// What was sent, what must have come, and what came: in words and in hex.
#[derive(Clone, Debug)]
pub struct Failure {
    /// All bytes that were sent.
    pub sent: Vec<u8>,
    /// In words: what was waited for.
    pub wanted: String,
    /// In words: what came instead.
    pub got: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How many cases went how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// As they must.
    pub ok: u32,
    /// Not.
    pub failed: u32,
    /// Not asked.
    pub skipped: u32,
}

/// Plays all cases, one after the other, and tells each with its verdict as soon as it is known.
///
/// # Errors
///
/// When the first connection to a listener can't be made: then there is nothing to judge.
pub fn run(target: &Target, tell: &mut dyn FnMut(&str, &Verdict)) -> Result<Summary, Error> {
    let payload_max = ask_payload_max(target)?;
    if let Some(lines) = &target.lines {
        Talk::connect(lines, target.timeout)?;
    }
    let mut summary = Summary::default();
    for case in vectors::cases(target.routes) {
        if target.only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            continue;
        }
        for (pace, name) in paces(&case) {
            let verdict = play(&case, target, payload_max, pace);
            match verdict {
                Verdict::Ok => summary.ok += 1,
                Verdict::Skipped(_) => summary.skipped += 1,
                Verdict::Failed(_) => summary.failed += 1,
            }
            tell(&name, &verdict);
        }
    }
    Ok(summary)
}

/// In which ways a case is played, with the names of these.
fn paces(case: &Case) -> Vec<(Pace, String)> {
    let mut paces = vec![(Pace::AtOnce, case.name.clone())];
    if !case.is_indivisible && (2..=BYTE_BY_BYTE_MAX).contains(&case.sent_bytes()) {
        paces.push((Pace::ByteByByte, format!("{}, byte by byte", case.name)));
    }
    paces
}

fn play(case: &Case, target: &Target, payload_max: Option<u32>, pace: Pace) -> Verdict {
    if let (Some(needs), Some(has)) = (case.payload_max, payload_max)
        && needs != has
    {
        return Verdict::Skipped(format!(
            "it is for a max_payload of {needs} bytes, and this server has {has}"
        ));
    }
    let address = match (case.on, &target.lines) {
        (On::Frames, _) => &target.frames,
        (On::Lines, Some(lines)) => lines,
        (On::Lines, None) => return Verdict::Skipped("no listener for lines was named".to_owned()),
    };
    match Talk::connect(address, target.timeout) {
        Ok(talk) => talk.play(case, pace).map_or_else(Verdict::Failed, |()| Verdict::Ok),
        Err(error) => Verdict::Failed(Failure {
            sent: Vec::new(),
            wanted: "a connection".to_owned(),
            got: error.to_string(),
            bytes: Vec::new(),
        }),
    }
}

/// The largest payload of the server, if it says so in WELCOME.
fn ask_payload_max(target: &Target) -> Result<Option<u32>, Error> {
    let mut talk = Talk::connect(&target.frames, target.timeout)?;
    let hello = Control::Hello(Hello { version: 1, ..Hello::default() });
    Ok(talk.ask(&hello))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_gives_cases_of_all_kinds() {
        let cases = vectors::cases(Routes::default());
        assert!(cases.len() > 300, "only {} cases were found", cases.len());
        for (what, least) in
            [("session_", 70), ("bad_ext_", 30), ("flipped_", 6), ("hello_", 15), ("session_line", 4)]
        {
            let found = cases.iter().filter(|case| case.name.starts_with(what)).count();
            assert!(found >= least, "{found} cases of {what}");
        }
        let byte_by_byte = cases.iter().filter(|case| paces(case).len() == 2).count();
        assert!(byte_by_byte > 200, "only {byte_by_byte} cases are played byte by byte");
    }
}
