//! The keys of a user, and the forms that texts have.

use super::{Key, Kind, Only};
use crate::base::limits::{CERTIFICATE_NAME_BYTES_MAX, EXPORT_NAME_BYTES_MAX, ID_BYTES_MAX};
use crate::config::value::Value;
use crate::identity::{RouteSet, TokenHash};
use crate::trace::Collector;
use crate::wire::ClientId;
use std::borrow::Cow;

/// What a text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The name of a user.
    UserName,
    /// The hash of a token, or nothing.
    TokenHash,
    /// A name in a certificate, or nothing.
    Certificate,
    /// Routes, or all of them.
    Routes,
    /// The URL of a collector of traces, or nothing.
    Collector,
    /// The name of a service.
    ServiceName,
}

pub(super) static USER: &[Key] = &[
    Key {
        name: "name",
        only: Only::All,
        kind: Kind::Form(Form::UserName),
        default: None,
        meaning: "Who it is; its token begins with it.",
        why: "It must be given.",
    },
    Key {
        name: "token_hash",
        only: Only::All,
        kind: Kind::Form(Form::TokenHash),
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "The hash of its token, as `tidegate token NAME` prints it. Empty: it has none.",
        why: "It has this or a certificate, or both; either is enough to come in.",
    },
    Key {
        name: "certificate",
        only: Only::All,
        kind: Kind::Form(Form::Certificate),
        default: Some(Value::Text(Cow::Borrowed(""))),
        meaning: "The name in its client certificate. Empty: none is its own.",
        why: "Only listeners that ask for client certificates can know one.",
    },
    Key {
        name: "routes",
        only: Only::All,
        kind: Kind::Form(Form::Routes),
        default: Some(Value::Text(Cow::Borrowed("all"))),
        meaning: "What it may use: \"all\", or routes and ranges, \"0x0001, 16-23\". Elsewhere it is answered FORBIDDEN.",
        why: "What is served at all is said by [[route]].",
    },
];

impl Form {
    /// What it takes, and a word that it takes besides.
    pub(in crate::config) fn takes(self) -> (String, Option<&'static str>) {
        match self {
            Form::UserName => (format!("1 to {ID_BYTES_MAX} of A-Z a-z 0-9 _ -"), None),
            Form::TokenHash => ("sha256:SALT:HASH in hex".to_owned(), Some("")),
            Form::Certificate => (format!("1 to {CERTIFICATE_NAME_BYTES_MAX} bytes"), Some("")),
            Form::Routes => ("routes and ranges of routes, separated by commas".to_owned(), Some("all")),
            Form::Collector => ("http://HOST:PORT, and perhaps a path".to_owned(), Some("")),
            Form::ServiceName => (format!("1 to {EXPORT_NAME_BYTES_MAX} bytes"), None),
        }
    }

    /// What is wrong with a text, if anything is. Nothing of it is repeated that may be a secret by mistake.
    ///
    /// # Errors
    ///
    /// In words.
    pub(in crate::config) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Form::UserName => match ClientId::parse(text) {
                Some(_) => Ok(()),
                None => Err(format!("{} is no name of a user", crate::config::judge::shown(text))),
            },
            Form::TokenHash if text.is_empty() => Ok(()),
            Form::TokenHash => text.parse::<TokenHash>().map(drop).map_err(|error| error.to_string()),
            Form::Certificate if text.len() > CERTIFICATE_NAME_BYTES_MAX => {
                Err(format!("a certificate's name of {} bytes is too long", text.len()))
            }
            Form::Certificate if text.chars().any(char::is_control) => {
                Err("a certificate's name has no control characters".to_owned())
            }
            Form::Certificate => Ok(()),
            Form::Routes => RouteSet::parse(text).map(drop).map_err(|error| error.to_string()),
            Form::Collector if text.is_empty() => Ok(()),
            Form::Collector => text.parse::<Collector>().map(drop).map_err(|error| error.to_string()),
            Form::ServiceName if !(1..=EXPORT_NAME_BYTES_MAX).contains(&text.len()) => {
                Err(format!("a service's name of {} bytes is too short or too long", text.len()))
            }
            Form::ServiceName if text.chars().any(char::is_control) => {
                Err("a service's name has no control characters".to_owned())
            }
            Form::ServiceName => Ok(()),
        }
    }

    /// What to write instead.
    pub(in crate::config) fn advice(self) -> &'static str {
        match self {
            Form::UserName => "give it a name such as \"alice\", of letters, digits, _ and -",
            Form::TokenHash => "tidegate token NAME makes a token, and prints what to write here",
            Form::Certificate => "give it the name as the certificate has it",
            Form::Collector => "write it as http://HOST:PORT, such as \"http://127.0.0.1:4318\"",
            Form::ServiceName => "give it a name such as \"orders\"",
            Form::Routes => "write \"all\", or routes such as \"0x0001, 16-23\"",
        }
    }
}
