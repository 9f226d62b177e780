//! Places and rates of addresses and listeners, by table and from several threads.

use super::*;
use std::net::SocketAddr;
use std::time::Duration;

fn address(text: &str) -> Address {
    match text {
        "unix" => Address::Unix,
        text => text.parse::<SocketAddr>().expect("an address").into(),
    }
}

fn limits(per_address: u32, ipv6_prefix: u8) -> Limits {
    Limits { per_address: Some(per_address), ipv6_prefix, ..Limits::default() }
}

#[test]
fn addresses_count_by_host_or_network() {
    #[rustfmt::skip]
    let table: &[(&str, u8, &str, &str, bool)] = &[
        ("ports don't count",            64, "10.0.0.1:1",               "10.0.0.1:2",          true),
        ("hosts do",                     64, "10.0.0.1:1",               "10.0.0.2:1",          false),
        ("mapped is IPv4",               64, "10.0.0.1:1",               "[::ffff:10.0.0.1]:1", true),
        ("mapped hosts are not one net", 64, "[::ffff:10.0.0.1]:1",      "[::ffff:10.0.0.2]:1", false),
        ("one network of 64 bits",       64, "[2001:db8::1]:1",          "[2001:db8::2]:1",     true),
        ("two of them",                  64, "[2001:db8::1]:1",          "[2001:db8:0:1::1]:1", false),
        ("one of 48",                    48, "[2001:db8::1]:1",          "[2001:db8:0:1::1]:1", true),
        ("hosts of IPv6",               128, "[2001:db8::1]:1",          "[2001:db8::2]:1",     false),
        ("half of all",                   1, "[2001:db8::1]:1",          "[1::1]:1",            true),
        ("the other half",                1, "[2001:db8::1]:1",          "[8001::1]:1",         false),
        ("IPv4 is no network of IPv6",    1, "10.0.0.1:1",               "[::1]:1",             false),
    ];
    for (name, bits, one, other, are_one) in table {
        let (one, other) = (Prefix::of(address(one), *bits), Prefix::of(address(other), *bits));
        assert_eq!(one == other, *are_one, "case: {name}: {one:?} {other:?}");
    }
    assert_eq!(Prefix::of(Address::Unix, 64), None);
}

#[test]
fn an_address_has_its_places_and_gives_them_back() {
    let (quotas, limits, now) = (Quotas::new(1), limits(2, 64), Time(1));
    let (one, other) = (address("10.0.0.1:1"), address("10.0.0.2:1"));
    assert!(quotas.take_address(one, &limits, now) && quotas.take_address(one, &limits, now));
    assert!(!quotas.take_address(one, &limits, now), "two are two");
    assert!(quotas.take_address(other, &limits, now), "that is somebody else");
    assert_eq!(quotas.addresses(), 2);
    quotas.give_address_back(one, &limits, now);
    assert!(quotas.take_address(one, &limits, now));
    (0..2).for_each(|_| quotas.give_address_back(one, &limits, now));
    quotas.give_address_back(other, &limits, now);
    assert_eq!(quotas.addresses(), 0);
    (0..100).for_each(|_| assert!(quotas.take_address(Address::Unix, &limits, now)));
    assert_eq!(quotas.addresses(), 0, "unix sockets have no address");
}

#[test]
fn a_listener_has_its_places() {
    let quotas = Quotas::new(2);
    assert!(quotas.take_listener(0, Some(1)) && !quotas.take_listener(0, Some(1)));
    assert!(quotas.take_listener(1, Some(1)) && quotas.take_listener(0, None));
    assert_eq!((quotas.of_listener(0), quotas.of_listener(1)), (2, 1));
    (0..2).for_each(|_| quotas.give_listener_back(0));
    assert!(quotas.take_listener(0, Some(1)));
}

