//! Extension blocks, HELLO and WELCOME, made and read by hand.

use super::client::{Client, EXT, Got, frame};

pub const HELLO: u16 = 0x4002;
pub const WELCOME: u16 = 0x4003;
pub const SUBSCRIBE: u16 = 0x4006;
pub const UNSUBSCRIBE: u16 = 0x4007;
pub const PUBLISH: u16 = 0x4008;
pub const MESSAGE: u16 = 0x4009;
pub const ACK_CONTROL: u16 = 0x400A;
pub const NOTICE: u16 = 0x400C;

pub const OK: u16 = 0;
pub const UNAUTHENTICATED: u16 = 2;
pub const UNAVAILABLE: u16 = 6;
pub const OUTCOME_UNKNOWN: u16 = 7;
pub const DEADLINE_EXCEEDED: u16 = 8;

/// What a request's block says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Block<'a> {
    pub correlation: Option<u64>,
    pub deadline_ms: Option<u32>,
    pub trace: Option<[u8; 28]>,
    pub one_way: bool,
    pub tags: &'a [u8],
}

impl Block<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut block = vec![0; 4];
        let mut flag = |bit: u8, is_set: bool| block[1] |= if is_set { 1 << bit } else { 0 };
        flag(0, self.correlation.is_some());
        flag(1, self.deadline_ms.is_some());
        flag(2, self.trace.is_some());
        flag(3, self.one_way);
        flag(7, !self.tags.is_empty());
        block.extend(self.correlation.iter().flat_map(|id| id.to_be_bytes()));
        block.extend(self.deadline_ms.iter().flat_map(|ms| ms.to_be_bytes()));
        block.extend(self.trace.iter().flatten());
        block.extend(self.tags);
        block.resize(block.len().next_multiple_of(4), 0);
        block[0] = u8::try_from(block.len() / 4).expect("at most 255 words");
        block
    }

    /// A whole frame.
    pub fn frame(&self, route: u16, body: &[u8]) -> Vec<u8> {
        frame(EXT | route, &[&self.bytes()[..], body].concat())
    }
}

/// A request with a correlation.
pub fn correlated(route: u16, id: u64, body: &[u8]) -> Vec<u8> {
    Block { correlation: Some(id), ..Block::default() }.frame(route, body)
}

/// A request with a block that says nothing.
pub fn extended(route: u16, body: &[u8]) -> Vec<u8> {
    Block::default().frame(route, body)
}

/// What came with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// Without the bit that says that there is a block.
    pub header: u16,
    pub status: u16,
    pub correlation: Option<u64>,
    pub body: Vec<u8>,
}

impl Got {
    /// Its block read, which has at most a status and a correlation.
    #[track_caller]
    pub fn extended(&self) -> Extended {
        assert_ne!(self.header & EXT, 0, "{self:?} has no block");
        let (words, flags) = (self.payload[0], self.payload[1]);
        let (block, body) = self.payload.split_at(usize::from(words) * 4);
        assert_eq!(flags & 0x7e, 0, "replies have at most a correlation and tags: {block:?}");
        let correlation =
            (flags & 1 != 0).then(|| u64::from_be_bytes(block[4..12].try_into().expect("eight")));
        Extended {
            header: self.header & !EXT,
            status: u16::from_be_bytes([block[2], block[3]]),
            correlation,
            body: body.to_vec(),
        }
    }
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub version: u8,
    pub flags: u8,
    pub max_payload: u32,
    pub heartbeat_ms: u32,
    pub server_id: String,
    pub client_id: String,
    pub tags: Vec<u8>,
}

/// A HELLO's payload.
pub fn hello(version: u8, flags: u8, client_id: &str, token: &[u8], tags: &[u8]) -> Vec<u8> {
    let mut payload = vec![version, flags, u8::try_from(client_id.len()).expect("a short id")];
    payload.extend(client_id.as_bytes());
    payload.extend(u16::try_from(token.len()).expect("a short token").to_be_bytes());
    payload.extend(token);
    payload.extend(tags);
    payload
}

/// The least that a HELLO can say.
pub fn bare_hello() -> Vec<u8> {
    frame(HELLO, &hello(1, 0, "", b"", b""))
}

impl Client {
    /// Says HELLO with this payload, and must be welcomed.
    #[track_caller]
    pub fn hello_with(&mut self, payload: &[u8]) -> Welcome {
        self.request(HELLO, payload);
        self.expect_welcome()
    }

    /// The shortest HELLO.
    #[track_caller]
    pub fn hello(&mut self) -> Welcome {
        self.hello_with(&hello(1, 0, "", b"", b""))
    }

    #[track_caller]
    pub fn expect_welcome(&mut self) -> Welcome {
        let got = self.receive();
        assert_eq!(got.header, WELCOME, "{got:?}");
        let mut rest = &got.payload[..];
        let mut take = |bytes: usize| {
            let (taken, behind) = rest.split_at(bytes);
            rest = behind;
            taken
        };
        let (version, flags) = (take(1)[0], take(1)[0]);
        let max_payload = u32::from_be_bytes(take(4).try_into().expect("four"));
        let heartbeat_ms = u32::from_be_bytes(take(4).try_into().expect("four"));
        let mut id = || {
            let bytes = usize::from(take(1)[0]);
            String::from_utf8(take(bytes).to_vec()).expect("an id is ASCII")
        };
        let (server_id, client_id) = (id(), id());
        Welcome { version, flags, max_payload, heartbeat_ms, server_id, client_id, tags: rest.to_vec() }
    }

    /// The next frame must be a reply with a block.
    #[track_caller]
    pub fn expect_extended(&mut self, route: u16, status: u16, correlation: Option<u64>) -> Vec<u8> {
        let got = self.receive();
        let reply = got.extended();
        let text = String::from_utf8_lossy(&reply.body[..reply.body.len().min(100)]);
        assert_eq!((reply.header, reply.status, reply.correlation), (route, status, correlation), "{text}");
        reply.body
    }
}
