//! What is kept of a token: a salted SHA-256.
//!
//! Why not a slow hash, as for passwords: a slow hash makes guessing dear where what is guessed may be short. Our tokens
//! are made by `tidegate token`, 192 random bits each, which nobody guesses at any price; and a HELLO is judged in the
//! event loop, where 100 ms of Argon2 for each newcomer would be an attack for free. The salt keeps equal tokens of two
//! servers from having the same hash.

use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// The salted hash of a token, `sha256:SALT:HASH` in hex.
#[derive(Clone, Copy)]
pub struct TokenHash {
    salt: [u8; TokenHash::SALT_BYTES],
    digest: [u8; TokenHash::DIGEST_BYTES],
}

/// Why a text is no hash of a token. It says nothing of the text, which may be a token by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// It does not begin as it must.
    #[error("a hash of a token is sha256:SALT:HASH, as tidegate token prints it")]
    Form,
    /// A part is not so many bytes in hex.
    #[error("the {part} in sha256:SALT:HASH must be {want} hex digits; these are {got} bytes, or no hex")]
    Part {
        /// Which.
        part: &'static str,
        /// Digits that it must have.
        want: usize,
        /// Bytes that it has.
        got: usize,
    },
}

impl TokenHash {
    /// Bytes of a salt.
    pub const SALT_BYTES: usize = 16;
    /// Bytes of a SHA-256.
    const DIGEST_BYTES: usize = 32;
    /// No token has it, as far as anybody knows: what unknown names are compared with.
    pub(super) const NOBODYS: TokenHash = TokenHash { salt: [0; 16], digest: [0; 32] };

    /// The hash of a token. The salt is from the system's source of chance, and never used twice.
    pub fn of(salt: [u8; TokenHash::SALT_BYTES], token: &[u8]) -> TokenHash {
        // The salt's length is always the same, so where it ends is no question.
        let digest = Sha256::new().chain_update(salt).chain_update(token).finalize();
        TokenHash { salt, digest: digest.into() }
    }

    /// Whether it is the hash of this token. Takes the same time wherever they differ.
    pub fn is_of(&self, token: &[u8]) -> bool {
        *self == TokenHash::of(self.salt, token)
    }
}

/// In constant time: a hash that is compared with one that a peer caused must not tell by how much it missed.
impl PartialEq for TokenHash {
    fn eq(&self, other: &TokenHash) -> bool {
        bool::from(self.salt.ct_eq(&other.salt) & self.digest.ct_eq(&other.digest))
    }
}

impl Eq for TokenHash {}

impl FromStr for TokenHash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<TokenHash, HashError> {
        let parts = text.strip_prefix("sha256:").and_then(|rest| rest.split_once(':'));
        let (salt, digest) = parts.ok_or(HashError::Form)?;
        Ok(TokenHash { salt: from_hex("SALT", salt)?, digest: from_hex("HASH", digest)? })
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.salt.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_char(':')?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

fn from_hex<const BYTES: usize>(part: &'static str, text: &str) -> Result<[u8; BYTES], HashError> {
    let wrong = HashError::Part { part, want: 2 * BYTES, got: text.len() };
    let mut bytes = [0; BYTES];
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong);
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '\0…\x0ftoken' | sha256sum`: any tool can make one.
    #[test]
    fn it_is_the_sha256_of_salt_and_token() {
        let salt = std::array::from_fn(|at| u8::try_from(at).expect("16 of them"));
        let hash = TokenHash::of(salt, b"alice.secret");
        let text = hash.to_string();
        assert_eq!(text, KNOWN);
        assert_eq!(text.parse(), Ok(hash));
        assert!(hash.is_of(b"alice.secret") && !hash.is_of(b"alice.secres") && !hash.is_of(b""));
        assert_ne!(TokenHash::of([1; 16], b"x"), TokenHash::of([2; 16], b"x"));
        assert!(!TokenHash::NOBODYS.is_of(b""));
    }

    const KNOWN: &str = "sha256:000102030405060708090a0b0c0d0e0f:dc1fec95a7dcd7cf62ad3cbefd5189787d4c68511579d93a8c1de2e1e627670e";

    #[test]
    fn what_is_no_hash_is_refused_without_being_repeated() {
        let salt = "00".repeat(16);
        #[rustfmt::skip]
        let table: &[(&str, String, &str)] = &[
            ("nothing",          String::new(),                                 "sha256:SALT:HASH"),
            ("a token",          "alice.secret".to_owned(),                     "sha256:SALT:HASH"),
            ("another function", format!("argon2:{salt}:{salt}"),               "sha256:SALT:HASH"),
            ("no salt",          format!("sha256:{}", "00".repeat(32)),         "sha256:SALT:HASH"),
            ("short salt",       format!("sha256:00:{}", "00".repeat(32)),      "the SALT in sha256:SALT:HASH must be 32 hex digits; these are 2 bytes"),
            ("short hash",       format!("sha256:{salt}:{salt}"),               "the HASH in sha256:SALT:HASH must be 64 hex digits; these are 32 bytes"),
            ("no hex",           format!("sha256:{salt}:{}", "0g".repeat(32)),  "or no hex"),
            ("a sign",           format!("sha256:{salt}:{}", "+1".repeat(32)),  "or no hex"),
            ("wide letters",     format!("sha256:{salt}:{}", "é".repeat(32)),   "or no hex"),
            ("more behind it",   format!("sha256:{salt}:{}:", "00".repeat(32)), "these are 65 bytes"),
        ];
        for (name, text, want) in table {
            let told = text.parse::<TokenHash>().expect_err(name).to_string();
            assert!(told.contains(want), "case: {name}: {told}");
        }
    }
}
