//! The protocol by hand: what a peer's stream means.
//!
//! Naive on purpose: one pass over bytes that lie together, copies everywhere. Source: docs/PROTOCOL.md. What is owed
//! for it is in [`owed`](crate::owed).

use crate::naive::{self, Hello, Wrong};
use tidegate::base::CloseReason;
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

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A request, or a server's reply.
    Request {
        /// Its header; a line's is the listener's route.
        bits: u16,
        /// Its extension block as it stands, which parses; empty if there is none.
        block: Vec<u8>,
        /// What stands behind that.
        body: Vec<u8>,
    },
    /// PING with these bytes.
    Ping(Vec<u8>),
    /// PONG.
    Pong,
    /// HELLO.
    Hello {
        /// What it says.
        hello: Hello,
        /// Whether it has a block with reserved flags.
        is_unsupported: bool,
    },
    /// SUBSCRIBE, UNSUBSCRIBE or PUBLISH.
    Ask {
        /// Its header.
        bits: u16,
        /// Its correlation.
        id: Option<u64>,
    },
    /// What only servers say.
    Told {
        /// Its header.
        bits: u16,
    },
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Behind a whole message.
    Clean,
    /// Within one.
    Partial,
    /// With something that ends the connection.
    Fault(CloseReason),
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Frames.
    Frames,
    /// Frames whose headers are all route.
    Bare,
    /// Lines for this route.
    Lines(u16),
}

const INTERNAL: u16 = 10;
const TOO_LARGE: u16 = 14;

/// The status in the place of a reply of so many bytes, if it is more than the server sends or the client takes.
pub const fn refusal(reply_bytes: usize, sent_max: usize, taken_max: usize) -> Option<u16> {
    match () {
        () if reply_bytes <= sent_max && reply_bytes <= taken_max => None,
        () if sent_max <= taken_max => Some(INTERNAL),
        () => Some(TOO_LARGE),
    }
}

/// How a listener cuts its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Lines or frames.
    pub speech: Speech,
    /// The largest body.
    pub payload_max: usize,
    /// The largest body of a reply.
    pub reply_max: usize,
    /// HELLO must come first.
    pub wants_hello: bool,
    /// WELCOME was sent.
    pub is_welcomed: bool,
    /// The stream is a server's.
    pub from_server: bool,
}

impl Rules {
    /// Of a listener that wants no HELLO, and has not seen one.
    pub const fn new(speech: Speech, payload_max: usize) -> Rules {
        let reply_max = usize::MAX;
        Rules { speech, payload_max, reply_max, wants_hello: false, is_welcomed: false, from_server: false }
    }

    /// The largest payload of a frame with this header.
    pub const fn most(self, bits: u16) -> usize {
        match (self.speech, bits & 0x4000 != 0, bits & 0x8000 != 0) {
            (Speech::Bare | Speech::Lines(_), ..) | (Speech::Frames, false, false) => self.payload_max,
            (Speech::Frames, true, _) if self.is_welcomed || self.from_server => self.payload_max + 512,
            (Speech::Frames, true, _) => 4096,
            (Speech::Frames, false, true) => self.payload_max + 1020,
        }
    }
}

/// Reads a whole stream as it lies there, whatever is due for it; `ended` if the peer has ended it.
pub fn cut(rules: Rules, stream: &[u8], ended: bool) -> (Vec<Said>, Tail) {
    read_with(rules, stream, ended, |_, _, _| Ok(()))
}

/// The same as a server reads it: HELLO once and first, and good.
pub fn read(rules: Rules, stream: &[u8], ended: bool) -> (Vec<Said>, Tail) {
    read_with(rules, stream, ended, |rules, before, said| {
        let Said::Hello { hello: (version, _, client_id, _, tags), is_unsupported } = said else {
            let is_stranger = rules.wants_hello && !rules.is_welcomed;
            return if is_stranger { Err(CloseReason::Unauthenticated) } else { Ok(()) };
        };
        if before > 0 {
            Err(CloseReason::LateHello)
        } else if *version == 0 || naive::is_critical(tags) || *is_unsupported {
            Err(CloseReason::NoCommonVersion)
        } else if client_id == REFUSED_ID {
            Err(CloseReason::Unauthenticated)
        } else {
            rules.is_welcomed = true;
            Ok(())
        }
    })
}

/// Who says HELLO under this name is not let in.
pub const REFUSED_ID: &str = "nobody";

