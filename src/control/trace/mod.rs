//! Traces on their way out: a thread that takes what the loops recorded and sends it to a collector, by OTLP over HTTP.
//!
//! ```text
//!   rings of the loops --every 200 ms--> queue --512 at once, or after 500 ms--> post --> the collector
//!                            `- too many: the oldest go          ^                |
//!                                                                `-- later: a pause, twice the last, or what it asks for
//! ```
//!
//! Always holds: whatever the collector does, the loops only ever find their ring full; everything that is dropped is counted,
//! with its cause; the end takes no longer than whoever waits for it allows. Never: a byte of a payload sent; a loop waited for.

mod headers;
mod otlp;
mod post;
mod queue;

use crate::base::Rng;
use crate::base::limits::{
    EXPORT_EVERY, EXPORT_HEADERS_BYTES_MAX, EXPORT_HEADERS_MAX, EXPORT_NAME_BYTES_MAX, EXPORT_PAUSE,
    EXPORT_TRIES, SPANS_PER_SHARD, SPANS_TAKEN_EVERY,
};
use crate::server::{Export, Handle};
use crate::trace::{Collector, CollectorError, Span};
use axum::http::{HeaderName, HeaderValue};
use otlp::Common;
use post::{Posted, Poster, Trouble};
use queue::Queue;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch as signal};
use tokio::time::Instant;
use tracing::{info, warn};

/// What a service is called that nobody gave a name.
const SERVICE_NAME: &str = "tidegate";

/// Where a server's traces go, before it runs.
///
/// ```
/// use tidegate::control::Traces;
/// use tidegate::server::Sampling;
/// use tidegate::{Router, Server};
///
/// let traces = Traces::to("http://127.0.0.1:4318")?.service_name("orders")?;
/// // Of requests that bring no trace, one in a hundred.
/// let sampling = Sampling { per_million: 10_000, ..Sampling::default() };
/// let running = Server::builder().listen("127.0.0.1:0")?.tracing(sampling).start(Router::embedded)?;
/// let sending = traces.start(running.handle())?;
///
/// running.handle().drain(std::time::Duration::from_secs(1));
/// running.join()?;
/// sending.finish(std::time::Duration::from_secs(2)); // the last spans leave
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Traces {
    collector: Collector,
    service_name: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("collector", &self.collector).finish_non_exhaustive()
    }
}

/// Why traces can't be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// The collector's URL.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// The service's name.
    #[error("a service's name has 1 to {EXPORT_NAME_BYTES_MAX} bytes, none of them a control character")]
    Name,
    /// A line that is no header, or one that this program sets itself.
    #[error(
        "line {line} is no header that may be sent: write name: value, and leave content-type and host out"
    )]
    Header {
        /// Which line, from 1.
        line: usize,
    },
    /// More headers than anybody needs.
    #[error("{got} headers are too many; there may be {EXPORT_HEADERS_MAX}")]
    Headers {
        /// How many there are.
        got: usize,
    },
    /// More text than anybody needs.
    #[error("{got_bytes} bytes of headers are too many; there may be {EXPORT_HEADERS_BYTES_MAX}")]
    HeadersTooLong {
        /// How many there are.
        got_bytes: usize,
    },
    /// The thread or its poller can't be had.
    #[error("cannot start the thread that sends traces: {0}")]
    Thread(#[source] io::Error),
}

impl Traces {
    /// To the collector at this URL, `http://HOST[:PORT][/PATH]`; `/v1/traces` is added, and the port is 4318 unless it is given.
    ///
    /// # Errors
    ///
    /// [`TracesError::Collector`].
    pub fn to(url: &str) -> Result<Traces, TracesError> {
        Ok(Traces::to_collector(url.parse()?))
    }

    /// To this collector.
    pub fn to_collector(collector: Collector) -> Traces {
        Traces { collector, service_name: SERVICE_NAME.to_owned(), headers: Vec::new() }
    }

    /// What the server is called there, 1 to 255 bytes. Default: `tidegate`.
    ///
    /// # Errors
    ///
    /// [`TracesError::Name`].
    pub fn service_name(mut self, name: impl Into<String>) -> Result<Traces, TracesError> {
        self.service_name = name.into();
        let is_right = (1..=EXPORT_NAME_BYTES_MAX).contains(&self.service_name.len())
            && !self.service_name.chars().any(char::is_control);
        if is_right { Ok(self) } else { Err(TracesError::Name) }
    }

