//! How a service begins, and begins anew: what it asks for at its start is done, and nothing of the one before it is
//! left to it.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::client::frame;
use support::hand::{PEER, Rig};
use tidegate::service::{AfterPanic, Cx, Frame, Incoming, Origin, Peer, Replied, Reply, Service};
use tidegate::session::Framing;
use tidegate::turn::{ListenerConfig, TurnConfig};
use tidegate::{CloseReason, ConnId};

const WIDE: usize = 1 << 16;

/// What happened, in order; shared by a service and the one that comes after it.
type Story = Arc<Mutex<Vec<String>>>;

/// Dials at its start, and arms a timer; tells all that happens to it.
struct Starter {
    story: Story,
    /// How many there were before.
    life: usize,
}

impl Starter {
    fn tell(&self, what: &str) {
        self.story.lock().expect("nobody panics with it").push(format!("{} {what}", self.life));
    }
}

impl Service for Starter {
    type Conn = (usize, Origin);

    fn on_start(&mut self, cx: &mut Cx<'_>) {
        assert_eq!((cx.id().generation, cx.id().shard), (0, 0), "nobody's");
        self.tell("starts");
        cx.arm(Duration::from_millis(100), 7).expect("the first");
        cx.dial(PEER, 5).expect("the first");
    }

    fn on_open(&mut self, peer: &Peer, _cx: &mut Cx<'_>) -> (usize, Origin) {
        if let Origin::Dialed { tag } = peer.origin {
            self.tell(&format!("dials with {tag}"));
        }
        (self.life, peer.origin)
    }

    fn on_frame(
        &mut self,
        _conn: &mut (usize, Origin),
        frame: Frame<'_>,
        reply: Reply<'_>,
        cx: &mut Cx<'_>,
    ) -> Replied {
        if frame.payload() == b"dial and panic" {
            cx.dial(PEER, 6).expect("there is room");
            panic!("asked to");
        }
        reply.forward(frame.whole())
    }

    fn on_incoming(&mut self, conn: &mut (usize, Origin), _incoming: Incoming<'_>, _cx: &mut Cx<'_>) {
        self.tell(&format!("hears from what {} dialed", conn.0));
    }

    fn on_timer(&mut self, tag: u64, _cx: &mut Cx<'_>) {
        self.tell(&format!("is called with {tag}"));
    }

    fn on_close(&mut self, conn: &mut (usize, Origin), why: CloseReason, cx: &mut Cx<'_>) {
        let ConnId { slot, .. } = cx.id();
        if let Origin::Dialed { tag } = conn.1 {
            self.tell(&format!("loses what {} dialed with {tag} in slot {slot}: {}", conn.0, why.name()));
        }
    }

    fn on_panic(&mut self) -> AfterPanic {
        self.tell("panicked");
        AfterPanic::Rebuild
    }
}

fn rig(story: &Story) -> Rig<Starter> {
    let config = TurnConfig::alone(10, vec![ListenerConfig::new(Framing::frames(1000))]);
    let (story, mut lives) = (Arc::clone(story), 0);
    Rig::new(config, WIDE, move || {
        lives += 1;
        Starter { story: Arc::clone(&story), life: lives }
    })
}

#[track_caller]
fn assert_told(story: &Story, want: &[&str]) {
    assert_eq!(std::mem::take(&mut *story.lock().expect("nobody panics with it")), want);
}

#[test]
fn what_a_service_asks_for_at_its_start_is_done() {
    let story = Story::default();
    let mut rig = rig(&story);
    let server = rig.listen(WIDE);
    assert_told(&story, &["1 starts"]);
    rig.settle();
    assert_told(&story, &["1 dials with 5"]);
    rig.send(server, &frame(1, b"hello"));
    assert_told(&story, &["1 hears from what 1 dialed"]);
    rig.pass(99, 99);
    assert_told(&story, &[]);
    rig.pass(1, 1);
    assert_told(&story, &["1 is called with 7"]);
    rig.end(server);
    assert_told(&story, &["1 loses what 1 dialed with 5 in slot 0: peer_closed"]);
}

/// Every connection goes with the service that it belonged to, dialed ones too, also one that is not connected yet; and
/// no timer of the old one comes to the new one.
#[test]
fn a_service_that_begins_anew_begins_with_nothing() {
    let story = Story::default();
    let mut rig = rig(&story);
    let servers = [rig.listen(WIDE), rig.listen(WIDE), rig.listen(WIDE)];
    rig.settle();
    let client = rig.connect(WIDE);
    rig.pass(50, 50);
    assert_told(&story, &["1 starts", "1 dials with 5"]);
    rig.send(client, &frame(1, b"dial and panic"));
    for pipe in [client, servers[2]] {
        rig.end(pipe);
    }
    assert_told(
        &story,
        &[
            "1 dials with 6",
            "1 panicked",
            "2 starts",
            "2 loses what 1 dialed with 6 in slot 2: panicked",
            "2 dials with 5",
            "2 loses what 1 dialed with 5 in slot 0: panicked",
        ],
    );
    // Its own dial reached the last server; the second one's connection was ended before anything was said on it.
    assert!(rig.io.pipes[servers[1]].is_closed && !rig.io.pipes[servers[0]].is_closed);
    rig.pass(99, 99);
    assert_told(&story, &[]);
    rig.pass(1, 1);
    assert_told(&story, &["2 is called with 7"]);
    assert_eq!(rig.closes(CloseReason::Panicked), 3);
    rig.assert_rest(1);
}
