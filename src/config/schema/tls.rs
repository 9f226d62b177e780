//! The keys of a listener's TLS.

use super::{Key, Kind, Only};
use crate::config::value::Value;
use std::borrow::Cow;

const fn file(name: &'static str, meaning: &'static str, why: &'static str) -> Key {
    Key {
        name,
        only: Only::All,
        kind: Kind::Path,
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning,
        why,
    }
}

pub(super) const CERT: Key = file(
    "tls.cert",
    "The certificate (PEM), and behind it those of its issuers. With one, every connection to this listener speaks TLS \
     1.3 or 1.2. docs/TLS.md has all about it.",
    "A listener on loopback or a unix socket needs none.",
);

pub(super) const KEY: Key =
    file("tls.key", "The certificate's private key (PEM, not encrypted).", "It belongs to `tls.cert`.");

pub(super) const CLIENT: Key = Key {
    name: "tls.client",
    only: Only::All,
    kind: Kind::Choice(&["off", "optional", "required"]),
    default: Some(Value::Word("off")),
    meaning: "Whether clients show certificates. \"optional\": who shows one must show a good one; \"required\": nobody \
              comes in without.",
    why: "Most clients have none.",
};

pub(super) const CLIENT_CA: Key = file(
    "tls.client_ca",
    "The authorities (PEM) whose certificates clients may show.",
    "Nobody is an authority by default, not even those that browsers trust.",
);

pub(super) const REVOKED: Key = file(
    "tls.revoked",
    "Lists of clients' certificates that were taken back (PEM), one of each authority. Who shows such a certificate, or \
     has shown it, is told UNAUTHENTICATED and closed.",
    "There is nothing to take back at first.",
);
