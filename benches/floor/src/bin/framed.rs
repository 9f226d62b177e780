//! `framed ADDR`: the best bare framed loop that we can write by hand: the bar for a server that does more.
//!
//! Every frame's CRC is verified and every reply is made anew: payload copied, first byte of the body XOR 1 on the
//! routes of `flip`, new CRC. It knows one extension block, that with a correlation id alone, and returns it; on any
//! other it closes. No limits but the one on length, no timers, no counters, no fairness between connections, no word
//! to a peer before a close. A reply is never the request's own bytes altered in place, nor is its CRC derived from
//! the request's: a handler that makes its own payload could do neither.
//!
//! ```text
//!  socket --read--> scratch --verify, copy, flip, seal--> replies --one write--> socket
//!                      `- a partial frame at the end is kept with its connection; one that is large is read
//!                         straight into a buffer of its own from then on
//! ```
//!
//! Invariant: `Conn::kept` is there only while the connection has a partial frame or unsent replies; while it has
//! unsent replies, nothing more is read from it.

use std::io::{IoSliceMut, Read};
use std::process::ExitCode;

use crc32fast::Hasher;
use floor::frame::{
    self, BLOCK_BYTES, BLOCK_START, CRC_BYTES, EXT, OVERHEAD_BYTES, PAYLOAD_BYTES_MAX, PREFIX_BYTES,
    ROUTE_FLIP,
};
use floor::serve::{self, Gone, Serve};
use mio::event::Event;

/// Two of these, input and replies, fit a 1 MiB L2 beside what the kernel needs.
const SCRATCH_BYTES: usize = 256 << 10;
/// A partial frame up to this is copied back in front of the next read; a larger one is read into its own buffer.
const SMALL_FRAME_BYTES: usize = SCRATCH_BYTES / 2;
/// Large buffers kept for the next large frame, so that neither `malloc` nor zeroing is paid again.
const SPARE_BUFFERS: usize = 64;
/// A large reply is copied and summed piece by piece, each while it is in L1.
const PIECE_BYTES: usize = 16 << 10;
/// Replies are made this many bytes ahead of their CRCs. A CRC taken at once reads 16 bytes across the byte that was
/// just flipped and has to wait for the store: 32 ns a 64 B message against 26 ns. Taken at the end of a large batch,
/// the replies have left L1 again.
const SEAL_BYTES: usize = 4 << 10;

type Conn = serve::Conn<Kept>;

fn main() -> ExitCode {
    serve::main("framed", Loop::new)
}

/// What a connection couldn't finish in one turn.
#[derive(Default)]
struct Kept {
    /// The first bytes of a frame; `partial.len()` may be more than `filled` if the frame is large.
    partial: Vec<u8>,
    filled: usize,
    /// Bytes of the whole frame if it is large, else 0.
    large_bytes: usize,
    unsent: Vec<u8>,
    sent: usize,
}

/// What all connections of a loop share.
struct Loop {
    scratch: Box<[u8]>,
    replies: Box<[u8]>,
    spare: Vec<Vec<u8>>,
    codec: Codec,
}

/// One read.
struct Arrived {
    /// Valid bytes at the start of the scratch buffer.
    in_scratch: usize,
    /// The large frame that the connection was collecting is whole now.
    large_is_whole: bool,
    /// Less came than there was room for.
    short: bool,
}

impl Serve for Loop {
    type Kept = Kept;

    fn on_event(&mut self, conn: &mut Conn, event: &Event) -> Result<(), Gone> {
        if is_blocked(conn) {
            self.flush(conn)?;
        } else if !event.is_readable() {
            return Ok(());
        }
        while !is_blocked(conn) {
            let Some(arrived) = self.read(conn)? else { break };
            if arrived.large_is_whole {
                self.answer_large(conn)?;
            }
            if arrived.in_scratch > 0 {
                self.answer_batch(conn, arrived.in_scratch)?;
            }
            // A short read has emptied the socket, see epoll(7), unless the end of the stream lies behind it.
            if arrived.short && !event.is_read_closed() {
                break;
            }
        }
        Ok(())
    }
}

impl Loop {
    fn new() -> Loop {
        Loop {
            scratch: vec![0; SCRATCH_BYTES].into(),
            replies: vec![0; SCRATCH_BYTES].into(),
            spare: Vec::new(),
            codec: Codec { fresh: Hasher::new() },
        }
    }

