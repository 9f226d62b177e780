//! A capture file made by hand: TCP connections over IPv4, each with what one side says, segment by segment.
//!
//! Always holds: sequence numbers fit, so that reassembly has nothing to guess. Never: a checksum; nobody looks at them.

/// The most payload of one packet, in bytes: what an IPv4 packet holds, and some to spare.
const SEGMENT_BYTES_MAX: usize = 60_000;

const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const PSH_ACK: u8 = 0x18;

/// Type of link: every packet begins with its IP header.
const LINK_RAW: u32 = 101;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// The file, and whose packet each is.
pub(crate) struct Capture {
    pub(crate) bytes: Vec<u8>,
    /// For each packet the number of its connection, from 0.
    pub(crate) owners: Vec<usize>,
    connections: u16,
}

/// One connection of it.
pub(crate) struct Wire<'a> {
    capture: &'a mut Capture,
    server_port: u16,
    client_port: u16,
    /// What was sent by the client and by the server.
    sent: [u32; 2],
}

impl Capture {
    pub(crate) fn new() -> Capture {
        let mut bytes = Vec::new();
        bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
        bytes.extend([2_u16, 4].map(u16::to_le_bytes).as_flattened());
        bytes.extend([0, 0, 1 << 18, LINK_RAW].map(u32::to_le_bytes).as_flattened());
        Capture { bytes, owners: Vec::new(), connections: 0 }
    }

    /// A connection to a server's port, from its first packet on.
    pub(crate) fn connect(&mut self, server_port: u16) -> Wire<'_> {
        // Of the range where no protocol of its own is at home.
        let client_port = 52_000 + self.connections;
        self.connections += 1;
        let mut wire = Wire { capture: self, server_port, client_port, sent: [0, 0] };
        for side in [Side::Client, Side::Server] {
            wire.packet(side, SYN, &[]);
            wire.sent[side as usize] += 1;
        }
        wire
    }
}

impl Wire<'_> {
    /// Its number in [`Capture::owners`].
    pub(crate) fn number(&self) -> usize {
        usize::from(self.capture.connections) - 1
    }

    /// One segment, or as many as it needs. `is_last`: the end of this side's stream comes with it.
    pub(crate) fn send(&mut self, side: Side, bytes: &[u8], is_last: bool) {
        let pieces = bytes.len().div_ceil(SEGMENT_BYTES_MAX);
        for (piece, at) in bytes.chunks(SEGMENT_BYTES_MAX).zip(1..) {
            let fin = if is_last && at == pieces { FIN } else { 0 };
            self.packet(side, PSH_ACK | fin, piece);
            self.sent[side as usize] += u32::try_from(piece.len()).expect("it is short");
        }
    }

    fn packet(&mut self, side: Side, flags: u8, payload: &[u8]) {
        let (ports, sent) = match side {
            Side::Client => ([self.client_port, self.server_port], self.sent),
            Side::Server => ([self.server_port, self.client_port], [self.sent[1], self.sent[0]]),
        };
        let length = u16::try_from(40 + payload.len()).expect("it is cut");
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend(ports.map(u16::to_be_bytes).as_flattened());
        packet.extend(sent.map(u32::to_be_bytes).as_flattened());
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        let capture = &mut *self.capture;
        // A packet each millisecond.
        let at_ms = u32::try_from(capture.owners.len()).expect("there are not so many");
        let [seconds, us] = [at_ms / 1000, at_ms % 1000 * 1000];
        let bytes = u32::from(length);
        capture.bytes.extend([seconds, us, bytes, bytes].map(u32::to_le_bytes).as_flattened());
        capture.bytes.extend(packet);
        capture.owners.push(usize::from(capture.connections) - 1);
    }
}
