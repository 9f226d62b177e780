//! The client for frames: requests out, replies in, each matched to what it answers.
//!
//! ```text
//!   send --> inbox: its reply is due --> channel --> the server
//!   receive, call, ping <-- inbox <-- frames <-- channel <-- the server
//! ```
//!
//! Always holds: what came and was not received, parsed or not, stays within the client's bound; a frame that can't
//! be accepted is not taken, so every later call meets it again and fails the same way. Never: a request sent twice.

use super::channel::{Channel, Got};
use super::inbox::{Inbox, Key};
use super::{Error, GoAway, Identity, Notice, Options, Reply, Request, Welcomed};
use crate::base::limits::{
    CLIENT_OPEN_MAX, CLIENT_PONG_BYTES_MAX, CONTROL_BYTES_MAX, EXTENSION_BYTES_MAX, PAYLOAD_BYTES_MAX,
};
use crate::wire::extension::TLV_BYTES_MAX;
use crate::wire::frame::{PREFIX_BYTES, frame_bytes, prefix};
use crate::wire::{
    Control, Crc, DecodeError, Decoded, Extension, FrameLimits, Header, Hello, TlvWriter, decode,
    is_tls_alert,
};
use std::time::{Duration, Instant};

/// A connection to a listener for frames. See [the module](super) for how it is used.
///
/// Dropping it closes the connection at once; [`close`](Self::close) lets what was sent arrive.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    options: Options,
    crc: Crc,
    limits: FrameLimits,
    inbox: Inbox,
    pings: u64,
}

impl Client {
    /// Connects with [`Options::default`]: see [`Options::connect`] for addresses and errors.
    ///
    /// # Errors
    ///
    /// As [`Options::connect`].
    pub fn connect(address: &str) -> Result<Client, Error> {
        Options::default().connect(address)
    }

    pub(super) fn with(address: &str, options: Options) -> Result<Client, Error> {
        let channel = Channel::connect(address, &options)?;
        let limits = FrameLimits::new(options.reply_bytes_max);
        let mut client =
            Client { channel, options, crc: Crc::new(), limits, inbox: Inbox::default(), pings: 0 };
        if let Some(identity) = client.options.identity.clone() {
            client.greet(&identity)?;
        }
        Ok(client)
    }

    /// Sends one request and waits for its reply. Replies to others that come before it are kept for
    /// [`receive`](Self::receive).
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) and [`receive`](Self::receive); [`Error::NoReplyDue`] for a one-way request,
    /// which is not sent. A reply that is a failure is none of them: see [`Reply::into_ok`].
    pub fn call(&mut self, request: &Request<'_>) -> Result<Reply, Error> {
        if request.is_one_way() {
            return Err(Error::NoReplyDue);
        }
        let key = self.send_for(request)?;
        self.wait("reply", |inbox| inbox.take(key))
    }

    /// Sends one request, and waits for nothing but room: several may be on their way.
    ///
    /// # Errors
    ///
    /// - Found before anything is sent: [`Error::Route`], [`Error::RequestTooLarge`], [`Error::TagsTooLong`],
    ///   [`Error::TooManyOpen`], and [`Error::GoAway`] if the server asked the client to leave.
    /// - [`Error::Timeout`], [`Error::Backlog`]: the server does not take it yet. What is left of it is sent by the
    ///   next call, so its reply is due.
    /// - [`Error::GoAway`], [`Error::Io`]: the connection is lost. Replies that came are still received.
    pub fn send(&mut self, request: &Request<'_>) -> Result<(), Error> {
        self.send_for(request).map(|_| ())
    }

    /// The next reply, whatever it answers. Those to requests without a correlation come in the order of the
    /// requests, those with one whenever they are ready.
    ///
    /// # Errors
    ///
    /// - [`Error::NoReplyDue`]: nothing was sent that it could answer.
    /// - [`Error::Timeout`]: not yet. It may be waited for again.
    /// - [`Error::GoAway`], [`Error::Closed`], [`Error::Cut`], [`Error::Io`]: the connection ended before it came.
    /// - [`Error::ReplyTooLarge`], [`Error::Frame`], [`Error::Control`], [`Error::Extension`],
    ///   [`Error::Unexpected`]: what came can't be read, and nothing behind it.
    pub fn receive(&mut self) -> Result<Reply, Error> {
        if self.inbox.due() == 0 {
            return Err(Error::NoReplyDue);
        }
        self.wait("reply", |inbox| inbox.take(None))
    }

    /// The next reply with this correlation. Others that come before it are kept for [`receive`](Self::receive).
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), and [`Error::Backlog`] if there is no room for the others any more.
    pub fn receive_for(&mut self, correlation: u64) -> Result<Reply, Error> {
        let key = Key::Id(correlation);
        if !self.inbox.is_due(key) {
            return Err(Error::NoReplyDue);
        }
        self.wait("reply", |inbox| inbox.take(Some(key)))
    }

    /// Requests whose replies were not received yet.
    pub fn due(&self) -> usize {
        self.inbox.due()
    }

    /// Sends PING and waits for its PONG; gives the time between them. Replies that come before it are kept.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) and [`receive`](Self::receive).
    pub fn ping(&mut self) -> Result<Duration, Error> {
        let begun = Instant::now();
        self.pings += 1;
        let opaque = self.pings.to_be_bytes();
        Control::Ping(&opaque).encode(self.channel.output(), &self.crc);
        self.flush()?;
        self.wait("answer to PING", |inbox| inbox.pong.take_if(|pong| *pong == opaque))?;
        Ok(begun.elapsed())
    }

    /// What the server said to HELLO, if the client said it.
    pub fn welcomed(&self) -> Option<&Welcomed> {
        self.inbox.welcomed.as_ref()
    }

    /// The server's GOAWAY, if it has come: the client should stop sending, receive what is due, and close.
    pub fn goaway(&self) -> Option<&GoAway> {
        self.inbox.goaway.as_ref()
    }

    /// Takes the last NOTICE that has come. Only clients that said HELLO are sent any.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.inbox.notice.take()
    }

    /// Ends the connection in order: what was sent arrives, what still comes is thrown away.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the server does not end its side within [`Options::read_timeout`]; [`Error::Io`].
    pub fn close(mut self) -> Result<(), Error> {
        self.flush()?;
        self.channel.close(self.options.read_timeout)
    }
}