    /// One read, behind what the connection has of a partial frame. `None`: the socket is empty.
    #[inline]
    fn read(&mut self, conn: &mut Conn) -> Result<Option<Arrived>, Gone> {
        match &mut conn.kept {
            None => {
                let count = serve::read(|| conn.stream.read(&mut self.scratch))?;
                let short = |count| count < self.scratch.len();
                Ok(count.map(|count| Arrived {
                    in_scratch: count,
                    large_is_whole: false,
                    short: short(count),
                }))
            }
            Some(kept) if kept.large_bytes == 0 => {
                let had = kept.filled;
                self.scratch[..had].copy_from_slice(&kept.partial[..had]);
                let room = &mut self.scratch[had..];
                let Some(count) = serve::read(|| conn.stream.read(room))? else { return Ok(None) };
                let short = count < room.len();
                conn.kept = None;
                Ok(Some(Arrived { in_scratch: had + count, large_is_whole: false, short }))
            }
            Some(kept) => {
                let rest = &mut kept.partial[kept.filled..kept.large_bytes];
                let missing = rest.len();
                let room = missing + self.scratch.len();
                let mut slices = [IoSliceMut::new(rest), IoSliceMut::new(&mut self.scratch)];
                let Some(count) = serve::read(|| conn.stream.read_vectored(&mut slices))? else {
                    return Ok(None);
                };
                kept.filled += count.min(missing);
                Ok(Some(Arrived {
                    in_scratch: count.saturating_sub(missing),
                    large_is_whole: count >= missing,
                    short: count < room,
                }))
            }
        }
    }

    /// Answers the whole frames in the scratch buffer with one write, and keeps the partial one behind them.
    #[inline]
    fn answer_batch(&mut self, conn: &mut Conn, in_scratch: usize) -> Result<(), Gone> {
        let input = &self.scratch[..in_scratch];
        let batch = self.codec.answer(input, &mut self.replies)?;
        let tail = &input[batch.used..];
        if !tail.is_empty() {
            let kept = conn.kept.get_or_insert_default();
            kept.filled = tail.len();
            if batch.next_frame_bytes > SMALL_FRAME_BYTES {
                kept.large_bytes = batch.next_frame_bytes;
                kept.partial = self.spare.pop().unwrap_or_default();
                if kept.partial.len() < kept.large_bytes {
                    kept.partial.resize(kept.large_bytes, 0);
                }
                kept.partial[..tail.len()].copy_from_slice(tail);
            } else {
                kept.partial = tail.to_vec();
            }
        }
        let replies = &self.replies[..batch.made];
        if is_blocked(conn) {
            conn.kept.get_or_insert_default().unsent.extend_from_slice(replies);
            return Ok(());
        }
        let sent = serve::write(&mut conn.stream, replies)?;
        if sent < replies.len() {
            let kept = conn.kept.get_or_insert_default();
            kept.sent = 0;
            kept.unsent = replies[sent..].to_vec();
        }
        Ok(())
    }

    /// Answers the large frame that the connection has collected; it becomes the unsent rest itself if need be.
    fn answer_large(&mut self, conn: &mut Conn) -> Result<(), Gone> {
        let Some(kept) = &mut conn.kept else { return Ok(()) };
        let request = std::mem::take(&mut kept.partial);
        let mut reply = self.spare.pop().unwrap_or_default();
        self.codec.answer_large(&request[..kept.large_bytes], &mut reply)?;
        (kept.filled, kept.large_bytes) = (0, 0);
        self.recycle(request);
        let sent = serve::write(&mut conn.stream, &reply)?;
        if sent < reply.len() {
            kept.unsent = reply;
            kept.sent = sent;
        } else {
            self.recycle(reply);
            conn.kept = None;
        }
        Ok(())
    }

    fn flush(&mut self, conn: &mut Conn) -> Result<(), Gone> {
        let Some(kept) = &mut conn.kept else { return Ok(()) };
        kept.sent += serve::write(&mut conn.stream, &kept.unsent[kept.sent..])?;
        if kept.sent < kept.unsent.len() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut kept.unsent);
        self.recycle(unsent);
        if kept.filled == 0 {
            conn.kept = None;
        }
        Ok(())
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > SMALL_FRAME_BYTES && self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }
}

/// Whether the connection has unsent replies.
#[inline]
fn is_blocked(conn: &Conn) -> bool {
    conn.kept.as_ref().is_some_and(|kept| !kept.unsent.is_empty())
}

/// Frames in, replies out. Pure.
struct Codec {
    /// Cloned for each CRC: making a new one asks the CPU for its features again.
    fresh: Hasher,
}

#[derive(Debug, PartialEq)]
struct Batch {
    /// Bytes of whole frames.
    used: usize,
    /// Bytes of replies.
    made: usize,
    /// Bytes of the frame that isn't whole yet, as far as its length is known, else 0.
    next_frame_bytes: usize,
}

