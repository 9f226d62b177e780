//! Law: any text is a configuration, or it gets mistakes whose places lie in it and which can be told; the effective
//! file of a configuration makes the same one. The input is a file; what follows a line of `%` is the environment, a
//! variable a line.
#![no_main]

use tidegate::config::{File, Host, Loaded, Mistakes, Sources, load};

const HOST: Host =
    Host { processors: 4, descriptors: 1000, memory_bytes: Some(1 << 30), backlog_max: Some(4096) };

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(input) = std::str::from_utf8(data) else { return };
    let (text, environment) = input.split_once("\n%\n").unwrap_or((input, ""));
    let variables = environment.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match load(Sources { variables, ..sources(text) }, &HOST) {
        Ok(loaded) => accepted(&loaded),
        Err(mistakes) => refused(&mistakes, text),
    }
});

fn sources(text: &str) -> Sources {
    Sources { file: Some(File { name: "fuzz.toml".to_owned(), text: text.to_owned() }), ..Sources::default() }
}

fn accepted(loaded: &Loaded) {
    let effective = loaded.effective_text();
    match load(sources(&effective), &HOST) {
        Ok(again) => assert_eq!(again.config, loaded.config, "{effective}"),
        Err(mistakes) => panic!("{effective}\n{}", mistakes.render(false)),
    }
    assert!(!loaded.config.listeners.is_empty(), "nowhere to listen");
    // It panics in debug if a route is given twice.
    let _ = loaded.config.router();
}

fn refused(mistakes: &Mistakes, text: &str) {
    assert!(mistakes.len() > 0, "refused without a reason");
    for place in mistakes.places() {
        assert!(place.start <= place.end, "{place:?}");
        assert!(text.get(place.clone()).is_some(), "{place:?} is not in a text of {} bytes", text.len());
    }
    let plain = mistakes.render(false);
    assert!(!plain.is_empty() && !plain.contains('\u{1b}'), "{plain}");
    assert!(mistakes.render(true).contains("\u{1b}["), "without colours");
}
