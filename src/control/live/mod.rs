//! The dashboard's feed: how the server is, once a second, for whoever watches.
//!
//! ```text
//!   figures --Maker--> one JSON text a second --told to--> Watcher (a place for one: the newest) --Events--> its connection
//!   loops --asked every two seconds--> talkers --'           |
//!                                                            `-- not read for ten beats: cut
//! ```
//!
//! Always holds: a text is made once, however many watch; who reads slowly misses beats and delays nobody; when nobody
//! watches, nothing is made and no loop is asked. Never: more watchers than may be, or a figure that `/metrics` has not.

mod beat;
mod events;
mod figures;
mod limits;
mod state;

pub(super) use events::{Events, Line, Over};

use super::api::{Context, Refusal, Talkers, talkers};
use crate::base::limits::{
    LIVE_ASK_EVERY_BEATS, LIVE_EVERY, LIVE_LINGER_BEATS, LIVE_MISSED_MAX, LIVE_WATCHERS_MAX,
};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use beat::Maker;
use hyper::body::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

/// What stands around the JSON of an event.
const EVENT: (&str, &str) = ("data: ", "\n\n");

/// The feed, with those who watch it.
#[derive(Debug, Default)]
pub(super) struct Feed {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_beating: bool,
    /// What was told last, while it beats.
    newest: Option<Beat>,
    talkers: Option<Arc<Talkers>>,
    watchers: Vec<Arc<Watcher>>,
}

/// A text of the feed, made once for all.
#[derive(Clone, Debug)]
struct Beat {
    /// As an event; the JSON in it is a part of the same bytes. It has no line ends.
    event: Bytes,
    /// Whether it has rates: the first one has not.
    has_rates: bool,
}

/// Somebody who watches, as the feed knows him.
#[derive(Debug)]
struct Watcher {
    place: Mutex<Place>,
    /// Ends his connection.
    cut: Arc<Notify>,
}

/// A place for one beat.
#[derive(Debug, Default)]
struct Place {
    newest: Option<Beat>,
    /// Beats that were replaced by others before he took them, in a row.
    missed: u32,
    waker: Option<Waker>,
}

/// Somebody who watches, until this is dropped.
#[derive(Debug)]
pub(super) struct Watching {
    context: Arc<Context>,
    watcher: Arc<Watcher>,
}

impl Feed {
    /// Watches from now on. The first beat is there at once if others watch already.
    pub(super) fn watch(context: &Arc<Context>, cut: Arc<Notify>) -> Result<Watching, Refusal> {
        let mut inner = context.feed.lock();
        let most = LIVE_WATCHERS_MAX.min(context.bounds.connections.div_ceil(4));
        if inner.watchers.len() >= most {
            let text =
                format!("{most} watch already, and more may not; close another dashboard, or ask /metrics");
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, text).with(RETRY_AFTER, "5"));
        }
        let place = Place { newest: inner.newest.clone(), ..Place::default() };
        let watcher = Arc::new(Watcher { place: Mutex::new(place), cut });
        inner.watchers.push(Arc::clone(&watcher));
        if !inner.is_beating {
            inner.is_beating = true;
            tokio::spawn(beat(Beating(Arc::clone(context))));
        }
        Ok(Watching { context: Arc::clone(context), watcher })
    }

    fn has_watchers(&self) -> bool {
        !self.lock().watchers.is_empty()
    }

    /// Gives a beat to all, and cuts those who have not taken one for too long.
    fn tell(&self, beat: &Beat) {
        let mut inner = self.lock();
        inner.newest = Some(beat.clone());
        for watcher in &inner.watchers {
            let mut place = lock(&watcher.place);
            place.missed = if place.newest.replace(beat.clone()).is_some() { place.missed + 1 } else { 0 };
            if place.missed >= LIVE_MISSED_MAX {
                watcher.cut.notify_one();
            }
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Beat {
    fn new(json: &str, has_rates: bool) -> Beat {
        Beat { event: Bytes::from([EVENT.0, json, EVENT.1].concat()), has_rates }
    }

    fn json(&self) -> Bytes {
        self.event.slice(EVENT.0.len()..self.event.len() - EVENT.1.len())
    }
}

impl Watching {
    /// The next beat, once.
    fn poll_beat(&self, task: &std::task::Context<'_>) -> Poll<Beat> {
        let mut place = lock(&self.watcher.place);
        match place.newest.take() {
            Some(beat) => {
                place.missed = 0;
                Poll::Ready(beat)
            }
            None => {
                place.waker = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The first beat with rates, as it is.
    pub(super) async fn once(self) -> Bytes {
        loop {
            let beat = std::future::poll_fn(|task| self.poll_beat(task)).await;
            if beat.has_rates {
                return beat.json();
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.context.feed.lock().watchers.retain(|other| !Arc::ptr_eq(other, &self.watcher));
    }
}

/// The right to make beats; when it ends, however it does, another may begin.
struct Beating(Arc<Context>);

impl Drop for Beating {
    fn drop(&mut self) {
        let mut inner = self.0.feed.lock();
        let watchers = std::mem::take(&mut inner.watchers);
        *inner = Inner::default();
        // Those who are still there would wait for ever. They come back.
        watchers.iter().for_each(|watcher| watcher.cut.notify_one());
    }
}

/// Makes beats for as long as somebody watches, and a little longer.
async fn beat(beating: Beating) {
    let context = &beating.0;
    let mut ticks = tokio::time::interval(LIVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut maker = Maker::default();
    let mut unwatched = 0;
    for number in 0_u64.. {
        ticks.tick().await;
        unwatched = if context.feed.has_watchers() { 0 } else { unwatched + 1 };
        if unwatched > LIVE_LINGER_BEATS {
            return;
        }
        if unwatched == 0 && number.is_multiple_of(LIVE_ASK_EVERY_BEATS) {
            tokio::spawn(ask(Arc::clone(context)));
        }
        let talkers = context.feed.lock().talkers.clone();
        let scrape = context.exporter.scrape(&context.handle);
        let json = maker.beat(&context.handle, scrape, talkers.as_deref());
        context.feed.tell(&Beat::new(&json, number > 0));
    }
}

/// Asks the loops for those who talk most. Whoever else asks them goes first; then the last answer stays.
async fn ask(context: Arc<Context>) {
    if let Some(talkers) = talkers(&context).await {
        context.feed.lock().talkers = Some(Arc::new(talkers));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
