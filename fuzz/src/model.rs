//! The protocol by hand: what a client's stream means, and what a server with the embedded routes owes for it.
//!
//! Naive on purpose: one pass over bytes that lie together, copies everywhere, no state. Source: docs/PROTOCOL.md.

use tidegate::wire::Crc;

/// A frame's bytes.
pub fn frame(bits: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.extend(bits.to_be_bytes());
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    let sum = Crc::new().of(&out);
    out.extend(sum.to_be_bytes());
    out
}

/// What a client said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A request.
    Request {
        /// Its header; a line's is the listener's route.
        bits: u16,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// PING with these bytes.
    Ping(Vec<u8>),
    /// PONG.
    Pong,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Behind a whole message.
    Clean,
    /// Within one.
    Partial,
    /// With something that ends the connection.
    Fault,
}

/// How a listener cuts its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Lines for this route, or frames.
    pub line_route: Option<u16>,
    /// The largest payload.
    pub payload_max: usize,
}

/// Reads a whole stream; `ended` if the client has ended it.
pub fn read(rules: Rules, stream: &[u8], ended: bool) -> (Vec<Said>, Tail) {
    match rules.line_route {
        Some(route) => read_lines(route, rules.payload_max, stream, ended),
        None => read_frames(rules.payload_max, stream),
    }
}

fn read_frames(payload_max: usize, mut stream: &[u8]) -> (Vec<Said>, Tail) {
    let (mut said, crc) = (Vec::new(), Crc::new());
    loop {
        if stream.is_empty() {
            return (said, Tail::Clean);
        }
        if stream.len() < 6 {
            return (said, Tail::Partial);
        }
        let bits = u16::from(stream[0]) << 8 | u16::from(stream[1]);
        let length = stream[2..6].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (is_ext, is_control) = (bits & 0x8000 != 0, bits & 0x4000 != 0);
        let most = match (is_control, is_ext) {
            (true, _) => 4096,
            (false, true) => payload_max + 1020,
            (false, false) => payload_max,
        };
        if length > most {
            return (said, Tail::Fault);
        }
        if stream.len() < length + 10 {
            return (said, Tail::Partial);
        }
        let (payload, sum) = (&stream[6..6 + length], &stream[6 + length..10 + length]);
        if sum != crc.of(&stream[..6 + length]).to_be_bytes() {
            return (said, Tail::Fault);
        }
        match (is_control, bits) {
            (false, _) => said.push(Said::Request { bits, payload: payload.to_vec() }),
            (true, 0x4000) if length <= 64 => said.push(Said::Ping(payload.to_vec())),
            (true, 0x4001) if length <= 64 => said.push(Said::Pong),
            (true, _) => return (said, Tail::Fault),
        }
        stream = &stream[length + 10..];
    }
}

fn read_lines(route: u16, payload_max: usize, stream: &[u8], ended: bool) -> (Vec<Said>, Tail) {
    let (mut said, mut last) = (Vec::new(), stream);
    while let Some(end) = memchr::memchr(b'\n', last) {
        let payload = without_return(&last[..end]);
        last = &last[end + 1..];
        if payload.len() > payload_max {
            return (said, Tail::Fault);
        }
        said.push(Said::Request { bits: route, payload: payload.to_vec() });
    }
    if without_return(last).len() > payload_max {
        return (said, Tail::Fault);
    }
    if last.is_empty() {
        return (said, Tail::Clean);
    }
    if !ended {
        return (said, Tail::Partial);
    }
    said.push(Said::Request { bits: route, payload: without_return(last).to_vec() });
    (said, Tail::Clean)
}

fn without_return(line: &[u8]) -> &[u8] {
    match line {
        [front @ .., b'\r'] => front,
        whole => whole,
    }
}

/// What is due to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// A failure with this status; its text is the server's own affair.
    Failure(u16),
}

