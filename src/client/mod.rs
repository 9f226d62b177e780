//! A small blocking client: for tests and tools that talk to a server, and for `tidegate send`.
//!
//! ```text
//!   Client       frames: pipelining, correlation, deadlines, HELLO, PING   \
//!                                                                           channel: bytes both ways, bounded
//!   LineClient   lines of text: pipelining                                 /      |
//!                                                                               stream: TCP or a unix socket
//! ```
//!
//! ```
//! use tidegate::client::{Client, Request};
//! # use tidegate::service::Router;
//! # let running = tidegate::Server::builder().listen("127.0.0.1:0")?.shards(1).start(Router::embedded)?;
//! # let address = running.local_addrs()[0].to_string();
//!
//! // let address = "127.0.0.1:7411", or "unix:/run/tidegate.sock"
//! let mut client = Client::connect(&address)?;
//! assert_eq!(client.call(&Request::new(1, b"hello"))?.body, b"hello");
//!
//! // Several at once: replies without a correlation come in the order of their requests ...
//! client.send(&Request::new(1, b"first"))?;
//! client.send(&Request::new(1, b"second"))?;
//! assert_eq!(client.receive()?.body, b"first");
//! assert_eq!(client.receive()?.body, b"second");
//!
//! // ... and those with one in any.
//! client.send(&Request::new(1, b"slow").correlation(7).deadline_ms(500))?;
//! client.send(&Request::new(0, b"quick").correlation(8))?;
//! assert_eq!(client.receive_for(8)?.text(), "已接收");
//! assert_eq!(client.receive_for(7)?.body, b"slow");
//!
//! // A request that failed has a reply, too; `into_ok` makes it an error.
//! let refused = client.call(&Request::new(999, b"hello"))?.into_ok().unwrap_err();
//! assert!(refused.to_string().starts_with("the server replied 4 NO_ROUTE"));
//! # running.handle().drain(std::time::Duration::ZERO);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Sending never waits for a server that waits for us.** A server stops reading a connection whose replies are not
//! read. A client that sends a thousand requests before it reads its first reply would then wait for the server, and
//! the server for it. So `send` reads while it can't write: what comes is kept, and handed out by `receive` later. What
//! is kept is bounded by [`Options::buffered_bytes_max`]; beyond it, `send` fails with [`Error::Backlog`] instead of
//! waiting for ever.
//!
//! Always holds: every wait ends by the timeouts in [`Options`]; a reply is never larger than
//! [`Options::reply_bytes_max`]; whatever a server sends is a value or a typed [`Error`], never a panic. After
//! [`Error::Timeout`] and [`Error::Backlog`] the connection goes on where it was; the other errors of `send` and
//! `receive` are the connection's end, or were found before anything was sent.
//!
//! Never: a connection made anew. Whether a request may be sent twice is known to its user alone
//! ([`Status`](crate::wire::Status) says when that is safe). Nor anything in the background: a `Client` that nobody
//! calls answers no PING, so one that said HELLO and is not used for two heartbeats is closed by the server.

mod channel;
mod error;
mod frames;
mod inbox;
mod lines;
mod options;
mod request;
#[cfg(feature = "tls")]
mod secure;
mod stream;

pub use error::Error;
pub use frames::Client;
pub use lines::LineClient;
pub use options::{Identity, Options};
pub use request::{GoAway, Notice, Reply, Request, Welcomed};
#[cfg(feature = "cli")]
pub(crate) use stream::Stream;
