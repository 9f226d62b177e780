//! A place to listen, checked before it is bound.

use super::Error;
use super::builder::{whole_ms_of, within};
use crate::base::Network;
use crate::base::limits::{
    BACKLOG_MAX, CONNECTIONS_PER_SHARD_MAX, DEADLINE_MS_MAX, KEEPALIVE_PROBES_MAX, KEEPALIVE_SECONDS_MAX,
    LINE_BYTES_DEFAULT, LINE_BYTES_MAX, PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX, SOCKET_BUFFER_BYTES_MAX,
    SOCKET_BUFFER_BYTES_MIN, TRUSTED_MAX,
};
use crate::net::{Endpoint, KERNEL_SPREADS, Keepalive, ListenOptions};
use crate::session::{Framing, Protocol};
use crate::shard::Entrance;
use crate::turn::ListenerConfig;
use crate::wire::Header;

/// An address to listen on, and how its streams are cut into messages.
#[derive(Clone, Debug)]
pub struct Listener {
    pub(super) address: String,
    pub(super) framing: Framing,
    /// Of all lines; not looked at for frames.
    pub(super) route: u16,
    pub(super) wants_hello: bool,
    pub(super) connections_max: Option<u32>,
    pub(super) entrance: Entrance,
    pub(super) has_users: bool,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<crate::tls::TlsFiles>,
    pub(super) options: ListenOptions,
}

impl Listener {
    /// Binary frames on this address: `127.0.0.1:7411`, where port 0 takes a free one, or `unix:/run/tidegate.sock`. A
    /// unix socket's file is replaced if nobody listens on it any more, and removed when listening ends.
    pub fn frames(address: impl Into<String>) -> Listener {
        Listener::with(address.into(), Framing::frames(PAYLOAD_BYTES_DEFAULT))
    }

    /// Frames whose header is a route in all its 16 bits (`header_space = "full"`): for clients that use them all. No
    /// extension blocks and no control frames, so a request that fails ends its connection.
    pub fn bare_frames(address: impl Into<String>) -> Listener {
        Listener::with(address.into(), Framing::bare_frames(PAYLOAD_BYTES_DEFAULT))
    }

    /// Lines of text on this address. They all go to route 0, unless [`Listener::route`] names another.
    pub fn lines(address: impl Into<String>) -> Listener {
        Listener::with(address.into(), Framing::lines(LINE_BYTES_DEFAULT, 0))
    }

    pub(super) fn with(address: String, framing: Framing) -> Listener {
        Listener {
            address,
            framing,
            route: 0,
            wants_hello: false,
            connections_max: None,
            entrance: Entrance::default(),
            has_users: false,
            #[cfg(feature = "tls")]
            tls: None,
            options: ListenOptions::default(),
        }
    }

    /// Every peer's first frame must be a HELLO that [`Service::on_hello`](crate::service::Service::on_hello) accepts; who sends anything else is told
    /// UNAUTHENTICATED. Of no use with lines and bare frames, which have no HELLO.
    #[must_use]
    pub const fn wants_hello(mut self) -> Listener {
        self.wants_hello = matches!(self.framing.protocol, Protocol::Frame);
        self
    }

    /// Every peer must be one of the server's [users](super::Builder::users): its first frame must be a HELLO with the token of
    /// one, unless its client certificate is a user's. Who is nobody is told UNAUTHENTICATED. With lines and bare frames,
    /// which have no HELLO, there is only the certificate.
    #[must_use]
    pub const fn wants_users(mut self) -> Listener {
        self.has_users = true;
        self
    }

    /// The largest payload, in bytes: of a frame, `0..=268435456`, default 1 MiB; of a line without its end,
    /// `0..=131072`, default 64 KiB.
    #[must_use]
    pub const fn max_payload(mut self, bytes: u32) -> Listener {
        self.framing = self.framing.with_payload_max(bytes);
        self
    }

    /// The route of all lines, `0..=16383`. Of no use with frames, which name their own.
    #[must_use]
    pub const fn route(mut self, route: u16) -> Listener {
        self.route = route;
        self
    }

    /// The most connections that this listener may have at once, on all loops together, `1..=16776192`; those beyond are told
    /// OVERLOADED. Default: as many as the server may have.
    #[must_use]
    pub const fn max_connections(mut self, connections: u32) -> Listener {
        self.connections_max = Some(connections);
        self
    }

    /// Every connection comes from a proxy in one of these networks (at most 64), and begins with a PROXY header, of version
    /// 1 or 2: the client's address is the one in it. Connections from elsewhere, and such without a header, are closed.
    #[must_use]
    pub fn proxied_by(mut self, trusted: impl IntoIterator<Item = Network>) -> Listener {
        self.entrance.proxy = Some(trusted.into_iter().collect());
        self
    }

