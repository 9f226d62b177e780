//! Requests of one size, made ready before the run: what differs between two of them is who asks, and the sum.
//!
//! ```text
//!   ready, for each place of the pattern:  | head | who: 0, 0 | pattern | sum |
//!   of one request:                                  who asks           sum ^ change of each of those 8 bytes
//! ```
//!
//! Always holds: what comes out is what encoding gives (a CRC is linear: a change of some bits changes the sum by the
//! same, whatever the others are). Never: frames so large that copying them costs more than summing them up.

use super::talk::{Identity, PLACES};
use crate::wire::Crc;
use crate::wire::frame::TRAILER_BYTES;

/// The largest payload for which requests are made ready: all together stay in a processor's second cache.
pub const SIZE_MAX: u32 = 1024;

/// The smallest: there is room for who asks.
pub const SIZE_MIN: u32 = 8;

/// See the module.
#[derive(Clone, Debug)]
pub struct Template {
    /// One frame behind the other, for each place.
    frames: Vec<u8>,
    frame_bytes: usize,
    /// The sums of these.
    sums: Vec<u32>,
    /// Where who asks stands, once or, with a correlation, twice.
    at: usize,
    correlation_at: Option<usize>,
    /// By which of the 8 bytes and its value.
    changes: Box<[[u32; 256]; 8]>,
}

impl Template {
    /// From frames that `encode` makes for any request. Their last `size` bytes in front of the sum are the payload,
    /// which begins with who asks; with `correlation_at` the same stands there, its halves exchanged.
    pub fn new(
        size: u32,
        correlation_at: Option<usize>,
        crc: &Crc,
        encode: impl Fn(Identity) -> Vec<u8>,
    ) -> Template {
        let frames: Vec<Vec<u8>> =
            (0..PLACES).map(|place| encode(Identity { number: place, connection: 0 })).collect();
        let frame_bytes = frames[0].len();
        let at = frame_bytes - TRAILER_BYTES - size as usize;
        let mut template = Template {
            frames: Vec::new(),
            frame_bytes,
            sums: Vec::new(),
            at,
            correlation_at,
            changes: Box::new([[0; 256]; 8]),
        };
        let sum = |frame: &[u8]| crc.of(&frame[..frame_bytes - TRAILER_BYTES]);
        for mut frame in frames {
            template.name(&mut frame, Identity { number: 0, connection: 0 });
            template.sums.push(sum(&frame));
            template.frames.extend_from_slice(&frame);
        }
        let mut changes = Box::new([[0; 256]; 8]);
        for (byte, of_byte) in (0..8_u32).zip(changes.iter_mut()) {
            for (value, change) in (0..256_u64).zip(of_byte.iter_mut()) {
                let mut frame = template.frames[..frame_bytes].to_vec();
                template.name(&mut frame, Identity::from_bits(value << (56 - 8 * byte)));
                *change = sum(&frame) ^ template.sums[0];
            }
        }
        template.changes = changes;
        template
    }

    /// Writes who asks into a frame.
    #[inline]
    fn name(&self, frame: &mut [u8], id: Identity) {
        frame[self.at..self.at + 8].copy_from_slice(&id.to_bits().to_be_bytes());
        if let Some(at) = self.correlation_at {
            frame[at..at + 8].copy_from_slice(&super::talk::correlation(id).to_be_bytes());
        }
    }

    /// Appends a request, and gives its sum.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>, id: Identity) -> u32 {
        let place = (id.number % PLACES) as usize;
        let begin = out.len();
        out.extend_from_slice(&self.frames[place * self.frame_bytes..][..self.frame_bytes]);
        let frame = &mut out[begin..];
        self.name(frame, id);
        let bytes = id.to_bits().to_be_bytes();
        let changes = self.changes.iter().zip(bytes).map(|(of_byte, value)| of_byte[usize::from(value)]);
        let sum = changes.fold(self.sums[place], |sum, change| sum ^ change);
        if let Some(trailer) = frame.last_chunk_mut::<TRAILER_BYTES>() {
            *trailer = sum.to_be_bytes();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::{Expect, Talk as Asked};
    use crate::load::report::Protocol;
    use crate::load::size::Sizes;
    use crate::load::talk::Talk;
    use proptest::prelude::*;

    proptest! {
        /// A request made from the template is the encoded one, whoever asks.
        #[test]
        fn ready_made_requests_are_those_that_encoding_gives(
            number in any::<u32>(),
            connection in any::<u32>(),
            size in SIZE_MIN..200,
            correlated in any::<bool>(),
        ) {
            let asked = |sizes| Asked { protocol: Protocol::Frames, route: 9, sizes, correlated, expect: Expect::Same };
            let (fixed, any) = (Sizes::Fixed(size), Sizes::Uniform { least: size, most: size });
            let (ready, encoding) = (Talk::new(&asked(fixed), 3), Talk::new(&asked(any), 3));
            let id = Identity { number, connection };
            let (mut made, mut encoded) = (vec![1], vec![1]);
            prop_assert_eq!(ready.encode(&mut made, id, size), encoding.encode(&mut encoded, id, size));
            prop_assert_eq!(made, encoded);
        }
    }
}
