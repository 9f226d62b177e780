//! What tshark shows of one frame or line, in the words of the vectors' wants.
//!
//! Always holds: the words are made of the raw bytes that the dissector says a field has, so that nothing depends on how
//! tshark prints a text. Never: a look at the bytes that were sent.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Names of control frames, by their codes.
const CONTROLS: [&str; 13] = [
    "ping",
    "pong",
    "hello",
    "welcome",
    "error",
    "goaway",
    "subscribe",
    "unsubscribe",
    "publish",
    "message",
    "ack",
    "missed",
    "notice",
];

/// The fields of one item of the tree of a packet, wherever they stand in it.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// In hex, in the order of the packet.
    raw: BTreeMap<String, Vec<String>>,
    texts: BTreeMap<String, Vec<String>>,
}

impl Shown {
    /// All items of a protocol in a packet's layers.
    pub(crate) fn all(layers: &Value, protocol: &str) -> Vec<Shown> {
        let items = match &layers[protocol] {
            Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
            Value::Object(item) => vec![item],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        let read = |item: &Map<String, Value>| {
            let mut shown = Shown::default();
            shown.gather(item);
            shown
        };
        items.into_iter().map(read).collect()
    }

    fn gather(&mut self, item: &Map<String, Value>) {
        for (name, value) in item {
            if let Some(name) = name.strip_suffix("_raw") {
                // One field is `[hex, place, size, ...]`, several are a list of these.
                let fields = value.as_array().expect("a list");
                let fields = if fields[0].is_array() { fields } else { std::slice::from_ref(value) };
                let hex = fields.iter().map(|field| field[0].as_str().expect("hex").to_owned());
                self.raw.entry(name.to_owned()).or_default().extend(hex);
                continue;
            }
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for value in values {
                match value {
                    Value::Object(inner) => self.gather(inner),
                    Value::String(text) => self.texts.entry(name.clone()).or_default().push(text.clone()),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
                }
            }
        }
    }

    /// As it is shown.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name)?.iter().map(String::as_str).find(|text| !text.is_empty())
    }

    /// Whether the field, or the expert information, is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.raw.contains_key(name) || self.texts.contains_key(name)
    }

    /// The bytes of a field in hex, `-` for none.
    fn hex(&self, name: &str) -> &str {
        let hex = self.raw.get(&format!("tidegate.{name}")).and_then(|all| all.last());
        hex.map(String::as_str).filter(|hex| !hex.is_empty()).unwrap_or("-")
    }

    fn number(&self, name: &str) -> u64 {
        u64::from_str_radix(self.hex(name), 16).unwrap_or_else(|_| panic!("no {name} in {self:?}"))
    }

    /// The close reason, if this is what the connection is closed for. Each comes with an expert error.
    pub(crate) fn reason(&self) -> Option<&str> {
        let reason = self.text("tidegate.reason").or(self.text("tidegate_lines.reason"))?;
        assert_eq!(self.text("_ws.expert.severity"), Some("8388608"), "{reason} is no error: {self:?}");
        Some(reason)
    }

    /// What a frame says. `None`: it lies behind a fault.
    pub(crate) fn frame(&self) -> Option<String> {
        if let Some(reason) = self.reason() {
            return Some(format!("close {reason}"));
        }
        if self.has("tidegate.behind") {
            return None;
        }
        assert_eq!(self.text("tidegate.crc.status"), Some("good"), "{self:?}");
        let header = u16::try_from(self.number("header")).expect("16 bits");
        let is_ext = header & 0x8000 != 0;
        if header & 0x4000 != 0 {
            let block = if is_ext { self.block(&[]) } else { String::new() };
            let name = CONTROLS[usize::from(header & 0x3fff)];
            return Some(format!("{name}{}{block}{}", self.control(name), self.tags()));
        }
        if !is_ext {
            return Some(format!("frame {header:04x} {}", self.hex("payload")));
        }
        let kind = if self.has("tidegate.expert.unsupported") { "unsupported" } else { "ext" };
        Some(format!("{kind} {header:04x}{} body {}", self.block(&[self.tags()]), self.hex("body")))
    }

    fn block(&self, more: &[String]) -> String {
        let mut said = String::new();
        // The first of two: ERROR and its like have another status, but no block.
        let status = u64::from_str_radix(&self.raw["tidegate.status"][0], 16).expect("a status");
        if status != 0 {
            said += &format!(" status {status}");
        }
        if self.has("tidegate.correlation") {
            said += &format!(" id {}", self.hex("correlation"));
        }
        if self.has("tidegate.deadline") {
            said += &format!(" deadline {}", self.number("deadline"));
        }
        if self.has("tidegate.trace.id") {
            let parts = ["trace.id", "trace.parent", "trace.flags"].map(|name| self.hex(name));
            said += &format!(" trace {}", parts.concat());
        }
        let flags = self.number("block.flags");
        if flags & 0x08 != 0 {
            said += " one_way";
        }
        if flags & 0x70 != 0 {
            said += &format!(" flags {:02x}", flags & 0x70);
        }
        said += &more.concat();
        if said.is_empty() { " block".to_owned() } else { said }
    }

    fn tags(&self) -> String {
        let tags = self.raw.get("tidegate.tag").map(Vec::as_slice).unwrap_or_default();
        let said = tags.iter().map(|tag| {
            let number = u8::from_str_radix(&tag[..2], 16).expect("a number");
            format!(" tag {number} {}", Some(&tag[4..]).filter(|value| !value.is_empty()).unwrap_or("-"))
        });
        said.collect()
    }

    fn control(&self, name: &str) -> String {
        let (number, hex) = (|name| self.number(name), |name| self.hex(name));
        match name {
            "ping" | "pong" => format!(" {}", hex("ping")),
            "hello" => {
                format!(" {} {} {} {}", number("version"), hex("flags"), hex("client_id"), hex("token"))
            }
            "welcome" => {
                let numbers = format!("{} {}", number("max_payload"), number("heartbeat"));
                let ids = format!("{} {}", hex("server_id"), hex("client_id"));
                format!(" {} {} {numbers} {ids}", number("version"), hex("flags"))
            }
            "error" => format!(" {} {}", number("status"), hex("text")),
            "goaway" => format!(" {} {} {}", number("status"), number("reconnect_after"), hex("text")),
            "subscribe" | "unsubscribe" => format!(" {} {} {}", hex("flags"), hex("group"), hex("pattern")),
            "publish" | "message" => format!(" {} {}", hex("topic"), hex("body")),
            "ack" => format!(" {}", hex("body")),
            "missed" => format!(" {} {}", number("missed"), hex("pattern")),
            "notice" => format!(" {} {} {}", number("status"), hex("refused_header"), hex("text")),
            other => panic!("{other} is no control frame"),
        }
    }

    /// What a line says. `None`: it lies behind a fault.
    pub(crate) fn line(&self) -> Option<String> {
        if let Some(reason) = self.reason() {
            return Some(format!("close {reason}"));
        }
        if self.has("tidegate_lines.behind") {
            return None;
        }
        if let Some(status) = self.text("tidegate_lines.status") {
            let text = self.text("tidegate_lines.text").unwrap_or_default();
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            return Some(format!("error_line {status} {}", if hex.is_empty() { "-" } else { &hex }));
        }
        let payload = self.raw.get("tidegate_lines.payload").and_then(|all| all.first());
        Some(format!("line {}", payload.map(String::as_str).filter(|hex| !hex.is_empty()).unwrap_or("-")))
    }
}
