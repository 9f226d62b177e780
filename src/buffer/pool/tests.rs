//! The pool's accounts against a recount, its classes against their definition.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn the_smallest_class_that_fits_is_leased() {
    #[rustfmt::skip]
    let table: &[(&str, usize, Option<usize>)] = &[
        ("nothing",                    0,                   Some(4 * KIB)),
        ("one byte",                   1,                   Some(4 * KIB)),
        ("the smallest class exactly", 4 * KIB,             Some(4 * KIB)),
        ("one byte over it",           4 * KIB + 1,         Some(12 * KIB)),
        ("8 KiB and a frame",          8 * KIB + 10,        Some(12 * KIB)),
        ("the second exactly",         12 * KIB,            Some(12 * KIB)),
        ("one byte over that",         12 * KIB + 1,        Some(20 * KIB)),
        ("32 KiB and 4 KiB",           36 * KIB,            Some(36 * KIB)),
        ("one more",                   36 * KIB + 1,        Some(68 * KIB)),
        ("1 MiB and a frame",          MIB + 10,            Some(MIB + 4 * KIB)),
        ("the largest frame",          FRAME_BYTES_MAX,     Some(256 * MIB + 4 * KIB)),
        ("the largest class",          LEASE_BYTES_MAX,     Some(LEASE_BYTES_MAX)),
        ("beyond it",                  LEASE_BYTES_MAX + 1, None),
        ("absurd",                     usize::MAX,          None),
    ];
    for (name, bytes_min, want) in table {
        assert_eq!(class_of(*bytes_min).map(class_bytes), *want, "case: {name}");
    }
}

#[test]
fn a_default_frame_wastes_less_than_one_percent() {
    let mut pool = Pool::new(16 * MIB);
    let lease = pool.lease(Side::Input, MIB + 10).expect("the budget is large");
    assert!((lease.len() - (MIB + 10)) * 100 < MIB, "{} bytes for 1 MiB and 10", lease.len());
    pool.give_back(lease);
}

#[test]
fn the_budget_is_split_in_three_parts_without_losing_a_byte() {
    for budget in [0, 1, 9, 4096, MIB, 256 * MIB, 256 * MIB + 7] {
        let pool = Pool::new(budget);
        let [input, output, reserve] = pool.parts.map(|part| part.limit_bytes);
        assert_eq!(input + output + reserve, budget);
        assert_eq!((input, output), (budget / 2, budget / 5 * 2), "budget: {budget}");
    }
}

#[test]
fn the_reserve_is_for_small_leases_of_a_full_side() {
    let mut pool = Pool::new(400 * KIB);
    let big = pool.lease(Side::Input, 132 * KIB).expect("200 KiB are free");
    let more = pool.lease(Side::Input, 68 * KIB).expect("68 KiB are left");
    assert!(!big.is_from_reserve() && !more.is_from_reserve());
    assert_eq!(pool.used_bytes(Side::Input), 200 * KIB);
    assert_eq!(pool.lease_bytes_max(Side::Input), 4 * KIB);
    assert!(pool.lease(Side::Input, 4 * KIB + 1).is_none(), "the reserve has 40 KiB, but not for this");

    let mut small: Vec<Lease> = std::iter::from_fn(|| pool.lease(Side::Input, 100)).collect();
    assert_eq!(small.len(), 10);
    assert!(small.iter().all(Lease::is_from_reserve));
    assert_eq!(pool.reserve_used_bytes(), 40 * KIB);
    assert_eq!(pool.lease_bytes_max(Side::Input), 0);

    let other = pool.lease(Side::Output, 1).expect("the other side has its own part");
    assert!(!other.is_from_reserve());
    small.extend([big, more, other]);
    small.into_iter().for_each(|lease| pool.give_back(lease));
    assert_eq!((pool.leases_out(), pool.leased_bytes()), (0, 0));
}

