//! What one connection is due, and the judgement of what it got.
//!
//! ```text
//!   payload   client 4 | sequence 4 | nonce 8 | filler         in a line, all of that in hex
//! ```
//!
//! Always holds: a judgement names what is wrong, with the client and the sequence that it is about. Never: a guess; a
//! reply that says another client's number is another client's.

use super::support::client::{Got, INTERNAL};
use super::support::pattern;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Echoes by reference.
pub(crate) const ECHO: u16 = 1;
/// Changes the lowest bit of the first byte.
pub(crate) const FLIP: u16 = 3;
/// Answered later, by another thread.
pub(crate) const LATER: u16 = 20;
/// Put off, and then forgotten: INTERNAL.
pub(crate) const DROPPED: u16 = 21;
/// Answered by a worker.
pub(crate) const WORK: u16 = 22;

/// The routes that frames are sent to.
pub(crate) const ROUTES: [u16; 5] = [ECHO, FLIP, LATER, DROPPED, WORK];

const ERROR: u16 = 0x4004;
const EXT: u16 = 0x8000;
/// Bytes of a payload before its filler.
pub(crate) const HEAD_BYTES: usize = 16;

/// A request's payload.
pub(crate) fn payload(client: u32, sequence: u32, nonce: u64, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.max(HEAD_BYTES));
    out.extend_from_slice(&client.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&nonce.to_be_bytes());
    out.extend_from_slice(&pattern(nonce, bytes.saturating_sub(HEAD_BYTES)));
    out
}

