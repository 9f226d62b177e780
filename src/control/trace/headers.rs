//! Headers that a collector wants with each request: who sends it, mostly, and so secrets.
//!
//! Always holds: an error names a line, and nothing of what is in it. Never: a header that says how the body is to be read.

use super::TracesError;
use crate::base::limits::{EXPORT_HEADERS_BYTES_MAX, EXPORT_HEADERS_MAX};
use axum::http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING,
};
use axum::http::{HeaderName, HeaderValue};

/// Those that are ours to say.
const OURS: [HeaderName; 6] =
    [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

/// Reads one header a line, `name: value`; empty lines and those that begin with # say nothing.
pub(super) fn read(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, TracesError> {
    if text.len() > EXPORT_HEADERS_BYTES_MAX {
        return Err(TracesError::HeadersTooLong { got_bytes: text.len() });
    }
    let mut headers = Vec::new();
    for (line, number) in text.lines().zip(1_usize..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let header = line.split_once(':').and_then(|(name, value)| header(name.trim_end(), value.trim()));
        headers.push(header.ok_or(TracesError::Header { line: number })?);
    }
    match headers.len() {
        0..=EXPORT_HEADERS_MAX => Ok(headers),
        got => Err(TracesError::Headers { got }),
    }
}

fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name: HeaderName = name.parse().ok().filter(|name| !OURS.contains(name))?;
    let mut value: HeaderValue = value.parse().ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_and_mistakes_name_them() {
        let headers =
            read("# who\n\nAuthorization: Bearer a:b c\r\n x-tenant:one\n").expect("they are right");
        let texts: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(texts, [("authorization", &b"Bearer a:b c"[..]), ("x-tenant", b"one")]);
        assert!(!format!("{headers:?}").contains("Bearer"), "a secret is shown");
        for wrong in ["secret", "se cret: x", ": x", "host: x", "Content-Type: x", "a: \u{1}"] {
            let error = read(&format!("a: b\n{wrong}")).expect_err(wrong).to_string();
            assert!(error.contains("line 2") && !error.contains("cret"), "{error}");
        }
        let many = |count: usize| read(&"a: b\n".repeat(count)).is_ok();
        assert!(many(EXPORT_HEADERS_MAX) && !many(EXPORT_HEADERS_MAX + 1));
        let long = |bytes: usize| read(&format!("a: {}", "b".repeat(bytes - 3))).is_ok();
        assert!(long(EXPORT_HEADERS_BYTES_MAX) && !long(EXPORT_HEADERS_BYTES_MAX + 1));
    }
}