/// What the embedded routes owe for what was said: 0 `ack`, 1 `echo`, 2 `discard`, 3 `flip`, NO_ROUTE else.
pub fn due(rules: Rules, said: &[Said]) -> Vec<Due> {
    let reply = |bits: u16, payload: &[u8]| {
        Due::Bytes(match rules.line_route {
            None => frame(bits, payload),
            Some(_) => [payload, b"\n"].concat(),
        })
    };
    let one = |said: &Said| match said {
        Said::Request { bits, .. } if bits & 0x8000 != 0 => Some(Due::Failure(15)),
        Said::Request { bits: 0, .. } => Some(reply(0, "已接收".as_bytes())),
        Said::Request { bits: 1, payload } => Some(reply(1, payload)),
        Said::Request { bits: 2, .. } | Said::Pong => None,
        Said::Request { bits: 3, payload } => {
            let mut flipped = payload.clone();
            if let Some(first) = flipped.first_mut() {
                *first ^= 1;
            }
            Some(reply(3, &flipped))
        }
        Said::Request { .. } => Some(Due::Failure(4)),
        Said::Ping(bytes) => Some(Due::Bytes(frame(0x4001, bytes))),
    };
    said.iter().filter_map(one).collect()
}

/// How far some output goes along with what was due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched<'a> {
    /// How many of what was due are wholly there.
    pub whole: usize,
    /// What stands behind them: a part of the next one, last words, or both of neither.
    pub rest: &'a [u8],
    /// Whether `rest` is a part of the next one, or nothing.
    pub is_prefix: bool,
}

/// Compares output with what was due, in order.
pub fn matched<'a>(rules: Rules, due: &[Due], output: &'a [u8]) -> Matched<'a> {
    let mut rest = output;
    for (whole, next) in due.iter().enumerate() {
        let length = match next {
            Due::Bytes(bytes) if rest.starts_with(bytes) => Some(bytes.len()),
            Due::Bytes(bytes) if bytes.starts_with(rest) => None,
            Due::Failure(status) if is_failure(rules, rest, *status) => failure_length(rules, rest),
            Due::Bytes(_) | Due::Failure(_) => return Matched { whole, rest, is_prefix: rest.is_empty() },
        };
        let Some(length) = length else { return Matched { whole, rest, is_prefix: true } };
        rest = &rest[length..];
    }
    Matched { whole: due.len(), rest, is_prefix: rest.is_empty() }
}

/// Whether these bytes begin a failure with this status, as far as they go.
fn is_failure(rules: Rules, bytes: &[u8], status: u16) -> bool {
    match rules.line_route {
        None => {
            let [high, low] = status.to_be_bytes();
            goes_along(bytes, &[0x40, 0x04]) && goes_along(bytes.get(6..).unwrap_or_default(), &[high, low])
        }
        Some(_) => goes_along(bytes, format!("ERR {status} ").as_bytes()),
    }
}

/// The size of a whole failure at the front, if it is whole and well-formed.
fn failure_length(rules: Rules, bytes: &[u8]) -> Option<usize> {
    match rules.line_route {
        None => {
            let length = usize::from(*bytes.get(4)?) << 8 | usize::from(*bytes.get(5)?);
            let whole = bytes.get(..length + 10)?;
            assert_eq!(whole, frame(0x4004, &whole[6..6 + length]), "a failure is a whole frame");
            Some(whole.len())
        }
        Some(_) => memchr::memchr(b'\n', bytes).map(|end| end + 1),
    }
}

/// Whether the shorter of the two begins the longer.
fn goes_along(some: &[u8], other: &[u8]) -> bool {
    some.iter().zip(other).all(|(a, b)| a == b)
}

/// Whether these bytes are last words, or the beginning of some, with nothing behind them.
pub fn is_farewell(rules: Rules, bytes: &[u8]) -> bool {
    const TLS_ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 0x46];
    if TLS_ALERT.starts_with(bytes) {
        return true;
    }
    match rules.line_route {
        None => {
            let Some(prefix) = bytes.first_chunk::<6>() else { return goes_along(bytes, &[0x40, 5, 0, 0]) };
            let length = usize::from(prefix[4]) << 8 | usize::from(prefix[5]);
            let is_whole = bytes.len() == length + 10;
            prefix[..4] == [0x40, 5, 0, 0]
                && bytes.len() <= length + 10
                && (!is_whole || bytes == frame(0x4005, &bytes[6..6 + length]))
        }
        Some(_) => {
            let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            goes_along(line, b"ERR ") && !line.contains(&b'\n') && !line.contains(&b'\r')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_known_wherever_they_are_cut() {
        let rules = Rules { line_route: None, payload_max: 64 };
        let words = frame(0x4005, b"\0\x01\0\0\0\0text");
        for cut in 0..=words.len() {
            assert!(is_farewell(rules, &words[..cut]), "cut at {cut}");
        }
    }
}
