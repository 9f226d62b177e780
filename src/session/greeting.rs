//! What is known of a peer that said HELLO, and the heartbeats that it is sent for it.
//!
//! Always holds: one PING at a time is on its way; a peer that answers nothing for two intervals is given up.

use crate::base::limits::NOTICE_REPEAT_MS;
use crate::base::planted::{Bug, is_planted};
use crate::base::{Ms, Time};
use crate::wire::ClientId;

/// A peer that said HELLO and was welcomed.
#[derive(Clone, Copy, Debug)]
pub struct Greeting {
    /// Who it is.
    pub client_id: ClientId,
    /// The flags of its HELLO.
    pub flags: u8,
    /// The largest payload that it takes, in bytes.
    pub max_receive: u32,
    /// The round trip of the last heartbeat, in microseconds; 0 before the first.
    pub rtt_us: u32,
    /// When the PING that is on its way was sent, if one is.
    pinged: Option<Time>,
    /// What `heard` was then.
    heard_then: Ms,
    /// When it was last sent a notice.
    noticed: Option<Ms>,
}

/// What a heartbeat's deadline means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Ask whether it is there, with these bytes.
    Ping([u8; 8]),
    /// It was asked, and has said nothing since.
    Lost,
}

impl Greeting {
    /// A peer that was just welcomed.
    pub fn new(client_id: ClientId, flags: u8, max_receive: u32) -> Greeting {
        Greeting {
            client_id,
            flags,
            max_receive,
            rtt_us: 0,
            pinged: None,
            heard_then: Ms::default(),
            noticed: None,
        }
    }

    /// When to look at it next, if it was last `heard` then.
    pub fn due(&self, heard: Ms, heartbeat_ms: u32) -> Ms {
        match self.pinged {
            Some(at) if heard == self.heard_then => at.ms().plus(heartbeat_ms),
            Some(_) | None => heard.plus(heartbeat_ms),
        }
    }

    /// Its deadline has come.
    pub fn beat(&mut self, heard: Ms, now: Time) -> Beat {
        if self.pinged.is_some() && heard == self.heard_then {
            return Beat::Lost;
        }
        (self.pinged, self.heard_then) = (Some(now), heard);
        Beat::Ping(now.0.to_be_bytes())
    }

    /// A PONG came. The round trip in microseconds, if it answers our PING.
    pub fn pong(&mut self, payload: &[u8], now: Time) -> Option<u32> {
        let sent = self.pinged?;
        if payload != sent.0.to_be_bytes() {
            return None;
        }
        self.pinged = None;
        self.rtt_us = u32::try_from(now.since_us(sent)).unwrap_or(u32::MAX);
        Some(self.rtt_us)
    }

    /// Whether it may be sent a notice now; then the next must wait.
    pub fn may_notice(&mut self, now: Ms) -> bool {
        let may = is_planted(Bug::NoticeFlood)
            || self.noticed.is_none_or(|last| now.since(last) >= NOTICE_REPEAT_MS);
        if may {
            self.noticed = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting() -> Greeting {
        Greeting::new(ClientId::parse("a").expect("a valid id"), 0, 100)
    }

    #[test]
    fn silence_is_asked_once_and_then_given_up() {
        let mut peer = greeting();
        let heard = Ms(1_000);
        assert_eq!(peer.due(heard, 500), Ms(1_500));
        assert_eq!(peer.beat(heard, Time(1_500_000)), Beat::Ping(1_500_000_u64.to_be_bytes()));
        assert_eq!(peer.due(heard, 500), Ms(2_000), "a second interval from the ping on");
        assert_eq!(peer.beat(heard, Time(2_000_000)), Beat::Lost);
    }

    #[test]
    fn any_message_is_life_and_only_the_right_pong_is_a_round_trip() {
        let mut peer = greeting();
        peer.beat(Ms(1_000), Time(1_500_000));
        assert_eq!(peer.pong(b"another", Time(1_500_100)), None);
        assert_eq!(peer.pong(&1_500_000_u64.to_be_bytes(), Time(1_500_321)), Some(321));
        assert_eq!(peer.pong(&1_500_000_u64.to_be_bytes(), Time(1_500_400)), None, "once");
        assert_eq!((peer.rtt_us, peer.due(Ms(1_500), 500)), (321, Ms(2_000)));
        peer.beat(Ms(1_500), Time(2_000_000));
        assert_eq!(peer.due(Ms(2_100), 500), Ms(2_600), "heard since");
        assert!(matches!(peer.beat(Ms(2_100), Time(2_600_000)), Beat::Ping(_)));
    }

    #[test]
    fn notices_come_once_a_second() {
        let mut peer = greeting();
        assert!(peer.may_notice(Ms(5)));
        assert!(!peer.may_notice(Ms(5 + NOTICE_REPEAT_MS - 1)));
        assert!(peer.may_notice(Ms(5 + NOTICE_REPEAT_MS)));
    }
}
