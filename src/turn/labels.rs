//! Routes with handler times of their own, and what they are called.
//!
//! Always holds: a route has at most one label, the first that names it. Never: a label made from what a peer sent.

use crate::metrics::Whose;

/// One route or a range of them, under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteLabel {
    /// The first of them.
    pub first: u16,
    /// The last of them.
    pub last: u16,
    /// What answers them.
    pub service: Box<str>,
}

/// What the routes are called that no label names.
pub const OTHER_ROUTES: &str = "other";

/// The place of a route's label, if it has one.
pub fn label_of(labels: &[RouteLabel], route: u16) -> Option<usize> {
    labels.iter().position(|label| (label.first..=label.last).contains(&route))
}

/// The routes of a batch, as far as a line of the log has use for them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The first one's label, and its route.
    first: Option<(Option<usize>, u16)>,
    /// There was another label, or another route.
    has_other_label: bool,
    has_other_route: bool,
}

impl Seen {
    pub(super) fn note(&mut self, label: Option<usize>, route: u16) {
        let (first, first_route) = *self.first.get_or_insert((label, route));
        self.has_other_label |= label != first;
        self.has_other_route |= route != first_route;
    }

    /// What the batch is counted under.
    pub(super) fn label(self) -> Whose {
        match self.first {
            Some((label, _)) if !self.has_other_label => Whose::Label(label),
            Some(_) | None => Whose::Mixed,
        }
    }

    /// What answered it, in words.
    pub(super) fn service(self, labels: &[RouteLabel]) -> &str {
        match self.label() {
            Whose::Label(Some(label)) => &labels[label].service,
            Whose::Label(None) => OTHER_ROUTES,
            Whose::Mixed => "several",
        }
    }

    /// The route, if there was one.
    pub(super) fn route(self) -> Option<u16> {
        self.first.filter(|_| !self.has_other_route).map(|(_, route)| route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_label_that_names_a_route_counts() {
        let label = |first, last| RouteLabel { first, last, service: "echo".into() };
        let labels = [label(1, 1), label(5, 9), label(9, 12)];
        for (route, place) in [(0, None), (1, Some(0)), (5, Some(1)), (9, Some(1)), (12, Some(2)), (13, None)]
        {
            assert_eq!(label_of(&labels, route), place, "case: {route}");
        }
    }
}
