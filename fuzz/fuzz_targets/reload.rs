//! Law: any two configurations, of which one runs and the other is wanted: it is taken whole or refused whole. What
//! comes out is a configuration; its live values are the wanted ones, and what still differs waits for a restart. The
//! input is two files, with a line of `%` between them.
#![no_main]

use tidegate::config::change::{Changed, When};
use tidegate::config::{File, Host, Loaded, Sources, load};

const HOST: Host =
    Host { processors: 4, descriptors: 1000, memory_bytes: Some(1 << 30), backlog_max: Some(4096) };

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (running, wanted) = input.split_once("\n%\n").unwrap_or((input, ""));
    let (Some(running), Some(wanted)) = (read(running), read(wanted)) else { return };
    for same in [&running, &wanted] {
        let plan = same.change_to(same, &HOST).expect("it is right beside itself");
        assert!(plan.changed.is_empty(), "{:?}", plan.changed);
        assert_eq!(plan.loaded.config, same.config);
    }
    changed(&running, &wanted);
    changed(&wanted, &running);
});

fn read(text: &str) -> Option<Loaded> {
    let file = File { name: "fuzz.toml".to_owned(), text: text.to_owned() };
    load(Sources { file: Some(file), ..Sources::default() }, &HOST).ok()
}

fn changed(running: &Loaded, wanted: &Loaded) {
    let plan = match running.change_to(wanted, &HOST) {
        Ok(plan) => plan,
        Err(mistakes) => {
            assert!(mistakes.len() > 0 && !mistakes.render(false).is_empty(), "refused without a reason");
            return;
        }
    };
    let effective = plan.loaded.effective_text();
    // A secret is not shown, and what stands there is none.
    let readable = effective.replace("\"***\"", "\"0123456789abcdef\"");
    let again = read(&readable).unwrap_or_else(|| panic!("not a configuration: {effective}"));
    if readable == effective {
        assert_eq!(again.config, plan.loaded.config, "{effective}");
    }
    let (is, want) = (&plan.loaded.config, &wanted.config);
    assert_eq!((&is.limits, is.max_connections), (&want.limits, want.max_connections));
    assert_eq!((&is.routes, is.keepalive, is.grace), (&want.routes, want.keepalive, want.grace));
    assert_eq!((is.watch, is.log_level), (want.watch, want.log_level));
    assert_eq!((is.shards, is.memory_bytes), (running.config.shards, running.config.memory_bytes));
    let waiting: Vec<&Changed> = plan.waiting().collect();
    let rest = plan.loaded.change_to(wanted, &HOST).expect("nothing of it is new");
    assert!(rest.changed.iter().all(|changed| changed.when == When::Restart), "{:?}", rest.changed);
    assert_eq!(rest.changed.iter().collect::<Vec<_>>(), waiting);
    if waiting.is_empty() {
        assert_eq!(values(&plan.loaded), values(wanted));
    }
    if plan.changed.is_empty() {
        assert_eq!(values(running), values(wanted));
    }
}

/// Every table with its values, whatever its place and wherever they came from.
fn values(loaded: &Loaded) -> Vec<String> {
    let text = loaded.effective_text();
    let tables = text.split("\n\n").map(|table| {
        let lines = table.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.split("  # ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    });
    let mut tables: Vec<String> = tables.collect();
    tables.sort();
    tables
}
