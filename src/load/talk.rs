//! Requests into bytes, bytes into replies, and whether a reply is the right one. No socket, no clock.
//!
//! ```text
//!   payload of request n of connection c:   | n | c | bytes of a pattern, from place n % 61 on |
//!                          frames            u32 u32, big-endian
//!                          lines             8 hex digits each
//! ```
//!
//! Always holds: two requests of a run that are on their way at once differ in their first bytes, if the payload has
//! room for these; the rest differs between neighbours. So a reply that is swapped, doubled, misdirected or damaged is
//! seen. Never: a look at a reply before its CRC is right.

use super::plan::{Expect, Talk as Asked};
use super::report::{Protocol, Trouble};
use super::size::Sizes;
use super::template::{self, Template};
use crate::base::limits::{CONTROL_EXTRA_BYTES, LINE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::base::rng::Rng;
use crate::wire::frame::{OVERHEAD_BYTES, PREFIX_BYTES, TRAILER_BYTES, frame_bytes, prefix};
use crate::wire::line::error_line;
use crate::wire::{
    Control, Crc, Decoded, Extension, FrameLimits, Header, Line, RawFrame, Status, decode, decode_line,
};

/// Places in the pattern at which a payload may begin; a prime, so that no depth hides a slip.
pub(super) const PLACES: u32 = 61;

/// Bytes of the extension block that holds a correlation.
const BLOCK_BYTES: u32 = 12;

/// The longest front of a payload that tells which request it belongs to.
const IDENTITY_BYTES_MAX: usize = 16;

/// Makes requests and reads replies. One for a thread.
#[derive(Clone, Debug)]
pub struct Talk {
    pub(super) asked: Asked,
    header: Header,
    crc: Crc,
    limits: FrameLimits,
    pattern: Vec<u8>,
    /// An extension block with a correlation.
    block: [u8; BLOCK_BYTES as usize],
    /// If all payloads have this size: what the sum of a frame changes by when the first bit of its payload does.
    flip: Option<(u32, u32)>,
    /// If all payloads have one small size.
    template: Option<Box<Template>>,
}

/// Which request of which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The connection's number in the run.
    pub connection: u32,
    /// The request's number on its connection; it wraps.
    pub number: u32,
}

impl Identity {
    /// Both in 64 bits: number, connection.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        (self.number as u64) << 32 | self.connection as u64
    }

    /// From [`to_bits`](Self::to_bits).
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub const fn from_bits(bits: u64) -> Identity {
        Identity { number: (bits >> 32) as u32, connection: bits as u32 }
    }
}

/// What stands at the front of what was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Not a whole message: it needs so many bytes from its first on.
    NeedMore(usize),
    /// A reply.
    Reply(Reply<'a>),
    /// The server asks whether we live, with these bytes.
    Ping(&'a [u8]),
    /// The server ends the connection.
    GoAway,
    /// Something that needs no answer.
    Nothing,
}

/// A reply, not matched yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// How it ended.
    pub status: Status,
    /// The correlation it carries.
    pub correlation: Option<u64>,
    /// Whether its route is that of the requests.
    pub is_ours: bool,
    /// The body.
    pub body: &'a [u8],
}

impl Talk {
    /// For all connections of a run.
    pub fn new(asked: &Asked, seed: u64) -> Talk {
        let bytes = asked.sizes.max() as usize + PLACES as usize;
        let mut rng = Rng::new(seed);
        let pattern = match asked.protocol {
            Protocol::Frames => (0..bytes).map(|_| rng.next_u64().to_le_bytes()[0]).collect(),
            Protocol::Lines => (0..bytes).map(|_| hex_digit(rng.next_u64())).collect(),
        };
        let ext = if asked.correlated { Header::EXT } else { 0 };
        let header = Header::from_bits(Header::route(asked.route).bits() | ext);
        // A server may reply with more than it was sent; what it may say about itself comes on top.
        let limits = FrameLimits::new(PAYLOAD_BYTES_MAX - CONTROL_EXTRA_BYTES);
        let mut block = Vec::new();
        Extension { correlation: Some(0), ..Extension::default() }.encode(&mut block);
        let block = *block.first_chunk().expect("a word, and the correlation's two");
        let crc = Crc::new();
        let mut talk =
            Talk { asked: asked.clone(), header, crc, limits, pattern, block, flip: None, template: None };
        if let Sizes::Fixed(size) = asked.sizes {
            talk.flip = Some((size, talk.change_of_flip(size)));
            talk.template = talk.template(size).map(Box::new);
        }
        talk
    }

