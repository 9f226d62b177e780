//! Who the connections of a loop are: judged at HELLO, asked at each batch, judged anew when the users are replaced.
//!
//! ```text
//!   enter(slot, address, certificate) -> [judge_hello] -> standing: each batch -> ... -> leave(slot)
//!                                                          ^ replace(users): all are looked at anew
//! ```
//!
//! Always holds: only connections of listeners with users have a place here; after a replacement nobody is told to be
//! somebody by the old users. Never: a token.

use super::{Failures, Source, User, Users};
use crate::base::limits::{FAILED_HELLO_RECONNECT_MS, FAILED_HELLOS_MAX, FAILED_HELLOS_MS};
use crate::base::{Address, Text};
use std::sync::Arc;

/// Who the connections of a loop are.
#[derive(Debug, Default)]
pub struct People {
    users: Arc<Users>,
    /// One more with each replacement of the users.
    version: u32,
    /// By slot.
    persons: Vec<Option<Box<Person>>>,
    failures: Failures,
}

/// What is known of one connection's peer.
#[derive(Debug)]
struct Person {
    user: Option<Arc<User>>,
    /// Whose failures its own are.
    source: Option<Source>,
    /// By what it proved itself.
    has_token: bool,
    certificate: Option<Arc<str>>,
    version: u32,
}

/// What a connection's peer is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not proved who it is.
    Nobody,
    /// It is a user.
    User {
        /// There are routes that it may not use.
        is_restricted: bool,
    },
    /// It was a user, and is none any more, or can't prove it any more.
    Removed,
}

/// Why a HELLO is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// In words, without a byte of what was sent.
    pub text: Text,
    /// How long the client should wait, in milliseconds.
    pub reconnect_after_ms: u32,
    /// It was not even looked at.
    pub is_throttled: bool,
    /// Another address is not counted any more, for want of room.
    pub is_other_forgotten: bool,
}

impl People {
    /// Nobody is there yet. The seed is for the table of [`Failures`].
    pub fn new(users: Arc<Users>, seed: u64) -> People {
        People { users, version: 0, persons: Vec::new(), failures: Failures::new(seed) }
    }

    /// A connection of a listener with users came from there; its client certificate says this.
    pub fn enter(&mut self, slot: u32, from: Address, certificate: Option<Arc<str>>) {
        let user = certificate.as_ref().and_then(|name| self.users.of_certificate(name).cloned());
        let source = Source::of(from);
        let person = Person { user, source, has_token: false, certificate, version: self.version };
        let place = slot as usize;
        if self.persons.len() <= place {
            self.persons.resize_with(place + 1, || None);
        }
        self.persons[place] = Some(Box::new(person));
    }

    /// A connection is gone.
    pub fn leave(&mut self, slot: u32) {
        if let Some(person) = self.persons.get_mut(slot as usize) {
            *person = None;
        }
    }

    /// Who the peer of a connection has proved to be.
    pub fn user(&self, slot: u32) -> Option<&User> {
        self.person(slot)?.user.as_deref()
    }

    /// A HELLO with this token came. From then on the peer is who it says.
    ///
    /// # Errors
    ///
    /// [`Refusal`], which is counted against the address if a token was guessed.
    #[expect(clippy::result_large_err, reason = "a text on the stack, on the cold path")]
    pub fn judge_hello(&mut self, slot: u32, token: &[u8], now_ms: u64) -> Result<Standing, Refusal> {
        let person = self.persons.get_mut(slot as usize).and_then(Option::as_mut);
        debug_assert!(person.is_some(), "it has entered");
        let source = person.as_ref().and_then(|person| person.source).filter(|_| !token.is_empty());
        let wait_ms = source.map_or(0, |source| self.failures.refused_ms(source, now_ms));
        if wait_ms > 0 {
            let text = Text::of(format_args!(
                "{FAILED_HELLOS_MAX} attempts from this address have failed within {} s; try again in {} s",
                FAILED_HELLOS_MS / 1000,
                wait_ms.div_ceil(1000)
            ));
            return Err(Refusal {
                text,
                reconnect_after_ms: wait_ms,
                is_throttled: true,
                is_other_forgotten: false,
            });
        }
        let certificate = person.as_ref().and_then(|person| person.certificate.as_deref());
        let (found, has_certificate) =
            (self.users.authenticate(token, certificate).cloned(), certificate.is_some());
        let (Some(user), Some(person)) = (found, person) else {
            let text = match (token.is_empty(), has_certificate) {
                (false, _) => "the token of this HELLO is nobody's",
                (true, true) => "the client certificate is no user's, and HELLO has no token",
                (true, false) => "this listener wants to know who is there: send a token in HELLO",
            };
            let text = Text::of(format_args!("{text}"));
            let is_other_forgotten = source.is_some_and(|source| self.failures.note(source, now_ms));
            let reconnect_after_ms = FAILED_HELLO_RECONNECT_MS;
            return Err(Refusal { text, reconnect_after_ms, is_throttled: false, is_other_forgotten });
        };
        let is_restricted = user.is_restricted();
        (person.user, person.has_token, person.version) = (Some(user), !token.is_empty(), self.version);
        Ok(Standing::User { is_restricted })
    }