    /// Every connection speaks TLS, 1.3 or 1.2, with what these files say; behind its PROXY header, if it must have one.
    /// They are read when the server begins to listen, and again by [`Handle::reload_tls`](super::Handle::reload_tls).
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, files: crate::tls::TlsFiles) -> Listener {
        self.tls = Some(files);
        self
    }

    /// Its entrance, with the files read.
    pub(super) fn entrance(&self, at: &Endpoint) -> Result<Entrance, Error> {
        #[cfg(feature = "tls")]
        if let Some(files) = &self.tls {
            let unusable =
                |error: crate::tls::TlsError| Error::Tls { address: at.clone(), why: error.to_string() };
            let acceptor = crate::tls::Acceptor::new(files.clone()).map_err(unusable)?;
            return Ok(Entrance { tls: Some(acceptor.into()), ..self.entrance.clone() });
        }
        let _ = at;
        Ok(self.entrance.clone())
    }

    /// Lets other processes of this user listen on the same port, if each has this; the kernel spreads connections over
    /// them by a hash of the addresses, not by how many each has. One that has it also joins a server that has not, so
    /// give it to all. Linux and FreeBSD; not for unix sockets.
    ///
    /// The same as [`ListenOptions::share_port`].
    #[must_use]
    pub const fn share_port(mut self) -> Listener {
        self.options.share_port = true;
        self
    }

    /// Backlog, kernel buffers, keepalive, sharing.
    #[must_use]
    pub fn options(mut self, options: ListenOptions) -> Listener {
        self.options = options;
        self
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        within("the route of lines", self.route.into(), 0, Header::ROUTE_MAX.into())?;
        let (name, most) = match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => ("the largest payload of a frame", PAYLOAD_BYTES_MAX),
            Protocol::Line => ("the longest line", LINE_BYTES_MAX),
        };
        within(name, u64::from(self.framing.payload_max), 0, u64::from(most))?;
        if let Some(trusted) = &self.entrance.proxy {
            within("the number of trusted networks", trusted.len() as u64, 1, TRUSTED_MAX as u64)?;
        }
        let ListenOptions { backlog, socket_buffer_bytes, keepalive, user_timeout, share_port: _, file } =
            &self.options;
        within("the mode of a socket's file", file.mode.unwrap_or(0).into(), 0, 0o777)?;
        let backlog = u64::try_from(*backlog).unwrap_or(0);
        within("the backlog", backlog, 1, BACKLOG_MAX as u64)?;
        if let Some(bytes) = socket_buffer_bytes {
            let (least, most) = (SOCKET_BUFFER_BYTES_MIN as u64, SOCKET_BUFFER_BYTES_MAX as u64);
            within("the kernel's buffer in bytes", *bytes as u64, least, most)?;
        }
        if let Some(keepalive) = keepalive {
            for (name, time) in [
                ("keepalive's idle time in seconds", keepalive.idle),
                ("keepalive's interval in seconds", keepalive.interval),
            ] {
                within(name, time.as_secs(), 1, KEEPALIVE_SECONDS_MAX)?;
            }
            within("keepalive's count", keepalive.count.into(), 1, KEEPALIVE_PROBES_MAX.into())?;
        }
        if let Some(timeout) = user_timeout {
            within("the user timeout in milliseconds", whole_ms_of(*timeout), 1, DEADLINE_MS_MAX.into())?;
        }
        if let Some(most) = self.connections_max {
            let name = "the most connections of a listener";
            within(name, most.into(), 1, CONNECTIONS_PER_SHARD_MAX.into())?;
        }
        Ok(())
    }

    /// As a loop sees it.
    pub(super) const fn config(&self) -> ListenerConfig {
        let framing = self.framing.with_line_route(self.route);
        let wants_hello = self.wants_hello || self.has_users;
        ListenerConfig {
            framing,
            wants_hello,
            has_users: self.has_users,
            connections_max: self.connections_max,
            is_secure: self.is_secure(),
        }
    }

    #[cfg(feature = "tls")]
    const fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with the feature it is looked at")]
    const fn is_secure(&self) -> bool {
        false
    }

    /// With these probes.
    pub(super) const fn probed(mut self, keepalive: Option<Keepalive>) -> Listener {
        self.options.keepalive = keepalive;
        self
    }

    pub(super) fn endpoint(&self) -> Result<Endpoint, Error> {
        let address = Endpoint::parse(&self.address)
            .map_err(|why| Error::Address { text: self.address.clone(), why })?;
        let why = match address {
            _ if !self.options.share_port => return Ok(address),
            Endpoint::Unix(_) => "a path has one socket; give each process a path of its own",
            Endpoint::Ip(_) if KERNEL_SPREADS => return Ok(address),
            Endpoint::Ip(_) => {
                "this system would give one of them all connections; run one process, without share_port"
            }
        };
        Err(Error::CannotShare { address, why })
    }
}

impl From<&str> for Listener {
    /// Frames on this address.
    fn from(address: &str) -> Listener {
        Listener::frames(address)
    }
}
