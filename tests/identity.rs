//! Who a peer is, and what it may do: over real servers.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use support::client::{Client, ECHO, FLIP, DISCARD, frame};
use support::extended::{HELLO, UNAUTHENTICATED, correlated, extended, hello, OK};
use support::serving::Serving;
use tidegate::identity::{RouteSet, TokenHash};
use tidegate::metrics::{Counter, Outcome};
use tidegate::service::{BuiltIn, Cx, Frame, Peer, Replied, Reply, Service};
use tidegate::{CloseReason, Listener, Server, User, Users};
