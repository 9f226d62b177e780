//! The dashboard in a real Chromium: what it shows is what `/metrics` says, what happens is told in words, and it can be read
//! in light, in dark, on a phone, and by who does not see it. Without a Chromium a line is printed and nothing claimed.

#![cfg(feature = "admin")]

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::PATIENCE;
use support::admin::{TOKEN, admin_of, admin_with, connect};
use support::client::{Client, ECHO, NO_ROUTE, PROTOCOL, frame};
use support::devtools::{Chromium, View};
use support::scraper::Scraper;
use support::serving::{Gate, Neighbour, Serving, builder};
use tidegate::base::limits::{LIVE_WATCHERS_MAX, Limits};
use tidegate::control::Admin;
use tidegate::service::Router;

const DESK: View = View { width: 1280, height: 900, is_dark: false };
const NIGHT: View = View { is_dark: true, ..DESK };
const TABLET: View = View { width: 820, height: 1180, is_dark: false };
const PHONE: View = View { width: 360, height: 780, is_dark: false };

const PROBE: &str = include_str!("dashboard/probe.js");

/// The page of this port, with rates: they need two beats.
fn opened(at: SocketAddr, view: View) -> Option<Chromium> {
    let mut browser = Chromium::start()?;
    browser.open(&format!("http://{at}/"), view);
    browser.wait_for("figures with rates", "feed.beat?.over_s > 0");
    Some(browser)
}

/// What the headline says.
fn word(browser: &mut Chromium) -> String {
    browser.text("document.getElementById('word').textContent")
}

#[track_caller]
fn wait_for_word(browser: &mut Chromium, word: &str) {
    browser.wait_for(word, &format!("document.getElementById('word').textContent.startsWith({word:?})"));
    // It is announced once, and stands in the tab.
    assert!(browser.text("document.getElementById('announce').textContent").starts_with(word));
    assert!(browser.text("document.title").starts_with(word));
}

/// A frame with a wrong checksum, told and closed.
fn send_bad(serving: &Serving) {
    let mut bad = frame(ECHO, b"bad");
    *bad.last_mut().expect("a checksum") ^= 0x55;
    let mut client = serving.connect();
    client.send(&bad);
    client.expect_goaway(PROTOCOL);
    client.expect_end();
}

/// Numbers of a table by its rows' keys: of the cell with this place.
fn column(browser: &mut Chromium, body: &str, place: usize) -> Vec<(String, Option<f64>)> {
    let rows = browser.eval(&format!(
        "[...document.querySelectorAll('#{body} tr')].map((row) => \
         [row.dataset.key, row.children[{place}].querySelector('data').value])"
    ));
    let rows = rows.as_array().expect("a list").iter();
    let read = |row: &Value| {
        let text = |at: usize| row[at].as_str().expect("text");
        (text(0).to_owned(), text(1).parse().ok())
    };
    rows.map(read).collect()
}

/// An element of the page, and which series it shows.
type Twin = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

