//! A service that does what the first byte of a request says, so that a test says it all in what it sends.

use super::hand::Clock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tidegate::base::ConnId;
use tidegate::service::{Cx, Frame, Later, Message, Peer, Replied, Reply, Service};
use tidegate::wire::Status;

/// `e` echo, `c` echo by a copy, `d` answer later, `o` pass over in silence, `f` fail, `p` panic, `P` panic when it was
/// put off; with a number of 32 bits behind it `l` a reply of so many bytes, `L` the same put off to the end of the
/// turn, `t` echo and take so many microseconds, `m` a message of so many bytes to the connection that was opened first.
#[derive(Debug)]
pub struct Clerk {
    clock: Clock,
    drawer: Drawer,
    first: Option<ConnId>,
}

impl Clerk {
    /// What makes one, again and again.
    pub fn new(clock: &Clock, drawer: &Drawer) -> impl FnMut() -> Clerk + Send + 'static {
        let (clock, drawer) = (clock.clone(), drawer.clone());
        move || Clerk { clock: clock.clone(), drawer: drawer.clone(), first: None }
    }

    fn defer(&self, what: &[u8], reply: Reply<'_>) -> Replied {
        let (later, replied) = reply.defer();
        if let Ok(later) = later {
            self.drawer.puts.lock().expect("one thread").push((what.to_vec(), later));
        }
        replied
    }
}

/// Requests that wait for an answer, each with its payload behind the first byte.
#[derive(Clone, Debug, Default)]
pub struct Drawer {
    puts: Arc<Mutex<Vec<Put>>>,
    seen: Arc<AtomicU64>,
}

type Put = (Vec<u8>, Later);

impl Drawer {
    /// Requests that came to the service.
    pub fn seen(&self) -> u64 {
        self.seen.load(Relaxed)
    }

    pub fn len(&self) -> usize {
        self.puts.lock().expect("one thread").len()
    }

    /// The oldest request that said this.
    #[track_caller]
    pub fn find(&self, what: &[u8]) -> Later {
        let mut held = self.puts.lock().expect("one thread");
        let at = held.iter().position(|(said, _)| said == what);
        held.remove(at.unwrap_or_else(|| panic!("{:?} is deferred", String::from_utf8_lossy(what)))).1
    }

    /// The request in this place, the oldest in the first.
    pub fn remove(&self, place: usize) -> (Vec<u8>, Later) {
        self.puts.lock().expect("one thread").remove(place)
    }
}

/// A payload for [`Clerk`] with a number.
pub fn numbered(what: u8, number: u32) -> Vec<u8> {
    [&[what][..], &number.to_be_bytes()].concat()
}

/// What `l` is answered with.
pub fn large(bytes: usize) -> Vec<u8> {
    super::pattern(bytes as u64, bytes)
}

impl Service for Clerk {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, cx: &mut Cx<'_>) {
        self.first.get_or_insert(cx.id());
    }

    fn on_frame(&mut self, _: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        self.drawer.seen.fetch_add(1, Relaxed);
        let number = || {
            let bytes = frame.payload()[1..5].try_into().expect("a number");
            u32::from_be_bytes(bytes)
        };
        match frame.payload().first() {
            Some(b'c') => reply.send(frame.payload()),
            Some(b'd') => self.defer(&frame.payload()[1..], reply),
            Some(b'o') => reply.none(),
            Some(b'f') => reply.fail(Status::OVERLOADED, "told to fail"),
            Some(b'p') => panic!("told to panic"),
            Some(b'P') => {
                let _replied = self.defer(&frame.payload()[1..], reply);
                panic!("told to panic");
            }
            Some(b'l') => reply.send(&large(number() as usize)),
            Some(b'L') => {
                let (later, replied) = reply.defer();
                cx.answer(later.expect("room for one"), &large(number() as usize));
                replied
            }
            Some(b'm') => {
                let to = self.first.expect("somebody was first");
                cx.message(to, &Message::new("t", &large(number() as usize))).expect("room for one");
                reply.send(frame.payload())
            }
            Some(b't') => {
                self.clock.advance_us(u64::from(number()));
                reply.send(frame.payload())
            }
            _ => reply.forward(frame.whole()),
        }
    }
}
