//! How replies are shown: text as it is, other bytes as a dump, times with three digits.
//!
//! Always holds: nothing that a server sends reaches the terminal as a control sequence, unless `--raw` asks for it.

use super::Options;
use crate::client::Reply;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// Lines of a dump, and bytes of each.
const DUMP_LINES: usize = 16;
const DUMP_BYTES: usize = 16;

/// Writes the body of a reply to standard output; of a failure only if raw, since its status line has the text.
pub(super) fn reply(reply: &Reply, is_raw: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = if is_raw {
        out.write_all(&reply.body)
    } else if reply.is_ok() {
        out.write_all(shown(&reply.body).as_bytes())
    } else {
        Ok(())
    };
    match written.and_then(|()| out.flush()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Says something about a reply on standard error.
pub(super) fn about(options: &Options, text: fmt::Arguments<'_>) {
    if !options.quiet {
        // Nobody may be there to read it; the exit code tells all the same.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// The body as text with an end of line, or as a dump.
fn shown(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok("") => String::new(),
        Ok(text) if !text.contains(is_unprintable) => {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            format!("{text}{end}")
        }
        Ok(_) | Err(_) => dump(body),
    }
}

fn is_unprintable(character: char) -> bool {
    character.is_control() && !['\n', '\t'].contains(&character)
}

/// ```text
/// 00000000  00 ff 68 65 6c 6c 6f                              ..hello
/// ```
fn dump(body: &[u8]) -> String {
    let mut out = String::new();
    for (number, line) in body.chunks(DUMP_BYTES).take(DUMP_LINES).enumerate() {
        let hex: String = line.iter().map(|byte| format!("{byte:02x} ")).collect();
        let text: String = line
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        out.push_str(&format!("{:08x}  {hex:<48} {text}\n", number * DUMP_BYTES));
    }
    let more = body.len().saturating_sub(DUMP_LINES * DUMP_BYTES);
    if more > 0 {
        out.push_str(&format!("... and {more} bytes more; --raw writes all of them\n"));
    }
    out
}

/// A text of the server's, with nothing in it that could be more than a part of a line.
pub(in crate::cli) fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Three digits that mean something: `0.021 ms`, `12.3 ms`, `1.20 s`.
pub(super) fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 1.0 => format!("{ms:.3} ms"),
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1e3 => format!("{ms:.1} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_it_is_and_bytes_as_a_dump() {
        #[rustfmt::skip]
        let table: &[(&[u8], &str)] = &[
            (b"",                 ""),
            (b"hello",            "hello\n"),
            (b"two\nlines\n",     "two\nlines\n"),
            ("已接收".as_bytes(), "已接收\n"),
            (b"\x1b[31mred",      "00000000  1b 5b 33 31 6d 72 65 64                          .[31mred\n"),
            (b"\xff",             "00000000  ff                                               .\n"),
        ];
        for (body, want) in table {
            assert_eq!(shown(body), *want, "case: {body:?}");
        }
        let long = shown(&[0; 300]);
        assert_eq!(long.lines().count(), DUMP_LINES + 1);
        assert!(long.ends_with("... and 44 bytes more; --raw writes all of them\n"), "{long}");
        assert!(long.lines().all(|line| line.len() <= 80), "{long}");
        assert_eq!(one_line("a\x1b[31m\nb"), "a [31m b");
    }

    #[test]
    fn times_have_three_digits() {
        for (us, want) in [(21, "0.021 ms"), (1_234, "1.23 ms"), (12_345, "12.3 ms"), (1_204_000, "1.20 s")] {
            assert_eq!(time(Duration::from_micros(us)), want);
        }
    }
}
