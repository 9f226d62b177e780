//! Names of functions as people want to read them. Where a function was inlined, debug information has its bare name alone;
//! its module is told by its file then.
//!
//! ```text
//!   visit<Router, World>      in .../src/turn/mod.rs          tidegate::turn::visit
//!   tidegate::shard::Shard<S>::run                            tidegate::shard::Shard::run
//!   <alloc::vec::Vec<u8> as core::ops::Drop>::drop            <alloc::vec::Vec as core::ops::Drop>::drop
//! ```
//!
//! Always holds: functions that differ in the types alone that they were made for have one name.

/// Where this crate was compiled: what lies below it is its own, whatever the folder is called.
const OWN: &str = env!("CARGO_MANIFEST_DIR");

/// The name for people of a demangled one, in this file.
pub(super) fn readable(name: &str, file: &str) -> String {
    let name = without_types(name);
    if name.contains("::") {
        return name;
    }
    match module(file) {
        Some(module) => format!("{module}::{name}"),
        None => name,
    }
}

/// Without the types that it was made for: what stands in `<>`, unless it says whose function it is.
fn without_types(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    // How deep in types that are left out.
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in name.char_indices() {
        let is_arrow = before == '-' && c == '>';
        before = c;
        match c {
            '<' if depth > 0 => depth += 1,
            '<' if is_argument(&out, &name[at..]) => {
                depth = 1;
                if out.ends_with("::") {
                    out.truncate(out.len() - 2);
                }
            }
            '>' if depth > 0 && !is_arrow => depth -= 1,
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

/// Whether the bracket that comes is one of types that a function or a type was made for.
fn is_argument(before: &str, from: &str) -> bool {
    match before.chars().next_back() {
        Some(':') => !from.starts_with("<impl "),
        Some(last) => last.is_alphanumeric() || ['_', '}', ']', ')'].contains(&last),
        None => false,
    }
}

/// The module of a file: `turn::visit` of this crate's `src/turn/visit.rs`, with its crate before it.
fn module(file: &str) -> Option<String> {
    let Some((folder, inner)) = file.rsplit_once("/src/") else {
        let stem = file.rsplit('/').next()?.strip_suffix(".rs")?;
        return Some(stem.to_owned());
    };
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    let mut path = if folder == OWN { "tidegate".to_owned() } else { package(folder.rsplit('/').next()?) };
    for part in inner.strip_suffix(".rs")?.split('/') {
        if !["mod", "lib", "main"].contains(&part) {
            path.push_str("::");
            path.push_str(part);
        }
    }
    Some(path)
}

/// A package's folder has its version behind its name: `hyper-util-0.1.20`.
fn package(folder: &str) -> String {
    let is_version = |at: &usize| folder[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    let end = folder.match_indices('-').map(|(at, _)| at).find(is_version).unwrap_or(folder.len());
    folder[..end].replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_a_function_was_made_for_are_left_out() {
        #[rustfmt::skip]
        let table = [
            ("visit<my::Router, World<u8>>",                        "visit"),
            ("tidegate::shard::Shard<S>::run",                      "tidegate::shard::Shard::run"),
            ("core::ops::function::FnOnce::call_once",              "core::ops::function::FnOnce::call_once"),
            ("<alloc::vec::Vec<u8> as core::ops::Drop>::drop",      "<alloc::vec::Vec as core::ops::Drop>::drop"),
            ("<&mut a::B<C> as d::E<F>>::g::<H>",                   "<&mut a::B as d::E>::g"),
            ("a::b::<impl a::C<S,I>>::d",                           "a::b::<impl a::C>::d"),
            ("core::slice::<impl [T]>::last_mut",                   "core::slice::<impl [T]>::last_mut"),
            ("call<fn(&a::B) -> c::D<e::F>, (&u8, u8)>::more",      "call::more"),
            ("{closure#1}<a::b, ()>",                               "{closure#1}"),
            ("a::{{closure}}",                                      "a::{{closure}}"),
            ("memchr",                                              "memchr"),
            ("odd<<",                                               "odd"),
            (">>",                                                  ">>"),
            ("",                                                    ""),
        ];
        for (name, want) in table {
            assert_eq!(without_types(name), want, "case: {name}");
        }
    }

    #[test]
    fn a_bare_name_gets_its_module_from_its_file() {
        let own = |file: &str| format!("{OWN}/src/{file}");
        #[rustfmt::skip]
        let table: [(&str, &str, &str); 11] = [
            ("visit<S>",  &own("turn/mod.rs"),                               "tidegate::turn::visit"),
            ("run",       &own("turn/visit/reading.rs"),                      "tidegate::turn::visit::reading::run"),
            ("main",      &own("main.rs"),                                    "tidegate::main"),
            ("get",       "/rustc/59807616/library/core/src/slice/mod.rs",    "core::slice::get"),
            ("poll",      "/home/x/.cargo/registry/src/index-1/mio-1.2.0/src/poll.rs", "mio::poll::poll"),
            ("go",        "/x/hyper-util-0.1.20/src/lib.rs",                  "hyper_util::go"),
            ("go",        "/x/my-app/src/go.rs",                              "my_app::go::go"),
            ("burn",      "/x/app/tests/profile.rs",                          "profile::burn"),
            ("a::go<T>",  "/x/app/src/other.rs",                              "a::go"),
            ("memcpy",    "./string/../sysdeps/memcpy.S",                     "memcpy"),
            ("unknown",   "",                                                 "unknown"),
        ];
        for (name, file, want) in table {
            assert_eq!(readable(name, file), want, "case: {name} in {file}");
        }
    }
}
