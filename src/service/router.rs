//! Routes to built-in services by header: the binary's service.
//!
//! A table of one byte a route, so a look-up is one load and no route is dearer than another.

use super::{BuiltIn, Cx, Frame, Peer, Replied, Reply, Service};
use crate::base::Text;
use crate::wire::{Header, Status};
use std::any::Any;
use std::ops::RangeInclusive;

/// Where headers are all route there are so many; whatever a header says, it is in the table.
const ROUTES: usize = 1 << u16::BITS;
/// In the table: nobody serves this route. Otherwise the place in [`BuiltIn::ALL`].
const NOBODY: u8 = u8::MAX;

/// Which built-in service serves which route.
#[derive(Clone, Debug)]
pub struct Router {
    table: Box<[u8; ROUTES]>,
}

/// A set of routes that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// Beyond the 14 bits that name a route.
    #[error("route {route} exceeds the largest route {max}", max = Header::ROUTE_MAX)]
    OutOfRange {
        /// The first route that does not exist.
        route: u16,
    },
    /// Two services for one route.
    #[error("route {route} is served by both {first} and {second}", first = .first.name(), second = .second.name())]
    Overlap {
        /// The lowest route in question.
        route: u16,
        /// Whose it was.
        first: BuiltIn,
        /// Who wanted it too.
        second: BuiltIn,
    },
}

impl Router {
    /// A router that refuses everything with NO_ROUTE.
    pub fn new() -> Router {
        Router { table: Box::new([NOBODY; ROUTES]) }
    }

    /// The embedded default: 0 `ack`, 1 `echo`, 2 `discard`, 3 `flip`.
    pub fn embedded() -> Router {
        let mut router = Router::new();
        for (route, service) in (0..).zip(BuiltIn::ALL) {
            router.add(route..=route, service).expect("four routes, each its own");
        }
        router
    }

    /// Gives a range of routes to a service.
    ///
    /// # Errors
    ///
    /// [`RouteError`] if a route does not exist or is taken; then nothing changes.
    pub fn add(&mut self, routes: RangeInclusive<u16>, service: BuiltIn) -> Result<(), RouteError> {
        for route in routes.clone() {
            if route > Header::ROUTE_MAX {
                return Err(RouteError::OutOfRange { route });
            }
            match self.table[usize::from(route)] {
                NOBODY => {}
                place => {
                    let first = BuiltIn::ALL[usize::from(place)];
                    return Err(RouteError::Overlap { route, first, second: service });
                }
            }
        }
        let place = BuiltIn::ALL.iter().position(|other| *other == service).expect("ALL has all");
        for route in routes {
            self.table[usize::from(route)] = u8::try_from(place).expect("a handful of services");
        }
        Ok(())
    }
}

impl Default for Router {
    fn default() -> Self {
        Router::new()
    }
}

impl Service for Router {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    /// Another router takes this one's place.
    fn on_reload(&mut self, news: &(dyn Any + Send + Sync), _cx: &mut Cx<'_>) {
        if let Some(router) = news.downcast_ref::<Router>() {
            self.table.copy_from_slice(&router.table[..]);
        }
    }

    fn is_one_way(&self, route: u16) -> bool {
        let place = usize::from(self.table[usize::from(route)]);
        BuiltIn::ALL.get(place).is_some_and(|service| service.is_one_way())
    }

    // Always: a call in the middle of the loop over a batch costs a fifth of a small message's instructions.
    #[inline(always)]
    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, _cx: &mut Cx<'_>) -> Replied {
        match self.table[usize::from(frame.route())] {
            0 => BuiltIn::Ack.handle(frame, reply),
            1 => BuiltIn::Echo.handle(frame, reply),
            2 => BuiltIn::Discard.handle(frame, reply),
            3 => BuiltIn::Flip.handle(frame, reply),
            _ => reply.fail(Status::NO_ROUTE, no_route(frame.route()).as_str()),
        }
    }
}

#[cold]
fn no_route(route: u16) -> Text {
    Text::of(format_args!("nobody serves route {route}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_given_once_and_whole() {
        let mut router = Router::new();
        assert_eq!(router.add(5..=9, BuiltIn::Echo), Ok(()));
        #[rustfmt::skip]
        let table: &[(&str, RangeInclusive<u16>, Result<(), RouteError>)] = &[
            ("beside",          10..=12,         Ok(())),
            ("the last one",    16_383..=16_383, Ok(())),
            ("beyond the last", 16_000..=16_384, Err(RouteError::Overlap { route: 16_383, first: BuiltIn::Ack, second: BuiltIn::Ack })),
            ("only beyond",     16_384..=16_384, Err(RouteError::OutOfRange { route: 16_384 })),
            ("taken",           8..=20,          Err(RouteError::Overlap { route: 8, first: BuiltIn::Echo, second: BuiltIn::Ack })),
            ("refused is free", 13..=20,         Ok(())),
        ];
        for (name, routes, want) in table {
            assert_eq!(&router.add(routes.clone(), BuiltIn::Ack), want, "case: {name}");
        }
    }
}
