//! The schema as text: the embedded default, the effective configuration, the reference.
//!
//! Always holds: both configurations are read back as what they say. The default is what a server without a file is
//! made of, word for word.

use super::change::when;
use super::report::{File, origin_in_words};
use super::schema::{Key, LISTENERS, Only, ROUTES, SECTIONS, Section};
use super::settings::Part;
use super::value::Value;
use super::variable;
use std::fmt::Write as _;

/// Widest line of a comment, in characters.
const WIDTH: usize = 100;

/// The embedded default, with a comment for every key.
pub fn default_text() -> String {
    let mut out = String::from("# The configuration of a tidegate server: every key with its default.\n");
    out.push_str("# Sizes are in B, KiB, MiB, GiB; durations in us, ms, s, m, h, d.\n");
    for section in &SECTIONS {
        if !section.name.is_empty() {
            out.push('\n');
            comment(&mut out, section.about);
        }
        match section.name {
            "" => defaults(&mut out, section, |_| None),
            "listener" => listeners(&mut out, section),
            "route" => routes(&mut out, section),
            "user" => nobody(&mut out, section),
            _ => {
                let _ = writeln!(out, "{}", section.header());
                defaults(&mut out, section, |_| None);
            }
        }
    }
    out
}

/// The keys of a table with their comments, and a value where the default is another one or none.
fn defaults(out: &mut String, section: &Section, value: impl Fn(&Key) -> Option<Value>) {
    for key in section.keys.iter().filter(|key| key.only != Only::Lines) {
        comment(out, &format!("{} Takes {}.", key.meaning, key.takes()));
        let value = value(key).or_else(|| key.default.clone());
        let _ = writeln!(out, "{} = {}", key.name, value.expect("a key without a default is given one"));
    }
}

fn listeners(out: &mut String, section: &Section) {
    for (place, (address, protocol)) in LISTENERS.into_iter().enumerate() {
        let _ = writeln!(out, "{}{}", if place == 0 { "" } else { "\n" }, section.header());
        if place == 0 {
            defaults(out, section, |key| (key.name == "address").then(|| Value::Address(address.into())));
            continue;
        }
        let _ = writeln!(out, "address = \"{address}\"\nprotocol = \"{protocol}\"");
        for key in section.keys.iter().filter(|key| key.only == Only::Lines) {
            comment(out, &format!("{} Takes {}.", key.meaning, key.takes()));
            let _ = writeln!(out, "{} = {}", key.name, key.default.as_ref().expect("it has one"));
        }
    }
}

fn routes(out: &mut String, section: &Section) {
    for key in section.keys {
        comment(out, &format!("{}: {}", key.name, key.meaning));
    }
    for (place, (route, service)) in ROUTES.into_iter().enumerate() {
        let routes = Value::Headers(route..=route);
        let gap = if place == 0 { "" } else { "\n" };
        let _ = writeln!(out, "{gap}{}\nheaders = {routes}\nservice = \"{service}\"", section.header());
    }
}

/// There is none by default; what one would be.
fn nobody(out: &mut String, section: &Section) {
    let _ = writeln!(out, "# {}", section.header());
    for key in section.keys {
        comment(out, &format!("{} Takes {}.", key.meaning, key.takes()));
        let value = key.default.as_ref().map_or("\"alice\"".to_owned(), ToString::to_string);
        let _ = writeln!(out, "# {} = {value}", key.name);
    }
}

fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split_whitespace() {
        let word_width = word.chars().count();
        if width == 0 || width + 1 + word_width > WIDTH {
            out.push_str(if width == 0 { "# " } else { "\n# " });
            width = 2 + word_width;
        } else {
            out.push(' ');
            width += 1 + word_width;
        }
        out.push_str(word);
    }
    if width > 0 {
        out.push('\n');
    }
}

pub(super) fn effective_text(parts: &[Part], file: Option<&File>) -> String {
    let mut out =
        String::from("# The value of every key, and where it came from if it is not the default.\n");
    for part in parts {
        if !part.section.name.is_empty() {
            let _ = writeln!(out, "\n{}", part.section.header());
        }
        for setting in &part.settings {
            let Some(value) = &setting.value else { continue };
            let _ = write!(out, "{} = {value}", setting.key.name);
            if let Some(words) = origin_in_words(&setting.origin, file) {
                let _ = write!(out, "  # {words}");
            }
            out.push('\n');
        }
    }
    let is_routed = parts.iter().any(|part| part.section.name == "route");
    // Without the key the default's routes would be there.
    if !is_routed {
        out = out.replacen("\nconfig_version", "\nroute = []\nconfig_version", 1);
    }
    out
}

