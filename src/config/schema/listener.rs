//! The keys of a listener.

use super::{Key, Kind, Only, tls};
use crate::base::limits::{
    BACKLOG, BACKLOG_MAX, CONNECTIONS_PER_SHARD_MAX, LINE_BYTES_DEFAULT, LINE_BYTES_MAX,
    PAYLOAD_BYTES_DEFAULT, PAYLOAD_BYTES_MAX, SOCKET_BUFFER_BYTES, SOCKET_BUFFER_BYTES_MAX,
    SOCKET_BUFFER_BYTES_MIN, TRUSTED_MAX,
};
use crate::config::value::Value;
use crate::wire::Header;
use std::borrow::Cow;

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
        name: "users",
        only: Only::All,
        kind: Kind::Choice(&["off", "required"]),
        default: Some(Value::Word("off")),
        meaning: "\"required\": every peer must be a [[user]]: its first frame is a HELLO with a user's token, unless its \
                  client certificate is a user's. Who is nobody is told UNAUTHENTICATED and closed.",
        why: "Who reaches the port may use it, until there are users.",
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
        name: "proxy_protocol",
        only: Only::All,
        kind: Kind::Choice(&["off", "required"]),
        default: Some(Value::Word("off")),
        meaning: "\"required\": every connection comes from a proxy in `trusted`, and begins with a PROXY header of version \
                  1 or 2; the client's address is the one in it.",
        why: "Whoever could send such a header could be anybody.",
    },
    Key {
        name: "trusted",
        only: Only::All,
        kind: Kind::Networks { most: TRUSTED_MAX },
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "From where proxies connect; connections from elsewhere are closed. Must be given where `proxy_protocol` is \
                  required.",
        why: "Only you know your proxies.",
    },
    Key {
        name: "mode",
        only: Only::All,
        kind: Kind::Mode,
        default: Some(Value::Word("umask")),
        meaning: "Who may connect to a unix socket: the mode of its file, in place before anybody can. To connect is to write. \
                  \"umask\": what the process's umask leaves. For unix sockets alone.",
        why: "The place where it lies often says it already.",
    },
    Key {
        name: "owner",
        only: Only::All,
        kind: Kind::Account,
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "Whose file a unix socket is; only root can give it to somebody else. Empty: whoever runs the server. For \
                  unix sockets alone.",
        why: "Nobody else is known here.",
    },
    Key {
        name: "group",
        only: Only::All,
        kind: Kind::Account,
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "Which group's it is; one that whoever runs the server is in. Empty: the system's choice. For unix sockets \
                  alone.",
        why: "As above.",
    },
    tls::CERT,
    tls::KEY,
    tls::CLIENT,
    tls::CLIENT_CA,
    tls::REVOKED,
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
