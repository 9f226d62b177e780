//! A descriptor held back, so that a newcomer can be told when there are no others.
//!
//! Without it, a server that has run out can't even accept a connection in order to refuse it: the connection waits
//! in the queue until its peer gives up.

use super::{Listener, Stream, Taken};
use std::fs::File;
use std::io::{Read, Write};

/// Anything that is one descriptor and nothing else.
const NOTHING: &str = "/dev/null";

/// What a newcomer may have said before it is refused, in bytes; more makes the close a reset.
const SPOKEN_BYTES: usize = 16 << 10;

/// One descriptor in reserve.
#[derive(Debug)]
pub struct Spare(Option<File>);

impl Spare {
    /// Takes one aside, if there is one.
    pub fn new() -> Spare {
        Spare(File::open(NOTHING).ok())
    }

    /// Tells one newcomer why it is not served, and closes it. False if none waits or even the spare one is gone.
    pub fn refuse(&mut self, listener: &Listener, farewell: &[u8]) -> bool {
        if self.0.take().is_none() {
            self.0 = File::open(NOTHING).ok();
            return false;
        }
        let refused = match super::take(listener) {
            Taken::Stream(stream, _) => {
                tell(stream, farewell);
                true
            }
            Taken::Aborted => true,
            Taken::Nothing | Taken::Exhausted(_) | Taken::Failed(_) => false,
        };
        self.0 = File::open(NOTHING).ok();
        refused
    }
}

impl Default for Spare {
    fn default() -> Self {
        Spare::new()
    }
}

/// Best effort: a fresh socket takes this much, and if it doesn't there is nobody to keep it for.
fn tell(mut stream: Stream, farewell: &[u8]) {
    let _ = stream.write(farewell);
    // Clients speak first: what they have said must not make the close a reset.
    let _ = stream.read(&mut [0; SPOKEN_BYTES]);
}