/// Sending.
impl Client {
    fn greet(&mut self, identity: &Identity) -> Result<(), Error> {
        let max_receive = self.options.reply_bytes_max.to_be_bytes();
        let tags = TlvWriter::new().tag(Hello::MAX_RECEIVE, &max_receive);
        let (client_id, token) = (identity.client_id.as_str(), identity.token.as_slice());
        let hello = Hello { version: 1, flags: 0, client_id, token, tlvs: tags.tlvs() };
        Control::Hello(hello).encode(self.channel.output(), &self.crc);
        self.flush()?;
        self.wait("answer to HELLO", |inbox| inbox.welcomed.is_some().then_some(()))?;
        let welcomed = FrameLimits::welcomed(self.options.reply_bytes_max);
        self.limits.control_max = welcomed.control_max.max(CONTROL_BYTES_MAX);
        Ok(())
    }

    /// Sends, and gives the key of the reply.
    fn send_for(&mut self, request: &Request<'_>) -> Result<Option<Key>, Error> {
        self.check(request)?;
        self.encode(request);
        let key = self.inbox.expect(request);
        self.flush()?;
        Ok(key)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), Error> {
        if request.route > Header::ROUTE_MAX {
            return Err(Error::Route { route: request.route, most: Header::ROUTE_MAX });
        }
        let limit_bytes = self.welcomed().map_or(PAYLOAD_BYTES_MAX, |said| said.payload_bytes_max);
        if request.body.len() > limit_bytes as usize {
            return Err(Error::RequestTooLarge { got_bytes: request.body.len(), limit_bytes });
        }
        let tag_bytes = request.extension.map_or(0, |extension| extension.tlvs.as_bytes().len());
        if tag_bytes > TLV_BYTES_MAX {
            return Err(Error::TagsTooLong { got_bytes: tag_bytes, limit_bytes: TLV_BYTES_MAX });
        }
        if let Some(goaway) = self.goaway() {
            return Err(Error::GoAway(goaway.clone()));
        }
        if self.due() >= CLIENT_OPEN_MAX {
            return Err(Error::TooManyOpen { limit: CLIENT_OPEN_MAX });
        }
        Ok(())
    }

    fn encode(&mut self, request: &Request<'_>) {
        let block_bytes = request.extension.as_ref().map_or(0, Extension::block_bytes);
        let payload_bytes = block_bytes + request.body.len();
        let length = u32::try_from(payload_bytes).expect("the body and the tags were checked");
        let ext = if request.extension.is_some() { Header::EXT } else { 0 };
        let out = self.channel.output();
        let start = out.len();
        out.reserve(frame_bytes(payload_bytes));
        out.extend_from_slice(&prefix(Header::from_bits(ext | request.route), length));
        if let Some(extension) = &request.extension {
            extension.encode(out);
        }
        out.extend_from_slice(request.body);
        debug_assert_eq!(out.len() - start, PREFIX_BYTES + payload_bytes);
        let sum = self.crc.of(&out[start..]);
        out.extend_from_slice(&sum.to_be_bytes());
    }

