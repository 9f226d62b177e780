//! Names for connections that can't be mistaken for each other.
//!
//! A slot of the connection table is reused; a generation is not. [`Token`] is what the poller carries
//! (generation and slot), [`ConnId`] is what the rest of a program may keep and send between threads (shard,
//! generation, slot). Both go stale when the connection ends, and a stale one finds nothing.

use std::fmt;
use std::str::FromStr;

/// The shard-local name of a registered event source: 32 bits of generation, 32 bits of slot.
///
/// Generation 0 is never given to a connection; it names listeners by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Counts the connections of a shard, skipping 0.
    pub generation: u32,
    /// Index into the shard's table, or the index of a listener.
    pub slot: u32,
}

impl Token {
    /// The token of a listener.
    pub const fn listener(index: u32) -> Token {
        Token { generation: 0, slot: index }
    }

    /// Packs into the 64 bits that a poller gives back.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The inverse of [`Token::to_bits`].
    #[expect(clippy::cast_possible_truncation, reason = "splits the two halves")]
    pub const fn from_bits(bits: u64) -> Token {
        Token { generation: (bits >> 32) as u32, slot: bits as u32 }
    }
}

/// Names one connection of one process, for as long as the process lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Which event loop owns it.
    pub shard: u16,
    /// Tells it from earlier and later users of the same slot.
    pub generation: u32,
    /// Index into the shard's table.
    pub slot: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.slot, self.generation)
    }
}

impl FromStr for ConnId {
    type Err = NoConnId;

    /// Reads what [`ConnId`] is printed as.
    fn from_str(text: &str) -> Result<ConnId, NoConnId> {
        let mut parts = text.split('-');
        let mut next = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let id = (next(), next(), next());
        let (Some(shard), Some(slot), Some(generation), None) = (id.0, id.1, id.2, parts.next()) else {
            return Err(NoConnId);
        };
        match (shard.parse(), slot.parse(), generation.parse()) {
            (Ok(shard), Ok(slot), Ok(generation)) => Ok(ConnId { shard, generation, slot }),
            (Err(_), _, _) | (_, Err(_), _) | (_, _, Err(_)) => Err(NoConnId),
        }
    }
}

/// A text that names no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection is named by three numbers, shard-slot-generation, as in 0-17-4711")]
pub struct NoConnId;

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bits_round_trip_at_the_edges() {
        for (generation, slot) in [(0, 0), (0, u32::MAX), (1, 0), (u32::MAX, 7), (u32::MAX, u32::MAX)] {
            let token = Token { generation, slot };
            assert_eq!(Token::from_bits(token.to_bits()), token, "case: {token:?}");
        }
    }

    #[test]
    fn ids_are_read_as_they_are_printed() {
        for (shard, slot, generation) in [(0, 0, 1), (255, 16_777_215, u32::MAX), (u16::MAX, u32::MAX, 0)] {
            let id = ConnId { shard, generation, slot };
            assert_eq!(id.to_string().parse(), Ok(id), "case: {id}");
        }
        for text in [
            "",
            "1",
            "1-2",
            "1-2-3-4",
            "1-2-",
            "-1-2-3",
            "+1-2-3",
            "1-2-x",
            "65536-0-1",
            "0-4294967296-1",
            "0-1-2 ",
        ] {
            assert_eq!(text.parse::<ConnId>(), Err(NoConnId), "case: {text:?}");
        }
    }

    #[test]
    fn a_listener_token_is_never_a_connection_token() {
        assert_eq!(Token::listener(3).generation, 0);
    }
}
