//! `raw ADDR`: a bare epoll byte echo, the floor of this kernel: what a loop with one `read` and one `write` a batch
//! costs when it looks at nothing. No framing, no limits, no fairness between connections.
//!
//! One scratch buffer for all connections of a loop. A connection owns memory only while it has bytes that its peer
//! didn't take; until they are gone nothing more is read from it.

use std::io::Read;
use std::process::ExitCode;

use floor::serve::{self, Gone, Serve};
use mio::event::Event;

const SCRATCH_BYTES: usize = 256 << 10;

type Conn = serve::Conn<Unsent>;

fn main() -> ExitCode {
    serve::main("raw", || Echo { scratch: vec![0; SCRATCH_BYTES].into() })
}

struct Echo {
    scratch: Box<[u8]>,
}

struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

impl Serve for Echo {
    type Kept = Unsent;

    fn on_event(&mut self, conn: &mut Conn, event: &Event) -> Result<(), Gone> {
        if conn.kept.is_some() {
            flush(conn)?;
        } else if !event.is_readable() {
            return Ok(());
        }
        while conn.kept.is_none() {
            let Some(count) = serve::read(|| conn.stream.read(&mut self.scratch))? else { break };
            let sent = serve::write(&mut conn.stream, &self.scratch[..count])?;
            if sent < count {
                conn.kept = Some(Box::new(Unsent { bytes: self.scratch[sent..count].to_vec(), sent: 0 }));
            }
            // A short read has emptied the socket, see epoll(7), unless the end of the stream lies behind it.
            if count < self.scratch.len() && !event.is_read_closed() {
                break;
            }
        }
        Ok(())
    }
}

fn flush(conn: &mut Conn) -> Result<(), Gone> {
    if let Some(unsent) = &mut conn.kept {
        unsent.sent += serve::write(&mut conn.stream, &unsent.bytes[unsent.sent..])?;
        if unsent.sent == unsent.bytes.len() {
            conn.kept = None;
        }
    }
    Ok(())
}