fn read_with(
    mut rules: Rules,
    mut stream: &[u8],
    ended: bool,
    conduct: impl Fn(&mut Rules, usize, &Said) -> Result<(), CloseReason>,
) -> (Vec<Said>, Tail) {
    let (mut all, crc) = (Vec::new(), Crc::new());
    while !stream.is_empty() {
        let next = match rules.speech {
            Speech::Lines(route) => line(route, rules.payload_max, stream, ended),
            Speech::Frames | Speech::Bare => one_frame(rules, stream, &crc),
        };
        let judged = next.map(|next| next.map(|next| (conduct(&mut rules, all.len(), &next.0), next)));
        match judged {
            Ok(Some((Ok(()), (said, used)))) => {
                all.push(said);
                stream = &stream[used..];
            }
            Ok(None) => return (all, Tail::Partial),
            // Whatever it is, it is not a HELLO.
            Err(why) if is_stranger(rules, stream, why) => {
                return (all, Tail::Fault(CloseReason::Unauthenticated));
            }
            Err(why) | Ok(Some((Err(why), _))) => return (all, Tail::Fault(why)),
        }
    }
    (all, Tail::Clean)
}

/// Whether a control frame that is wrong by itself would not even be allowed if it were right.
fn is_stranger(rules: Rules, stream: &[u8], why: CloseReason) -> bool {
    if !rules.wants_hello || rules.is_welcomed || [CloseReason::TooLarge, CloseReason::BadCrc].contains(&why)
    {
        return false;
    }
    stream[0] & 0x40 != 0 && (stream[0] & 0x3f, stream[1]) != (0, 2)
}

/// One message and its size; `None` if it is not whole.
type Next = Result<Option<(Said, usize)>, CloseReason>;

fn one_frame(rules: Rules, stream: &[u8], crc: &Crc) -> Next {
    if stream.len() < 6 {
        return Ok(None);
    }
    let bits = u16::from(stream[0]) << 8 | u16::from(stream[1]);
    let length = stream[2..6].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > rules.most(bits) {
        return Err(CloseReason::TooLarge);
    }
    let Some(sum) = stream.get(6 + length..10 + length) else { return Ok(None) };
    if sum != crc.of(&stream[..6 + length]).to_be_bytes() {
        return Err(CloseReason::BadCrc);
    }
    let payload = &stream[6..6 + length];
    let said = if rules.speech == Speech::Bare || bits & 0xc000 == 0 {
        Said::Request { bits, block: Vec::new(), body: payload.to_vec() }
    } else if bits & 0x4000 == 0 {
        let (block, body) = match naive::block(payload) {
            Some(block) => payload.split_at(block.bytes),
            None => return Err(CloseReason::BadExtension),
        };
        Said::Request { bits, block: block.to_vec(), body: body.to_vec() }
    } else {
        control(rules, bits, payload)?
    };
    Ok(Some((said, length + 10)))
}

fn control(rules: Rules, bits: u16, payload: &[u8]) -> Result<Said, CloseReason> {
    let (block, fields) = naive::control(bits, payload).map_err(|wrong| match wrong {
        Wrong::Code => CloseReason::UnknownControl,
        Wrong::Block => CloseReason::BadExtension,
        Wrong::Fields => CloseReason::BadControl,
    })?;
    let code = bits & 0x3fff;
    let is_clients = [2, 6, 7, 8].contains(&code);
    if code > 1 && is_clients == rules.from_server {
        return Err(CloseReason::WrongDirection);
    }
    Ok(match code {
        0 => Said::Ping(fields.to_vec()),
        1 => Said::Pong,
        2 => Said::Hello {
            hello: naive::hello(fields).expect("it was looked at"),
            is_unsupported: block.is_some_and(|block| block.is_unsupported()),
        },
        _ if is_clients => Said::Ask { bits, id: block.and_then(|block| block.id) },
        _ => Said::Told { bits },
    })
}

fn line(route: u16, payload_max: usize, stream: &[u8], ended: bool) -> Next {
    let end = memchr::memchr(b'\n', stream);
    let body = without_return(&stream[..end.unwrap_or(stream.len())]);
    if body.len() > payload_max {
        return Err(CloseReason::LineTooLong);
    }
    let used = match end {
        Some(end) => end + 1,
        None if ended => stream.len(),
        None => return Ok(None),
    };
    Ok(Some((Said::Request { bits: route, block: Vec::new(), body: body.to_vec() }, used)))
}

fn without_return(line: &[u8]) -> &[u8] {
    match line {
        [front @ .., b'\r'] => front,
        whole => whole,
    }
}
