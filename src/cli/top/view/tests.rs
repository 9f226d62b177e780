use super::*;

fn figures(text: &str) -> Figures {
    Figures::read(text).expect("it is OpenMetrics")
}

fn between(then: &str, now: &str, seconds: f64) -> View {
    let (then, now) = (figures(then), figures(now));
    Moments { now: &now, before: Some((&then, seconds)) }.view()
}

#[test]
fn rates_are_between_two_moments() {
    let then =
        "tidegate_frames_received_total{shard=\"0\"} 10\ntidegate_frames_received_total{shard=\"1\"} 5\n";
    let now = "tidegate_frames_received_total{shard=\"0\"} 30\ntidegate_frames_received_total{shard=\"1\"} 15\n\
               tidegate_turns_total{shard=\"1\"} 1\ntidegate_turns_total{shard=\"0\"} 1\ntidegate_turns_total{shard=\"10\"} 1\n\
               tidegate_turns_total{shard=\"9\"} 1\n";
    let view = between(then, now, 2.0);
    assert_eq!(view.messages, Flow { in_per_s: Some(15.0), out_per_s: None });
    let shards: Vec<_> =
        view.loops.iter().map(|of_loop| (of_loop.shard.as_str(), of_loop.messages_per_s)).collect();
    assert_eq!(shards, [("0", Some(10.0)), ("1", Some(5.0)), ("9", None), ("10", None)]);
    let alone = Moments { now: &figures(now), before: None }.view();
    assert_eq!((alone.messages.in_per_s, alone.interval_s), (None, None), "one moment has no rates");
}

/// Another process answers at the same address: what it counts has nothing to do with what was there before.
#[test]
fn a_counter_that_went_back_gives_no_rate() {
    let view = between("tidegate_received_bytes_total 1000\n", "tidegate_received_bytes_total 10\n", 1.0);
    assert_eq!(view.bytes.in_per_s, None);
}

#[test]
fn the_p99_is_that_of_the_interval() {
    let text = |fast, slow, all| {
        format!(
            "tidegate_turn_duration_seconds_bucket{{le=\"0.001\"}} {fast}\n\
             tidegate_turn_duration_seconds_bucket{{le=\"0.002\"}} {slow}\n\
             tidegate_turn_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n"
        )
    };
    let p99 = |then: &str, now: &str| between(then, now, 1.0).times.turn_p99_s;
    let before = text(1000, 5000, 5000);
    assert_eq!(p99(&before, &text(1099, 5100, 5100)), Some(0.001), "99 of 100 are enough");
    assert_eq!(p99(&before, &text(1098, 5100, 5100)), Some(0.002));
    assert_eq!(p99(&before, &text(1000, 5000, 5100)), Some(f64::INFINITY));
    assert_eq!(p99(&before, &before), None, "nothing was counted");
}

#[test]
fn what_happened_is_in_the_order_of_what_happens() {
    let name = "tidegate_connections_closed_total";
    let of = |reset: u32, idle: u32| {
        format!(
            "{name}{{reason=\"reset\",class=\"temporary\"}} {reset}\n{name}{{reason=\"idle\",class=\"temporary\"}} {idle}\n\
             {name}{{reason=\"bad_crc\",class=\"protocol\"}} 7\n{name}{{reason=\"http\",class=\"protocol\"}} 0\n"
        )
    };
    let view = between(&of(5, 90), &of(6, 90), 1.0);
    let closed: Vec<_> =
        view.closed.iter().map(|count| (count.name.as_str(), count.total, count.per_s)).collect();
    assert_eq!(closed, [("reset", 6.0, Some(1.0)), ("idle", 90.0, Some(0.0)), ("bad_crc", 7.0, Some(0.0))]);
    assert_eq!(view.connections.ended_per_s, Some(1.0));
}

#[test]
fn limits_are_of_all_loops_and_only_where_there_is_one() {
    let text = "tidegate_buffer_bytes{part=\"input\",shard=\"0\"} 10\ntidegate_buffer_bytes{part=\"input\",shard=\"1\"} 5\n\
                tidegate_buffer_limit_bytes{part=\"input\",shard=\"0\"} 100\n\
                tidegate_buffer_limit_bytes{part=\"input\",shard=\"1\"} 100\n\
                tidegate_jobs_waiting 0\ntidegate_jobs_waiting_limit 0\n\
                tidegate_connections_used 3\ntidegate_connections_limit 4\n";
    let view = Moments { now: &figures(text), before: None }.view();
    let limits: Vec<_> = view.limits.iter().map(|limit| (limit.name, limit.used, limit.most)).collect();
    assert_eq!(
        limits,
        [("connections", 3.0, 4.0), ("input", 15.0, 200.0)],
        "a server without workers has no jobs"
    );
}

#[test]
fn nothing_is_made_of_nothing() {
    let view = between("", "", 1.0);
    assert_eq!(view, View { interval_s: Some(1.0), ..View::default() });
}