#[test]
fn it_shows_what_the_metrics_say() {
    let serving = Serving::of(builder().shards(2).start(Router::embedded).expect("a server"));
    let at = admin_of(&serving);
    let mut client = serving.connect();
    (0..1234).for_each(|_| client.echo(b"hello"));
    client.send(&frame(9999, b"to nobody"));
    client.expect_error(NO_ROUTE);
    (0..3).for_each(|_| send_bad(&serving));
    serving.wait_for_rest(1);
    let Some(mut browser) = opened(at, DESK) else { return };
    let metrics = Scraper::connect(at).scrape();
    #[rustfmt::skip]
    let table: &[Twin] = &[
        ("messages_in-total",  "tidegate_frames_received_total",      &[]),
        ("messages_out-total", "tidegate_frames_sent_total",          &[]),
        ("bytes_in-total",     "tidegate_received_bytes_total",       &[]),
        ("bytes_out-total",    "tidegate_sent_bytes_total",           &[]),
        ("accepted-total",     "tidegate_connections_accepted_total", &[]),
        ("open-total",         "tidegate_connections_limit",          &[]),
        ("in_flight-total",    "tidegate_requests_started_total",     &[]),
    ];
    for (id, name, labels) in table {
        let shown = browser.text(&format!("document.getElementById({id:?}).value"));
        assert_eq!(shown.parse(), Ok(metrics.sum(name, labels)), "{id} is not {name}");
    }
    let shown = browser.text("document.getElementById('messages_in-total').textContent");
    assert_eq!(shown.replace(',', "").parse(), Ok(metrics.sum("tidegate_frames_received_total", &[])));
    for (reason, total) in column(&mut browser, "close-rows", 3) {
        let want = metrics.sum("tidegate_connections_closed_total", &[("reason", &reason)]);
        assert_eq!(total, Some(want), "{reason}");
    }
    let outcomes = column(&mut browser, "request-rows", 3);
    for outcome in ["answered", "failed"] {
        let want = metrics.sum("tidegate_requests_ended_total", &[("outcome", outcome)]);
        let shown = outcomes.iter().find(|(key, _)| key == outcome);
        assert_eq!(shown.and_then(|(_, total)| *total), Some(want), "{outcome}: {outcomes:?}");
    }
    for (shard, open) in column(&mut browser, "loop-rows", 3) {
        assert_eq!(open, Some(metrics.sum("tidegate_connections", &[("shard", &shard)])), "loop {shard}");
    }
    let used = column(&mut browser, "limit-rows", 2);
    assert_eq!(used[0].1, Some(metrics.value("tidegate_connections_used", &[])), "{used:?}");
    let limits = column(&mut browser, "limit-rows", 3);
    let input = limits.iter().find(|(key, _)| key.starts_with("input buffers"));
    assert_eq!(
        input.and_then(|(_, limit)| *limit),
        Some(metrics.sum("tidegate_buffer_limit_bytes", &[("part", "input")]))
    );
    // The one that is open is among the talkers, and its link leads to it.
    browser.wait_for("talkers", "document.querySelectorAll('#talker-rows a').length === 1");
    let link = browser.text("document.querySelector('#talker-rows a').href");
    let told = support::admin::get(at, link.split_once(&at.to_string()).expect("of this port").1);
    assert!(told.status == 200 && told.body.contains("serving"), "{link}: {}", told.body);
    assert_eq!(word(&mut browser), "Serving");
    assert_eq!(browser.faults, Vec::<String>::new());
    drop((browser, client));
    serving.end();
}

#[test]
fn a_stall_is_told_in_words() {
    let gate = Gate::default();
    let serving = Serving::gated(builder().shards(2), &gate);
    let Some(mut browser) = opened(admin_of(&serving), DESK) else { return };
    wait_for_word(&mut browser, "Serving");
    let mut client = serving.connect();
    client.request(ECHO, b"stuck");
    gate.wait_for_handler();
    wait_for_word(&mut browser, "Stalled");
    let sentence = browser.text("document.getElementById('sentence').textContent");
    assert!(sentence.contains("is held up: its turn has been running for"), "{sentence}");
    let wrong = browser.text("document.getElementById('conditions').textContent");
    assert!(wrong.starts_with("Stalled handlerTurns of a loop take longer"), "{wrong}");
    browser.wait_for("its row", "/in one turn for/.test(document.getElementById('loop-rows').textContent)");
    browser.wait_for(
        "its bar",
        "[...document.querySelectorAll('.busy data')].some(({value}) => Number(value) > 0.95)",
    );
    browser.wait_for(
        "who did not answer",
        "/event loop \\d (did not|has another)/.test(document.getElementById('talkers-missing').textContent)",
    );
    gate.open();
    client.expect(ECHO, b"stuck");
    wait_for_word(&mut browser, "Serving");
    browser.wait_for(
        "it is remembered",
        "/^Stalled handler, for/.test(document.getElementById('earlier-list').textContent)",
    );
    assert_eq!(browser.faults, Vec::<String>::new());
    drop((browser, client));
    serving.end();
}

