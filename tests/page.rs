//! The page of a run: one file that is well formed whatever the run was, in which nothing of a server's becomes markup,
//! and that a real browser shows without an error, an overflow or a text upon another, in light, dark, and on a phone.
#![cfg(feature = "load")]

use tidegate::load;

#[path = "page/browser.rs"]
mod browser;
#[path = "page/markup.rs"]
mod markup;
#[path = "support/reports.rs"]
mod reports;

use browser::{Browser, Look};
use load::page::page;
use load::report::Report;
use markup::Markup;

fn pages() -> Vec<(&'static str, Report, String)> {
    let all = reports::all().into_iter();
    all.map(|(name, report, baseline)| {
        let html = page(&report, baseline.as_ref());
        (name, report, html)
    })
    .collect()
}

#[test]
fn every_page_is_well_formed() {
    for (name, _, html) in pages() {
        let markup = Markup::read(&html).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        let ids = markup.values_of("id");
        let mut once = ids.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ids.len(), "{name} has an id twice: {ids:?}");
        for (tag, attribute, value) in &markup.attributes {
            let is_number = !value.contains("NaN") && !value.contains("inf") && !value.contains("e-");
            let is_drawn = ["d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "viewBox"];
            assert!(
                is_number || !is_drawn.contains(&attribute.as_str()),
                "{name}: <{tag} {attribute}={value:?}>"
            );
        }
    }
}

#[test]
fn a_page_needs_nothing_but_itself() {
    for (name, _, html) in pages() {
        let markup = Markup::read(&html).expect(name);
        for tag in ["img", "link", "iframe", "object", "embed", "base", "form", "a"] {
            assert!(!markup.tags.iter().any(|found| found == tag), "{name} has <{tag}>");
        }
        assert!(markup.values_of("src").is_empty() && markup.values_of("href").is_empty(), "{name}");
        assert!(!html.contains("url(") && !html.contains("@import"), "{name}");
        assert!(markup.attributes.iter().all(|(_, attribute, _)| !attribute.starts_with("on")), "{name}");
    }
}

/// The words of a server, of a shell and of a file appear as what they are: text.
#[test]
fn nothing_becomes_markup() {
    let html = page(&reports::wrong(), Some(&reports::wrong()));
    let markup = Markup::read(&html).expect("it is well formed");
    assert_eq!(markup.tags.iter().filter(|tag| *tag == "script").count(), 2);
    let text = "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp; [31m";
    let times = html.matches(text).count();
    assert!(times >= 8, "it appears {times} times");
    assert!(!html.contains('\x1b'));
}

#[test]
fn the_report_within_is_the_report() {
    for (name, report, html) in pages() {
        let (_, from) = html.split_once("<script type=\"application/json\" id=\"report\">").expect(name);
        let (json, _) = from.split_once("</script>").expect(name);
        let found: serde_json::Value = serde_json::from_str(json).expect(name);
        let meant: serde_json::Value = serde_json::from_str(&load::file::to_json(&report)).expect(name);
        assert_eq!(found, meant, "{name}");
    }
}

/// A run, and what its page says.
#[test]
fn what_matters_is_said() {
    #[rustfmt::skip]
    let table: &[(Report, &[&str], &[&str])] = &[
        (reports::normal(), &["<p class=\"word\">Valid</p>", "--in-flight 16 --seed 7", "2026-11-23 02:57:14 UTC"], &["class=\"closed\"", "too few samples</dd>"]),
        (reports::void(),   &["verdict void", "own lateness p99 is 1.92 ms", "does not hold"],                     &["Valid</p>"]),
        (reports::closed(), &["<p class=\"closed\">Closed loop: ", "Service times.", "service p99"],               &["response p99"]),
        (reports::failed(), &["<p class=\"word\">No connection</p>", "connection refused"],                        &["<svg", "<h2>Curves"]),
        (reports::tiny(),   &["<dt>response p99</dt><dd class=\"few\">too few samples</dd>"],                      &["<dd>0 ns"]),
        (reports::search(), &["holds up to 132,500/s (3 of 3 tries), and not at 135,000/s", "132,500/s holds"],    &[]),
        (reports::floor(),  &["1.15×", "Over a bare byte echo on this machine, 5 rounds"],                         &[]),
    ];
    for (report, wanted, unwanted) in table {
        let html = page(report, None);
        for text in *wanted {
            assert!(html.contains(text), "{text:?} is missing");
        }
        for text in *unwanted {
            assert!(!html.contains(text), "{text:?} is there");
        }
    }
}

#[test]
fn a_baseline_is_laid_over() {
    let html = page(&reports::normal(), Some(&reports::baseline()));
    for text in [
        "class=\"baseline\"",
        "<dd class=\"before\">baseline 272 µs</dd>",
        "The baseline was begun 2026-11-20",
    ] {
        assert!(html.contains(text), "{text:?} is missing");
    }
}

/// What a real browser makes of it. Without one, nothing is claimed.
#[test]
fn a_browser_shows_it_as_it_should() {
    let Some(browser) = Browser::find() else { return };
    let looks = [
        Look { width: 390, is_dark: false },
        Look { width: 390, is_dark: true },
        Look { width: 820, is_dark: false },
        Look { width: 1280, is_dark: true },
    ];
    let mut wrong = Vec::new();
    for (at, (name, _, html)) in pages().into_iter().enumerate() {
        // Every page in one look, in turn; two of them in all.
        let is_in_all = ["impaired", "search"].contains(&name);
        for (turn, look) in looks.iter().enumerate() {
            if is_in_all || turn == at % looks.len() {
                wrong.extend(browser.faults(name, &html, *look));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The probe must find what it is there for.
#[test]
fn planted_faults_are_found_by_the_browser() {
    let Some(browser) = Browser::find() else { return };
    let html = page(&reports::tiny(), None);
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("<p style=\"width:2000px\">wide</p>",                                                             "wider than the window"),
        ("<p style=\"color:#999;background:#fff\">pale</p>",                                               "contrast"),
        ("<svg viewBox=\"0 0 9 9\"><text x=\"1\" y=\"8\">one</text><text x=\"2\" y=\"8\">two</text></svg>", "upon another"),
        ("<script>throw new Error(\"planted\")</script>",                                                  "planted"),
        ("<img src=\"http://127.0.0.1:9/x.png\" alt=\"\">",                                                "refused by its policy"),
    ];
    for (fault, want) in table {
        let html = html.replacen("<main>", &format!("<main>{fault}"), 1);
        let found = browser.faults("planted", &html, Look { width: 390, is_dark: false }).join("\n");
        assert!(found.contains(want), "{fault} was not found: {found:?}");
    }
}
