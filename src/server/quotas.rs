//! Whether how many, how fast and how long are in their ranges.
//!
//! Always holds: what is refused is told with its number and its range. Never: a value clamped behind anybody's back.

use super::Error;
use super::builder::within;
use crate::base::limits::{
    AGE_JITTER_PERCENT_MAX, BURST_MAX, BURST_MIN, BYTES_PER_SECOND_MAX, BYTES_PER_SECOND_MIN,
    CONNECTIONS_PER_SHARD_MAX, Limits, MESSAGES_PER_SECOND_MAX,
};
use std::time::Duration;

pub(super) fn check(limits: &Limits) -> Result<(), Error> {
    let counts = [
        ("the most connections of an address", limits.per_address, CONNECTIONS_PER_SHARD_MAX),
        ("the newcomers in a second", limits.accept_rate, MESSAGES_PER_SECOND_MAX),
        ("the messages of a connection in a second", limits.messages_per_second, MESSAGES_PER_SECOND_MAX),
        ("the deliveries to a connection in a second", limits.deliveries_per_second, MESSAGES_PER_SECOND_MAX),
        (
            "the messages of an address in a second",
            limits.address_messages_per_second,
            MESSAGES_PER_SECOND_MAX,
        ),
    ];
    for (name, got, most) in counts {
        got.map_or(Ok(()), |got| within(name, got.into(), 1, most.into()))?;
    }
    let sizes = [
        ("the bytes of a connection in a second", limits.bytes_per_second),
        ("the bytes of an address in a second", limits.address_bytes_per_second),
    ];
    for (name, got) in sizes {
        got.map_or(Ok(()), |got| within(name, got, BYTES_PER_SECOND_MIN, BYTES_PER_SECOND_MAX))?;
    }
    within("the bits of an IPv6 prefix", limits.ipv6_prefix.into(), 1, 128)?;
    let percent = AGE_JITTER_PERCENT_MAX.into();
    within("the jitter of the age in percent", limits.max_age_jitter.into(), 0, percent)?;
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    within("the burst in milliseconds", ms(limits.burst), ms(BURST_MIN), ms(BURST_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told() {
        let base = Limits::default;
        assert!(check(&base()).is_ok());
        #[rustfmt::skip]
        let table: Vec<(&str, Limits)> = vec![
            ("most connections of an address is 0",        Limits { per_address: Some(0), ..base() }),
            ("newcomers in a second is 0",                 Limits { accept_rate: Some(0), ..base() }),
            ("messages of a connection in a second is 0",  Limits { messages_per_second: Some(0), ..base() }),
            ("deliveries to a connection in a second is 200000000", Limits { deliveries_per_second: Some(200_000_000), ..base() }),
            ("messages of an address in a second is 0",    Limits { address_messages_per_second: Some(0), ..base() }),
            ("bytes of a connection in a second is 1023",  Limits { bytes_per_second: Some(1023), ..base() }),
            ("bytes of an address in a second is 1",       Limits { address_bytes_per_second: Some(1), ..base() }),
            ("bits of an IPv6 prefix is 129",              Limits { ipv6_prefix: 129, ..base() }),
            ("bits of an IPv6 prefix is 0",                Limits { ipv6_prefix: 0, ..base() }),
            ("jitter of the age in percent is 51",         Limits { max_age_jitter: 51, ..base() }),
            ("burst in milliseconds is 9",                 Limits { burst: Duration::from_millis(9), ..base() }),
            ("burst in milliseconds is 3600001",           Limits { burst: Duration::from_millis(3_600_001), ..base() }),
        ];
        for (want, limits) in table {
            let told = check(&limits).expect_err(want).to_string();
            assert!(told.contains(want) && told.contains("must lie between"), "case: {want}: {told}");
        }
    }
}
