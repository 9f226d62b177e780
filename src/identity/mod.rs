//! Who a peer is, and what it may do: users, how they prove themselves, and the routes that are theirs.
//!
//! A user proves itself by a token in HELLO, or by the name in its client certificate. A token is `NAME.SECRET`: its name
//! is looked up, so one attempt costs one hash, however many users there are.
//!
//! Always holds: no token is kept, only a salted hash of it; hashes are compared in constant time; an attempt costs the
//! same whether its name is known or not. Never: a token in an error, a log or a `Debug`; a clock, a socket, chance.

mod failures;
mod hash;
mod people;
mod routes;

pub use failures::{Failures, Source};
pub use hash::{HashError, TokenHash};
pub use people::{People, Refusal, Standing};
pub use routes::{RouteSet, RouteSetError};

use crate::base::limits::{CERTIFICATE_NAME_BYTES_MAX, TOKEN_BYTES_MAX, USERS_MAX};
use crate::wire::ClientId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Somebody who may come in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    name: Box<str>,
    token: Option<TokenHash>,
    certificate: Option<Box<str>>,
    routes: RouteSet,
}

/// Why there can't be such a user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserError {
    /// Its name is no name.
    #[error("{name:?} is no name of a user; it is 1 to {most} of A-Z a-z 0-9 _ -", most = crate::base::limits::ID_BYTES_MAX)]
    Name {
        /// What was given.
        name: String,
    },
    /// Its certificate's name is empty, or too long.
    #[error("the certificate's name of user {user} has {got_bytes} bytes, but must have 1 to {limit_bytes}")]
    Certificate {
        /// Whose.
        user: String,
        /// How many it has.
        got_bytes: usize,
        /// The most.
        limit_bytes: usize,
    },
    /// It has neither a token nor a certificate.
    #[error("user {user} has neither a token nor a certificate to prove itself by")]
    Unprovable {
        /// Who.
        user: String,
    },
    /// There are two of this name.
    #[error("there are two users {user}")]
    Twice {
        /// Who.
        user: String,
    },
    /// Two have the same certificate.
    #[error("the users {first} and {second} have the same certificate {certificate:?}")]
    SameCertificate {
        /// One of them.
        first: String,
        /// The other one.
        second: String,
        /// Its name.
        certificate: String,
    },
    /// There are too many.
    #[error("{got} users are too many; there may be {limit}")]
    TooMany {
        /// With the one that was refused.
        got: usize,
        /// The most.
        limit: usize,
    },
}

impl User {
    /// A user of this name: 1 to 64 of `A-Z a-z 0-9 _ -`. It may use all routes.
    ///
    /// # Errors
    ///
    /// [`UserError::Name`].
    pub fn new(name: &str) -> Result<User, UserError> {
        if ClientId::parse(name).is_none() {
            return Err(UserError::Name { name: name.chars().take(80).collect() });
        }
        Ok(User { name: name.into(), token: None, certificate: None, routes: RouteSet::all() })
    }

    /// Proves itself by the token that this is the hash of.
    #[must_use]
    pub fn token(mut self, hash: TokenHash) -> User {
        self.token = Some(hash);
        self
    }

    /// Proves itself by a client certificate with this name.
    #[must_use]
    pub fn certificate(mut self, name: &str) -> User {
        self.certificate = Some(name.into());
        self
    }

    /// May use these routes, and no others.
    #[must_use]
    pub fn routes(mut self, routes: RouteSet) -> User {
        self.routes = routes;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may use this route.
    pub fn may_use(&self, route: u16) -> bool {
        self.routes.contains(route)
    }

    /// Whether there is a route that it may not use.
    pub fn is_restricted(&self) -> bool {
        !self.routes.is_all()
    }

    /// Whether it has the same token as the other one, or none, as the other one.
    fn has_token_of(&self, other: &User) -> bool {
        self.token == other.token
    }
}

/// Not the hash: nobody needs it in a log.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let User { name, token, certificate, routes } = self;
        let mut out = f.debug_struct("User");
        out.field("name", name).field("has_token", &token.is_some());
        out.field("certificate", certificate).field("routes", routes).finish()
    }
}

/// All who may come in: at most [`USERS_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    by_name: BTreeMap<Box<str>, Arc<User>>,
    by_certificate: BTreeMap<Box<str>, Arc<User>>,
}

impl Users {
    /// Nobody.
    pub fn new() -> Users {
        Users::default()
    }

    /// One more.
    ///
    /// # Errors
    ///
    /// [`UserError`]; then it is not added.
    pub fn add(&mut self, user: User) -> Result<(), UserError> {
        let name = user.name.to_string();
        if user.token.is_none() && user.certificate.is_none() {
            return Err(UserError::Unprovable { user: name });
        }
        if self.by_name.contains_key(&user.name) {
            return Err(UserError::Twice { user: name });
        }
        if self.len() >= USERS_MAX {
            return Err(UserError::TooMany { got: self.len() + 1, limit: USERS_MAX });
        }
        if let Some(certificate) = &user.certificate {
            let (got_bytes, limit_bytes) = (certificate.len(), CERTIFICATE_NAME_BYTES_MAX);
            if !(1..=limit_bytes).contains(&got_bytes) {
                return Err(UserError::Certificate { user: name, got_bytes, limit_bytes });
            }
            if let Some(first) = self.by_certificate.get(certificate) {
                let (first, certificate) = (first.name.to_string(), certificate.to_string());
                return Err(UserError::SameCertificate { first, second: name, certificate });
            }
        }
        let user = Arc::new(user);
        if let Some(certificate) = &user.certificate {
            self.by_certificate.insert(certificate.clone(), Arc::clone(&user));
        }
        self.by_name.insert(user.name.clone(), user);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// All, by their names.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.by_name.values().map(Arc::as_ref)
    }