/// Who is over its rate and connects again is still over it.
#[test]
fn debts_outlive_connections() {
    let limits = Limits { address_messages_per_second: Some(10), ..limits(2, 64) };
    let rates = AddressRates::of(&limits);
    let quotas = Quotas::new(1);
    let (one, now) = (address("10.0.0.1:1"), Time(1_000_000));
    assert!(quotas.take_address(one, &limits, now));
    let charge = |units, now| quotas.charge_address(one, &limits, rates, (units, 0), 0, now);
    assert_eq!(charge(9, now), None);
    assert_eq!(charge(6, now), Some(Time(1_500_001)), "15 of 10");
    quotas.give_address_back(one, &limits, now);
    assert_eq!(quotas.addresses(), 0);
    assert!(quotas.take_address(one, &limits, now));
    assert_eq!(charge(0, now), Some(Time(1_500_001)), "still in debt");
    assert_eq!(charge(0, Time(1_500_001)), None);
    quotas.give_address_back(one, &limits, Time(9_000_000));
    assert!(quotas.take_address(one, &limits, now));
    assert_eq!(charge(0, now), None, "forgotten, since it had paid");
}

#[test]
fn debtors_without_connections_are_remembered_up_to_a_bound() {
    let limits = Limits { address_messages_per_second: Some(1), ..limits(2, 128) };
    let (quotas, now) = (Quotas::new(1), Time(1));
    let rates = AddressRates::of(&limits);
    let most = ADDRESS_SHARDS * ADDRESSES_REMEMBERED;
    for host in 0..2 * u32::try_from(most).expect("not so many") {
        let host = Address::from(SocketAddr::from((host.to_be_bytes(), 1)));
        assert!(quotas.take_address(host, &limits, now));
        quotas.charge_address(host, &limits, rates, (100, 0), 0, now);
        quotas.give_address_back(host, &limits, now);
    }
    let held: usize = quotas.addresses.iter().map(lock).map(|part| part.holders.len()).sum();
    assert!((ADDRESSES_REMEMBERED..=most).contains(&held), "{held} of {most}");
    assert_eq!(quotas.addresses(), 0);
    for part in &quotas.addresses {
        let part = lock(part);
        assert_eq!(part.remembered, part.holders.len());
    }
}

/// Four threads, few addresses: never more than there are places, and none is lost.
#[test]
fn threads_that_compete_never_overfill_an_address() {
    let (quotas, limits) = (Quotas::new(1), limits(3, 64));
    let hosts: Vec<Address> = (1..=5).map(|host| address(&format!("10.0.0.{host}:7"))).collect();
    let held: Vec<AtomicU32> = hosts.iter().map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (quotas, limits, hosts, held) = (&quotas, &limits, &hosts, &held);
            scope.spawn(move || {
                let mut rng = crate::base::Rng::new(seed);
                for _ in 0..20_000 {
                    let at = usize::try_from(rng.below(5)).expect("below 5");
                    if quotas.take_address(hosts[at], limits, Time(1)) {
                        assert!(held[at].fetch_add(1, Relaxed) < 3, "more than three at once");
                        held[at].fetch_sub(1, Relaxed);
                        quotas.give_address_back(hosts[at], limits, Time(1));
                    }
                }
            });
        }
    });
    assert_eq!(quotas.addresses(), 0);
}

/// Loops that take newcomers side by side take no more than the rate, but for one that each has in hand.
#[test]
fn newcomers_of_all_loops_come_at_one_rate() {
    let (quotas, rate) = (Quotas::new(1), Rate::new(100, Duration::from_millis(100)));
    let mut taken = 0;
    let mut now = Time(0);
    while now < Time(10_000_000) {
        // Two loops look before either takes.
        let may = [(); 2].map(|()| quotas.wait_for_newcomer(rate, now));
        for wait in may {
            if wait.is_none() {
                quotas.note_newcomer(rate, now);
                taken += 1;
            }
        }
        now = now.plus_us(500);
    }
    assert!((1_000..=1_015).contains(&taken), "{taken} in ten seconds at 100 a second");
}