    fn template(&self, size: u32) -> Option<Template> {
        let fits = (template::SIZE_MIN..=template::SIZE_MAX).contains(&size) && !self.is_lines();
        // Behind the block's first word.
        let correlation_at = self.asked.correlated.then_some(PREFIX_BYTES + 4);
        let encode = |id| {
            let mut frame = Vec::new();
            self.encode_frame(&mut frame, id, size);
            frame
        };
        fits.then(|| Template::new(size, correlation_at, &self.crc, encode))
    }

    /// The sum is linear: the same bit changes it by the same, whatever the rest of the frame is.
    fn change_of_flip(&self, size: u32) -> u32 {
        if size == 0 || self.is_lines() {
            return 0;
        }
        let mut frame = Vec::new();
        let before = self.encode_frame(&mut frame, Identity { connection: 0, number: 0 }, size);
        let end = frame.len() - TRAILER_BYTES;
        frame[end - size as usize] ^= 1;
        before ^ self.crc.of(&frame[..end])
    }

    /// The largest bytes of a request on the wire.
    pub fn request_bytes(&self, size: u32) -> usize {
        match self.asked.protocol {
            Protocol::Frames => size as usize + OVERHEAD_BYTES + self.block_bytes(),
            Protocol::Lines => size as usize + 1,
        }
    }

    const fn block_bytes(&self) -> usize {
        if self.asked.correlated { BLOCK_BYTES as usize } else { 0 }
    }

    /// Whether messages are lines.
    pub const fn is_lines(&self) -> bool {
        matches!(self.asked.protocol, Protocol::Lines)
    }

    /// Whether replies have to come in the order of their requests.
    pub const fn is_ordered(&self) -> bool {
        !self.asked.correlated
    }

