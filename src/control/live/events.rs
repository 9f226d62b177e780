//! One watcher's stream, as server-sent events (HTML Living Standard, section 9.2).
//!
//! Always holds: it ends by itself when its connection's time is over or the port ends, with an event that says which; a
//! beat is handed on when the connection has room for it, and not before. Never: more than one beat in memory.

use super::{Beat, Watching};
use crate::control::places::Answering;
use hyper::body::{Body, Bytes, Frame};
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{Notify, watch};

/// How long a browser waits before it comes back, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// Why a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Over {
    /// The port ends, and the server with it; or another process has its socket.
    Port,
    /// Its connection has lived for as long as it may. Who still wants to watch comes back.
    Life,
}

/// What an answer that goes on knows of its connection.
#[derive(Clone, Debug)]
pub(in super::super) struct Line {
    /// Held for as long as it is answered, so that nobody takes its place.
    pub(in super::super) answering: Arc<Answering>,
    /// Whether it is to end, and why.
    pub(in super::super) over: watch::Receiver<Option<Over>>,
    /// Ends it at once.
    pub(in super::super) cut: Arc<Notify>,
}

/// The body of an answer that goes on.
pub(in super::super) struct Events {
    watching: Watching,
    _answering: Arc<Answering>,
    over: Pin<Box<dyn Future<Output = Over> + Send>>,
    stands: Stands,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Beginning,
    Telling,
    Ended,
}

impl Events {
    pub(in super::super) fn new(watching: Watching, line: Line) -> Events {
        let Line { answering, mut over, .. } = line;
        let over = async move {
            let why = over.wait_for(Option::is_some).await.ok().and_then(|why| *why);
            // Without its connection there is nobody to tell.
            why.unwrap_or(Over::Port)
        };
        Events { watching, _answering: answering, over: Box::pin(over), stands: Stands::Beginning }
    }

    fn poll_text(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.stands {
            Stands::Ended => return Poll::Ready(None),
            Stands::Beginning => {
                self.stands = Stands::Telling;
                return Poll::Ready(Some(Bytes::from_static(RETRY.as_bytes())));
            }
            Stands::Telling => {}
        }
        if let Poll::Ready(Beat { event, .. }) = self.watching.poll_beat(task) {
            return Poll::Ready(Some(event));
        }
        self.over.as_mut().poll(task).map(|over| {
            self.stands = Stands::Ended;
            let text = match over {
                Over::Port => "event: end\ndata: port\n\n",
                Over::Life => "event: end\ndata: life\n\n",
            };
            Some(Bytes::from_static(text.as_bytes()))
        })
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_text(task).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("watching", &self.watching).field("stands", &self.stands).finish()
    }
}
