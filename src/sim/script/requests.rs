//! What a client's requests ask for: with or without a block, a place or an id, a deadline; and what is due for them.

use super::Finale;
use super::writer::Writer;
use crate::base::{CloseReason, Rng};
use crate::session::Protocol;
use crate::sim::checker::Unheard;
use crate::sim::codec::{Block, EXT, extended, frame, status};
use crate::sim::io::pick;
use crate::sim::model::{Answer, Due, Kind, Request};
use crate::sim::plan::{Draft, refuses};

/// A deadline that no world lasts for, in milliseconds.
const FAR_MS: u32 = 3_600_000;

impl Writer<'_> {
    pub(super) fn request(&mut self, bytes: usize) {
        let route = match self.framing.protocol {
            Protocol::Frame | Protocol::Bare => self.plan.routes[pick(&mut self.rng, self.plan.routes.len())],
            Protocol::Line => self.framing.line_route.route_or_code(),
        };
        let payload = match self.plan.payloads {
            None => self.payload(bytes),
            Some(make) => self.made(make, Draft { client: self.client, route, bytes }),
        };
        let is_extended = self.framing.protocol == Protocol::Frame && self.rng.chance(self.plan.extended);
        let mut block = is_extended.then(|| self.block());
        let answer = match &block {
            Some(block) if block.reserved != 0 || block.tags.iter().any(|(tag, _)| *tag >= 128) => {
                Answer::Fails(status::UNSUPPORTED)
            }
            Some(Block { deadline_ms: Some(0), .. }) => Answer::Fails(status::DEADLINE_EXCEEDED),
            Some(_) | None => self.ask(route, &payload, block.as_ref()),
        };
        let is_frame = self.framing.protocol == Protocol::Frame;
        let may_be_refused = self.script.is_greeter
            || is_frame && refuses(&self.plan.limits)
            || block.as_ref().is_some_and(|block| block.deadline_ms.is_some());
        if answer == Answer::Silent && may_be_refused {
            // Whom the server may refuse by itself says that it waits for nothing: the server can't know it.
            block.get_or_insert_default().is_one_way = true;
        }
        self.expect(route, block.as_ref(), answer);
        match (self.framing.protocol, &block) {
            (Protocol::Frame | Protocol::Bare, None) => self.raw(&frame(route, &payload)),
            (Protocol::Frame | Protocol::Bare, Some(block)) => self.raw(&extended(route, block, &payload)),
            (Protocol::Line, _) => {
                let end: &[u8] = if self.rng.chance(300) { b"\r\n" } else { b"\n" };
                self.raw(&[&payload[..], end].concat());
            }
        }
    }

    /// A payload of the plan's own.
    fn made(&mut self, make: fn(Draft, &mut Rng) -> Vec<u8>, draft: Draft) -> Vec<u8> {
        let mut payload = make(draft, &mut self.rng);
        payload.truncate(draft.bytes);
        if self.framing.protocol == Protocol::Line {
            payload.iter_mut().filter(|byte| b"\r\n".contains(*byte)).for_each(|byte| *byte = b' ');
        }
        payload
    }

    fn ask(&mut self, route: u16, payload: &[u8], block: Option<&Block>) -> Answer {
        let request = Request {
            client: self.client,
            sequence: self.sequence,
            route,
            payload,
            correlation: block.and_then(|block| block.correlation),
            deadline_ms: block.and_then(|block| block.deadline_ms),
            is_one_way: block.is_some_and(|block| block.is_one_way),
        };
        self.sequence += 1;
        (self.model)(&request)
    }

    /// Notes what is due for a request.
    fn expect(&mut self, route: u16, block: Option<&Block>, answer: Answer) {
        let (mut replies, mut fails) = match answer {
            Answer::Reply(reply) => (vec![reply], Vec::new()),
            Answer::Fails(status) => (Vec::new(), vec![status]),
            Answer::OneOf { replies, fails } => (replies, fails),
            Answer::Silent => match block {
                // Who gave it an id is told that it was taken.
                Some(Block { correlation: Some(_), .. }) => (vec![Vec::new()], Vec::new()),
                Some(_) | None => (Vec::new(), Vec::new()),
            },
        };
        let own_max = self.plan.reply_bytes_max(self.framing);
        let most = self.max_receive.min(own_max);
        if replies.iter().any(|reply| reply.len() > most) {
            replies.retain(|reply| reply.len() <= most);
            fails.push(if most == own_max { status::INTERNAL } else { status::TOO_LARGE });
        }
        if let Some(block) = block.filter(|block| block.is_one_way) {
            let is_sure = fails == [status::UNSUPPORTED] || block.deadline_ms == Some(0);
            return self.unheard(EXT | route, fails, true, is_sure);
        }
        if replies.is_empty() && fails.is_empty() {
            return;
        }
        if self.framing.protocol == Protocol::Bare && replies.is_empty() {
            self.script.finale = Finale::Fault(CloseReason::RequestFailed);
            self.is_over = true;
            return;
        }
        let kind = match (self.framing.protocol, block) {
            (Protocol::Line, _) => Kind::Line,
            (Protocol::Frame | Protocol::Bare, None) => Kind::Plain(route),
            (Protocol::Frame | Protocol::Bare, Some(Block { correlation: None, .. })) => {
                Kind::Extended(route)
            }
            (Protocol::Frame | Protocol::Bare, Some(Block { correlation: Some(id), .. })) => {
                Kind::Correlated(route, *id)
            }
        };
        let deadline_ms = block.and_then(|block| block.deadline_ms);
        self.script.due.push(Due { kind, replies, fails, deadline_ms });
    }

    /// Notes a refusal that its sender does not hear of. Called before its message is appended.
    pub(super) fn unheard(&mut self, header: u16, fails: Vec<u16>, is_request: bool, is_sure: bool) {
        let at = self.script.stream.len();
        self.script.unheard.push(Unheard { header, fails, is_request, is_sure, at });
    }

    fn block(&mut self) -> Block {
        let mut block = Block::default();
        if self.rng.chance(600) {
            // Few ids, so that many of them are in use twice.
            let few = self.rng.chance(500);
            block.correlation = Some(if few { self.rng.below(3) } else { self.rng.next_u64() });
        }
        match self.rng.below(100) {
            0..10 => block.deadline_ms = Some(FAR_MS),
            10..14 => block.deadline_ms = Some(0),
            14..40 if self.plan.short_deadlines => {
                let most = [5, 60, 2_000][pick(&mut self.rng, 3)];
                block.deadline_ms = u32::try_from(self.rng.between(1, most)).ok();
            }
            _ => {}
        }
        if self.rng.chance(150) {
            let mut trace = [0; 25];
            trace[..8].copy_from_slice(&self.rng.next_u64().to_be_bytes());
            trace[24] = 1;
            block.trace = Some(trace);
        }
        block.is_one_way = self.rng.chance(60);
        match self.rng.below(100) {
            0..8 => block.tags.push((3, b"affinity".to_vec())),
            8..12 => block.tags.push((2, vec![1, 0])),
            12..16 => block.tags.extend([(77, b"unknown".to_vec()), (127, Vec::new())]),
            16..18 => block.tags.push((128, b"critical".to_vec())),
            18..20 => block.reserved = [0x10, 0x40, 0x70][pick(&mut self.rng, 3)],
            _ => {}
        }
        block
    }
}
