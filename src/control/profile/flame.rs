//! A profile as a flame graph: one SVG file that needs nothing else, with threads at the top and what they called below.
//!
//! ```text
//!   |                       all threads                        |
//!   |           tidegate-0               |     tidegate-1      |
//!   |     turn            |  [kernel]    |   turn    |[kernel] |
//! ```
//!
//! A frame is as wide as its time. A click on one makes it as wide as the picture, a click on the first row shows all
//! again; as an `<img>` it is a picture. It is drawn for light and for dark pages.
//!
//! Always holds: names are escaped; frames that are narrower than can be seen are left out, so that the file is bounded by its
//! area. Never: a font, a style or a script from elsewhere.

use super::stacks::{Origin, Profile, origin};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The picture, and its margins.
const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
const ROW: f64 = 18.0;
/// Above the first row: two lines of words and one of colours.
const HEAD: f64 = 74.0;
/// Narrower ones are not drawn.
const NARROWEST: f64 = 0.4;
/// Of the font.
const CHARACTER: f64 = 7.0;

const STYLE: &str = "\
text{font:11.6px ui-monospace,Menlo,Consolas,monospace;fill:#1c2024}\
.w{fill:#1c2024}.h{font-size:14px;font-weight:600}.bg{fill:#fff}.f{cursor:pointer}.f rect{stroke:#fff;stroke-width:1}\
.f:hover rect{fill-opacity:.7}.f text{pointer-events:none}.past rect{fill-opacity:.45}\
.thread{fill:#d5d9de}.books{fill:#b9c9dd}.own{fill:#6cc3b9}.standard{fill:#f0cf7f}.other{fill:#e3a08c}\
@media(prefers-color-scheme:dark){.bg{fill:#16191d}.w{fill:#e6e9ec}.f rect{stroke:#16191d}}";

/// Makes a frame as wide as the picture. What is above it stays, pale; what is beside it goes.
const SCRIPT: &str = r#"(function(){
var W=1180,M=10,C=7,all=[].slice.call(document.querySelectorAll('.f')).map(function(g){
var r=g.querySelector('rect'),a=function(n){return +r.getAttribute(n)};
return{g:g,r:r,t:g.querySelector('text'),x:a('x')-M,w:a('width'),y:a('y'),
n:g.querySelector('title').textContent.split('\n')[0]}});
function zoom(to){var k=W/to.w,e=1e-3;all.forEach(function(f){
var over=f.x<to.x+to.w-e&&f.x+f.w>to.x+e,above=f.y<to.y&&over;
f.g.style.display=over?'':'none';f.g.setAttribute('class',above?'f past':'f');if(!over)return;
var x=Math.max(0,(f.x-to.x)*k),w=Math.min(W,(f.x+f.w-to.x)*k)-x,m=Math.floor((w-6)/C);
f.r.setAttribute('x',x+M);f.r.setAttribute('width',w);f.t.setAttribute('x',x+M+3);
f.t.textContent=m<3?'':f.n.length<=m?f.n:f.n.slice(0,m-1)+'\u2026'})}
all.forEach(function(f){f.g.addEventListener('click',function(){zoom(f)})})})();"#;

/// What the picture may do where it is shown: its own style and this one script.
pub(in crate::control) const CONTENT_SECURITY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     script-src 'sha256-DK6b1KNOKJyQj6gShnFoenklvkDUQ/e4IIyjLYidEM4='; frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

/// A function where it was called, with all that it called.
#[derive(Default)]
struct Node<'a> {
    time: Duration,
    called: BTreeMap<&'a str, Node<'a>>,
}

impl Node<'_> {
    fn rows(&self) -> usize {
        1 + self.called.values().map(Node::rows).max().unwrap_or(0)
    }
}

/// The SVG.
pub(in crate::control) fn flame(profile: &Profile) -> String {
    let mut all = Node::default();
    for stack in &profile.stacks {
        let mut node = &mut all;
        node.time += stack.time;
        for at in &stack.frames {
            node = node.called.entry(&profile.frames[*at].name).or_default();
            node.time += stack.time;
        }
    }
    let mut picture = Picture { svg: String::new(), all: all.time };
    #[expect(clippy::cast_precision_loss, reason = "rows are few")]
    let height = HEAD + ROW * all.rows() as f64 + MARGIN;
    picture.head(profile, height);
    picture.draw("all threads", Origin::Thread, &all, MARGIN, HEAD, 0);
    let _ = writeln!(picture.svg, "<script><![CDATA[{SCRIPT}]]></script></svg>");
    picture.svg
}

struct Picture {
    svg: String,
    all: Duration,
}

