//! The dashboard's feed: how the server is, once a second, for whoever watches.
//!
//! ```text
//!   figures --Maker--> one JSON text a second --told to--> Watcher (a place for one: the newest) --Events--> its connection
//!      |               loops --asked every two seconds--> talkers --'     |
//!      |                                                                  `-- not read for ten beats: cut
//!      `--> Past (five minutes of a few of them) --JSON--> who asks for it
//! ```
//!
//! Always holds: a text is made once, however many watch; who reads slowly misses beats and delays nobody; when nobody
//! watches, no text is made, no loop is asked, and looking takes a hundredth of a processor at most. Never: more watchers
//! than may be, or a figure that `/metrics` has not.

mod beat;
mod events;
mod figures;
mod limits;
mod past;
mod state;

pub(super) use events::{Events, Line, Over};

use super::api::{Context, Refusal, Talkers, talkers};
use crate::base::limits::{LIVE_ASK_EVERY_BEATS, LIVE_EVERY, LIVE_MISSED_MAX, LIVE_REST, LIVE_WATCHERS_MAX};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use beat::Maker;
use hyper::body::Bytes;
use past::Past;
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

/// What stands around the JSON of an event.
const EVENT: (&str, &str) = ("data: ", "\n\n");

/// The feed, with those who watch it.
#[derive(Debug, Default)]
pub(super) struct Feed {
    inner: Mutex<Inner>,
    /// Told of whoever begins to watch.
    somebody: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    is_beating: bool,
    /// What was told last, while somebody watches.
    newest: Option<Beat>,
    past: Past,
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
    /// When its figures were looked at.
    looked: Instant,
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
    since: Instant,
}

impl Feed {
    /// Looks at the figures from now on, for as long as the runtime lives.
    pub(super) fn begin(context: &Arc<Context>) {
        let mut inner = context.feed.lock();
        if !inner.is_beating {
            inner.is_beating = true;
            tokio::spawn(beat(Beating(Arc::clone(context))));
        }
    }

    /// What is remembered, as JSON.
    pub(super) fn past(context: &Context) -> String {
        let now = context.handle.uptime();
        context.feed.lock().past.json(now)
    }

    /// Watches from now on. The first beat is there at once, of figures that are a second old at most.
    pub(super) fn watch(context: &Arc<Context>, cut: Arc<Notify>) -> Result<Watching, Refusal> {
        let since = Instant::now();
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
        drop(inner);
        context.feed.somebody.notify_one();
        // It has ended if it panicked, and only then.
        Feed::begin(context);
        Ok(Watching { context: Arc::clone(context), watcher, since })
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

    /// Nobody watches: what was told is old when somebody comes.
    fn forget(&self) {
        let mut inner = self.lock();
        (inner.newest, inner.talkers) = (None, None);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

impl Beat {
    fn new(json: &str, has_rates: bool, looked: Instant) -> Beat {
        Beat { event: Bytes::from([EVENT.0, json, EVENT.1].concat()), has_rates, looked }
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

    /// The first beat with rates of figures that are not older than the question, as it is.
    pub(super) async fn once(self) -> Bytes {
        loop {
            let beat = std::future::poll_fn(|task| self.poll_beat(task)).await;
            if beat.has_rates && beat.looked >= self.since {
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

/// Looks at the figures once a second, and tells of it for as long as somebody watches.
async fn beat(beating: Beating) {
    let context = &beating.0;
    let feed = &context.feed;
    let mut maker = Maker::default();
    let mut beats_watched = 0;
    loop {
        let (looked, before) = (Instant::now(), processor_time());
        let point = maker.look(context.exporter.scrape(&context.handle));
        feed.lock().past.note(point, maker.held());
        let took = processor_time().saturating_sub(before);
        let tell = || {
            let talkers = feed.lock().talkers.clone();
            if let Some(json) = maker.json(&context.handle, talkers.as_deref()) {
                feed.tell(&Beat::new(&json, maker.has_rates(), looked));
            }
        };
        if feed.has_watchers() {
            if beats_watched % LIVE_ASK_EVERY_BEATS == 0 {
                tokio::spawn(ask(Arc::clone(context)));
            }
            beats_watched += 1;
            tell();
        } else {
            beats_watched = 0;
            feed.forget();
            let next = looked + pause_after(took);
            let comes_somebody = timeout_at(next, feed.somebody.notified()).await.is_ok();
            if comes_somebody && looked.elapsed() < LIVE_EVERY {
                tell();
            }
        }
        // Rates want some time between two looks.
        sleep_until(looked + LIVE_EVERY).await;
    }
}

/// What this thread has had of a processor: where others have more to do, a look is not dearer, only longer.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// From the beginning of a look that nobody watched to the next one, if it took so much of a processor.
fn pause_after(took: Duration) -> Duration {
    LIVE_EVERY.max(took.saturating_mul(LIVE_REST + 1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_takes_a_hundredth_of_a_processor_at_most() {
        let ms = Duration::from_millis;
        assert_eq!([0, 1, 10].map(|took| pause_after(ms(took))), [LIVE_EVERY; 3]);
        assert_eq!(pause_after(ms(500)), ms(50_000));
    }
}
