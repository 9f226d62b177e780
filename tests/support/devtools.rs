//! A real Chromium, driven over its DevTools protocol by a WebSocket of a few lines (RFC 6455): for pages that live.
//!
//! Always holds: every wait ends; the browser works in a directory of its own, and is ended and cleaned up when this is
//! dropped; script errors, policy violations and failed loads are remembered. Never: a look at anything but the page.

use super::{PATIENCE, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A browser with one page.
pub struct Chromium {
    child: Child,
    place: PathBuf,
    socket: Socket,
    next_id: u64,
    /// What went wrong in the page.
    pub faults: Vec<String>,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub width: u32,
    pub height: u32,
    pub is_dark: bool,
}

impl Chromium {
    /// One, if it is installed here; without one, a line says that nothing is shown.
    #[expect(clippy::print_stderr, reason = "a test that shows nothing must say so")]
    pub fn start() -> Option<Chromium> {
        let answers = |program: &&str| {
            let asked =
                Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let Some(program) = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(answers)
        else {
            eprintln!("skipped: chromium is not installed");
            return None;
        };
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let place = std::env::temp_dir().join(format!("tidegate-devtools-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&place).expect("there is room for temporary files");
        let child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-port=0",
            ])
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", place.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it answered before");
        let mut port = None;
        wait_until("the browser's port", || {
            let text = std::fs::read_to_string(place.join("DevToolsActivePort")).unwrap_or_default();
            port = text.lines().next().and_then(|line| line.parse().ok());
            port.is_some()
        });
        let at = SocketAddr::from(([127, 0, 0, 1], port.expect("waited for")));
        let mut page = None;
        wait_until("the browser's page", || {
            page = page_of(at);
            page.is_some()
        });
        let socket = Socket::open(at, &page.expect("waited for"));
        let mut browser = Chromium { child, place, socket, next_id: 0, faults: Vec::new() };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Goes to a page, as it is seen in this way.
    pub fn open(&mut self, url: &str, view: View) {
        self.look(view);
        let went = self.call("Page.navigate", json!({ "url": url }));
        assert!(went.get("errorText").is_none(), "{url}: {went}");
        self.wait_for("the page is loaded", "document.readyState === 'complete'");
    }

    /// Looks in another way from now on.
    pub fn look(&mut self, view: View) {
        let View { width, height, is_dark } = view;
        let is_phone = width < 600;
        let scale = if is_phone { 2 } else { 1 };
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    /// What an expression is in the page.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", ask);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The same, as text.
    #[track_caller]
    pub fn text(&mut self, expression: &str) -> String {
        self.eval(expression).as_str().unwrap_or_else(|| panic!("{expression} is no text")).to_owned()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, expression: &str) {
        wait_until(what, || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            self.eval(expression) == Value::Bool(true)
        });
    }

    /// Writes a picture of the page, the whole of it or what is in the window.
    pub fn screenshot(&mut self, to: &Path, is_whole: bool) {
        let ask = json!({ "format": "png", "captureBeyondViewport": is_whole });
        let picture = self.call("Page.captureScreenshot", ask);
        let bytes = from_base64(picture["data"].as_str().expect("a picture"));
        std::fs::write(to, bytes).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    }

    /// Asks the browser for something, and gives its answer.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next_id += 1;
        let ask = json!({ "id": self.next_id, "method": method, "params": parameters });
        self.socket.send(&ask.to_string());
        loop {
            let told: Value = serde_json::from_str(&self.socket.receive()).expect("it is JSON");
            if told["id"] == self.next_id {
                assert!(told.get("error").is_none(), "{method}: {told}");
                return told["result"].clone();
            }
            self.hear(&told);
        }
    }

    fn hear(&mut self, event: &Value) {
        let what = match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => event["params"]["exceptionDetails"].to_string(),
            "Log.entryAdded" if event["params"]["entry"]["level"] == "error" => {
                event["params"]["entry"]["text"].to_string()
            }
            _ => return,
        };
        self.faults.push(what);
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its helpers may write for another moment.
        for _ in 0..50 {
            if std::fs::remove_dir_all(&self.place).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The path of the page's socket, if there is a page already.
fn page_of(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream
        .write_all(format!("GET /json/list HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).ok()? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let pages: Value = serde_json::from_slice(&body).ok()?;
    let page = pages.as_array()?.iter().find(|page| page["type"] == "page")?;
    let (_, rest) = page["webSocketDebuggerUrl"].as_str()?.split_once("://")?;
    rest.find('/').map(|from| rest[from..].to_owned())
}

/// The client's side of a WebSocket.
struct Socket {
    stream: BufReader<TcpStream>,
}

impl Socket {
    fn open(at: SocketAddr, path: &str) -> Socket {
        let mut stream = TcpStream::connect(at).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).expect("it is taken");
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while stream.read_line(&mut head).expect("an answer in time") > 2 {}
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Socket { stream }
    }

    /// One text message, with a mask of zeros: it is there for caches, and there is none.
    fn send(&mut self, text: &str) {
        let mut frame = vec![0x81];
        match (u8::try_from(text.len()), u16::try_from(text.len())) {
            (Ok(length @ 0..126), _) => frame.push(0x80 | length),
            (_, Ok(length)) => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
            (_, Err(_)) => {
                frame.push(0x80 | 127);
                frame.extend((text.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.stream.get_mut().write_all(&frame).expect("the browser reads");
    }

    /// One text message, of all its fragments.
    fn receive(&mut self) -> String {
        let mut text = Vec::new();
        loop {
            let [first, second] = self.bytes();
            let length = match second & 0x7f {
                126 => u64::from(u16::from_be_bytes(self.bytes())),
                127 => u64::from_be_bytes(self.bytes()),
                short => u64::from(short),
            };
            let mut part = vec![0; usize::try_from(length).expect("it fits memory")];
            self.stream.read_exact(&mut part).expect("the whole frame");
            assert!(second & 0x80 == 0 && first & 0x0f != 8, "the browser has ended");
            // Pings are of no use here.
            if first & 0x0f <= 1 {
                text.extend(part);
                if first & 0x80 != 0 {
                    return String::from_utf8(text).expect("text");
                }
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("the browser answers in time");
        bytes
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            other => panic!("{other} is no letter of base64"),
        };
        (bits, count) = ((bits << 6) | u32::from(six), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    bytes
}