impl Codec {
    /// Answers every whole frame of `input`. A reply is as long as its request, so `replies` needs no more room.
    #[inline]
    fn answer(&self, input: &[u8], replies: &mut [u8]) -> Result<Batch, Gone> {
        let mut batch = Batch { used: 0, made: 0, next_frame_bytes: 0 };
        loop {
            let sealed = batch.made;
            let more = self.make(input, replies, &mut batch)?;
            self.seal(&mut replies[sealed..batch.made]);
            if !more {
                return Ok(batch);
            }
        }
    }

    /// Makes replies without their CRCs, some `SEAL_BYTES` of them. `false`: no whole frame is left.
    #[inline]
    fn make(&self, input: &[u8], replies: &mut [u8], batch: &mut Batch) -> Result<bool, Gone> {
        let enough = batch.made + SEAL_BYTES;
        while batch.made < enough {
            let rest = &input[batch.used..];
            let Some(prefix) = rest.first_chunk() else { return Ok(false) };
            let frame_bytes = frame_bytes(*prefix)?;
            if rest.len() < frame_bytes {
                batch.next_frame_bytes = frame_bytes;
                return Ok(false);
            }
            let (body, header) = self.verified(&rest[..frame_bytes])?;
            let reply = &mut replies[batch.made..][..body.len()];
            reply.copy_from_slice(body);
            flip(header, reply)?;
            batch.used += frame_bytes;
            batch.made += frame_bytes;
        }
        Ok(true)
    }

    /// Puts the CRC into each of `replies`.
    #[inline]
    fn seal(&self, mut replies: &mut [u8]) {
        while let Some(prefix) = replies.first_chunk() {
            let Ok(bytes) = frame_bytes(*prefix) else { return };
            let Some((reply, rest)) = replies.split_at_mut_checked(bytes) else { return };
            let (body, crc) = reply.split_at_mut(bytes - CRC_BYTES);
            crc.copy_from_slice(&self.crc(body));
            replies = rest;
        }
    }

    /// The reply to one large frame, in place of what `reply` held.
    fn answer_large(&self, frame: &[u8], reply: &mut Vec<u8>) -> Result<(), Gone> {
        let (body, header) = self.verified(frame)?;
        let mut crc = self.fresh.clone();
        reply.clear();
        reply.reserve_exact(frame.len());
        for piece in body.chunks(PIECE_BYTES) {
            let from = reply.len();
            reply.extend_from_slice(piece);
            if from == 0 {
                flip(header, reply)?;
            }
            crc.update(&reply[from..]);
        }
        reply.extend_from_slice(&crc.finalize().to_be_bytes());
        Ok(())
    }

    /// Everything before the CRC, and the header, if the CRC is right.
    #[inline]
    fn verified<'a>(&self, frame: &'a [u8]) -> Result<(&'a [u8], u16), Gone> {
        let Some((body, crc)) = frame.split_last_chunk::<CRC_BYTES>() else { return Err(Gone) };
        let Some(header) = body.first_chunk() else { return Err(Gone) };
        if self.crc(body) == *crc { Ok((body, u16::from_be_bytes(*header))) } else { Err(Gone) }
    }

    #[inline]
    fn crc(&self, bytes: &[u8]) -> [u8; CRC_BYTES] {
        let mut crc = self.fresh.clone();
        crc.update(bytes);
        crc.finalize().to_be_bytes()
    }
}

/// Makes a reply of a copy of its request; both without CRC. An unknown extension block is refused.
#[inline]
fn flip(header: u16, reply: &mut [u8]) -> Result<(), Gone> {
    let body = match header {
        ROUTE_FLIP => reply.get_mut(PREFIX_BYTES),
        _ if header & EXT == 0 => reply.get_mut(PREFIX_BYTES).filter(|_| frame::flips(header)),
        _ => {
            let Some(block) = reply[PREFIX_BYTES..].first_chunk::<BLOCK_BYTES>() else { return Err(Gone) };
            if !block.starts_with(&BLOCK_START) {
                return Err(Gone);
            }
            reply.get_mut(PREFIX_BYTES + BLOCK_BYTES).filter(|_| frame::flips(header & !EXT))
        }
    };
    if let Some(first) = body {
        *first ^= 1;
    }
    Ok(())
}

