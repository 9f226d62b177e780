//! One text line of a byte stream, for peers that don't speak frames: `nc`, `telnet`, a shell script.
//!
//! ```text
//!   payload (at most payload_max bytes) [\r] \n  next line ...
//!   `------------------ used ------------------'
//! ```
//!
//! Always holds: neither `\n` nor the one `\r` in front of it is part of the payload or counts for its limit; no byte
//! is searched twice if the caller says how far it got; no search goes further than the limit. Never: the payload's
//! meaning. It is any bytes but `\n`, UTF-8 or not.

use crate::base::Fault;
use crate::wire::Status;
use crate::wire::control::cut_text;
use std::io::Write;

/// What stands at the front of a stream of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line with its end.
    Whole {
        /// The line without its end, where it lies in the input.
        payload: &'a [u8],
        /// Bytes of the input that it took, its end included; the next line begins there.
        used: usize,
    },
    /// No end of line yet. All of the input has been searched: pass its length as `scanned` the next time.
    NeedMore,
}

/// Looks for the line at the front of `input`.
///
/// `scanned` is how many bytes of `input` are known to hold no `\n`: 0 for a fresh line, the input's former length
/// after [`Line::NeedMore`]. It saves time and never changes the result.
///
/// # Errors
///
/// [`LineError::TooLong`] as soon as it is certain: with the end, or when more than `payload_max` bytes wait for one
/// and the last can't be the `\r` of it.
#[inline]
pub fn decode_line(input: &[u8], scanned: usize, payload_max: u32) -> Result<Line<'_>, LineError> {
    debug_assert!(scanned <= input.len());
    debug_assert!(!input[..scanned].contains(&b'\n'));
    // Payload, "\r" and "\n": an end that lies behind these comes too late.
    let window = &input[..input.len().min((payload_max as usize).saturating_add(2))];
    let found = window.get(scanned..).and_then(|rest| memchr::memchr(b'\n', rest));
    let end = found.map(|at| scanned + at);
    let payload = without_return(&window[..end.unwrap_or(window.len())]);
    if payload.len() > payload_max as usize {
        return Err(LineError::TooLong { got_bytes: payload.len(), limit_bytes: payload_max });
    }
    Ok(end.map_or(Line::NeedMore, |end| Line::Whole { payload, used: end + 1 }))
}

/// What stands at the end of a stream without an `\n`: a message like any other, or `None` if nothing stands there.
///
/// `input` is what [`decode_line`] last answered with [`Line::NeedMore`]. A `\r` at its end is dropped too: it was
/// let through as the first half of a line end, and with it the payload could be over the limit.
pub fn last_line(input: &[u8]) -> Option<&[u8]> {
    debug_assert!(!input.contains(&b'\n'));
    if input.is_empty() { None } else { Some(without_return(input)) }
}

/// Appends `ERR <code> <NAME> <text>\n` to `out`, or `ERR <code> <NAME>\n` if there is no text.
///
/// Control characters in `text`, line ends among them, become spaces, so that a line is always one line; a text over
/// [`TEXT_BYTES_MAX`](super::control::TEXT_BYTES_MAX) is cut at a character.
pub fn encode_error_line(out: &mut Vec<u8>, status: Status, text: &str) {
    write!(out, "ERR {status}").expect("a Vec takes every write");
    if !text.is_empty() {
        out.push(b' ');
    }
    for c in cut_text(text).chars() {
        let c = if c.is_control() { ' ' } else { c };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.push(b'\n');
}

/// Status and text of a line that [`encode_error_line`] made, or `None` for any other line. The text may be empty.
pub fn error_line(payload: &[u8]) -> Option<(Status, &[u8])> {
    let rest = payload.strip_prefix(b"ERR ")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let code = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let status = Status::from_code(code);
    let text = rest[digits..].strip_prefix(b" ")?.strip_prefix(status.name().as_bytes())?;
    if text.is_empty() { Some((status, text)) } else { text.strip_prefix(b" ").map(|text| (status, text)) }
}

/// Why no line can be read from a stream any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is longer than the listener allows. Where it ends may not be known yet.
    #[error("line of at least {got_bytes} bytes exceeds the {limit_bytes} byte limit")]
    TooLong {
        /// Bytes of its payload that were looked at: always over the limit, by one or two.
        got_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: u32,
    },
}

impl LineError {
    /// Who has to move.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::TooLong { .. } => Fault::Protocol,
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
