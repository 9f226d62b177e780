//! A profile as folded stacks: a line for each, frames from the thread on with `;` between them, and the samples at its end.
//!
//! Always holds: one line for one stack of names; a name has no `;` and no end of line in it.

use super::Profile;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(in crate::control) fn folded(profile: &Profile) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for stack in &profile.stacks {
        let mut line = String::new();
        for at in &stack.frames {
            if !line.is_empty() {
                line.push(';');
            }
            line.extend(profile.frames[*at].name.chars().map(|c| match c {
                ';' => ':',
                '\n' | '\r' => ' ',
                plain => plain,
            }));
        }
        *lines.entry(line).or_default() += stack.samples;
    }
    let mut out = String::new();
    for (line, samples) in lines {
        let _ = writeln!(out, "{line} {samples}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::stacks::{Frame, tests::example};
    use super::*;

    #[test]
    fn a_line_for_each_stack() {
        let mut profile = example();
        profile.add("tidegate-1", [Frame::named("<[u8; 4]>::go\nthere")], 2);
        profile.add("tidegate-1", [Frame { line: 8, ..Frame::named("<[u8; 4]>::go\nthere") }], 3);
        let want = "tidegate-0;[kernel] 25\n\
                    tidegate-0;tidegate::serve;<my::Spin as tidegate::Service>::spin 60\n\
                    tidegate-0;tidegate::serve;core::mem::swap 5\n\
                    tidegate-1;<[u8: 4]>::go there 5\n\
                    tidegate-1;tidegate::serve 10\n";
        assert_eq!(folded(&profile), want);
    }
}