    /// What a connection's peer is now, by the users of now.
    pub fn standing(&mut self, slot: u32) -> Standing {
        let Some(Some(person)) = self.persons.get_mut(slot as usize) else { return Standing::Nobody };
        if person.version != self.version {
            person.version = self.version;
            let Some(before) = person.user.take() else {
                // A certificate that was nobody's may be somebody's now.
                person.user =
                    person.certificate.as_ref().and_then(|name| self.users.of_certificate(name).cloned());
                return standing_of(person.user.as_deref());
            };
            person.user = if person.has_token {
                self.users.get(before.name()).filter(|now| now.has_token_of(&before)).cloned()
            } else {
                person.certificate.as_ref().and_then(|name| self.users.of_certificate(name).cloned())
            };
            if person.user.is_none() {
                // Told once: then it is on its way out.
                return Standing::Removed;
            }
        }
        standing_of(person.user.as_deref())
    }

    /// From now on these are the users. Who is somebody by the old ones is judged anew when it is next asked for.
    pub fn replace(&mut self, users: Arc<Users>) {
        self.users = users;
        self.version = self.version.wrapping_add(1);
    }

    /// One more than the largest slot of somebody.
    pub fn slots(&self) -> u32 {
        u32::try_from(self.persons.len()).unwrap_or(u32::MAX)
    }

    fn person(&self, slot: u32) -> Option<&Person> {
        self.persons.get(slot as usize)?.as_deref()
    }
}

