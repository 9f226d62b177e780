//! Counts lines: those of each connection, and those of all, on however many event loops.
//!
//! ```text
//! cargo run --example counter
//! bash -c 'exec 3<>/dev/tcp/127.0.0.1/7412; printf "a\nb\n" >&3; head -2 <&3'
//! ```
//!
//! Each loop has a `Counter` of its own, without a lock. What one has counted it publishes a little later, and all loops,
//! itself among them, add it up.
//!
//! Always holds: `all` is the sum of what was published; `mine` is told exactly once.

use bytes::Bytes;
use std::time::Duration;
use tidegate::{Cx, Frame, Listener, Peer, Replied, Reply, Server, Service};

/// How long what was counted may be known to its own loop alone.
const PUBLISH_AFTER: Duration = Duration::from_millis(50);

fn main() -> tidegate::Result<()> {
    Server::builder().listen(Listener::lines("127.0.0.1:7412"))?.serve(Counter::default)
}

/// What one event loop knows.
#[derive(Default)]
pub(crate) struct Counter {
    /// Lines of all loops, as far as they were published.
    all: u64,
    /// This loop's lines that were not published yet.
    mine: u64,
    is_armed: bool,
}

impl Counter {
    fn publish_later(&mut self, cx: &mut Cx<'_>) {
        // If so many timers are armed that this one is refused, the next line tries again.
        self.is_armed = self.is_armed || cx.arm(PUBLISH_AFTER, 0).is_ok();
    }
}

impl Service for Counter {
    /// Lines of one connection. Made and dropped with it, and lies in its slot: there is no map to keep clean.
    type Conn = u64;

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) -> u64 {
        0
    }

    fn on_frame(&mut self, lines: &mut u64, _frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        *lines += 1;
        self.mine += 1;
        self.publish_later(cx);
        reply.send(format!("{lines} from you, {} from all", self.all + self.mine).as_bytes())
    }

    fn on_timer(&mut self, _tag: u64, cx: &mut Cx<'_>) {
        self.is_armed = false;
        match cx.publish(Bytes::copy_from_slice(&self.mine.to_be_bytes())) {
            Ok(()) => self.mine = 0,
            Err(_full) => self.publish_later(cx),
        }
    }

    fn on_publish(&mut self, bytes: &Bytes, _cx: &mut Cx<'_>) {
        let more = <[u8; 8]>::try_from(&bytes[..]).map_or(0, u64::from_be_bytes);
        self.all += more;
    }
}