    /// Appends the bytes of a request, and gives the sum at their end.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>, id: Identity, size: u32) -> u32 {
        if let Some(template) = &self.template {
            return template.encode(out, id);
        }
        match self.asked.protocol {
            Protocol::Frames => self.encode_frame(out, id, size),
            Protocol::Lines => {
                self.put_payload(out, id, size);
                out.push(b'\n');
                0
            }
        }
    }

    fn encode_frame(&self, out: &mut Vec<u8>, id: Identity, size: u32) -> u32 {
        let start = out.len();
        let payload_bytes = size as usize + self.block_bytes();
        out.reserve(frame_bytes(payload_bytes));
        let length = u32::try_from(payload_bytes).expect("sizes are bounded far below 4 GiB");
        out.extend_from_slice(&prefix(self.header, length));
        if self.asked.correlated {
            out.extend_from_slice(&self.block(id));
        }
        self.put_payload(out, id, size);
        let sum = self.crc.of(&out[start..]);
        out.extend_from_slice(&sum.to_be_bytes());
        sum
    }

    /// Whether `input` begins with the one right reply to a request, and the bytes of that. It is known to the last
    /// bit, sum included, so a look at the bytes says all that reading them would; what differs anywhere is left to
    /// [`hear`](Self::hear), which says why.
    #[inline]
    pub fn is_exactly(&self, input: &[u8], id: Identity, size: u32, crc: u32) -> Option<usize> {
        let delta = match self.asked.expect {
            Expect::Any => return None,
            Expect::Same => 0,
            Expect::Flip => self.flip.filter(|(of, _)| *of == size)?.1,
        };
        let bytes = self.request_bytes(size);
        let message = input.get(..bytes)?;
        let is_exact = match self.asked.protocol {
            Protocol::Lines => {
                let (end, body) = message.split_last()?;
                *end == b'\n' && self.is_right(body, id, size)
            }
            Protocol::Frames => {
                let (summed, sum) = message.split_last_chunk::<TRAILER_BYTES>()?;
                let (head, body) = summed.split_at_checked(bytes - TRAILER_BYTES - size as usize)?;
                *sum == (crc ^ delta).to_be_bytes()
                    && self.is_head(head, id, size)
                    && self.is_right(body, id, size)
            }
        };
        is_exact.then_some(bytes)
    }

    /// The extension block of a request, and of its reply if that is OK.
    #[inline]
    fn block(&self, id: Identity) -> [u8; BLOCK_BYTES as usize] {
        let mut block = self.block;
        // The correlation is all that stands behind the block's first word.
        block[4..].copy_from_slice(&correlation(id).to_be_bytes());
        block
    }

    #[inline]
    fn is_head(&self, head: &[u8], id: Identity, size: u32) -> bool {
        let Some((first, block)) = head.split_first_chunk() else { return false };
        if !self.asked.correlated {
            return *first == prefix(self.header, size);
        }
        *first == prefix(self.header, size.saturating_add(BLOCK_BYTES)) && *block == self.block(id)
    }

    #[inline]
    fn put_payload(&self, out: &mut Vec<u8>, id: Identity, size: u32) {
        let (identity, identity_bytes) = self.identity(id);
        let size = size as usize;
        let front = size.min(identity_bytes);
        out.extend_from_slice(&identity[..front]);
        let place = (id.number % PLACES) as usize;
        out.extend_from_slice(&self.pattern[place..place + size - front]);
    }

    /// The front of a payload.
    #[inline]
    fn identity(&self, id: Identity) -> ([u8; IDENTITY_BYTES_MAX], usize) {
        let mut front = [0; IDENTITY_BYTES_MAX];
        match self.asked.protocol {
            Protocol::Frames => {
                front[..8].copy_from_slice(&id.to_bits().to_be_bytes());
                (front, 8)
            }
            Protocol::Lines => {
                let both = id.to_bits();
                for (at, digit) in front.iter_mut().enumerate() {
                    *digit = hex_digit(both >> (60 - 4 * at));
                }
                (front, IDENTITY_BYTES_MAX)
            }
        }
    }

    /// Which request a body says that it answers, if it has room for that and its bytes are all right.
    pub fn claimed(&self, body: &[u8]) -> Option<Identity> {
        let mut front = [0; IDENTITY_BYTES_MAX];
        let bytes = match self.asked.protocol {
            Protocol::Frames => 8,
            Protocol::Lines => 16,
        };
        front[..bytes].copy_from_slice(body.get(..bytes)?);
        match self.asked.expect {
            Expect::Any => return None,
            Expect::Same => {}
            Expect::Flip => front[0] ^= 1,
        }
        let both = match self.asked.protocol {
            Protocol::Frames => u64::from_be_bytes(*front.first_chunk()?),
            Protocol::Lines => u64::from_str_radix(std::str::from_utf8(&front).ok()?, 16).ok()?,
        };
        let id = Identity::from_bits(both);
        self.is_right(body, id, u32::try_from(body.len()).ok()?).then_some(id)
    }

    /// Whether a body is what the request's reply must have.
    #[inline]
    pub fn is_right(&self, body: &[u8], id: Identity, size: u32) -> bool {
        // The usual case without a detour.
        if let (Protocol::Frames, Expect::Same | Expect::Flip, Some((front, rest))) =
            (self.asked.protocol, self.asked.expect, body.split_first_chunk())
        {
            let flipped = if self.asked.expect == Expect::Flip { 1 << 56 } else { 0 };
            let place = (id.number % PLACES) as usize;
            return body.len() == size as usize
                && u64::from_be_bytes(*front) == id.to_bits() ^ flipped
                && self.pattern.get(place..place + rest.len()) == Some(rest);
        }
        let (mut identity, identity_bytes) = self.identity(id);
        match self.asked.expect {
            Expect::Any => return true,
            Expect::Same => {}
            Expect::Flip => identity[0] ^= 1,
        }
        if body.len() != size as usize {
            return false;
        }
        let front = body.len().min(identity_bytes);
        let place = (id.number % PLACES) as usize;
        // A body may be longer than any request was.
        let rest = &body[front..];
        body[..front] == identity[..front] && self.pattern.get(place..place + rest.len()) == Some(rest)
    }

    /// Looks at the front of what was read: what it is, and the bytes that it took. `scanned` bytes of a line are
    /// known to have no end.
    ///
    /// # Errors
    ///
    /// [`Trouble::Crc`] or [`Trouble::Decode`]: nothing behind it can be read either.
    #[inline]
    pub fn hear<'a>(&self, input: &'a [u8], scanned: usize) -> Result<(Heard<'a>, usize), Trouble> {
        match self.asked.protocol {
            Protocol::Frames => match decode(input, self.limits, &self.crc) {
                Ok(Decoded::Frame(frame)) => Ok((self.heard(frame)?, frame.frame_bytes())),
                Ok(Decoded::NeedMore { frame_bytes }) => Ok((Heard::NeedMore(frame_bytes), 0)),
                Err(crate::wire::DecodeError::BadCrc { .. }) => Err(Trouble::Crc),
                Err(crate::wire::DecodeError::TooLarge { .. }) => Err(Trouble::Decode),
            },
            Protocol::Lines => match decode_line(input, scanned, LINE_BYTES_MAX) {
                Ok(Line::Whole { payload, used }) => {
                    let failed = error_line(payload);
                    let (status, body) =
                        failed.map_or((Status::OK, payload), |(status, text)| (status, text));
                    Ok((Heard::Reply(Reply { status, correlation: None, is_ours: true, body }), used))
                }
                Ok(Line::NeedMore) => Ok((Heard::NeedMore(input.len() + 1), 0)),
                Err(_too_long) => Err(Trouble::Decode),
            },
        }
    }

    #[inline]
    fn heard<'a>(&self, frame: RawFrame<'a>) -> Result<Heard<'a>, Trouble> {
        if frame.header.is_control() {
            return heard_control(frame);
        }
        let (mut status, mut correlation, mut body) = (Status::OK, None, frame.payload);
        if frame.header.is_ext() {
            let (extension, block_bytes) = Extension::parse(frame.payload).map_err(|_| Trouble::Decode)?;
            (status, correlation) = (extension.status, extension.correlation);
            body = &frame.payload[block_bytes..];
        }
        let is_ours = frame.header == self.header;
        Ok(Heard::Reply(Reply { status, correlation, is_ours, body }))
    }

    /// Appends the answer to a PING.
    pub fn encode_pong(&self, out: &mut Vec<u8>, opaque: &[u8]) {
        Control::Pong(opaque).encode(out, &self.crc);
    }
}

/// The digit of the lowest four bits.
const fn hex_digit(bits: u64) -> u8 {
    let value = bits.to_le_bytes()[0] & 15;
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Cold: a run that goes well has none.
#[cold]
fn heard_control(frame: RawFrame<'_>) -> Result<Heard<'_>, Trouble> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not for us needs no answer, new kinds too")]
    match Control::parse(frame.header, frame.payload).map_err(|_| Trouble::Decode)? {
        Control::Error { status, .. } => {
            Ok(Heard::Reply(Reply { status, correlation: None, is_ours: true, body: &[] }))
        }
        Control::GoAway { .. } => Ok(Heard::GoAway),
        Control::Ping(opaque) => Ok(Heard::Ping(opaque)),
        _ => Ok(Heard::Nothing),
    }
}

/// The correlation of a request.
#[inline]
pub const fn correlation(id: Identity) -> u64 {
    id.to_bits().rotate_left(32)
}

/// The request with this correlation.
#[inline]
pub const fn identity_of(correlation: u64) -> Identity {
    Identity::from_bits(correlation.rotate_left(32))
}
