//! `tokio-codec ADDR`: tokio with the codec of `tokio-util`, a task a connection, one thread.
//!
//! As its documentation shows it: `Framed` cuts the stream, the task takes a frame and sends its reply. `send` flushes,
//! so every reply is a write of its own. Never: more than one thread, limits but that on length.

use std::io::{Error, Result};

use bytes::{BufMut, BytesMut};
use futures_util::{SinkExt, StreamExt};
use peers::{CRC_BYTES, PREFIX_BYTES};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::{Decoder, Encoder, Framed};

struct Message {
    route: u16,
    payload: BytesMut,
}

struct Codec;

impl Decoder for Codec {
    type Item = Message;
    type Error = Error;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>> {
        let Some(bytes) = peers::frame_bytes(input)? else { return Ok(None) };
        if input.len() < bytes {
            input.reserve(bytes - input.len());
            return Ok(None);
        }
        let mut frame = input.split_to(bytes);
        let (route, _) = peers::verified(&frame)?;
        frame.truncate(bytes - CRC_BYTES);
        Ok(Some(Message { route, payload: frame.split_off(PREFIX_BYTES) }))
    }
}

impl Encoder<Message> for Codec {
    type Error = Error;

    fn encode(&mut self, reply: Message, output: &mut BytesMut) -> Result<()> {
        let from = output.len();
        let length = u32::try_from(reply.payload.len()).map_err(Error::other)?;
        output.reserve(PREFIX_BYTES + reply.payload.len() + CRC_BYTES);
        output.put_u16(reply.route);
        output.put_u32(length);
        output.put_slice(&reply.payload);
        let crc = crc32fast::hash(&output[from..]);
        output.put_u32(crc);
        Ok(())
    }
}

async fn serve(stream: TcpStream) -> Result<()> {
    let mut framed = Framed::new(stream, Codec);
    while let Some(message) = framed.next().await {
        let mut message = message?;
        peers::serve(message.route, &mut message.payload)?;
        framed.send(message).await?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(peers::address()?).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream));
        }
    })
}
