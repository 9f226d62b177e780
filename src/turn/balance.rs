//! Which newcomers go to another loop. Pure: two numbers in, a decision out.
//!
//! The kernel spreads connections by a hash, which is even on the whole and uneven in small numbers. Moving a
//! connection costs a wake and a cache that is cold, so only a real excess is evened out, and only by newcomers: a
//! connection that was registered once stays where it is.

/// An excess up to this many connections is let be ...
const EXCESS: u32 = 8;
/// ... and one up to this part of what the other loop has, in percent.
const EXCESS_PERCENT: u32 = 12;

/// Whether a loop that has `mine` connections gives a newcomer to one that has `least`.
pub const fn wants_hand_off(mine: u32, least: u32) -> bool {
    mine > least.saturating_add(slack(least))
}

/// Whether a loop that alone listens, and deals for all, gives a newcomer to one that has `least`.
pub const fn deals_away(mine: u32, least: u32) -> bool {
    mine > least
}

const fn slack(least: u32) -> u32 {
    // Divided first, so that nothing overflows.
    let part = least / 100 * EXCESS_PERCENT + least % 100 * EXCESS_PERCENT / 100;
    if part > EXCESS { part } else { EXCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_excess_is_handed_off() {
        #[rustfmt::skip]
        let table: &[(&str, u32, u32, bool)] = &[
            ("nobody is there",       0,        0,        false),
            ("eight more are let be", 8,        0,        false),
            ("nine are not",          9,        0,        true),
            ("others have more",      3,        500,      false),
            ("still eight at 74",     82,       74,       false),
            ("nine at 74",            83,       74,       true),
            ("12 of 100",             112,      100,      false),
            ("13 of 100",             113,      100,      true),
            ("12 % of many",          1_120_000, 1_000_000, false),
            ("and one more",          1_120_001, 1_000_000, true),
            ("no overflow",           u32::MAX, u32::MAX, false),
        ];
        for (name, mine, least, want) in table {
            assert_eq!(wants_hand_off(*mine, *least), *want, "case: {name}");
        }
    }

    /// However newcomers fall, no loop gets further ahead of the emptiest than the rule says.
    #[test]
    fn the_spread_stays_within_the_rule() {
        let mut rng = crate::base::Rng::new(3);
        let mut loads = [0_u32; 5];
        for _ in 0..20_000 {
            // All land on the first two; every third place becomes free somewhere.
            let mine = usize::try_from(rng.below(2)).unwrap();
            let least = (0..loads.len()).min_by_key(|at| loads[*at]).unwrap();
            let to = if wants_hand_off(loads[mine], loads[least]) { least } else { mine };
            loads[to] += 1;
            let least = loads.into_iter().min().unwrap();
            assert!(loads.iter().all(|load| *load <= least + slack(least) + 1), "{loads:?}");
        }
    }

    #[test]
    fn a_dealer_gives_to_whoever_has_fewer() {
        assert!(!deals_away(0, 0) && !deals_away(3, 3) && !deals_away(3, 4) && deals_away(4, 3));
    }
}
