//! SIGINT and SIGTERM: the first drains, the second aborts. SIGHUP: whatever the caller wants, such as reading its
//! configuration anew.

use super::{Error, Handle, Running};
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tracing::{info, warn};

/// Exit code of a process that a second signal ended: 128 + SIGINT, as shells have it.
const ABORTED: i32 = 130;

/// How long an aborted process waits for its log.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What a signal does.
struct OnSignal {
    handle: Handle,
    seen: AtomicU32,
}

impl OnSignal {
    fn signalled(&self, name: &str) {
        if self.seen.fetch_add(1, Relaxed) == 0 {
            let grace = self.handle.grace();
            info!(signal = name, grace_s = grace.as_secs_f64(), "draining; a second signal aborts");
            self.handle.drain(grace);
        } else {
            warn!(signal = name, "aborted by a second signal: connections are cut");
            // The log may be written by a thread of its own: let it.
            std::thread::sleep(LAST_WORDS);
            std::process::exit(ABORTED);
        }
    }
}

/// From now on, for the life of the process: SIGINT and SIGTERM drain this server, within this grace or what
/// [`Change::grace`](super::Change::grace) makes of it, and a second one aborts.
///
/// # Errors
///
/// [`Error::Signals`] if handlers can't be set: `ctrlc` allows one for the life of a process.
pub fn drain_on_signals(running: &Running, grace: Duration) -> Result<(), Error> {
    running.handle().set_grace(grace);
    let on_signal = Arc::new(OnSignal { handle: running.handle(), seen: AtomicU32::new(0) });
    let on_interrupt = Arc::clone(&on_signal);
    // Not `try_set_handler`: it fails where SIGINT is ignored, as in every background job of a shell script.
    ctrlc::set_handler(move || on_interrupt.signalled("SIGINT"))
        .map_err(|error| Error::Signals(error.to_string()))?;
    let mut signals = Signals::new([SIGTERM]).map_err(|error| Error::Signals(error.to_string()))?;
    let listener = std::thread::Builder::new().name("tidegate-signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            on_signal.signalled("SIGTERM");
        }
    });
    listener.map(drop).map_err(Error::Host)
}

/// From now on, for the life of the process: SIGHUP calls this, on a thread of its own, and ends nothing any more.
///
/// # Errors
///
/// [`Error::Signals`] if the handler can't be set.
pub fn on_hangup(mut call: impl FnMut() + Send + 'static) -> Result<(), Error> {
    let mut signals = Signals::new([SIGHUP]).map_err(|error| Error::Signals(error.to_string()))?;
    let listener = std::thread::Builder::new().name("tidegate-hangup".to_owned()).spawn(move || {
        for _ in signals.forever() {
            call();
        }
    });
    listener.map(drop).map_err(Error::Host)
}
