//! What a connection of a run says first, for a server that wants to know who is there.

use crate::wire::{Control, Crc, Hello, Tlvs};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The token that connections of a run show. It is a secret: it is in no report, and no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct Token(Arc<[u8]>);

impl Token {
    /// HELLO with it, to be sent right before the first request.
    pub fn hello(&self) -> Vec<u8> {
        let hello = Hello { version: 1, flags: 0, client_id: "", token: &self.0, tlvs: Tlvs::default() };
        let mut frame = Vec::new();
        Control::Hello(hello).encode(&mut frame, &Crc::new());
        frame
    }
}

impl From<Vec<u8>> for Token {
    fn from(bytes: Vec<u8>) -> Token {
        Token(bytes.into())
    }
}

impl From<Token> for Vec<u8> {
    fn from(token: Token) -> Vec<u8> {
        token.0.to_vec()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}