/// The same as a line, without its end.
pub(crate) fn line(payload: &[u8]) -> Vec<u8> {
    payload.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// Whose reply this is, and to which request; `None` if it is too short to say so.
fn head(payload: &[u8]) -> Option<(u32, u32)> {
    let client = payload.get(..4)?.try_into().ok()?;
    let sequence = payload.get(4..8)?.try_into().ok()?;
    payload.get(..HEAD_BYTES)?;
    Some((u32::from_be_bytes(client), u32::from_be_bytes(sequence)))
}

/// A request that waits for its reply.
#[derive(Clone, Debug)]
struct Due {
    route: u16,
    payload: Vec<u8>,
}

/// One connection's requests.
#[derive(Debug)]
pub(crate) struct Oracle {
    client: u32,
    /// Without a correlation, in the order of their replies.
    ordered: VecDeque<u32>,
    due: BTreeMap<u32, Due>,
    answered: BTreeSet<u32>,
}

impl Oracle {
    pub(crate) const fn new(client: u32) -> Oracle {
        Oracle { client, ordered: VecDeque::new(), due: BTreeMap::new(), answered: BTreeSet::new() }
    }

    /// A request was sent; with a correlation, which is its sequence, its reply may come at any time.
    pub(crate) fn sent(&mut self, sequence: u32, route: u16, payload: Vec<u8>, has_correlation: bool) {
        if !has_correlation {
            self.ordered.push_back(sequence);
        }
        self.due.insert(sequence, Due { route, payload });
    }

    /// Requests without a reply.
    pub(crate) fn open(&self) -> usize {
        self.due.len()
    }

    /// Bytes of their payloads.
    pub(crate) fn open_bytes(&self) -> usize {
        self.due.values().map(|due| due.payload.len()).sum()
    }

    /// Whether this is the begin of the line that is due next: the end of a stream ends its last line, too.
    pub(crate) fn is_begun(&self, came: &[u8]) -> bool {
        let front = self.ordered.front().and_then(|sequence| self.due.get(sequence));
        front.is_some_and(|due| line(&due.payload).starts_with(came))
    }

    /// Judges a frame, and gives the sequence of the request that it answers.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn frame(&mut self, got: &Got) -> Result<u32, String> {
        if got.header == ERROR {
            let text = String::from_utf8_lossy(&got.payload[2..]).into_owned();
            return self.refusal(None, got.status(), &text);
        }
        if got.header & EXT == 0 {
            return self.reply(None, Some(got.header), &got.payload);
        }
        let reply = got.extended();
        let correlation = reply.correlation.and_then(|id| u32::try_from(id).ok());
        let correlation =
            correlation.ok_or_else(|| self.about("a reply has a block without its correlation"))?;
        if reply.status == 0 {
            self.reply(Some(correlation), Some(reply.header), &reply.body)
        } else {
            self.refusal(Some(correlation), reply.status, &String::from_utf8_lossy(&reply.body))
        }
    }

    /// Judges a line without its end.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<u32, String> {
        let text = String::from_utf8_lossy(line);
        let byte = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
        let payload: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
        match payload {
            Some(payload) => self.reply(None, None, &payload),
            None => Err(self.about(&format!("a line came that was never sent: {text:.80}"))),
        }
    }

    fn about(&self, what: &str) -> String {
        format!("client {}: {what}", self.client)
    }

    /// Takes the request that this sequence names out of those that wait, if it is its turn.
    fn take(&mut self, sequence: u32, is_ordered: bool) -> Result<Due, String> {
        if self.answered.contains(&sequence) {
            return Err(self.about(&format!("request {sequence} was answered twice")));
        }
        let Some(due) = self.due.remove(&sequence) else {
            return Err(self.about(&format!("request {sequence} was answered and never sent")));
        };
        let front = self.ordered.front().copied();
        match (front == Some(sequence), is_ordered) {
            (true, true) => drop(self.ordered.pop_front()),
            (false, false) if !self.ordered.contains(&sequence) => {}
            (false, true) if self.ordered.contains(&sequence) => {
                let front = front.expect("it is in there");
                return Err(self.about(&format!("request {sequence} was answered before request {front}")));
            }
            (true | false, true | false) => {
                return Err(self.about(&format!("request {sequence}: a correlation was lost or made up")));
            }
        }
        self.answered.insert(sequence);
        Ok(due)
    }

    fn reply(&mut self, correlation: Option<u32>, route: Option<u16>, payload: &[u8]) -> Result<u32, String> {
        let mut said = payload.to_vec();
        if route == Some(FLIP)
            && let Some(first) = said.first_mut()
        {
            *first ^= 1;
        }
        let Some((client, sequence)) = head(&said) else {
            return Err(self.about(&format!("a reply of {} bytes is nobody's", payload.len())));
        };
        if client != self.client {
            return Err(
                self.about(&format!("got what is client {client}'s, the reply to its request {sequence}"))
            );
        }
        if correlation.is_some_and(|id| id != sequence) {
            return Err(
                self.about(&format!("request {sequence} was answered with correlation {correlation:?}"))
            );
        }
        let due = self.take(sequence, correlation.is_none())?;
        if route.is_some_and(|route| route != due.route) {
            let what = format!("request {sequence} to route {} was answered from route {route:?}", due.route);
            return Err(self.about(&what));
        }
        if due.route == DROPPED {
            return Err(self.about(&format!("request {sequence} was answered, which nobody did")));
        }
        if said != due.payload {
            let same = said.iter().zip(&due.payload).take_while(|(came, want)| came == want).count();
            let (came, want) = (said.len(), due.payload.len());
            let what = format!(
                "the reply to request {sequence} was altered at byte {same}: {came} bytes for {want}"
            );
            return Err(self.about(&what));
        }
        Ok(sequence)
    }

    /// A refusal says no client's number: it must be due to the request that it is said to.
    fn refusal(&mut self, correlation: Option<u32>, status: u16, text: &str) -> Result<u32, String> {
        let Some(sequence) = correlation.or_else(|| self.ordered.front().copied()) else {
            return Err(
                self.about(&format!("was refused with status {status} ({text}), and had asked nothing"))
            );
        };
        let due = self.take(sequence, correlation.is_none())?;
        if (due.route, status) != (DROPPED, INTERNAL) {
            let what = format!(
                "request {sequence} to route {} was refused with status {status} ({text})",
                due.route
            );
            return Err(self.about(&what));
        }
        Ok(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::super::support::client::Got;
    use super::*;

    fn reply(route: u16, client: u32, sequence: u32) -> Got {
        Got { header: route, payload: payload(client, sequence, u64::from(sequence), 40) }
    }

    fn correlated(id: u64, client: u32, sequence: u32) -> Got {
        let block = [&[3, 1, 0, 0][..], &id.to_be_bytes()].concat();
        let body = payload(client, sequence, u64::from(sequence), 40);
        Got { header: EXT | ECHO, payload: [block, body].concat() }
    }

    fn error(status: u16) -> Got {
        Got { header: ERROR, payload: [&status.to_be_bytes()[..], b"why"].concat() }
    }

    fn altered(mut got: Got, at: usize) -> Got {
        got.payload[at] ^= 4;
        got
    }

    fn longer(mut got: Got) -> Got {
        got.payload.push(0);
        got
    }

    /// Client 5 has sent 0 and 1 to echo, 2 to be forgotten, 3 to flip, in order, and 4 with a correlation.
    fn oracle() -> Oracle {
        let mut oracle = Oracle::new(5);
        for (sequence, route) in [(0, ECHO), (1, ECHO), (2, DROPPED), (3, FLIP), (4, ECHO)] {
            oracle.sent(sequence, route, payload(5, sequence, u64::from(sequence), 40), sequence == 4);
        }
        oracle
    }

    #[test]
    fn what_is_due_is_accepted() {
        let mut oracle = oracle();
        let flipped = |mut got: Got| {
            got.payload[0] ^= 1;
            got
        };
        let due = [
            (reply(ECHO, 5, 0), 0),
            (correlated(4, 5, 4), 4),
            (reply(ECHO, 5, 1), 1),
            (error(INTERNAL), 2),
            (flipped(reply(FLIP, 5, 3)), 3),
        ];
        for (got, sequence) in due {
            assert_eq!(oracle.frame(&got), Ok(sequence));
        }
        assert_eq!(oracle.open(), 0);
        oracle.sent(5, ECHO, payload(5, 5, 5, 40), false);
        assert_eq!(oracle.line(&line(&payload(5, 5, 5, 40))), Ok(5));
    }

    /// What was answered before, what comes then, and what must be said of it.
    #[test]
    fn what_is_not_due_is_named() {
        #[rustfmt::skip]
        let table: &[(&[Got], Got, &str)] = &[
            (&[],                  reply(ECHO, 6, 0),                "client 5: got what is client 6's, the reply to its request 0"),
            (&[],                  correlated(4, 6, 4),              "client 5: got what is client 6's"),
            (&[reply(ECHO, 5, 0)], reply(ECHO, 5, 0),                "request 0 was answered twice"),
            (&[correlated(4, 5, 4)], correlated(4, 5, 4),            "request 4 was answered twice"),
            (&[],                  reply(ECHO, 5, 1),                "request 1 was answered before request 0"),
            (&[],                  reply(ECHO, 5, 9),                "request 9 was answered and never sent"),
            (&[],                  altered(reply(ECHO, 5, 0), 20),   "the reply to request 0 was altered at byte 20"),
            (&[],                  altered(reply(ECHO, 5, 0), 3),    "client 5: got what is client 1's"),
            (&[],                  longer(reply(ECHO, 5, 0)),        "altered at byte 40: 41 bytes for 40"),
            (&[],                  reply(WORK, 5, 0),                "request 0 to route 1 was answered from route"),
            (&[],                  correlated(3, 5, 4),              "request 4 was answered with correlation Some(3)"),
            (&[],                  correlated(0, 5, 0),              "request 0: a correlation was lost or made up"),
            (&[],                  reply(ECHO, 5, 4),                "request 4: a correlation was lost or made up"),
            (&[],                  error(INTERNAL),                  "request 0 to route 1 was refused with status 10 (why)"),
            (&[reply(ECHO, 5, 0), reply(ECHO, 5, 1)], error(5),      "request 2 to route 21 was refused with status 5"),
            (&[reply(ECHO, 5, 0), reply(ECHO, 5, 1)], reply(DROPPED, 5, 2), "request 2 was answered, which nobody did"),
            (&[],                  Got { header: ECHO, payload: vec![0; 3] }, "a reply of 3 bytes is nobody's"),
        ];
        for (before, got, want) in table {
            let mut oracle = oracle();
            before.iter().for_each(|got| assert!(oracle.frame(got).is_ok()));
            let said = oracle.frame(got).expect_err(want);
            assert!(said.contains(want), "{said}, and not {want}");
        }
        let oracle = oracle();
        let first = line(&payload(5, 0, 0, 40));
        assert!(oracle.is_begun(&first[..9]) && !oracle.is_begun(&first[1..9]));
        let said = Oracle::new(5).frame(&error(5)).expect_err("nothing was asked");
        assert!(said.contains("had asked nothing"), "{said}");
        let said = Oracle::new(5).line(b"hello").expect_err("no hex");
        assert!(said.contains("never sent: hello"), "{said}");
    }
}