#[test]
fn a_flood_of_wrong_checksums_is_told_in_words() {
    let serving = Serving::embedded();
    let Some(mut browser) = opened(admin_of(&serving), DESK) else { return };
    wait_for_word(&mut browser, "Serving");
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        send_bad(&serving);
    }
    wait_for_word(&mut browser, "Serving, but: bad checksums");
    let row = "document.querySelector('#close-rows [data-key=bad_crc]')";
    let shown = browser.text(&format!("{row}.textContent"));
    assert!(shown.starts_with("Bad crcprotocol"), "{shown}");
    assert!(browser.text(&format!("{row}.querySelector('a').href")).contains("/closed?reason=bad_crc"));
    let wrong = browser.text("document.getElementById('conditions').textContent");
    assert!(wrong.contains("Peers send frames whose checksum is wrong."), "{wrong}");
    browser.wait_for("it passes", "document.getElementById('word').textContent === 'Serving'");
    drop(browser);
    serving.end();
}

/// Who opens the page when it is over sees what it was.
#[test]
fn what_was_before_the_page_was_opened_is_shown() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        send_bad(&serving);
    }
    let is_over = || support::admin::get(at, "/live/past").body.contains("\"name\":\"bad_checksums\"");
    support::wait_until("the condition is over", is_over);
    let Some(mut browser) = opened(at, DESK) else { return };
    wait_for_word(&mut browser, "Serving");
    browser.wait_for(
        "it is told",
        "/^Bad checksums, for \\d/.test(document.getElementById('earlier-list').textContent)",
    );
    // Times are the page's own: it was opened at zero.
    browser.wait_for(
        "it is drawn",
        "history.points('accepted').some(([time, value]) => time < -2 && value > 10)",
    );
    let drawn = browser.text("document.querySelector('[data-curve=accepted] svg .line').getAttribute('d')");
    assert!(drawn.matches('L').count() >= 5, "{drawn}");
    assert_eq!(browser.faults, Vec::<String>::new());
    drop(browser);
    serving.end();
}

#[test]
fn a_drain_and_the_end_are_told_in_words() {
    let serving = Serving::embedded();
    let (at, control) = admin_with(&serving, |admin| admin);
    let Some(mut browser) = opened(at, DESK) else { return };
    wait_for_word(&mut browser, "Serving");
    let mut stays = Client::connect(serving.lines());
    stays.send(b"half a line");
    browser.wait_for("it is seen", "feed.beat.gauges.open === 1");
    serving.handle.drain(Duration::from_secs(20));
    wait_for_word(&mut browser, "Draining");
    let drain = browser.text("document.getElementById('drain').innerText");
    assert!(drain.contains("1 of 1") && drain.contains("of 20 s"), "{drain}");
    let rows = browser.text("document.getElementById('conditions').textContent");
    assert!(rows.starts_with("DrainingThe server drains"), "{rows}");
    drop(stays);
    serving.join();
    control.finish(PATIENCE);
    wait_for_word(&mut browser, "Ended");
    let sentence = browser.text("document.getElementById('sentence').textContent");
    assert!(
        sentence.contains("trying to reach it again. The figures below are") && sentence.ends_with("old."),
        "{sentence}"
    );
    assert_eq!(browser.eval("document.body.classList.contains('stale')"), true);
    // Another server at the same place is found by itself.
    let next = Serving::embedded();
    let _control =
        Admin::bind(&at.to_string()).expect("it is free").start(next.handle.clone()).expect("a thread");
    wait_for_word(&mut browser, "Serving");
    assert_eq!(browser.eval("document.body.classList.contains('stale')"), false);
    drop(browser);
    next.end();
}

/// Who has the token sees which functions take the time; who has not is told so.
#[test]
#[cfg(all(feature = "profiling", target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
fn a_profile_is_shown_to_who_has_the_token() {
    let serving = Serving::of(builder().shards(1).start(Router::embedded).expect("a server"));
    let (at, _control) = admin_with(&serving, |admin| admin.profile(true));
    let neighbour = Neighbour::of(serving.frames());
    let Some(mut browser) = opened(at, DESK) else { return };
    let mut ask = |token: &str| {
        browser.eval(&format!(
            "document.getElementById('profile-token').value = {token:?}; \
             document.getElementById('profile-seconds').value = 1; \
             document.getElementById('profile-make').click(); 0"
        ));
        browser.wait_for("the answer", "!document.getElementById('profile-make').disabled");
        let said = browser.text("document.getElementById('profile-word').textContent");
        let width = browser.eval("document.getElementById('profile-flame').naturalWidth").as_f64();
        (said, width)
    };
    let (said, width) = ask("somebody else's token");
    assert!(said.contains("token") && width == Some(0.0), "{said}");
    let (said, width) = ask(TOKEN);
    assert!(said.starts_with("Threads at the top") && width != Some(0.0), "{said}");
    if let Ok(folder) = std::env::var("TIDEGATE_TEST_SCREENSHOTS") {
        browser.eval("document.getElementById('profile').scrollIntoView(); 0");
        let to = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("dashboard-profile.png");
        browser.screenshot(&to, false);
    }
    neighbour.leave();
    serving.end();
}

