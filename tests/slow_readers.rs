//! Peers that send and don't read: the server stops reading them, keeps within its memory, serves the others, and
//! loses nothing; those that never read are closed.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use support::client::{Client, ECHO, FLIP, INTERNAL, frame};
use support::serving::{Neighbour, Serving, builder};
use support::{pattern, wait_until};
use tidegate::CloseReason;
use tidegate::base::limits::{Limits, PAYLOAD_BYTES_DEFAULT};
use tidegate::metrics::{Counter, Gauge, Snapshot};
use tidegate::service::Router;

/// What a slow client asks its kernel to hold; the kernel takes at least some KiB.
const NARROW_BYTES: usize = 4096;

fn leased(now: &Snapshot) -> u64 {
    now.gauge(Gauge::InputBytes) + now.gauge(Gauge::OutputBytes) + now.gauge(Gauge::ReserveBytes)
}

fn stream_of(route: u16, requests: u64, payload_bytes: usize) -> Vec<u8> {
    (0..requests).flat_map(|number| frame(route, &pattern(number, payload_bytes))).collect()
}

#[test]
fn a_slow_reader_is_paused_and_gets_every_byte_in_order_at_last() {
    const REQUESTS: u64 = 12_000;
    const SMALL_BYTES: usize = 300;
    let serving = Serving::embedded();
    let neighbour = Neighbour::of(serving.frames());
    let mut slow = Client::connect_narrow(serving.frames(), NARROW_BYTES);
    let sending = slow.send_beside(stream_of(FLIP, REQUESTS, SMALL_BYTES), true);
    serving.wait_for("reading it is paused", |now| now.counter(Counter::PausedOutput) >= 1);
    neighbour.still_served();
    // Its unread output is bounded, although much more waits to be read.
    let high = u64::from(Limits::default().output_high_bytes);
    for _ in 0..20 {
        let now = serving.snapshot();
        assert!(leased(&now) <= 4 * high, "{} bytes for one slow reader", leased(&now));
        neighbour.still_served();
    }
    for number in 0..REQUESTS {
        let mut want = pattern(number, SMALL_BYTES);
        want[0] ^= 1;
        slow.expect(FLIP, &want);
    }
    slow.expect_end();
    sending.done();
    neighbour.leave();
    serving.wait_for_rest(0);
    serving.end();
}

/// Replies that are larger than any request may be: up to what may wait for a connection they reach whoever reads,
/// however slowly; a larger one is told in its place. Nobody is ended for the size of a reply.
#[test]
fn a_reply_of_any_size_reaches_a_slow_reader_or_is_told() {
    let largest = (Limits::default().output_high_bytes + PAYLOAD_BYTES_DEFAULT) as usize;
    let sizes = [largest, 300, largest, largest, largest + 1, largest, 300];
    let serving = Serving::of(
        builder()
            .start_fn(|frame, reply| {
                let [n0, size @ ..] = frame.payload() else { return reply.none() };
                let size = u32::from_be_bytes(size.try_into().expect("a number of four bytes"));
                reply.send(&pattern(u64::from(*n0), size as usize))
            })
            .expect("a server"),
    );
    let mut slow = Client::connect_narrow(serving.frames(), NARROW_BYTES);
    let request = |(n, size): (usize, &usize)| {
        let number = [u8::try_from(n).expect("few")];
        frame(1, &[&number[..], &u32::try_from(*size).expect("small").to_be_bytes()].concat())
    };
    slow.send(&sizes.iter().enumerate().map(request).collect::<Vec<_>>().concat());
    serving.wait_for("reading it is paused", |now| now.counter(Counter::PausedOutput) >= 1);
    for (n, size) in sizes.iter().enumerate() {
        match *size > largest {
            true => slow.expect_error(INTERNAL),
            false => slow.expect(1, &pattern(n as u64, *size)),
        }
    }
    drop(slow);
    serving.wait_for_rest(0);
    serving.end();
}

