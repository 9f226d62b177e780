//! The admin port: bound before the server starts, served by a thread of its own afterwards.
//!
//! Always holds: an address that can't be had is told before anything else begins. Never: TLS, HTTP/2.

use super::api::{self, Context};
use crate::server::Handle;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// An admin port that is bound and not served yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

/// Why there is no admin port.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address can't be listened on.
    #[error("cannot listen on {address} for the admin port: {source}")]
    Listen {
        /// As it was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The thread could not be started.
    #[error("cannot start the control thread: {0}")]
    Thread(io::Error),
}

impl Admin {
    /// Listens on this address, `IP:PORT`.
    ///
    /// # Errors
    ///
    /// [`AdminError::Listen`].
    pub fn bind(address: &str) -> Result<Admin, AdminError> {
        let failed = |source| AdminError::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Admin { listener })
    }

    /// Where it listens, with the port that port 0 became.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves it from now on, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// [`AdminError::Thread`].
    pub fn start(self, handle: Handle) -> Result<(), AdminError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Thread)?;
        let context = Arc::new(Context { handle });
        let serve = move || {
            if let Err(error) = runtime.block_on(serve(self.listener, context)) {
                tracing::error!(%error, "the admin port is gone");
            }
        };
        let thread = std::thread::Builder::new().name("tidegate-control".to_owned());
        thread.spawn(serve).map_err(AdminError::Thread).map(drop)
    }
}

async fn serve(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = TowerToHyperService::new(api::router(context));
    loop {
        let (stream, _) = listener.accept().await?;
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            let _ = connection.await;
        });
    }
}
