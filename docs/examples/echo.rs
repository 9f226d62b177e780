//! The smallest server: every frame comes back as it came.
//!
//! ```text
//! cargo run --example echo
//! ```

use tidegate::{Frame, Replied, Reply, Server};

fn main() -> tidegate::Result<()> {
    Server::builder().listen("127.0.0.1:7411")?.serve_fn(echo)
}

/// Not even copied: the reply leaves from where the frame was read.
pub(crate) fn echo(frame: Frame<'_>, reply: Reply<'_>) -> Replied {
    reply.forward(frame.whole())
}