    /// Headers to be sent with each request, one a line, `name: value`, at most 16; empty lines and those that begin with `#`
    /// are skipped. For whoever the collector wants to know.
    ///
    /// # Errors
    ///
    /// [`TracesError::Header`] and its neighbours; they repeat nothing of the text.
    pub fn headers(mut self, lines: &str) -> Result<Traces, TracesError> {
        self.headers = headers::read(lines)?;
        Ok(self)
    }

    /// Sends what this server [records](crate::Builder::tracing) from now on, on a thread of its own.
    ///
    /// # Errors
    ///
    /// [`TracesError::Thread`].
    pub fn start(self, handle: Handle) -> Result<Sending, TracesError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(TracesError::Thread)?;
        let end = Arc::new(signal::Sender::new(None));
        let (living, ended) = channel::<()>();
        let to = self.collector.to_string();
        let sender = Sender::new(self, handle, Arc::clone(&end));
        let thread = std::thread::Builder::new().name("tidegate-traces".to_owned());
        let thread = thread.spawn(move || {
            let _living = living;
            super::admin::give_way();
            super::admin::live(runtime, sender.run());
        });
        thread.map_err(TracesError::Thread)?;
        info!(%to, "traces are sent");
        Ok(Sending { end, ended })
    }
}

/// Traces being sent. Dropping this lets the thread run on, for as long as the process lives.
#[derive(Debug)]
pub struct Sending {
    end: Arc<signal::Sender<Option<Instant>>>,
    /// Closed when the thread is over, in whatever way.
    ended: Receiver<()>,
}

impl Sending {
    /// Sends what is still there, each span once more at most, and ends; within this time. What did not leave is counted, and
    /// logged. To be called when the server has ended, so that nothing comes behind it.
    pub fn finish(self, within: Duration) {
        self.end.send_replace(Some(Instant::now() + within));
        let _ = self.ended.recv_timeout(within + LAST_WORDS);
    }
}

/// What the thread may take behind the end of its time, to count and to log.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// The system's number of this process.
fn process_id() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The time since the Unix epoch.
fn unix_now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// The thread's work.
struct Sender {
    shelf: Arc<Shelf>,
    common: Common,
    poster: Poster,
    /// Here, too, so that it is not taken for told when [`Sending`] was dropped.
    end: Arc<signal::Sender<Option<Instant>>>,
    rng: Rng,
    was_partial: bool,
}

/// Where spans lie between the two tasks: one takes them from the loops, the other sends them.
#[derive(Debug)]
struct Shelf {
    handle: Handle,
    queue: Mutex<Queue>,
    has_batch: Notify,
}

impl Shelf {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the loops have recorded.
    fn fill(&self) {
        let mut queue = self.queue();
        let mut overflowed = 0;
        self.handle.take_spans(SPANS_PER_SHARD, |span| overflowed += u64::from(!queue.push(span)));
        self.handle.count_export(Export::Overflowed, overflowed);
        self.handle.set_spans_waiting(queue.len());
        if queue.has_batch() {
            self.has_batch.notify_one();
        }
    }

    async fn fill_always(self: Arc<Shelf>) {
        let mut ticks = tokio::time::interval(SPANS_TAKEN_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.fill();
        }
    }

    fn count(&self, what: Export, count: usize) {
        self.handle.count_export(what, count as u64);
    }
}

/// What became of a batch.
enum Fate {
    Over,
    /// The end came while it waited for its next try.
    Untold(Vec<Span>),
}

impl Sender {
    fn new(traces: Traces, handle: Handle, end: Arc<signal::Sender<Option<Instant>>>) -> Sender {
        let Traces { collector, service_name, headers } = traces;
        let common = Common::new(&handle, &service_name);
        let now = unix_now();
        let shelf = Shelf { handle, queue: Mutex::new(Queue::new()), has_batch: Notify::new() };
        Sender {
            shelf: Arc::new(shelf),
            common,
            poster: Poster::new(collector, headers),
            end,
            rng: Rng::new(u64::from(now.subsec_nanos()) ^ u64::from(process_id())),
            was_partial: false,
        }
    }

    async fn run(mut self) {
        let filling = tokio::spawn(Arc::clone(&self.shelf).fill_always());
        let mut rest = Vec::new();
        while self.end.borrow().is_none() {
            self.wait_for_spans().await;
            let batch = self.shelf.queue().batch();
            if !batch.is_empty()
                && let Fate::Untold(spans) = self.send(batch).await
            {
                rest = spans;
            }
        }
        filling.abort();
        self.finish(rest).await;
    }

