//! `tokio-batched ADDR`: tokio with buffers by hand, a task a connection, one thread.
//!
//! As one who measures writes it: all whole frames of a read are answered with one write. Each connection owns its two
//! buffers. Never: more than one thread, limits but that on length.

use std::io::Result;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Room for every read: without `reserve` a buffer keeps only what was not read into yet. Of the memory of an idle
/// connection only the pages that were used count.
const INPUT_BYTES: usize = 32 << 10;

async fn serve(mut stream: TcpStream) -> Result<()> {
    let mut input = BytesMut::with_capacity(INPUT_BYTES);
    let mut replies = BytesMut::new();
    while stream.read_buf(&mut input).await? > 0 {
        while let Some(bytes) = peers::frame_bytes(&input)? {
            let Some(frame) = input.get(..bytes) else {
                input.reserve(bytes - input.len());
                break;
            };
            peers::answer(frame, &mut replies)?;
            input.advance(bytes);
        }
        stream.write_all(&replies).await?;
        replies.clear();
        input.reserve(INPUT_BYTES);
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