impl Picture {
    fn head(&mut self, profile: &Profile, height: f64) {
        let [what, how_much] = profile.words();
        let _ = write!(
            self.svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\"><style>{STYLE}</style>\
             <rect class=\"bg\" width=\"100%\" height=\"100%\"/>\
             <text class=\"w h\" x=\"{MARGIN}\" y=\"22\">{}</text><text class=\"w\" x=\"{MARGIN}\" y=\"41\">{}</text>",
            escaped(&what),
            escaped(&how_much)
        );
        let mut x = MARGIN;
        let legend = [Origin::Own, Origin::Standard, Origin::Other, Origin::Books];
        for (origin, words) in legend.into_iter().zip([
            "tidegate",
            "Rust's library",
            "other crates",
            "not sampled: the kernel's books",
        ]) {
            let _ = write!(
                self.svg,
                "<rect class=\"{}\" x=\"{x}\" y=\"51\" width=\"11\" height=\"11\"/>\
                 <text class=\"w\" x=\"{}\" y=\"61\">{words}</text>",
                class(origin),
                x + 17.0
            );
            #[expect(clippy::cast_precision_loss, reason = "words are short")]
            let width = words.len() as f64;
            x += 40.0 + width * CHARACTER;
        }
    }

    /// A frame and all below it. It calls itself as deep as a stack may be.
    fn draw(&mut self, name: &str, origin_of: Origin, node: &Node<'_>, x: f64, y: f64, depth: usize) {
        let width = (WIDTH - 2.0 * MARGIN) * share(node.time, self.all);
        if width < NARROWEST {
            return;
        }
        let shown = name_in(name, width);
        let _ = write!(
            self.svg,
            "<g class=\"f\"><title>{}\n{:.3} s, {:.1} %</title>\
             <rect class=\"{}\" x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{ROW}\"/>\
             <text x=\"{:.2}\" y=\"{}\">{}</text></g>",
            escaped(name),
            node.time.as_secs_f64(),
            100.0 * share(node.time, self.all),
            class(origin_of),
            x + 3.0,
            y + 13.0,
            escaped(&shown)
        );
        let mut x = x;
        for (name, called) in &node.called {
            let origin_of = if depth == 0 { Origin::Thread } else { origin(name) };
            self.draw(name, origin_of, called, x, y + ROW, depth + 1);
            x += (WIDTH - 2.0 * MARGIN) * share(called.time, self.all);
        }
    }
}

fn share(time: Duration, of: Duration) -> f64 {
    if of.is_zero() { 1.0 } else { time.as_secs_f64() / of.as_secs_f64() }
}

const fn class(origin: Origin) -> &'static str {
    match origin {
        Origin::Thread => "thread",
        Origin::Books => "books",
        Origin::Own => "own",
        Origin::Standard => "standard",
        Origin::Other => "other",
    }
}

/// As much of a name as fits.
fn name_in(name: &str, width: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of the picture's width"
    )]
    let most = ((width - 6.0) / CHARACTER).max(0.0) as usize;
    match name.chars().count() {
        _ if most < 3 => String::new(),
        count if count <= most => name.to_owned(),
        _ => name.chars().take(most - 1).chain(['\u{2026}']).collect(),
    }
}

/// As XML has it; control characters, which it has not, are spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            control if control.is_control() => out.push(' '),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::stacks::{Frame, tests::example};
    use super::*;
    use std::time::SystemTime;

    /// What a browser compares before it runs a script.
    #[test]
    fn the_script_that_is_let_run_is_this_one() {
        use base64::Engine;
        use sha2::Digest;
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(SCRIPT));
        assert!(CONTENT_SECURITY.contains(&format!("'sha256-{hash}'")), "it is {hash}");
        assert!(!SCRIPT.contains("]]>"));
    }

    #[test]
    fn a_frame_is_as_wide_as_its_time() {
        let svg = flame(&example());
        let spin = svg.split("<g class=\"f\">").find(|part| part.contains("Spin")).expect("it is there");
        assert!(
            spin.starts_with("<title>&lt;my::Spin as tidegate::Service&gt;::spin\n0.600 s, 59.7 %</title>"),
            "{spin}"
        );
        assert!(spin.contains("width=\"704.48\""), "600 of 1005 ms, of 1180: {spin}");
        assert!(svg.contains("1.00 s: 0.75 s in sampled functions"), "{svg}");
        assert!(svg.contains("<rect class=\"books\""), "{svg}");
    }

    #[test]
    fn what_cannot_be_seen_is_left_out_and_nothing_at_all_is_a_picture() {
        let mut profile = example();
        profile.add("tidegate-1", [Frame::named("often")], 100_000);
        profile.add("tidegate-1", [Frame::named("seldom")], 1);
        let svg = flame(&profile);
        assert!(svg.contains("often") && !svg.contains("seldom"));
        let empty = flame(&Profile::new(SystemTime::UNIX_EPOCH, Duration::from_secs(1), 99));
        assert!(empty.contains("all threads") && empty.contains("0.00 s in sampled functions"), "{empty}");
    }

    #[test]
    fn names_are_cut_by_characters_and_escaped() {
        #[rustfmt::skip]
        let table = [("abcdef", 48.0, "abcdef"), ("abcdef", 47.0, "abcd\u{2026}"), ("äöüäöü", 41.0, "äöüä\u{2026}"), ("abc", 20.0, "")];
        for (name, width, want) in table {
            assert_eq!(name_in(name, width), want, "case: {name} {width}");
        }
        assert_eq!(escaped("<&\"a>\n\u{0}"), "&lt;&amp;&quot;a&gt;  ");
    }
}