    /// Until there is a whole batch, or what there is has waited long enough, or the end.
    async fn wait_for_spans(&mut self) {
        if self.shelf.queue().has_batch() {
            return;
        }
        let mut end = self.end.subscribe();
        let ended = pin!(end.wait_for(Option::is_some));
        let filled = pin!(self.shelf.has_batch.notified());
        let either = super::serve::first_of(ended, filled);
        let _ = tokio::time::timeout(EXPORT_EVERY, either).await;
    }

    /// Sends a batch, as often as it takes and may.
    async fn send(&mut self, batch: Vec<Span>) -> Fate {
        let body = self.body(&batch);
        let mut pause = EXPORT_PAUSE.0;
        for tries in 1.. {
            let posted = match self.until_end(body.clone()).await {
                Some(posted) => posted,
                None => return Fate::Untold(batch),
            };
            match posted {
                Posted::Later(after, trouble) if tries < EXPORT_TRIES => {
                    self.shelf.handle.count_export(Export::Retried, 1);
                    let by_chance = self.rng.below(whole_ms(pause / 2) + 1);
                    let wait = after.unwrap_or(pause - Duration::from_millis(by_chance));
                    let (spans, again_in_ms) = (batch.len(), whole_ms(wait));
                    warn!(%trouble, spans, again_in_ms, "traces wait for the collector");
                    pause = (pause * 2).min(EXPORT_PAUSE.1);
                    let mut end = self.end.subscribe();
                    if tokio::time::timeout(wait, end.wait_for(Option::is_some)).await.is_ok() {
                        return Fate::Untold(batch);
                    }
                }
                over @ (Posted::Taken(_) | Posted::Later(..) | Posted::Never(_)) => {
                    self.book(over, batch.len());
                    return Fate::Over;
                }
            }
        }
        Fate::Over
    }

    fn body(&self, batch: &[Span]) -> Vec<u8> {
        let zero = unix_now().saturating_sub(self.shelf.handle.uptime());
        self.common.request(batch, u64::try_from(zero.as_nanos()).unwrap_or(u64::MAX))
    }

    /// One try. `None`: the end, and its time is over.
    async fn until_end(&mut self, body: Vec<u8>) -> Option<Posted> {
        let mut end = self.end.subscribe();
        let over = async move {
            let until = end.wait_for(Option::is_some).await.ok().and_then(|end| *end);
            tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await;
        };
        let mut posted = None;
        let posting = async { posted = Some(self.poster.post(body).await) };
        super::serve::first_of(posting, over).await;
        posted
    }

    /// Counts what became of a batch of so many.
    fn book(&mut self, posted: Posted, spans: usize) {
        let shelf = &self.shelf;
        match posted {
            Posted::Taken(partial) => {
                let refused = usize::try_from(partial.rejected_spans).unwrap_or(0).min(spans);
                shelf.count(Export::Sent, spans - refused);
                shelf.count(Export::Refused, refused);
                shelf.count(Export::Done, 1);
                let said = partial.error_message.as_str();
                if (refused > 0 || !said.is_empty()) && !std::mem::replace(&mut self.was_partial, true) {
                    warn!(refused, said, "the collector does not take all spans; this is said once");
                }
            }
            Posted::Later(_, trouble) => {
                shelf.count(Export::Lost, spans);
                shelf.count(Export::Failed, 1);
                warn!(%trouble, spans, tries = EXPORT_TRIES, "traces are lost");
            }
            Posted::Never(trouble) => {
                shelf.count(Export::Refused, spans);
                shelf.count(Export::Failed, 1);
                warn!(%trouble, spans, "the collector refuses traces");
            }
        }
        shelf.handle.set_spans_waiting(shelf.queue().len());
    }

    /// The end: what is left has one try each, while there is time and the collector takes them.
    async fn finish(&mut self, rest: Vec<Span>) {
        self.shelf.fill();
        let mut batch = rest;
        loop {
            if batch.is_empty() {
                batch = self.shelf.queue().batch();
            }
            if batch.is_empty() {
                return;
            }
            let body = self.body(&batch);
            let why = match self.until_end(body).await {
                Some(Posted::Later(_, trouble)) => trouble,
                Some(over) => {
                    self.book(over, batch.len());
                    batch.clear();
                    continue;
                }
                None => Trouble::NoTimeLeft,
            };
            let spans = batch.len() + self.shelf.queue().len();
            self.shelf.count(Export::Lost, spans);
            self.shelf.count(Export::Failed, 1);
            self.shelf.handle.set_spans_waiting(0);
            warn!(trouble = %why, spans, "the last traces were not sent");
            return;
        }
    }
}
