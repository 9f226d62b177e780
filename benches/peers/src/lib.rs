//! The frame and the service that all peers share: `header u16 | length u32 | payload | crc u32`, big-endian,
//! CRC-32/ISO-HDLC over all that precedes it. Route 1 returns the payload, route 3 returns it with its first byte
//! XOR 1.
//!
//! Always holds: every CRC is verified, and every reply gets header, length and CRC of its own. Never: sockets and
//! buffers; those are what the peers differ in.

use std::io::{Error, ErrorKind, Result};

/// Header and length.
pub const PREFIX_BYTES: usize = 6;
/// The checksum behind the payload.
pub const CRC_BYTES: usize = 4;
/// A longer payload ends the connection.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

const ROUTE_ECHO: u16 = 1;
const ROUTE_FLIP: u16 = 3;

/// Bytes of the whole frame that `input` begins with, or `None` while its length is not there yet.
///
/// # Errors
///
/// The payload is longer than [`PAYLOAD_BYTES_MAX`].
#[inline]
pub fn frame_bytes(input: &[u8]) -> Result<Option<usize>> {
    let Some([_, _, length @ ..]) = input.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    match u32::from_be_bytes(*length) as usize {
        payload_bytes if payload_bytes > PAYLOAD_BYTES_MAX => {
            Err(refusal(format!("a payload of {payload_bytes} bytes, the limit is {PAYLOAD_BYTES_MAX}")))
        }
        payload_bytes => Ok(Some(PREFIX_BYTES + payload_bytes + CRC_BYTES)),
    }
}

/// Route and payload of one whole frame.
///
/// # Errors
///
/// The CRC is wrong, or the frame is too short for one.
#[inline]
pub fn verified(frame: &[u8]) -> Result<(u16, &[u8])> {
    let Some((body, crc)) = frame.split_last_chunk::<CRC_BYTES>() else {
        return Err(refusal("a frame without CRC".to_owned()));
    };
    let Some(([high, low, ..], payload)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(refusal("a frame without header".to_owned()));
    };
    if crc32fast::hash(body).to_be_bytes() != *crc {
        return Err(refusal("a frame with a wrong CRC".to_owned()));
    }
    Ok((u16::from_be_bytes([*high, *low]), payload))
}

/// What the service does with the payload of a request.
///
/// # Errors
///
/// There is no such route.
#[inline]
pub fn serve(route: u16, payload: &mut [u8]) -> Result<()> {
    match (route, payload) {
        (ROUTE_ECHO, _) | (ROUTE_FLIP, []) => Ok(()),
        (ROUTE_FLIP, [first, ..]) => {
            *first ^= 1;
            Ok(())
        }
        (unknown, _) => Err(refusal(format!("no route {unknown}"))),
    }
}

/// The reply to one whole frame, behind what `replies` holds.
///
/// # Errors
///
/// Those of [`verified`] and [`serve`].
#[inline]
pub fn answer(frame: &[u8], replies: &mut impl Replies) -> Result<()> {
    let (route, payload) = verified(frame)?;
    let from = replies.bytes().len();
    replies.push(&frame[..PREFIX_BYTES]);
    replies.push(payload);
    serve(route, &mut replies.bytes()[from + PREFIX_BYTES..])?;
    let crc = crc32fast::hash(&replies.bytes()[from..]);
    replies.push(&crc.to_be_bytes());
    Ok(())
}

/// A buffer that replies are appended to.
pub trait Replies {
    /// Appends.
    fn push(&mut self, bytes: &[u8]);
    /// All that is there.
    fn bytes(&mut self) -> &mut [u8];
}

impl Replies for Vec<u8> {
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn bytes(&mut self) -> &mut [u8] {
        self
    }
}

impl Replies for bytes::BytesMut {
    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn bytes(&mut self) -> &mut [u8] {
        self
    }
}

fn refusal(why: String) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

/// The address to listen on: the only word of the command line.
///
/// # Errors
///
/// There is none, or more than one.
pub fn address() -> Result<String> {
    let mut words = std::env::args().skip(1);
    match (words.next(), words.next()) {
        (Some(address), None) => Ok(address),
        (None | Some(_), _) => Err(refusal("give one ADDR, such as 127.0.0.1:7000".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: u16, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("payloads are short here");
        let mut frame = [&header.to_be_bytes()[..], &length.to_be_bytes(), payload].concat();
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame
    }

    #[test]
    fn the_service_echoes_or_flips_the_first_byte() {
        for (route, request, want) in
            [(ROUTE_ECHO, &b"ab"[..], &b"ab"[..]), (ROUTE_FLIP, b"ab", b"\x60b"), (ROUTE_FLIP, b"", b"")]
        {
            let mut replies = vec![7];
            answer(&frame(route, request), &mut replies).expect("a sound request");
            assert_eq!(replies[1..], frame(route, want), "route {route}");
        }
        assert!(answer(&frame(2, b""), &mut Vec::new()).is_err());
    }

    #[test]
    fn every_single_wrong_bit_is_refused() {
        let sound = frame(ROUTE_FLIP, b"ab");
        for bit in 0..sound.len() * 8 {
            let mut broken = sound.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(verified(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_length_counts_only_once_it_is_whole_and_within_the_limit() {
        assert_eq!(frame_bytes(&[0, 3, 0, 0, 0]).expect("not yet"), None);
        assert_eq!(frame_bytes(&[0, 3, 0, 0, 0, 2]).expect("two bytes"), Some(12));
        assert_eq!(frame_bytes(&[0, 3, 0, 0x40, 0, 0]).expect("the limit"), Some((4 << 20) + 10));
        assert!(frame_bytes(&[0, 3, 0, 0x40, 0, 1]).is_err());
    }
}
