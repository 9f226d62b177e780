//! What the two processes say to each other: one JSON object a line, each a word of one list.
//!
//! Always holds: a line has a bound, and so has the wait for it. Never: a field that an older process would misread; then
//! the version counts up.

use super::UpgradeError;
use crate::base::limits::{UPGRADE_LINE_BYTES_MAX, UPGRADE_STEP_WITHIN};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The version of these words.
pub(super) const VERSION: u32 = 1;

/// What is said to a server.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// A new process wants the sockets.
    Adopt { version: u32, pid: u32, rehearses: bool },
    /// Somebody wants the server to start a new process.
    Upgrade { version: u32, binary: Option<PathBuf>, config: Option<PathBuf>, rehearses: bool },
    /// The new process is ready; it has the sockets of these listeners.
    Ready { taken: Vec<usize> },
    /// It takes connections.
    Serving,
}

/// What a server says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Say {
    /// The sockets of these follow, in this order, each with a byte.
    Offer { generation: u64, listeners: Vec<Named> },
    /// The sockets are yours as well: begin.
    Go,
    /// They are yours alone.
    Taken,
    /// All would have gone well.
    Rehearsed,
    /// The new process serves.
    Done { pid: u32, generation: u64 },
    /// No.
    Refused { why: String },
}

/// A listener of an offer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Named {
    pub(super) listener: usize,
    pub(super) protocol: String,
    pub(super) address: String,
    pub(super) sockets: usize,
}

/// Says something.
pub(super) fn say(mut to: &UnixStream, word: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    to.set_write_timeout(Some(UPGRADE_STEP_WITHIN))?;
    to.write_all(&line)
}

/// Hears something. Byte by byte, since what follows a line may carry a descriptor.
pub(super) fn hear<W: DeserializeOwned>(
    mut from: &UnixStream,
    step: &'static str,
    within: Duration,
) -> Result<W, UpgradeError> {
    let until = Instant::now() + within;
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(UpgradeError::Late { step, within });
        }
        from.set_read_timeout(Some(left))?;
        match from.read(&mut byte) {
            Ok(0) => return Err(UpgradeError::Gone { step }),
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.push(byte[0]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut
                ) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err(UpgradeError::Gone { step });
            }
            Err(error) => return Err(error.into()),
        }
        if line.len() > UPGRADE_LINE_BYTES_MAX {
            let what = format!("a line of more than {UPGRADE_LINE_BYTES_MAX} bytes");
            return Err(UpgradeError::Unknown { step, what });
        }
    }
    serde_json::from_slice(&line).map_err(|error| UpgradeError::Unknown { step, what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(bytes: &[u8], ends: bool) -> Result<Ask, UpgradeError> {
        let (here, there) = UnixStream::pair().unwrap();
        (&here).write_all(bytes).unwrap();
        let kept = (!ends).then_some(here);
        let got = hear(&there, "a word", Duration::from_millis(50));
        drop(kept);
        got
    }

    #[test]
    fn a_line_is_a_word_or_says_what_is_wrong() {
        assert_eq!(heard(b"\"serving\"\nrest", false).unwrap(), Ask::Serving);
        assert_eq!(
            heard(b"{\"ready\":{\"taken\":[0,2]}}\n", false).unwrap(),
            Ask::Ready { taken: vec![0, 2] }
        );
        #[rustfmt::skip]
        let table: [(&[u8], bool, &str); 4] = [
            (b"",            true,  "the other process ended while a word was awaited"),
            (b"\"serv",      false, "a word did not come within"),
            (b"\"dance\"\n", false, "unknown variant"),
            (b"not json\n", false, "are the two versions too far apart?"),
        ];
        for (bytes, ends, want) in table {
            let error = heard(bytes, ends).expect_err("it is no word").to_string();
            assert!(error.contains(want), "{error}");
        }
        let (here, there) = UnixStream::pair().unwrap();
        let flood = std::thread::spawn(move || (&here).write_all(&vec![b'x'; UPGRADE_LINE_BYTES_MAX + 2]));
        let error =
            hear::<Ask>(&there, "a word", Duration::from_secs(60)).expect_err("it is too long").to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        drop(there);
        let _ = flood.join();
    }

    #[test]
    fn words_arrive_as_they_were_said() {
        let (here, there) = UnixStream::pair().unwrap();
        let (protocol, address) = ("line".to_owned(), "127.0.0.1:0".to_owned());
        let named = Named { listener: 3, protocol, address, sockets: 2 };
        for word in [
            Say::Offer { generation: 2, listeners: vec![named] },
            Say::Go,
            Say::Taken,
            Say::Rehearsed,
            Say::Done { pid: 7, generation: 3 },
            Say::Refused { why: "no\nnot now".to_owned() },
        ] {
            say(&here, &word).unwrap();
            assert_eq!(hear::<Say>(&there, "a word", Duration::from_secs(1)).unwrap(), word);
        }
    }
}
