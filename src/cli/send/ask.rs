//! The two kinds of listener behind one face: what goes out is a request or a line, what comes is a reply.

use super::Options;
use crate::client::{self, Client, Error, LineClient, Reply, Request};
use crate::wire::Status;

pub(super) enum Asked {
    Frames(Box<Client>),
    Lines(Box<LineClient>),
}

impl Asked {
    pub(super) fn connect(options: &Options, settings: client::Options) -> Result<Asked, Error> {
        if options.lines {
            return settings.connect_lines(&options.address).map(|client| Asked::Lines(Box::new(client)));
        }
        settings.connect(&options.address).map(|client| Asked::Frames(Box::new(client)))
    }

    pub(super) fn send(&mut self, request: &Request<'_>) -> Result<(), Error> {
        match self {
            Asked::Frames(client) => client.send(request),
            Asked::Lines(client) => client.send(request.body()),
        }
    }

    pub(super) fn receive(&mut self) -> Result<Reply, Error> {
        match self {
            Asked::Frames(client) => client.receive(),
            Asked::Lines(client) => client.receive(),
        }
    }

    /// After requests without replies: waits until the server has read them, and tells if it refused one and says so.
    pub(super) fn confirm(&mut self) -> Result<(), Error> {
        let Asked::Frames(client) = self else { return Ok(()) };
        // A NOTICE leaves behind all that was read together, so it may come behind the first PONG.
        client.ping()?;
        client.ping()?;
        match client.take_notice() {
            Some(notice) if notice.status != Status::OK => {
                Err(Error::Refused { status: notice.status, text: notice.text })
            }
            Some(_) | None => Ok(()),
        }
    }
}
