//! A script cut out of the fuzzer's bytes.

/// Reads numbers and byte strings from the front; at the end everything is 0 or empty.
#[derive(Clone, Debug)]
pub struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    /// Over these bytes.
    pub const fn new(bytes: &'a [u8]) -> Cut<'a> {
        Cut(bytes)
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two bytes, big-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// The next byte as a choice among `all`.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.u8()) % all.len()]
    }

    /// The next `most` bytes, or what is left.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }
}
