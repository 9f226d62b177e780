//! What may come at any time: which receipt answers which due, where several dues have the same id.
//!
//! Always holds: each receipt has a due of its own that it can be the answer to. A later one may show that an earlier
//! one was for another due with the same id; then they are given out anew.

use crate::sim::model::{Due, Kind};
use std::collections::HashMap;

/// The dues without a place, and what came for them.
#[derive(Debug)]
pub(super) struct Loose {
    of: HashMap<Kind, Vec<usize>>,
    /// For each receipt, the dues that it can be for.
    receipts: Vec<Vec<usize>>,
    /// Which receipt each due has.
    taken: HashMap<usize, usize>,
}

impl Loose {
    pub(super) fn new(due: &[Due]) -> Loose {
        let mut of: HashMap<Kind, Vec<usize>> = HashMap::new();
        for (index, due) in due.iter().enumerate() {
            if matches!(due.kind, Kind::Correlated(..) | Kind::Ack(_)) {
                of.entry(due.kind).or_default().push(index);
            }
        }
        Loose { of, receipts: Vec::new(), taken: HashMap::new() }
    }

    /// All dues of this kind.
    pub(super) fn of(&self, kind: Kind) -> &[usize] {
        self.of.get(&kind).map_or(&[], |dues| dues)
    }

    pub(super) fn is_free(&self, due: usize) -> bool {
        !self.taken.contains_key(&due)
    }

    /// Gives a due to a receipt that may be for any of these. False if all of them have one that can't be for another.
    pub(super) fn assign(&mut self, fitting: Vec<usize>) -> bool {
        self.receipts.push(fitting);
        self.augment(self.receipts.len() - 1, &mut Vec::new())
    }

    /// Finds a due for a receipt, moving others out of its way (Kuhn's algorithm).
    fn augment(&mut self, receipt: usize, seen: &mut Vec<usize>) -> bool {
        for place in 0..self.receipts[receipt].len() {
            let due = self.receipts[receipt][place];
            if seen.contains(&due) {
                continue;
            }
            seen.push(due);
            let is_given = match self.taken.get(&due).copied() {
                None => true,
                Some(other) => self.augment(other, seen),
            };
            if is_given {
                self.taken.insert(due, receipt);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_receipt_makes_way_for_a_later_one() {
        let due: Vec<Due> = (0..3).map(|_| Due::failure(Kind::Correlated(1, 7), 5)).collect();
        let mut loose = Loose::new(&due);
        assert_eq!(loose.of(Kind::Correlated(1, 7)), [0, 1, 2]);
        assert!(loose.assign(vec![0, 1]), "may be for either");
        assert!(loose.assign(vec![0]), "so it was for the other");
        assert!(!loose.assign(vec![1]));
        assert!(loose.assign(vec![2, 0]));
        assert!((0..3).all(|index| !loose.is_free(index)));
    }
}
