//! An unsigned number of 48 bits in six bytes, for what every connection keeps.
//!
//! In bytes it counts 256 TiB, in milliseconds 8,900 years. Always holds: sums wrap modulo 2⁴⁸, and are exact below.

use std::fmt;

/// A number below 2⁴⁸.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, packed(2))]
pub struct U48 {
    low: u32,
    high: u16,
}

impl U48 {
    /// The low 48 bits of `number`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "wrapping is what the type says")]
    pub const fn new(number: u64) -> U48 {
        U48 { low: number as u32, high: (number >> 32) as u16 }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }

    /// Adds `more`, modulo 2⁴⁸.
    #[inline]
    pub const fn add(&mut self, more: u64) {
        *self = U48::new(self.get().wrapping_add(more));
    }
}

impl fmt::Debug for U48 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

const _: () = assert!(size_of::<U48>() == 6 && align_of::<U48>() == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_up_to_the_wrap() {
        let mut sum = U48::default();
        for (more, want) in [
            (0, 0),
            (u64::from(u32::MAX), u64::from(u32::MAX)),
            (1, 1 << 32),
            ((1 << 48) - (1 << 32) - 1, (1 << 48) - 1),
            (3, 2),
        ] {
            sum.add(more);
            assert_eq!((sum.get(), format!("{sum:?}")), (want, want.to_string()), "case: {more} more");
        }
    }
}
