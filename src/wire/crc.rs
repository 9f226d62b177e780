//! CRC-32/ISO-HDLC, the sum at the end of every frame: that of zlib, gzip and Ethernet.
//!
//! Always holds: the sum of a stream does not depend on how it was cut. Never: secrets. A CRC finds line noise and
//! lost framing; whoever can write to the connection can also write a right sum.

/// Makes sums. One for a thread is enough, and it holds nothing of what was summed.
///
/// It keeps a fresh hasher and clones it, because a new one asks each time which instructions the processor has.
#[derive(Clone, Debug, Default)]
pub struct Crc(crc32fast::Hasher);

impl Crc {
    /// A maker of sums for this processor.
    pub fn new() -> Crc {
        Crc(crc32fast::Hasher::new())
    }

    /// The sum of `bytes`. That of `123456789` is `0xCBF43926`; that of nothing is 0.
    #[inline]
    pub fn of(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(bytes);
        hasher.finalize()
    }

    /// A sum over bytes that don't lie together.
    #[inline]
    pub fn stream(&self) -> CrcStream {
        CrcStream(self.0.clone())
    }
}

/// A sum in the making.
#[derive(Clone, Debug)]
pub struct CrcStream(crc32fast::Hasher);

impl CrcStream {
    /// Takes the next bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all bytes taken.
    #[inline]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The bit-at-a-time definition: polynomial 0x04C11DB7 reflected, initial value and final xor all ones.
    fn naive(bytes: &[u8]) -> u32 {
        let mut sum = u32::MAX;
        for byte in bytes {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
            }
        }
        !sum
    }

    #[test]
    fn sums_are_those_of_the_catalogue() {
        #[rustfmt::skip]
        let table: &[(&str, &[u8], u32)] = &[
            ("nothing",                 b"",          0),
            ("the check value",         b"123456789", 0xCBF4_3926),
            ("an empty frame's prefix", &[0; 6],      0xB1C2_A1A3),
        ];
        for (name, input, want) in table {
            assert_eq!(Crc::new().of(input), *want, "case: {name}");
        }
    }

    proptest! {
        /// The library's sum is the definition's, and cutting does not change it.
        #[test]
        fn sums_equal_the_definition_however_cut(bytes in vec(any::<u8>(), 0..600), cut in 1usize..64) {
            let crc = Crc::new();
            let mut stream = crc.stream();
            for chunk in bytes.chunks(cut) {
                stream.update(chunk);
            }
            prop_assert_eq!(crc.of(&bytes), naive(&bytes));
            prop_assert_eq!(stream.finish(), naive(&bytes));
        }
    }
}