/// docs/CONFIG.md.
pub fn reference() -> String {
    let mut out = String::from(REFERENCE_HEAD);
    for section in &SECTIONS {
        let header =
            if section.name.is_empty() { "Before every table" } else { &format!("`{}`", section.header()) };
        let _ = write!(out, "\n## {header}\n\n");
        if !section.about.is_empty() {
            let _ = writeln!(out, "{}\n", section.about);
        }
        out.push_str(
            "| key | takes | default | holds | meaning, and why that default |\n|---|---|---|---|---|\n",
        );
        for key in section.keys {
            let only = match key.only {
                Only::All => "",
                Only::Frames => " (frames)",
                Only::Lines => " (lines)",
            };
            let default = key.default.as_ref().map_or("none".to_owned(), |value| format!("`{value}`"));
            let index = section.is_list.then_some(0);
            let _ = writeln!(
                out,
                "| `{}`{only}<br>`{}` | {} | {default} | {} | {} *{}* |",
                key.name,
                variable(section, key, index),
                key.takes(),
                when(section.name, key.name).name(),
                key.meaning,
                key.why
            );
        }
    }
    out.push_str(REFERENCE_TAIL);
    out
}

const REFERENCE_HEAD: &str = "\
# Configuration

```sh
tidegate serve --config tidegate.toml    # or -c
tidegate check tidegate.toml             # says what is wrong with it, all at once; exit code 0 or 2
tidegate check --print-default           # a file to begin with: every key, commented
tidegate check --print-effective FILE    # every value, and where it came from
```

A file is TOML. This is a whole one:

```toml
config_version = 1

[[listener]]
address = \"0.0.0.0:7411\"
max_payload = \"256KiB\"

[[listener]]
address = \"unix:/run/tidegate.sock\"
protocol = \"line\"
route = 7

[[route]]
headers = \"0x0001\"
service = \"echo\"

[[route]]
headers = \"7\"
service = \"ack\"

[timeouts]
idle = \"5m\"
```

- Sizes are strings of a whole number and `B`, `KiB`, `MiB` or `GiB`; durations of a whole number and `us`, `ms`, `s`,
  `m`, `h` or `d`. A number without a unit is refused.
- A key that is not given has its default. Without a file, the server is the one of `--print-default`.
- The first `[[listener]]` in a file replaces both listeners of the default, the first `[[route]]` all four routes.
  `route = []` before every table leaves no route at all.
- What a flag says goes above the environment, that above the file, that above the default. There is one file, and
  nothing is merged from elsewhere.
- Unknown keys are mistakes, and so are unknown variables that begin with `TIDEGATE_` (but for those of the tests,
  `TIDEGATE_SIM_...`, `TIDEGATE_SOAK...` and `TIDEGATE_TEST_...`, and `TIDEGATE_TOKEN`, which is of `tidegate send`).

## Environment

Every key is also a variable: two underscores for each step, the tables of a list by their place, from 0. So
`TIDEGATE_LISTENER__0__ADDRESS=127.0.0.1:9000` changes the first listener. The place behind the last one adds a table;
one further on is a mistake. Values are written as in the file, without the quotes.

## Flags

`--frames` and `--lines` give the first listener of frames, or of lines, another address; if the file has none, it
becomes one. `--route` adds a route. The others are `server.shards`, `server.pin`, `server.share_port`,
`server.drain.grace`, `timeouts.idle`, `admin.address` and `log.format` under shorter names; their times are in seconds.

## While the server runs

A changed file is read by SIGHUP, by [`POST /reload`](ADMIN.md#reload) or `tidegate reload`, or by itself with `server.watch`;
[OPERATIONS.md](OPERATIONS.md#changing-the-configuration) says how to go about it. From when on a changed value *holds* stands
with each key:

- **now**: at once, for everybody who is connected, too.
- **newcomers**: for connections that are made from then on.
- **restart**: not before the server is started anew; until then the old value holds, and the rest of the file is taken
  all the same. A listener is known by its address: one that is added, taken away or moved waits for a restart.

## Secrets

`admin.token` is nowhere shown: in the effective configuration it is `\"***\"`, which is no token and is refused if it is read
back. Where a mistake is told of the line that it is in, it is covered.
";

const REFERENCE_TAIL: &str = "
## This page

It is made from the schema that reads the configuration, `src/config/schema/`, by
`tidegate check --print-reference > docs/CONFIG.md`; a test compares the two.
";