fn standing_of(user: Option<&User>) -> Standing {
    user.map_or(Standing::Nobody, |user| Standing::User { is_restricted: user.is_restricted() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{RouteSet, TokenHash};

    const FREE: Standing = Standing::User { is_restricted: false };
    const BOUND: Standing = Standing::User { is_restricted: true };

    fn hash(token: &str) -> TokenHash {
        TokenHash::of([3; TokenHash::SALT_BYTES], token.as_bytes())
    }

    fn users(of: impl IntoIterator<Item = User>) -> Arc<Users> {
        let mut users = Users::new();
        of.into_iter().for_each(|user| users.add(user).expect("a user"));
        Arc::new(users)
    }

    fn alice() -> User {
        User::new("alice").expect("a name").token(hash("alice.1"))
    }

    fn carol() -> User {
        User::new("carol").expect("a name").certificate("carol.example")
    }

    fn at(text: &str) -> Address {
        Address::Ip(text.parse().expect("an address"))
    }

    #[test]
    fn who_is_there_is_known_until_it_leaves() {
        let mut people = People::new(users([alice(), carol()]), 0);
        let name = |people: &People, slot| people.user(slot).map(|user| user.name().to_owned());
        people.enter(5, Address::Unix, None);
        assert_eq!((people.standing(5), people.slots()), (Standing::Nobody, 6));
        assert_eq!(people.judge_hello(5, b"alice.1", 0).ok(), Some(FREE));
        people.enter(7, Address::Unix, Some("carol.example".into()));
        people.enter(8, Address::Unix, Some("dave.example".into()));
        assert_eq!(
            (people.standing(5), people.standing(7), people.standing(8)),
            (FREE, FREE, Standing::Nobody)
        );
        assert_eq!(name(&people, 7).as_deref(), Some("carol"));
        // A token says who somebody is, above the certificate.
        assert_eq!(people.judge_hello(7, b"alice.1", 0).ok(), Some(FREE));
        assert_eq!(name(&people, 7).as_deref(), Some("alice"));
        people.leave(5);
        people.leave(1_000);
        assert_eq!(
            (people.standing(5), name(&people, 5), people.standing(999)),
            (Standing::Nobody, None, Standing::Nobody)
        );
    }

    /// Name; the users that replace Alice and Carol; what Alice by token, Carol by certificate, and a certificate that
    /// was nobody's, are then.
    #[test]
    fn replaced_users_are_judged_anew() {
        let bound = || RouteSet::of([1..=2]);
        use Standing::{Nobody, Removed};
        #[rustfmt::skip]
        let table = [
            ("as they were",        users([alice(), carol()]),                                            [FREE, FREE, Nobody]),
            ("nobody",              users([]),                                                            [Removed, Removed, Nobody]),
            ("fewer routes",        users([alice().routes(bound()), carol().routes(bound())]),            [BOUND, BOUND, Nobody]),
            ("another token",       users([alice().token(hash("alice.2")), carol()]),                     [Removed, FREE, Nobody]),
            ("another certificate", users([alice(), carol().certificate("carol.other")]),                 [FREE, Removed, Nobody]),
            ("a token besides",     users([alice(), carol().token(hash("carol.1"))]),                     [FREE, FREE, Nobody]),
            ("renamed",             users([User::new("eve").expect("a name").token(hash("alice.1")), carol()]), [Removed, FREE, Nobody]),
            ("one more",            users([alice(), carol(), User::new("dave").expect("a name").certificate("dave.example")]), [FREE, FREE, FREE]),
        ];
        for (name, replaced, want) in table {
            let mut people = People::new(users([alice(), carol()]), 0);
            people.enter(0, Address::Unix, None);
            people.judge_hello(0, b"alice.1", 0).expect("it is her token");
            people.enter(1, Address::Unix, Some("carol.example".into()));
            people.enter(2, Address::Unix, Some("dave.example".into()));
            people.replace(replaced);
            assert_eq!([0, 1, 2].map(|slot| people.standing(slot)), want, "case: {name}");
            let again = want.map(|standing| if standing == Removed { Nobody } else { standing });
            assert_eq!([0, 1, 2].map(|slot| people.standing(slot)), again, "again, case: {name}");
            let shown = [0, 1, 2].map(|slot| people.user(slot).is_some());
            assert_eq!(shown, want.map(|standing| matches!(standing, Standing::User { .. })), "case: {name}");
        }
    }

    #[test]
    fn guesses_are_refused_counted_and_then_not_listened_to() {
        let mut people = People::new(users([alice(), carol()]), 0);
        let here = at("192.0.2.1:1000");
        people.enter(0, here, None);
        people.enter(1, here, Some("carol.example".into()));
        people.enter(2, at("192.0.2.2:1000"), None);
        for attempt in 0..FAILED_HELLOS_MAX {
            let refusal = people.judge_hello(0, b"alice.guess", attempt.into()).expect_err("it is wrong");
            assert_eq!(
                (refusal.is_throttled, refusal.reconnect_after_ms),
                (false, FAILED_HELLO_RECONNECT_MS)
            );
            assert!(!refusal.text.as_str().contains("guess"), "{}", refusal.text.as_str());
        }
        let refusal = people.judge_hello(0, b"alice.1", 5_000).expect_err("not listened to");
        assert!(refusal.is_throttled && refusal.text.as_str().contains("10 attempts"), "{refusal:?}");
        let left = u64::from(refusal.reconnect_after_ms);
        assert_eq!(people.user(0), None);
        assert!(people.judge_hello(2, b"alice.1", 5_000).is_ok(), "others are");
        assert!(people.judge_hello(1, b"", 5_000).is_ok(), "a certificate is no guess");
        assert!(people.judge_hello(0, b"alice.1", 5_000 + left - 1).is_err());
        assert!(people.judge_hello(0, b"alice.1", 5_000 + left).is_ok());
    }

    /// Who sends no token guesses nothing, and a unix socket has no address that could be kept out.
    #[test]
    fn only_guesses_from_an_address_are_counted() {
        let mut people = People::new(users([alice()]), 0);
        people.enter(0, at("192.0.2.1:1000"), None);
        people.enter(1, Address::Unix, Some("dave.example".into()));
        for _ in 0..10 * FAILED_HELLOS_MAX {
            let refusal = people.judge_hello(0, b"", 0).expect_err("no token");
            assert!(!refusal.is_throttled && refusal.text.as_str().contains("send a token"));
            assert!(!people.judge_hello(1, b"x", 0).expect_err("wrong").is_throttled);
        }
        let refusal = people.judge_hello(1, b"", 0).expect_err("nobody's");
        assert!(refusal.text.as_str().contains("certificate is no user's"), "{}", refusal.text.as_str());
    }
}
