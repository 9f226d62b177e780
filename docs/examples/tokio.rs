//! A server whose requests are answered by async tasks: the handler hands the right to answer to tokio and returns; the
//! event loop serves everybody else meanwhile.
//!
//! ```text
//! cargo run --example tokio
//! bash -c 'exec 3<>/dev/tcp/127.0.0.1/7412; printf "hello\n" >&3; head -1 <&3'
//! ```

use std::error::Error;
use std::time::Duration;
use tidegate::server::{Listener, Server};
use tidegate::service::{Frame, Later, Replied, Reply};
use tokio::runtime::{Builder, Handle};

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let tasks = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Server::builder().listen(Listener::lines("127.0.0.1:7412"))?.serve_fn(handler(tasks))?;
    Ok(())
}

/// Answers each request by a task of its own. Beyond 4096 open ones a loop refuses more with OVERLOADED, by itself.
pub(crate) fn handler(tasks: Handle) -> impl FnMut(Frame<'_>, Reply<'_>) -> Replied + Clone + Send + 'static {
    move |frame, reply| {
        let name = frame.payload().to_vec();
        let (later, replied) = reply.defer();
        if let Ok(later) = later {
            tasks.spawn(answer(later, name));
        }
        replied
    }
}

/// If it panics, or is cancelled, `later` is dropped, and the requester is told INTERNAL.
async fn answer(later: Later, name: Vec<u8>) {
    let found = look_up(&name).await;
    later.send(&found);
}

/// Stands for whatever takes its time: a database, another service.
async fn look_up(name: &[u8]) -> Vec<u8> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    name.to_ascii_uppercase()
}