/// Large replies, read in small sips with pauses: queues empty and fill many times.
#[test]
fn sips_get_every_byte_in_order() {
    const REQUESTS: u64 = 60;
    const LARGE_BYTES: usize = 100_000;
    let serving = Serving::embedded();
    let mut slow = Client::connect_narrow(serving.frames(), NARROW_BYTES);
    let sending = slow.send_beside(stream_of(ECHO, REQUESTS, LARGE_BYTES), true);
    serving.wait_for("reading it is paused", |now| now.counter(Counter::PausedOutput) >= 1);
    for number in 0..REQUESTS {
        slow.expect(ECHO, &pattern(number, LARGE_BYTES));
        if number % 10 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    slow.expect_end();
    sending.done();
    serving.wait_for("it was paused again and again", |now| now.counter(Counter::PausedOutput) >= 3);
    serving.wait_for_rest(0);
    serving.end();
}

#[test]
fn a_peer_that_never_reads_is_closed() {
    let limits = Limits { write_stall: Duration::from_millis(700), ..Limits::default() };
    let serving = Serving::with(limits);
    let neighbour = Neighbour::of(serving.frames());
    let deaf: Vec<_> = (0..3).map(|_| Client::connect_narrow(serving.frames(), NARROW_BYTES)).collect();
    let sending: Vec<_> =
        deaf.iter().map(|client| client.send_beside(stream_of(ECHO, 200, 60_000), false)).collect();
    serving.wait_for("all three stalled", |now| now.closes(CloseReason::WriteStall) == 3);
    neighbour.still_served();
    // They hold nothing any more, though their clients are still there.
    serving.wait_for_rest(1);
    assert!(serving.snapshot().counter(Counter::RepliesUnsent) > 0);
    drop(deaf);
    for sending in sending {
        sending.over();
    }
    neighbour.leave();
    serving.end();
}

/// While the server itself does not read, the peer's deadlines stand still: half a frame waits as long as the pause.
#[test]
fn a_pause_is_never_held_against_the_peer() {
    const BYTES: usize = 20_000;
    let deadline = Duration::from_millis(1500);
    let limits = Limits { frame_deadline: deadline, idle: Some(deadline), ..Limits::default() };
    let serving = Serving::with(limits);
    let mut slow = Client::connect_narrow(serving.frames(), NARROW_BYTES);
    let mut sent = 0;
    wait_until("reading it is paused", || {
        slow.request(ECHO, &pattern(sent, BYTES));
        sent += 1;
        serving.snapshot().counter(Counter::PausedOutput) > 0
    });
    let last = frame(ECHO, &pattern(sent, 3000));
    slow.send(&last[..1500]);
    std::thread::sleep(2 * deadline);
    for number in 0..sent {
        slow.expect(ECHO, &pattern(number, BYTES));
    }
    slow.send(&last[1500..]);
    slow.expect(ECHO, &pattern(sent, 3000));
    // Now nothing is paused, and its silence is its own.
    slow.expect_goaway(support::client::IDLE);
    drop(slow);
    serving.wait_for_rest(0);
    serving.end();
}

/// Far more slow readers than a small budget can queue for, and half-sent frames beside them.
#[test]
fn the_budget_holds_whatever_peers_do() {
    const BUDGET_BYTES: usize = 4 << 20;
    let running = builder().memory(BUDGET_BYTES).start(Router::embedded);
    let serving = Serving::of(running.expect("a server"));
    let neighbour = Neighbour::of(serving.frames());
    let is_over = Arc::new(AtomicBool::new(false));
    let (handle, told) = (serving.handle.clone(), Arc::clone(&is_over));
    let watcher = std::thread::spawn(move || {
        let mut most = 0;
        while !told.load(Relaxed) {
            let now = handle.snapshot();
            if !now.torn() {
                most = most.max(leased(&now));
                assert!(leased(&now) <= BUDGET_BYTES as u64, "{} bytes are leased", leased(&now));
            }
            std::thread::yield_now();
        }
        most
    });
    let mut clients = Vec::new();
    let mut sending = Vec::new();
    for number in 0..40_u64 {
        let client = Client::connect_narrow(serving.frames(), NARROW_BYTES);
        let bytes = if number % 4 == 0 {
            // Large enough of it to have its whole size leased; the rest never comes.
            frame(ECHO, &pattern(number, 900_000))[..400_000].to_vec()
        } else {
            stream_of(ECHO, 30, 50_000)
        };
        sending.push(client.send_beside(bytes, false));
        clients.push(client);
    }
    for _ in 0..50 {
        neighbour.still_served();
        std::thread::sleep(Duration::from_millis(10));
    }
    serving.wait_for("somebody was paused or closed for want of memory", |now| {
        now.counter(Counter::PausedMemory) + now.closes(CloseReason::Memory) > 0
    });
    is_over.store(true, Relaxed);
    let most = watcher.join().expect("the budget held all the time");
    assert!(most > BUDGET_BYTES as u64 / 4, "only {most} bytes were ever leased: this shows nothing");
    drop(clients);
    for sending in sending {
        sending.over();
    }
    neighbour.leave();
    serving.wait_for_rest(0);
    serving.end();
}
