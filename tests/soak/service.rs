//! The service under the soak: what it does with a request is what the request's route says.

use super::oracle::{DROPPED, ECHO, FLIP, LATER, WORK};
use super::support::parking::{Parked, Parking};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate::base::Rng;
use tidegate::service::{BuiltIn, Cx, Frame, Peer, Replied, Reply, Service};

/// Answers at once, later, by a worker, or not at all.
#[derive(Clone)]
pub(crate) struct Mixed {
    pub(crate) parking: Parking,
}

impl Service for Mixed {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        match frame.route() {
            ECHO => reply.forward(frame.whole()),
            FLIP => BuiltIn::Flip.handle(frame, reply),
            WORK => {
                let payload = frame.payload().to_vec();
                reply.offload(move || {
                    std::thread::sleep(Duration::from_micros(payload.len() as u64 % 512));
                    payload
                })
            }
            _ => {
                let (later, replied) = reply.defer();
                if let Ok(later) = later {
                    self.parking.park(frame, later);
                }
                replied
            }
        }
    }
}

/// A thread that answers what is parked, any of it next, and forgets what it is told to.
pub(crate) struct Answering {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Answering {
    pub(crate) fn start(parking: &Parking, seed: u64) -> Answering {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, parking) = (Arc::clone(&is_over), parking.clone());
        let thread = std::thread::spawn(move || {
            let (mut rng, mut count) = (Rng::new(seed), 0);
            loop {
                let ends = over.load(Relaxed);
                let pick = |parked: usize| usize::try_from(rng.below(parked as u64)).expect("a place");
                match parking.try_take(pick) {
                    Some(parked) => {
                        count += 1;
                        answer(parked);
                    }
                    None if ends => return count,
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
                if !ends && rng.chance(50) {
                    std::thread::sleep(Duration::from_micros(rng.below(3_000)));
                }
            }
        });
        Answering { is_over, thread }
    }

    /// Answers what is left, and tells how many that were.
    pub(crate) fn end(self) -> u64 {
        self.is_over.store(true, Relaxed);
        self.thread.join().expect("no panic")
    }
}

fn answer(parked: Parked) {
    match parked.route {
        DROPPED => drop(parked.later),
        LATER => parked.later.send(&parked.payload),
        route => panic!("nobody parks route {route}"),
    }
}