#[test]
fn a_lease_that_is_given_back_is_leased_again_and_nothing_is_allocated() {
    let mut pool = Pool::new(4 * MIB);
    let mut lease = pool.lease(Side::Output, 20 * KIB).expect("free");
    lease[0] = 0xA5;
    let at = lease.as_ptr();
    pool.give_back(lease);
    assert_eq!(pool.retained_bytes(), 20 * KIB);
    let again = pool.lease(Side::Input, 20 * KIB).expect("free");
    assert_eq!((again.as_ptr(), again[0], pool.retained_bytes()), (at, 0xA5, 0));
    pool.give_back(again);
}

#[test]
fn a_dropped_lease_shows() {
    let mut pool = Pool::new(4 * MIB);
    drop(pool.lease(Side::Input, 1));
    assert_eq!((pool.leases_out(), pool.used_bytes(Side::Input)), (1, 4 * KIB));
}

/// Leases so many buffers at once and gives all back.
fn use_at_once(pool: &mut Pool, buffers: usize, bytes: usize) {
    let leases: Vec<Lease> = (0..buffers).map_while(|_| pool.lease(Side::Input, bytes)).collect();
    assert_eq!(leases.len(), buffers);
    leases.into_iter().for_each(|lease| pool.give_back(lease));
}

#[test]
fn what_is_retained_is_bounded() {
    let mut pool = Pool::new(MIB);
    let leases: Vec<Lease> = [Side::Input, Side::Output]
        .into_iter()
        .flat_map(|side| std::iter::from_fn(|| pool.lease(side, 1)).collect::<Vec<_>>())
        .collect();
    leases.into_iter().for_each(|lease| pool.give_back(lease));
    assert_eq!(pool.retained_bytes(), 512 * KIB, "half");
    let mut large = Pool::new(256 * MIB);
    use_at_once(&mut large, 80, MIB);
    assert_eq!(large.retained_bytes(), 63 * (MIB + 4 * KIB), "what fits 64 MiB");
}

#[test]
fn a_trim_frees_what_was_not_needed_since_the_last_one() {
    let mut pool = Pool::new(32 * MIB);
    use_at_once(&mut pool, 4, MIB);
    pool.trim();
    assert_eq!(pool.retained[8].buffers.len(), 4, "they came back since the last trim");
    for _ in 0..5 {
        use_at_once(&mut pool, 3, MIB);
        pool.trim();
        assert_eq!(pool.retained[8].buffers.len(), 3, "one is more than is in use");
    }
    pool.trim();
    assert_eq!(pool.retained_bytes(), 0);
}

#[test]
fn ten_trims_leave_nothing_and_none_frees_much_more_than_8_mib() {
    let mut pool = Pool::new(256 * MIB);
    use_at_once(&mut pool, 50, MIB);
    use_at_once(&mut pool, 10, 64 * KIB);
    use_at_once(&mut pool, 1000, 4 * KIB);
    let mut left = pool.retained_bytes();
    for _ in 0..10 {
        pool.trim();
        let freed = left - pool.retained_bytes();
        assert!(freed < TRIM_BYTES_MAX + MIB + 4 * KIB, "{freed} bytes at once");
        left -= freed;
    }
    assert_eq!(left, 0);
    use_at_once(&mut pool, 1, 32 * MIB);
    (0..2).for_each(|_| pool.trim());
    assert_eq!(pool.retained_bytes(), 0, "one that is larger than a trim's share goes, too");
}

#[test]
fn retained_buffers_make_way_when_another_class_needs_the_budget() {
    let mut pool = Pool::new(640 * KIB);
    let large = pool.lease(Side::Input, 36 * KIB).expect("free");
    pool.give_back(large);
    assert_eq!(pool.retained_bytes(), 36 * KIB);
    let mut held = Vec::new();
    for side in [Side::Input, Side::Output] {
        while let Some(lease) = pool.lease(side, 1) {
            held.push(lease);
            let kept = if pool.leased_bytes() <= (640 - 36) * KIB { 36 * KIB } else { 0 };
            assert_eq!(pool.retained_bytes(), kept, "freed only when the budget is needed");
        }
    }
    assert_eq!(pool.leased_bytes(), 640 * KIB, "the whole budget is leased");
    held.into_iter().for_each(|lease| pool.give_back(lease));
}