    fn flush(&mut self) -> Result<(), Error> {
        let (after, room) = (self.options.write_timeout, self.room());
        match self.channel.flush(Instant::now() + after, room) {
            Ok(true) => Ok(()),
            Ok(false) if self.room() == 0 => Err(self.backlog()),
            Ok(false) => Err(Error::Timeout { waited_for: "room to send", after }),
            Err(error) => {
                self.channel.drop_output();
                Err(self.last_words().map_or(Error::Io(error), Error::GoAway))
            }
        }
    }

    /// The connection is lost for sending; the server may have said why before that.
    fn last_words(&mut self) -> Option<GoAway> {
        let until = Instant::now() + self.options.read_timeout;
        loop {
            while self.parse_one().is_ok_and(|is_one| is_one) {}
            let room = self.room();
            let is_over = self.goaway().is_some() || room == 0;
            if is_over || !matches!(self.channel.fill(until, room), Ok(Got::Bytes)) {
                return self.goaway().cloned();
            }
        }
    }

    /// How many bytes more may be kept.
    fn room(&self) -> usize {
        self.limit_bytes().saturating_sub(self.kept_bytes())
    }

    fn kept_bytes(&self) -> usize {
        self.inbox.bytes() + self.channel.input().len()
    }

    fn limit_bytes(&self) -> usize {
        // One of the largest always fits beside what is kept.
        let largest = (self.options.reply_bytes_max + EXTENSION_BYTES_MAX).max(self.limits.control_max);
        self.options.buffered_bytes_max.saturating_add(frame_bytes(largest as usize))
    }

    fn backlog(&self) -> Error {
        Error::Backlog { buffered_bytes: self.kept_bytes(), limit_bytes: self.limit_bytes() }
    }
}

/// Receiving.
impl Client {
    /// Handles what comes until `done` gives something.
    fn wait<T>(
        &mut self,
        waited_for: &'static str,
        mut done: impl FnMut(&mut Inbox) -> Option<T>,
    ) -> Result<T, Error> {
        let after = self.options.read_timeout;
        let until = Instant::now() + after;
        loop {
            if let Some(done) = done(&mut self.inbox) {
                return Ok(done);
            }
            if self.parse_one()? {
                continue;
            }
            if self.room() == 0 {
                return Err(self.backlog());
            }
            if self.channel.unsent_bytes() > 0 {
                // What is left of an earlier send: the reply may be to that.
                self.flush()?;
                continue;
            }
            match self.channel.fill(until, self.room()) {
                Ok(Got::Bytes) => {}
                Ok(Got::Nothing) => return Err(Error::Timeout { waited_for, after }),
                Ok(Got::End) => return Err(self.ended()),
                Err(error) => return Err(self.goaway().cloned().map_or(Error::Io(error), Error::GoAway)),
            }
        }
    }

    /// Takes the frame at the front of the input in, if it is whole.
    fn parse_one(&mut self) -> Result<bool, Error> {
        let frame = match decode(self.channel.input(), self.limits, &self.crc) {
            Ok(Decoded::Frame(frame)) => frame,
            Ok(Decoded::NeedMore { .. }) => return Ok(false),
            Err(DecodeError::TooLarge { header, got_bytes, limit_bytes }) if !header.is_control() => {
                return Err(Error::ReplyTooLarge { got_bytes: got_bytes as usize, limit_bytes });
            }
            Err(error) => return Err(Error::Frame(error)),
        };
        let used = frame.frame_bytes();
        let mut pong = Vec::new();
        if let Some(opaque) = self.inbox.handle(frame)? {
            Control::Pong(opaque).encode(&mut pong, &self.crc);
        }
        self.channel.take(used);
        if !pong.is_empty() && self.channel.unsent_bytes() + pong.len() <= CLIENT_PONG_BYTES_MAX {
            self.channel.output().extend_from_slice(&pong);
            // If the connection is lost, whoever waits for a reply will see it.
            let _ = self.channel.send_some();
        }
        Ok(true)
    }

    /// Why nothing more comes.
    fn ended(&self) -> Error {
        match (self.goaway(), self.channel.input().len()) {
            (Some(goaway), _) => Error::GoAway(goaway.clone()),
            (None, 0) => Error::Closed { open: self.inbox.open() },
            (None, _) if is_tls_alert(self.channel.input()) => Error::SpeaksTls,
            (None, got_bytes) => Error::Cut { got_bytes },
        }
    }
}