/// Bytes of the whole frame.
#[inline]
fn frame_bytes([_, _, length @ ..]: [u8; PREFIX_BYTES]) -> Result<usize, Gone> {
    let payload_bytes = u32::from_be_bytes(length) as usize;
    if payload_bytes > PAYLOAD_BYTES_MAX { Err(Gone) } else { Ok(payload_bytes + OVERHEAD_BYTES) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use floor::frame::{block, encode};

    fn codec() -> Codec {
        Codec { fresh: Hasher::new() }
    }

    /// However the stream is cut, whole frames are answered and the rest is left.
    #[test]
    fn every_cut_leaves_the_partial_frame() {
        let (first, second) = (encode(ROUTE_FLIP, b"ab"), encode(1, b"cd"));
        let (want_first, want_second) = (encode(ROUTE_FLIP, &[b'a' ^ 1, b'b']), encode(1, b"cd"));
        let input = [first.as_slice(), &second].concat();
        let want = [want_first.as_slice(), &want_second].concat();
        for cut in 0..=input.len() {
            let whole = cut / first.len() * first.len();
            let known = cut - whole >= PREFIX_BYTES;
            let mut replies = vec![0; input.len()];
            let batch = codec().answer(&input[..cut], &mut replies).expect("the frames are sound");
            let next = if known { second.len() } else { 0 };
            assert_eq!(batch, Batch { used: whole, made: whole, next_frame_bytes: next }, "cut at {cut}");
            assert_eq!(replies[..whole], want[..whole], "cut at {cut}");
        }
    }

    /// Sealing goes on where it stopped, whatever the number of frames it lags behind.
    #[test]
    fn every_reply_of_a_long_batch_is_sealed() {
        for (payload_bytes, frames) in [(1, 2_000), (64, 200), (4_080, 9), (9_000, 5)] {
            let request = encode(ROUTE_FLIP, &vec![1; payload_bytes]).repeat(frames);
            let mut payload = vec![1; payload_bytes];
            payload[0] = 0;
            let mut replies = vec![0xEE; request.len()];
            let batch = codec().answer(&request, &mut replies).expect("the frames are sound");
            assert_eq!(batch.made, request.len());
            assert!(replies == encode(ROUTE_FLIP, &payload).repeat(frames), "{payload_bytes} B");
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        let mut flipped = encode(1, b"payload");
        flipped[8] ^= 4;
        let too_long = [0, 1, 0xFF, 0, 0, 0];
        for input in [flipped.as_slice(), &too_long] {
            assert_eq!(codec().answer(input, &mut [0; 64]), Err(Gone));
        }
    }

    #[test]
    fn a_large_reply_is_that_of_the_plain_codec() {
        let payload: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
        for route in [1, ROUTE_FLIP] {
            let request = encode(route, &payload);
            let (mut small, mut large) = (vec![0; request.len()], vec![7; 3]);
            codec().answer(&request, &mut small).expect("the frame is sound");
            codec().answer_large(&request, &mut large).expect("the frame is sound");
            assert_eq!(small, large);
        }
    }

    /// However many EXT frames stand between plain ones, each gets its own block back and its body flipped.
    #[test]
    fn a_block_is_returned_as_it_came() {
        let (mut input, mut want) = (Vec::new(), Vec::new());
        for (header, payload, reply) in [
            (ROUTE_FLIP, b"plain".to_vec(), b"qlain".to_vec()),
            (EXT | 16, [&block(7)[..], b"body"].concat(), [&block(7)[..], b"cody"].concat()),
            (EXT | 23, [&block(u64::MAX)[..], b"x"].concat(), [&block(u64::MAX)[..], b"y"].concat()),
            (EXT | ROUTE_FLIP, block(0).to_vec(), block(0).to_vec()),
            (EXT | 1, [&block(9)[..], b"echo"].concat(), [&block(9)[..], b"echo"].concat()),
            (16, b"plain".to_vec(), b"qlain".to_vec()),
        ] {
            input.extend(encode(header, &payload));
            want.extend(encode(header, &reply));
            let mut large = Vec::new();
            let answered = codec().answer_large(&encode(header, &payload), &mut large);
            assert_eq!((answered, large), (Ok(()), encode(header, &reply)), "{header:#x}");
        }
        let mut replies = vec![0; input.len()];
        codec().answer(&input, &mut replies).expect("the frames are sound");
        assert_eq!(replies, want);
    }

    #[test]
    fn a_block_that_is_cut_or_other_ends_the_connection() {
        let deadline = [4, 2, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0];
        let status = [3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9];
        for payload in [&[][..], &block(9)[..11], &deadline, &status] {
            let request = encode(EXT | 16, payload);
            assert_eq!(codec().answer(&request, &mut vec![0; request.len()]), Err(Gone), "{payload:?}");
        }
    }

    #[test]
    fn an_empty_payload_has_nothing_to_flip() {
        let request = encode(ROUTE_FLIP, b"");
        let mut replies = vec![0; request.len()];
        codec().answer(&request, &mut replies).expect("the frame is sound");
        assert_eq!(replies, request);
    }
}