#[test]
fn spares_keep_the_last_first_and_no_more_than_their_bound() {
    let mut spares = Spares::default();
    assert!(spares.take().is_none());
    (0..SPARES_MAX + 10).for_each(|number| spares.put(Box::new(number)));
    assert_eq!((spares.count(), spares.take()), (SPARES_MAX, Some(Box::new(SPARES_MAX - 1))));
    (0..11).for_each(|_| spares.trim());
    assert_eq!(spares.count(), 0);
}

#[derive(Clone, Debug)]
enum Op {
    Lease(Side, usize),
    GiveBack(prop::sample::Index),
    Trim,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Input), Just(Side::Output)]
}

fn op() -> impl Strategy<Value = Op> {
    let bytes_min = prop_oneof![3 => 0..=LEASE_BYTES_MIN, 2 => 0..300 * KIB];
    prop_oneof![
        5 => (side(), bytes_min).prop_map(|(side, bytes_min)| Op::Lease(side, bytes_min)),
        3 => any::<prop::sample::Index>().prop_map(Op::GiveBack),
        1 => Just(Op::Trim),
    ]
}

/// Leases, and says whether the pool's answers about leases agree with what happened.
fn lease_as_foretold(pool: &mut Pool, side: Side, bytes_min: usize) -> Result<Option<Lease>, TestCaseError> {
    let (can, room, largest) =
        (pool.can_lease(side, bytes_min), pool.has_room(side, bytes_min), pool.lease_bytes_max(side));
    let own_part_fits = pool.parts[Part::of(side) as usize].free_bytes() >= LEASE_BYTES_MIN;
    let lease = pool.lease(side, bytes_min);
    prop_assert_eq!(lease.is_some(), can);
    prop_assert_eq!(lease.is_some(), largest > 0 && bytes_min <= largest);
    prop_assert!(can || !room, "has_room promised a lease");
    if let Some(lease) = &lease {
        prop_assert!(lease.len() >= bytes_min);
        prop_assert!(!lease.is_from_reserve() || (lease.len() == LEASE_BYTES_MIN && !own_part_fits));
    }
    Ok(lease)
}

proptest! {
    /// Whatever is leased, given back and trimmed: the accounts equal a recount and the budget holds.
    #[test]
    fn accounts_equal_a_recount(budget in 0..2 * MIB, ops in vec(op(), 0..120)) {
        let mut pool = Pool::new(budget);
        let mut held: Vec<Lease> = Vec::new();
        for op in ops {
            match op {
                Op::Lease(side, bytes_min) => held.extend(lease_as_foretold(&mut pool, side, bytes_min)?),
                Op::GiveBack(index) if !held.is_empty() => pool.give_back(held.swap_remove(index.index(held.len()))),
                Op::GiveBack(_) => {}
                Op::Trim => pool.trim(),
            }
            let charged = |part| held.iter().filter(|lease| lease.part == part).map(|lease| lease.len()).sum::<usize>();
            prop_assert_eq!(pool.used_bytes(Side::Input), charged(Part::Input));
            prop_assert_eq!(pool.used_bytes(Side::Output), charged(Part::Output));
            prop_assert_eq!(pool.reserve_used_bytes(), charged(Part::Reserve));
            prop_assert_eq!(pool.leases_out(), held.len());
            let retained = pool.retained.iter().flat_map(|shelf| &shelf.buffers).map(|bytes| bytes.len()).sum::<usize>();
            prop_assert_eq!(pool.retained_bytes(), retained);
            prop_assert!(retained <= budget / RETAINED_SHARE && retained <= RETAINED_BYTES_MAX);
            prop_assert!(pool.leased_bytes() + retained <= budget);
        }
        held.into_iter().for_each(|lease| pool.give_back(lease));
        (0..12).for_each(|_| pool.trim());
        prop_assert_eq!((pool.leases_out(), pool.leased_bytes(), pool.retained_bytes()), (0, 0, 0));
    }

    /// A class holds what was asked for, and the class below would not.
    #[test]
    fn no_smaller_class_would_do(bytes_min in 1..=LEASE_BYTES_MAX) {
        let class = class_above(bytes_min);
        prop_assert!(class_bytes(class) >= bytes_min);
        prop_assert!(class == 0 || class_bytes(class - 1) < bytes_min);
    }
}
