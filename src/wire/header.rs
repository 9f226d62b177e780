//! The 16 bits in front of every frame: where it goes, or which control frame it is.
//!
//! ```text
//!    15    14   13                0
//!   +-----+---------+--------------+
//!   | EXT | CONTROL | route / code |
//!   +-----+---------+--------------+
//! ```
//!
//! Every one of the 65,536 values is a header; whether it is welcome is for others to say.

use std::fmt;

/// A frame's header. Any 16 bits are one, so reading it can't fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header(u16);

impl Header {
    /// Bit 15: the payload begins with an extension block.
    pub const EXT: u16 = 0x8000;

    /// Bit 14: bits 13..0 are a control code and not a route.
    pub const CONTROL: u16 = 0x4000;

    /// The largest route and the largest control code: both have 14 bits.
    pub const ROUTE_MAX: u16 = 0x3fff;

    /// The header with exactly these bits.
    #[inline]
    pub const fn from_bits(bits: u16) -> Header {
        Header(bits)
    }

    /// All 16 bits, as they stand on the wire in big-endian order.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The header of a plain frame on `route`, `0..=`[`ROUTE_MAX`](Self::ROUTE_MAX).
    ///
    /// A larger route is a mistake of the caller; release builds cut it to 14 bits, so that it can't turn into a
    /// control frame.
    #[inline]
    pub const fn route(route: u16) -> Header {
        debug_assert!(route <= Header::ROUTE_MAX);
        Header(route & Header::ROUTE_MAX)
    }

    /// The header of the control frame `code`, `0..=`[`ROUTE_MAX`](Self::ROUTE_MAX); cut as in [`route`](Self::route).
    #[inline]
    pub const fn control(code: u16) -> Header {
        debug_assert!(code <= Header::ROUTE_MAX);
        Header(Header::CONTROL | (code & Header::ROUTE_MAX))
    }

    /// Whether neither bit 15 nor bit 14 is set: a request or a reply without a block.
    #[inline]
    pub const fn is_plain(self) -> bool {
        self.0 <= Header::ROUTE_MAX
    }

    /// Whether bit 15 is set.
    #[inline]
    pub const fn is_ext(self) -> bool {
        self.0 & Header::EXT != 0
    }

    /// Whether bit 14 is set.
    #[inline]
    pub const fn is_control(self) -> bool {
        self.0 & Header::CONTROL != 0
    }

    /// Bits 13..0: the control code if [`is_control`](Self::is_control), else the route.
    #[inline]
    pub const fn route_or_code(self) -> u16 {
        self.0 & Header::ROUTE_MAX
    }
}

/// As it is written in logs and documents: `0x4005`.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

const _: () = assert!(
    Header::EXT ^ Header::CONTROL ^ Header::ROUTE_MAX == u16::MAX,
    "the three parts cover the header and don't overlap"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, header, its parts, how it is shown.
    type Case<'a> = (&'a str, Header, (u16, bool, bool, u16), &'a str);

    #[test]
    fn bits_mean_what_the_table_says() {
        #[rustfmt::skip]
        let table: &[Case<'_>] = &[
            ("first route",       Header::route(0),           (0x0000, false, false, 0),      "0x0000"),
            ("last route",        Header::route(0x3fff),      (0x3fff, false, false, 0x3fff), "0x3fff"),
            ("first control",     Header::control(0),         (0x4000, false, true,  0),      "0x4000"),
            ("GOAWAY",            Header::control(5),         (0x4005, false, true,  5),      "0x4005"),
            ("extended route",    Header::from_bits(0x8007),  (0x8007, true,  false, 7),      "0x8007"),
            ("extended control",  Header::from_bits(0xc002),  (0xc002, true,  true,  2),      "0xc002"),
            ("all bits",          Header::from_bits(0xffff),  (0xffff, true,  true,  0x3fff), "0xffff"),
        ];
        for (name, header, want, shown) in table {
            let got = (header.bits(), header.is_ext(), header.is_control(), header.route_or_code());
            assert_eq!((got, header.to_string().as_str()), (*want, *shown), "case: {name}");
        }
    }
}
