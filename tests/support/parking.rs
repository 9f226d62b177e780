//! A service that defers every request and leaves it to the test when, how and from where it is answered.

use super::PATIENCE;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;
use tidegate::service::{Cx, Frame, Later, Peer, Replied, Reply, Service};

/// From this route on requests are answered at once, with their own payload.
pub const AT_ONCE: u16 = 100;

/// A request that waits.
#[derive(Debug)]
pub struct Parked {
    pub route: u16,
    pub payload: Vec<u8>,
    pub later: Later,
}

#[derive(Debug, Default)]
struct Lot {
    parked: Vec<Parked>,
    /// All that were ever parked.
    count: usize,
}

/// Requests that wait, shared by the service and the test. Routes below [`AT_ONCE`] are parked.
#[derive(Clone, Debug, Default)]
pub struct Parking {
    shared: Arc<(Mutex<Lot>, Condvar)>,
}

impl Parking {
    /// Parks one.
    pub fn park(&self, frame: Frame<'_>, later: Later) {
        let parked = Parked { route: frame.route(), payload: frame.payload().to_vec(), later };
        let mut lot = self.shared.0.lock().expect("nobody panics with it");
        lot.parked.push(parked);
        lot.count += 1;
        self.shared.1.notify_all();
    }

    /// All that were ever parked.
    pub fn count(&self) -> usize {
        self.shared.0.lock().expect("nobody panics with it").count
    }

    /// Takes what is parked once that are `count`.
    #[track_caller]
    pub fn take(&self, count: usize) -> Vec<Parked> {
        let mut lot = self.shared.0.lock().expect("nobody panics with it");
        let until = Instant::now() + PATIENCE;
        while lot.parked.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited {PATIENCE:?} in vain: {} of {count} are parked",
                lot.parked.len()
            );
            lot = self.shared.1.wait_timeout(lot, left).expect("nobody panics with it").0;
        }
        assert_eq!(lot.parked.len(), count, "more than there should be");
        std::mem::take(&mut lot.parked)
    }

    /// Takes the one that is parked, or will be soon.
    #[track_caller]
    pub fn take_one(&self) -> Parked {
        self.take(1).remove(0)
    }

    /// Takes any that is parked now; `pick` chooses by their number.
    pub fn try_take(&self, pick: impl FnOnce(usize) -> usize) -> Option<Parked> {
        let mut lot = self.shared.0.lock().expect("nobody panics with it");
        match lot.parked.len() {
            0 => None,
            count => Some(lot.parked.swap_remove(pick(count))),
        }
    }
}

impl Service for Parking {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        if frame.route() >= AT_ONCE {
            return reply.forward(frame.whole());
        }
        let (later, replied) = reply.defer();
        if let Ok(later) = later {
            self.park(frame, later);
        }
        replied
    }
}
