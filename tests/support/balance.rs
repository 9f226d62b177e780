//! The ledger, seen from outside: what `/metrics` says of requests must add up, at any moment.

use super::exposition::Exposition;

/// Checks that `started == all outcomes + in flight`, for each loop, and if all were copied at a moment between two turns,
/// in sum too. The error names the loop and its figures. Returns how many loops could be checked.
pub fn ledger(scrape: &Exposition) -> Result<usize, String> {
    let shards = scrape.label_values("tidegate_requests_started_total", "shard");
    if shards.is_empty() {
        return Err("there is no loop in this text".to_owned());
    }
    let mut checked = 0;
    for shard in &shards {
        let of = [("shard", *shard)];
        if scrape.value("tidegate_shard_snapshot_torn", &of) != 0.0 {
            continue;
        }
        balance(scrape, &format!("shard {shard}"), &of)?;
        let open = scrape.sum("tidegate_connections", &of);
        let paused = scrape.matching("tidegate_connections_paused", &of);
        if paused.iter().any(|paused| *paused > open) {
            return Err(format!("shard {shard}: {paused:?} of {open} connections are paused"));
        }
        checked += 1;
    }
    if checked == shards.len() {
        balance(scrape, "all loops", &[])?;
    }
    Ok(checked)
}

fn balance(scrape: &Exposition, whose: &str, of: &[(&str, &str)]) -> Result<(), String> {
    let started = scrape.sum("tidegate_requests_started_total", of);
    let ended = scrape.sum("tidegate_requests_ended_total", of);
    let in_flight = scrape.sum("tidegate_requests_in_flight", of);
    if started == ended + in_flight {
        return Ok(());
    }
    Err(format!("{whose}: {started} requests started, {ended} ended, {in_flight} in flight"))
}
