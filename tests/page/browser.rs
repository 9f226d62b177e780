//! A real browser, if there is one: it loads a page with a probe in it, and tells what the probe has found.
//!
//! Always holds: a look at a page ends after a minute; the browser works in a directory of its own, which is removed.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROBE: &str = include_str!("probe.js");

/// What stands around the page: a window can't be as narrow as a phone, a frame can.
const AROUND: &str = "<!DOCTYPE html><script>addEventListener('message', (event) => { const told = \
    document.createElement('pre'); told.id = 'faults'; told.textContent = event.data; document.body.append(told); \
    })</script><body><iframe src=page.html style='border:0;height:900px;width:";

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Pixels across.
    pub(crate) width: u32,
    /// Whether the reader prefers dark pages.
    pub(crate) is_dark: bool,
}

/// A browser's program.
pub(crate) struct Browser {
    program: &'static str,
}

impl Browser {
    /// One that is installed here; without one, a line says that nothing is shown.
    #[expect(clippy::print_stderr, reason = "a test that shows nothing must say so")]
    pub(crate) fn find() -> Option<Browser> {
        let answers = |program: &&str| {
            let asked =
                Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(answers);
        if found.is_none() {
            eprintln!("skipped: chromium is not installed");
        }
        found.map(|program| Browser { program })
    }

    /// What is wrong with a page in this look.
    pub(crate) fn faults(&self, name: &str, html: &str, look: Look) -> Vec<String> {
        let place = Place::new(name);
        let html = html.replacen("<head>", &format!("<head><script>{PROBE}</script>"), 1);
        let around = format!("{AROUND}{}px'></iframe>", look.width);
        for (file, text) in [("page.html", &html), ("around.html", &around)] {
            std::fs::write(place.path.join(file), text).expect("the directory is ours");
        }
        let dom = self.dom(&place, look);
        let told = dom.split_once("<pre id=\"faults\">").and_then(|(_, after)| after.split_once("</pre>"));
        let Some((told, _)) = told else { return vec![format!("{name}: the probe said nothing: {dom}")] };
        let told = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let (width, is_dark, faults): (u32, bool, Vec<String>) =
            serde_json::from_str(&told).expect("it is JSON");
        assert_eq!((width, is_dark), (look.width, look.is_dark), "the browser looked otherwise");
        faults.iter().map(|fault| format!("{name} at {look:?}: {fault}")).collect()
    }

    /// The page as it is when it is loaded.
    fn dom(&self, place: &Place, look: Look) -> String {
        let scheme = if look.is_dark { 0 } else { 1 };
        let mut child = Command::new(self.program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"])
            .arg(format!("--user-data-dir={}", place.path.display()))
            .args(["--window-size=1400,1000", "--virtual-time-budget=2000"])
            .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
            .arg(format!("file://{}", place.path.join("around.html").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it answered before");
        let mut out = child.stdout.take().expect("it is piped");
        let reader = std::thread::spawn(move || {
            let mut dom = String::new();
            let _ = out.read_to_string(&mut dom);
            dom
        });
        let until = Instant::now() + PATIENCE;
        while child.try_wait().expect("it is our child").is_none() {
            if Instant::now() > until {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the browser did not end within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        reader.join().expect("it only reads")
    }
}

/// A directory that is removed.
struct Place {
    path: PathBuf,
}

impl Place {
    fn new(name: &str) -> Place {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidegate-page-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("there is room for temporary files");
        Place { path }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
