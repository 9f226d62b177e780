//! The keys of a listener.

use super::{Key, Kind, Only};
use crate::base::limits::{
    BACKLOG, BACKLOG_MAX, CONNECTIONS_PER_SHARD_MAX, LINE_BYTES_DEFAULT, LINE_BYTES_MAX,
    PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX, SOCKET_BUFFER_BYTES, SOCKET_BUFFER_BYTES_MAX,
    SOCKET_BUFFER_BYTES_MIN,
};
use crate::config::value::Value;
use crate::wire::Header;

pub(super) static LISTENER: &[Key] = &[
    Key {
        name: "address",
        only: Only::All,
        kind: Kind::Address,
        default: None,
        meaning: "Where to listen. Port 0 takes a free one; 0.0.0.0 is every interface.",
        why: "It must be given.",
    },
    Key {
        name: "protocol",
        only: Only::All,
        kind: Kind::Choice(&["frame", "line"]),
        default: Some(Value::Word("frame")),
        meaning: "Binary frames with a checksum, or lines of text. docs/PROTOCOL.md describes both.",
        why: "Lines have no checksum and no way to tell of a failure apart from their text.",
    },
    Key {
        name: "header_space",
        only: Only::Frames,
        kind: Kind::Choice(&["standard", "full"]),
        default: Some(Value::Word("standard")),
        meaning: "\"standard\": 14 bits of a header are the route, 2 the protocol's. \"full\": all 16 are the route; then \
                  there are no extension blocks and no control frames, and a request that fails ends its connection. \
                  Routes above 16383 are nobody's.",
        why: "Only clients that use all 16 bits need the other.",
    },
    Key {
        name: "hello",
        only: Only::Frames,
        kind: Kind::Choice(&["optional", "required"]),
        default: Some(Value::Word("optional")),
        meaning: "\"required\": the first frame of a peer must be a HELLO; who sends anything else is told \
                  UNAUTHENTICATED and closed.",
        why: "A client of a few lines needs no HELLO.",
    },
    Key {
        name: "max_payload",
        only: Only::Frames,
        kind: Kind::Size { least: 0, most: PAYLOAD_BYTES_MAX as u64, word: None },
        default: Some(Value::Size(PAYLOAD_BYTES_DEFAULT as u64)),
        meaning: "The largest payload of a frame. It has to fit a quarter of an event loop's memory.",
        why: "It fits the second-level cache of a core.",
    },
    Key {
        name: "max_payload",
        only: Only::Lines,
        kind: Kind::Size { least: 0, most: LINE_BYTES_MAX as u64, word: None },
        default: Some(Value::Size(LINE_BYTES_DEFAULT as u64)),
        meaning: "The longest line without its end.",
        why: "More than anybody types; a line is searched byte by byte.",
    },
    Key {
        name: "route",
        only: Only::Lines,
        kind: Kind::Count { least: 0, most: Header::ROUTE_MAX as u64, word: None },
        default: Some(Value::Count(0)),
        meaning: "The route of all its lines.",
        why: "A line has no header that could name one.",
    },
    Key {
        name: "backlog",
        only: Only::All,
        kind: Kind::Count { least: 1, most: BACKLOG_MAX as u64, word: None },
        default: Some(Value::Count(BACKLOG as u64)),
        meaning: "Connections that may wait to be accepted, for each event loop. Not above net.core.somaxconn, at which \
                  Linux would cut it.",
        why: "What Linux allows since 5.4 if nobody changed it.",
    },
    Key {
        name: "max_connections",
        only: Only::All,
        kind: Kind::Count { least: 1, most: CONNECTIONS_PER_SHARD_MAX as u64, word: Some("off") },
        default: Some(Value::Word("off")),
        meaning: "The most connections of this listener at once; those beyond are told OVERLOADED. \"off\": as many as \
                  `limits.max_connections`.",
        why: "With one listener for all clients there is nothing to share out.",
    },
    Key {
        name: "kernel_buffer",
        only: Only::All,
        kind: Kind::Size {
            least: SOCKET_BUFFER_BYTES_MIN as u64,
            most: SOCKET_BUFFER_BYTES_MAX as u64,
            word: Some("auto"),
        },
        default: Some(Value::Size(SOCKET_BUFFER_BYTES as u64)),
        meaning: "What the kernel may buffer for a connection in each direction; it books twice that, and cuts it at \
                  net.core.rmem_max and wmem_max. \"auto\": the kernel decides, up to some MiB. Not for unix sockets.",
        why: "It bounds what slow readers can pin, and a reply of 1MiB leaves in one write.",
    },
];
