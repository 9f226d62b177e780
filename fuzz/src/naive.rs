//! Extension blocks, tags, greetings and control frames again, by hand: one byte after the other, copies everywhere,
//! `None` for whatever is not as docs/PROTOCOL.md says.

/// The bytes that are left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut taken = Vec::new();
        for _ in 0..count {
            let (first, rest) = self.0.split_first()?;
            taken.push(*first);
            self.0 = rest;
        }
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte)))
    }

    fn counted(&mut self) -> Option<Vec<u8>> {
        let count = self.number(1)?;
        self.take(count as usize)
    }
}

/// Tags with their values.
pub type Tags = Vec<(u8, Vec<u8>)>;

/// Reads tags up to the end; the known ones have these sizes.
pub fn tags(bytes: &[u8], sizes: &[(u8, usize)]) -> Option<Tags> {
    let (mut bytes, mut found) = (Bytes(bytes), Vec::new());
    while !bytes.0.is_empty() {
        let tag = bytes.number(1)? as u8;
        if tag == 0 {
            continue;
        }
        let value = bytes.counted()?;
        if sizes.iter().any(|(known, size)| *known == tag && *size != value.len()) {
            return None;
        }
        found.push((tag, value));
    }
    Some(found)
}

/// An extension block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// How the request ended.
    pub status: u16,
    /// Correlation.
    pub id: Option<u64>,
    /// Deadline in milliseconds.
    pub deadline: Option<u64>,
    /// Id, parent, flags.
    pub trace: Option<Vec<u8>>,
    /// The one-way flag.
    pub one_way: bool,
    /// Bits 4..6, if any is set.
    pub reserved: u8,
    /// None if they were not announced, or stand behind fields that nobody knows.
    pub tags: Tags,
    /// The whole block.
    pub bytes: usize,
}

impl Block {
    /// Whether it asks for what version 1 does not know.
    pub fn is_unsupported(&self) -> bool {
        self.reserved != 0 || is_critical(&self.tags)
    }
}

/// Whether these must be known, and can't be.
pub fn is_critical(tags: &Tags) -> bool {
    tags.iter().any(|(tag, _)| *tag >= 128)
}

/// Reads the block at the front of a payload.
pub fn block(payload: &[u8]) -> Option<Block> {
    let bytes = usize::from(*payload.first()?) * 4;
    if bytes == 0 || bytes > payload.len() {
        return None;
    }
    let mut rest = Bytes(&payload[1..bytes]);
    let flags = rest.number(1)?;
    let mut block = Block { bytes, status: rest.number(2)? as u16, ..Block::default() };
    if flags & 1 != 0 {
        block.id = Some(rest.number(8)?);
    }
    if flags & 2 != 0 {
        block.deadline = Some(rest.number(4)?);
    }
    if flags & 4 != 0 {
        block.trace = Some(rest.take(25)?);
        if rest.number(3)? != 0 {
            return None;
        }
    }
    block.one_way = flags & 8 != 0;
    block.reserved = flags as u8 & 0x70;
    if block.reserved != 0 {
        return Some(block);
    }
    if flags & 0x80 != 0 {
        block.tags = tags(rest.0, &[(1, 4), (2, 2)])?;
    } else if !rest.0.is_empty() {
        return None;
    }
    Some(block)
}

/// HELLO: version, flags, client id, token, tags.
pub type Hello = (u8, u8, String, Vec<u8>, Tags);

/// Reads HELLO's payload, without a block.
pub fn hello(payload: &[u8]) -> Option<Hello> {
    let mut rest = Bytes(payload);
    let (version, flags) = (rest.number(1)? as u8, rest.number(1)? as u8);
    let id = rest.counted()?;
    let token_bytes = rest.number(2)?;
    let token = rest.take(token_bytes as usize)?;
    let id = if id.is_empty() { String::new() } else { id_of(&id)? };
    Some((version, flags, id, token, tags(rest.0, &[(1, 4)])?))
}

/// WELCOME: version, flags, largest payload, heartbeat, server id, client id, tags.
pub type Welcome = (u8, u8, u64, u64, String, String, Tags);

/// Reads WELCOME's payload.
pub fn welcome(payload: &[u8]) -> Option<Welcome> {
    let mut rest = Bytes(payload);
    let (version, flags) = (rest.number(1)? as u8, rest.number(1)? as u8);
    let (most, heartbeat) = (rest.number(4)?, rest.number(4)?);
    let (server, client) = (rest.counted()?, rest.counted()?);
    Some((version, flags, most, heartbeat, id_of(&server)?, id_of(&client)?, tags(rest.0, &[])?))
}

fn id_of(bytes: &[u8]) -> Option<String> {
    const GOOD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    let is_one = !bytes.is_empty() && bytes.len() <= 64 && bytes.iter().all(|byte| GOOD.contains(byte));
    is_one.then(|| bytes.iter().map(|byte| char::from(*byte)).collect())
}

/// What is wrong with a control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Its code has no meaning.
    Code,
    /// Its block does not parse.
    Block,
    /// Its payload is not as it should be, or has a block where none may be, or none where one must.
    Fields,
}

/// A control frame's block, and what stands behind it.
pub fn control(bits: u16, payload: &[u8]) -> Result<(Option<Block>, &[u8]), Wrong> {
    let code = bits & 0x3fff;
    let (is_ext, may, must) = (bits & 0x8000 != 0, [2, 6, 7, 8, 10].contains(&code), code == 10);
    if code > 12 {
        return Err(Wrong::Code);
    }
    if is_ext && !may || !is_ext && must {
        return Err(Wrong::Fields);
    }
    let block = if is_ext { Some(block(payload).ok_or(Wrong::Block)?) } else { None };
    let fields = &payload[block.as_ref().map_or(0, |block| block.bytes)..];
    if let Some(block) = &block {
        let is_more = block.deadline.is_some() || block.one_way || !block.tags.is_empty();
        if is_more || must && (block.id.is_none() || block.trace.is_some()) {
            return Err(Wrong::Fields);
        }
    }
    control_fields(code, fields).ok_or(Wrong::Fields)?;
    Ok((block, fields))
}

fn control_fields(code: u16, fields: &[u8]) -> Option<()> {
    let mut rest = Bytes(fields);
    match code {
        0 | 1 => (fields.len() <= 64).then_some(()),
        2 => hello(fields).map(|_| ()),
        3 => welcome(fields).map(|_| ()),
        4 => rest.take(2).and_then(|_| text(rest.0)),
        5 => rest.take(6).and_then(|_| text(rest.0)),
        6 | 7 => {
            rest.take(1)?;
            text(&rest.counted()?)?;
            topic(&mut rest)?;
            tags(rest.0, &[]).map(|_| ())
        }
        8 | 9 => topic(&mut rest),
        10 => Some(()),
        11 => {
            rest.take(8)?;
            topic(&mut rest)?;
            rest.0.is_empty().then_some(())
        }
        12 => rest.take(4).and_then(|_| text(rest.0)),
        _ => None,
    }
}

fn topic(rest: &mut Bytes<'_>) -> Option<()> {
    let topic = rest.counted()?;
    if topic.len() > 200 { None } else { text(&topic) }
}

fn text(bytes: &[u8]) -> Option<()> {
    std::str::from_utf8(bytes).ok().map(|_| ())
}