#[test]
fn a_refused_watcher_is_told_why() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let taken: Vec<_> = (0..LIVE_WATCHERS_MAX)
        .map(|_| {
            use std::io::{Read, Write};
            let mut stream = connect(at);
            stream
                .write_all(format!("GET /live HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())
                .expect("it is taken");
            stream.read_exact(&mut [0; 12]).expect("an answer");
            stream
        })
        .collect();
    let Some(mut browser) = Chromium::start() else { return };
    browser.open(&format!("http://{at}/"), DESK);
    wait_for_word(&mut browser, "Not watching");
    let sentence = browser.text("document.getElementById('sentence').textContent");
    assert!(sentence.contains("The server refused: 8 watch already"), "{sentence}");
    drop(taken);
    wait_for_word(&mut browser, "Serving");
    drop(browser);
    serving.end();
}

/// Everything that the page can show at once: traffic, closes, a condition, a drain.
fn busy() -> (Serving, Vec<Neighbour>, Vec<Client>) {
    let limits = Limits { open_requests: 4, ..Limits::default() };
    let running = builder().shards(2).limits(limits).workers(1, 8).start(Router::embedded).expect("a server");
    let serving = Serving::of(running);
    let neighbours = (0..3).map(|_| Neighbour::of(serving.frames())).collect();
    let want = frame(ECHO, &[7; 64 << 10]).repeat(64);
    let slow = (0..2).map(|_| {
        let client = Client::connect_narrow(serving.frames(), 4 << 10);
        drop(client.send_beside(want.clone(), false));
        client
    });
    let slow = slow.collect();
    (0..3).for_each(|_| send_bad(&serving));
    (serving, neighbours, slow)
}

#[test]
fn it_can_be_read_in_every_look() {
    let (serving, neighbours, slow) = busy();
    let (at, control) = admin_with(&serving, |admin| admin);
    let Some(mut browser) = opened(at, DESK) else { return };
    browser.wait_for("talkers", "document.querySelectorAll('#talker-rows a').length >= 5");
    wait_for_word(&mut browser, "Serving, but: slow readers");
    let mut wrong = Vec::new();
    let mut look = |browser: &mut Chromium, what: &str| {
        for view in [DESK, NIGHT, TABLET, PHONE, View { is_dark: true, ..PHONE }] {
            browser.look(view);
            let faults = browser.eval(PROBE);
            let faults = faults.as_array().expect("a list").iter();
            wrong.extend(faults.map(|fault| format!("{what} at {view:?}: {fault}")));
        }
    };
    look(&mut browser, "in trouble");
    // Nothing moves by itself from one beat to the next.
    browser.look(DESK);
    browser.eval(
        "globalThis.moved = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries()) \
         moved += entry.value; }).observe({ type: 'layout-shift' }); true",
    );
    std::thread::sleep(Duration::from_secs(4));
    let moved = browser.eval("moved").as_f64().expect("a number");
    assert!(moved < 0.01, "the layout moves: {moved}");
    neighbours.into_iter().for_each(Neighbour::leave);
    serving.handle.drain(Duration::from_secs(15));
    wait_for_word(&mut browser, "Draining");
    look(&mut browser, "draining");
    for client in slow {
        let _ = client.stream.shutdown(std::net::Shutdown::Both);
    }
    serving.join();
    control.finish(PATIENCE);
    wait_for_word(&mut browser, "Ended");
    look(&mut browser, "lost");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    // A lost server is no error of the page.
    let errors = browser.faults.iter().filter(|fault| !fault.contains("ERR_")).count();
    assert_eq!(errors, 0, "{:?}", browser.faults);
}

/// The probe must find what it is there for.
#[test]
fn planted_faults_are_found_by_the_probe() {
    let serving = Serving::embedded();
    let at = admin_of(&serving);
    let Some(mut browser) = opened(at, PHONE) else { return };
    let url = format!("http://{at}/");
    assert_eq!(browser.eval(PROBE), serde_json::json!([]));
    #[rustfmt::skip]
    let table = [
        ("const p = make('p', {}, 'wide'); p.style.width = '2000px'; document.querySelector('main').append(p)", "wider than the window"),
        ("const p = make('p', {}, 'pale'); p.style.color = '#999'; p.style.background = '#fff'; document.body.append(p)", "contrast"),
        ("document.querySelector('tbody').append(make('tr', {}, make('td', {}, 'x')))", "cells under"),
        ("document.querySelector('main').append(make('section'))", "a section without a name"),
        ("document.querySelector('main').append(make('svg', {}))", "a picture without a name"),
        ("document.body.append(make('main', {}))", "not one main"),
        ("document.body.append(make('p', { id: 'word' }))", "an id is there twice"),
        ("document.getElementById('announce').textContent = 'other'", "not announced"),
    ];
    for (fault, want) in table {
        browser.open(&url, PHONE);
        browser.wait_for("figures with rates", "feed.beat?.over_s > 0");
        browser.eval(&format!("{{ {fault} }}; true"));
        let found = browser.eval(PROBE).to_string();
        assert!(found.contains(want), "{fault} was not found: {found}");
    }
    drop(browser);
    serving.end();
}

/// Pictures for docs/DASHBOARD.md, if TIDEGATE_TEST_SCREENSHOTS says where they go: after a minute and a half of traffic that
/// comes and goes.
#[test]
fn pictures_are_taken_for_who_wants_them() {
    let Ok(folder) = std::env::var("TIDEGATE_TEST_SCREENSHOTS") else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let names = ["ack", "echo", "discard", "flip"];
    let labeled = (0..)
        .zip(names)
        .fold(builder().shards(2), |builder, (route, name)| builder.label_routes(route..=route, name));
    let serving = Serving::of(labeled.start(Router::embedded).expect("a server"));
    let Some(mut browser) = opened(admin_of(&serving), DESK) else { return };
    let is_over = Arc::new(AtomicBool::new(false));
    let at = serving.frames();
    let waves: Vec<_> = (0..12_u32)
        .map(|number| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || wave(at, number, &is_over))
        })
        .collect();
    let seconds = std::env::var("TIDEGATE_TEST_SCREENSHOTS_AFTER").ok().and_then(|text| text.parse().ok());
    std::thread::sleep(Duration::from_secs(seconds.unwrap_or(90)));
    for (name, view, is_whole) in [("light", DESK, true), ("dark", NIGHT, false), ("phone", PHONE, false)] {
        browser.look(view);
        std::thread::sleep(Duration::from_millis(1500));
        browser.screenshot(&folder.join(format!("dashboard-{name}.png")), is_whole);
    }
    browser.look(DESK);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        send_bad(&serving);
    }
    wait_for_word(&mut browser, "Serving, but: bad checksums");
    browser.screenshot(&folder.join("dashboard-trouble.png"), false);
    is_over.store(true, Relaxed);
    waves.into_iter().for_each(|wave| wave.join().expect("no panic"));
    drop(browser);
    serving.end();
}

/// A client that comes, asks for more and for less, and goes.
fn wave(at: SocketAddr, number: u32, is_over: &AtomicBool) {
    let began = Instant::now();
    while !is_over.load(Relaxed) {
        let mut client = Client::connect(at);
        let stays = Duration::from_secs(4 + u64::from(number * 7 % 23));
        let came = Instant::now();
        while came.elapsed() < stays && !is_over.load(Relaxed) {
            let phase = (began.elapsed().as_secs_f64() / 17.0 + f64::from(number) / 5.0).sin();
            client.echo(&vec![7; 64 << (number % 5)]);
            std::thread::sleep(Duration::from_secs_f64(0.002 * (1.15 + phase) * f64::from(1 + number % 4)));
        }
        client.finish_sending();
        client.expect_end();
    }
}
