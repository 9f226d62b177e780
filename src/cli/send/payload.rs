//! The bytes to send: from the arguments, a file, or standard input.
//!
//! Always holds: no more is read than a frame may hold.

use super::Options;
use crate::base::limits::PAYLOAD_BYTES_MAX;
use anyhow::{Context, anyhow, bail};
use std::fs::File;
use std::io::{IsTerminal, Read};

pub(super) fn read(options: &Options) -> anyhow::Result<Vec<u8>> {
    let mut bytes = match &options.file {
        Some(path) => {
            let name = path.display();
            let file = File::open(path).map_err(|error| anyhow!("cannot read {name}: {error}"))?;
            bounded(file, &name.to_string())?
        }
        None if !options.payload.is_empty() => options.payload.join(" ").into_bytes(),
        None if std::io::stdin().is_terminal() => {
            bail!("nothing to send; give a text, --file PATH, or pipe it in (\"\" sends nothing at all)")
        }
        None => bounded(std::io::stdin(), "standard input")?,
    };
    if options.hex {
        let text = std::str::from_utf8(&bytes)
            .context("--hex wants digits")
            .map_err(|error| anyhow!("{error:#}"))?;
        return from_hex(text);
    }
    // The end of a line is the shell's, and the client writes its own.
    if options.lines && bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

fn bounded(from: impl Read, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::from(PAYLOAD_BYTES_MAX);
    from.take(most + 1).read_to_end(&mut bytes).map_err(|error| anyhow!("cannot read {name}: {error}"))?;
    if bytes.len() as u64 > most {
        bail!("{name} has more than the {most} bytes that fit a frame; send it in parts");
    }
    Ok(bytes)
}

/// Pairs of digits; white space between them does not count.
fn from_hex(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut digits = Vec::with_capacity(text.len());
    for character in text.chars().filter(|character| !character.is_whitespace()) {
        match character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()) {
            Some(digit) => digits.push(digit),
            None => bail!("--hex wants digits 0 to 9 and a to f, such as 00ff; {character:?} is none"),
        }
    }
    if digits.len() % 2 != 0 {
        bail!("--hex wants two digits for each byte, and here are {}", digits.len());
    }
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_or_refused() {
        #[rustfmt::skip]
        let table: &[(&str, Result<&[u8], &str>)] = &[
            ("",            Ok(b"")),
            ("00ff",        Ok(&[0, 0xff])),
            ("00 Ff\n",     Ok(&[0, 0xff])),
            ("0 0f f",      Ok(&[0, 0xff])),
            ("0",           Err("two digits for each byte, and here are 1")),
            ("0x00",        Err("'x' is none")),
            ("0é",          Err("'é' is none")),
        ];
        for (text, want) in table {
            match (from_hex(text), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, *want, "case: {text}"),
                (Err(got), Err(want)) => assert!(got.to_string().contains(want), "case: {text}: {got}"),
                (got, _) => panic!("case: {text}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_is_read_is_bounded() {
        assert_eq!(bounded(&b"abc"[..], "here").expect("it is short"), b"abc");
        let error = bounded(std::io::repeat(0), "here").expect_err("it has no end");
        assert!(error.to_string().contains("here has more than the 268435456 bytes"), "{error}");
    }
}
