//! The terminal: taken over for drawing, and given back as it was, however this ends: in order, by a signal, by a panic.
//!
//! Always holds: what was changed is undone exactly once. Never: a byte that was not drawn here.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The other screen, without a cursor, and lines that are not wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Around what is drawn at once, from the first line on: terminals that know it show nothing of it before its end.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[?2026l";

/// What is taken where the terminal does not tell.
const SIZE_UNKNOWN: (usize, usize) = (80, 24);

/// Larger ones are drawn as if they were so large.
const SIZE_MAX: (usize, usize) = (400, 200);

/// Ctrl-C, as it comes from a terminal that makes no signal of it.
const CONTROL_C: u8 = 3;

/// What has to be put back, while there is something.
static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);

/// How the terminal was; `None`: nobody can type.
struct Taken {
    modes: Option<Termios>,
}

/// A terminal that is drawn on.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) has_keys: bool,
}

/// What somebody has typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Interrupt,
}

impl Terminal {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub(super) fn take() -> io::Result<Terminal> {
        let has_keys = io::stdin().is_terminal();
        let modes = if has_keys { Some(tcgetattr(io::stdin())?) } else { None };
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        if let Some(before) = &modes {
            let mut modes = before.clone();
            // Keys as they come, and none of them shown, a signal or a stop.
            modes.local_modes -=
                LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
            tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
        }
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Taken { modes });
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                give_back();
                std::process::exit(128 + signal);
            }
        })?;
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            tell(panic);
        }));
        let mut out = io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(Terminal { has_keys })
    }

    /// Columns and lines, as they are now.
    pub(super) fn size() -> (usize, usize) {
        let told = tcgetwinsize(io::stdout()).ok();
        let (width, height) =
            told.map_or((0, 0), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        if width == 0 || height == 0 {
            return SIZE_UNKNOWN;
        }
        (width.min(SIZE_MAX.0), height.min(SIZE_MAX.1))
    }

    /// Puts these lines on it, of which it has at least as many.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub(super) fn draw(&self, lines: &[String], height: usize) -> io::Result<()> {
        let mut text = String::from(BEGIN);
        for (at, line) in lines.iter().enumerate() {
            // Erased before and not behind: there the cursor may still be on the last column.
            text.extend([if at > 0 { "\r\n" } else { "" }, "\x1b[2K", line]);
        }
        if lines.len() < height {
            text += "\r\n\x1b[J";
        }
        text += END;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// What is typed within this time; an end of the input is an interrupt.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub(super) fn keys(&self, within: Duration) -> io::Result<Vec<Key>> {
        if !self.has_keys {
            std::thread::sleep(within);
            return Ok(Vec::new());
        }
        let stdin = io::stdin();
        let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
        let time = within.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        match poll(&mut ready, Some(&time)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut typed = [0; 64];
        Ok(match rustix::io::read(&stdin, &mut typed)? {
            0 => vec![Key::Interrupt],
            count => keys_in(&typed[..count]),
        })
    }
}

/// Letters and Ctrl-C; what arrows and the like send (ECMA-48 5.4) is none of ours.
fn keys_in(typed: &[u8]) -> Vec<Key> {
    const ESCAPE: u8 = 0x1b;
    let mut keys = Vec::new();
    let mut rest = typed.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            CONTROL_C => keys.push(Key::Interrupt),
            ESCAPE => {
                if matches!(rest.next(), Some(b'[' | b'O')) {
                    // Parameters, up to the final byte.
                    rest.find(|byte| (0x40..=0x7e).contains(byte));
                }
            }
            letter => keys.push(Key::Letter(char::from(letter))),
        }
    }
    keys
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// As it was.
fn give_back() {
    let Some(taken) = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    // Not by the lock of standard output: whoever holds it may be the one that panics, or never come back.
    let _ = rustix::io::write(io::stdout(), LEAVE.as_bytes());
    if let Some(modes) = taken.modes {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_told_from_what_other_keys_send() {
        use Key::{Interrupt, Letter};
        #[rustfmt::skip]
        let table: &[(&[u8], &[Key])] = &[
            (b"q",               &[Letter('q')]),
            (b"\x1b[Ap",         &[Letter('p')]),
            (b"\x1b[1;5Cub",     &[Letter('u'), Letter('b')]),
            (b"\x1bOPq",         &[Letter('q')]),
            (b"a\x03",           &[Letter('a'), Interrupt]),
            (b"\x1b",            &[]),
            (b"\x1b[",           &[]),
            (b"\x1b[12",         &[]),
            (b"\xff",            &[Letter('\u{ff}')]),
        ];
        for (typed, want) in table {
            assert_eq!(keys_in(typed), *want, "case: {typed:?}");
        }
    }
}
