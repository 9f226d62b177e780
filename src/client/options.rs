//! What a client may take, in bytes and in time, and who it says it is. Checked once, when it connects.

use super::{Client, Error, LineClient};
use crate::base::limits::{
    CLIENT_BUFFERED_BYTES, CLIENT_TIMEOUT, CONTROL_BYTES_MAX, DEADLINE_MS_MAX, PAYLOAD_BYTES_DEFAULT,
    PAYLOAD_BYTES_MAX,
};
use crate::wire::ClientId;
use std::fmt;
use std::time::Duration;

/// What HELLO has beside the token, in bytes at most: version, flags, id, two lengths, and one tag.
const HELLO_BYTES_BESIDE: usize = 2 + 1 + crate::base::limits::ID_BYTES_MAX + 2 + 6;

/// Bounds of a client, each with its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long connecting may take, for all of a name's addresses together. 1 ms to 24 days, 10 s by default.
    /// Looking a name up is the system's affair, and has its own bounds.
    pub connect_timeout: Duration,
    /// How long [`Client::receive`] waits until a reply is whole. 1 ms to 24 days, 10 s by default.
    pub read_timeout: Duration,
    /// How long [`Client::send`] waits until the system has taken a request. 1 ms to 24 days, 10 s by default.
    pub write_timeout: Duration,
    /// The largest body of a reply, in bytes: 0 to 256 MiB, 1 MiB by default. A larger one is
    /// [`Error::ReplyTooLarge`], found before any memory is taken for it. A client that says HELLO tells it to the
    /// server, which then replies TOO_LARGE instead.
    pub reply_bytes_max: u32,
    /// What is kept of replies that came and were not received yet, in bytes, beside one of the largest: 16 MiB by
    /// default. See [`Error::Backlog`].
    pub buffered_bytes_max: usize,
    /// Says HELLO, with this; `None`, the default, says nothing. Lines have no HELLO.
    pub identity: Option<Identity>,
    /// Speaks TLS, as this says; `None`, the default, speaks plainly. The handshake has `connect_timeout` once more.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::Connector>,
}

/// Who a client says it is, in HELLO. The default asks the server for a name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// 1 to 64 of `A-Z a-z 0-9 _ -`; empty, the default: the server chooses.
    pub client_id: String,
    /// What proves it; may be empty. Some 4,000 bytes at most.
    pub token: Vec<u8>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            connect_timeout: CLIENT_TIMEOUT,
            read_timeout: CLIENT_TIMEOUT,
            write_timeout: CLIENT_TIMEOUT,
            reply_bytes_max: PAYLOAD_BYTES_DEFAULT,
            buffered_bytes_max: CLIENT_BUFFERED_BYTES,
            identity: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Options {
    /// Connects to a listener for frames: `HOST:PORT` or `unix:PATH`. With an [`identity`](Self::identity) it says
    /// HELLO and waits for WELCOME.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`], [`Error::ClientId`], [`Error::TokenTooLong`] for options outside their range,
    /// [`Error::Address`], [`Error::Connect`], [`Error::Timeout`]; [`Error::GoAway`] if HELLO is refused.
    pub fn connect(self, address: &str) -> Result<Client, Error> {
        self.check()?;
        Client::with(address, self)
    }

    /// Connects to a listener for lines: `HOST:PORT` or `unix:PATH`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_lines(self, address: &str) -> Result<LineClient, Error> {
        self.check()?;
        LineClient::with(address, self)
    }

    fn check(&self) -> Result<(), Error> {
        let times = [
            ("connect_timeout in milliseconds", self.connect_timeout),
            ("read_timeout in milliseconds", self.read_timeout),
            ("write_timeout in milliseconds", self.write_timeout),
        ];
        for (name, time) in times {
            within(name, u64::try_from(time.as_millis()).unwrap_or(u64::MAX), 1, DEADLINE_MS_MAX)?;
        }
        within("reply_bytes_max", u64::from(self.reply_bytes_max), 0, PAYLOAD_BYTES_MAX)?;
        self.identity.as_ref().map_or(Ok(()), Identity::check)
    }
}

impl Identity {
    fn check(&self) -> Result<(), Error> {
        if !self.client_id.is_empty() && ClientId::parse(&self.client_id).is_none() {
            return Err(Error::ClientId { text: self.client_id.clone() });
        }
        let limit_bytes = CONTROL_BYTES_MAX as usize - HELLO_BYTES_BESIDE;
        let got_bytes = self.token.len();
        if got_bytes > limit_bytes { Err(Error::TokenTooLong { got_bytes, limit_bytes }) } else { Ok(()) }
    }
}

/// A token is a secret: logs and panics only tell that there is one.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = format!("{} bytes", self.token.len());
        f.debug_struct("Identity").field("client_id", &self.client_id).field("token", &token).finish()
    }
}

fn within(name: &'static str, got: u64, least: u64, most: u32) -> Result<(), Error> {
    let most = u64::from(most);
    if (least..=most).contains(&got) { Ok(()) } else { Err(Error::Limit { name, got, least, most }) }
}