    /// Who has this token; without a token, who has this certificate. A token that is wrong is not made good by a
    /// certificate.
    pub fn authenticate(&self, token: &[u8], certificate: Option<&str>) -> Option<&Arc<User>> {
        if token.is_empty() { self.of_certificate(certificate?) } else { self.of_token(token) }
    }

    /// Who has a certificate of this name.
    pub fn of_certificate(&self, name: &str) -> Option<&Arc<User>> {
        self.by_certificate.get(name)
    }

    fn of_token(&self, token: &[u8]) -> Option<&Arc<User>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let name = token.split(|byte| *byte == b'.').next().and_then(|name| std::str::from_utf8(name).ok());
        let user = name.and_then(|name| self.by_name.get(name));
        let hash = user.and_then(|user| user.token.as_ref());
        // Hashed in any case, so that an unknown name takes as long as a known one.
        let is_right = hash.unwrap_or(&TokenHash::NOBODYS).is_of(token);
        user.filter(|_| is_right && hash.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, token: &str) -> User {
        User::new(name).expect("a name").token(TokenHash::of([7; TokenHash::SALT_BYTES], token.as_bytes()))
    }

    fn users() -> Users {
        let mut users = Users::new();
        users.add(user("alice", "alice.secret")).expect("the first");
        users.add(user("bob", "bob.secret").certificate("bob.example")).expect("another one");
        users.add(User::new("carol").expect("a name").certificate("carol.example")).expect("another one");
        users
    }

    #[test]
    fn who_proves_what_is_found() {
        let users = users();
        let long = format!("alice.{}", "x".repeat(TOKEN_BYTES_MAX));
        #[rustfmt::skip]
        let table: &[(&str, &str, Option<&str>, Option<&str>)] = &[
            ("her token",                  "alice.secret",  None,                  Some("alice")),
            ("his token",                  "bob.secret",    None,                  Some("bob")),
            ("a certificate",              "",              Some("bob.example"),   Some("bob")),
            ("a certificate alone",        "",              Some("carol.example"), Some("carol")),
            ("token above certificate",    "alice.secret",  Some("bob.example"),   Some("alice")),
            ("wrong token, good certificate", "alice.guess", Some("bob.example"),  None),
            ("another's secret",           "bob.alice.secret", None,               None),
            ("wrong secret",               "alice.secreu",  None,                  None),
            ("a byte less",                "alice.secre",   None,                  None),
            ("a byte more",                "alice.secret\0", None,                 None),
            ("name alone",                 "alice",         None,                  None),
            ("secret alone",               "secret",        None,                  None),
            ("no token of hers",           "carol.example", None,                  None),
            ("unknown name",               "dave.secret",   None,                  None),
            ("unknown certificate",        "",              Some("dave.example"),  None),
            ("a name is no certificate",   "",              Some("alice"),         None),
            ("empty certificate",          "",              Some(""),              None),
            ("nothing",                    "",              None,                  None),
            ("too long",                   &long,           None,                  None),
            ("hash instead of token",      &TokenHash::of([7; 16], b"alice.secret").to_string(), None, None),
        ];
        for (name, token, certificate, want) in table {
            let found = users.authenticate(token.as_bytes(), *certificate).map(|user| user.name());
            assert_eq!(found, *want, "case: {name}");
        }
        assert!(users.authenticate(b"\xff\xfe.secret", None).is_none(), "no text");
        assert!(Users::new().authenticate(b"alice.secret", None).is_none());
        // What the hash of nobody is of is nobody's token all the same.
        let mut tokenless = Users::new();
        tokenless.add(User::new("carol").expect("a name").certificate("c")).expect("the first");
        assert!(tokenless.authenticate(b"carol.", None).is_none());
    }

    #[test]
    fn users_that_cannot_be_are_refused_with_the_reason() {
        let mut full = Users::new();
        for number in 0..USERS_MAX {
            let user = User::new(&format!("u{number}")).expect("a name").certificate(&number.to_string());
            full.add(user).expect("room");
        }
        let long = "x".repeat(CERTIFICATE_NAME_BYTES_MAX + 1);
        let named = |name: &str| User::new(name).expect("a name");
        #[rustfmt::skip]
        let table: Vec<(&str, Users, User, &str)> = vec![
            ("unprovable",       users(), named("dave"),                             "neither a token nor a certificate"),
            ("twice",            users(), user("alice", "alice.other"),              "two users alice"),
            ("same certificate", users(), named("dave").certificate("bob.example"),  "bob and dave have the same certificate"),
            ("no certificate",   users(), named("dave").certificate(""),             "0 bytes, but must have 1 to 255"),
            ("long certificate", users(), named("dave").certificate(&long),          "256 bytes, but must have 1 to 255"),
            ("too many",         full,    user("dave", "dave.secret"),               "10001 users are too many; there may be 10000"),
        ];
        for (name, mut users, user, want) in table {
            let before = users.clone();
            let told = users.add(user).expect_err(name).to_string();
            assert!(told.contains(want), "case: {name}: {told}");
            assert_eq!(users, before, "case: {name}");
        }
        for name in ["", "a b", "a.b", "é", &"x".repeat(65)] {
            assert!(matches!(User::new(name), Err(UserError::Name { .. })), "case: {name}");
        }
    }

    #[test]
    fn no_hash_is_shown() {
        let shown = format!("{:?}", users());
        let digits: String = TokenHash::of([7; 16], b"alice.secret").to_string()[40..60].to_owned();
        assert!(shown.contains("alice") && !shown.contains(&digits), "{shown}");
    }
}
