//! HTTP/1.1 on the admin port: who is accepted, and how long each may take.
//!
//! Always holds: every connection, every head, every answer has a bound in [`Bounds`], and an answer that goes on is told
//! to end when its connection is; a failed accept, however it failed, costs a wait and not the port. Never: what is answered; that is `api`'s.

use super::admin::Bounds;
use super::api::Asker;
use super::live::{Line, Over};
use super::places::{Answering, Doing, Places};
use crate::base::limits::{ADMIN_BACKOFF_MS, ADMIN_HEAD_BYTES_MAX, ADMIN_SEND_BYTES};
use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tracing::warn;

/// How long a failing accept is not told of again.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// How long to wait for a place while every connection is being answered.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Serves until told to end, and then until the answers that are on their way have left.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    end: Arc<watch::Sender<bool>>,
) {
    let mut told = end.subscribe();
    let accepting = accept_all(listener, router, bounds, end.subscribe());
    first_of(told.wait_for(|is_told| *is_told), accepting).await;
    drop(told);
    // Every connection has a receiver, and ends.
    end.closed().await;
}

async fn accept_all(listener: TcpListener, router: Router, bounds: Bounds, end: watch::Receiver<bool>) {
    let mut places = Places::new(bounds.connections);
    let (mut pause_ms, mut told) = (ADMIN_BACKOFF_MS.0, None::<Instant>);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Gone before we had it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
                    told = Some(Instant::now());
                    warn!(%error, "the admin port cannot accept; it tries again");
                }
                // If descriptors have run out, one of its own may serve better.
                places.displace();
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                pause_ms = (pause_ms * 2).min(ADMIN_BACKOFF_MS.1);
                continue;
            }
        };
        pause_ms = ADMIN_BACKOFF_MS.0;
        while !places.make_room() {
            tokio::time::sleep(FULL_PAUSE).await;
        }
        let doing = places.newcomer();
        let connection = Connection {
            stream,
            peer,
            router: router.clone(),
            doing: Arc::clone(&doing),
            turns: places.turns(),
        };
        let task = tokio::spawn(connection.converse(bounds, end.clone()));
        places.take(task.abort_handle(), doing);
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    doing: Arc<Doing>,
    turns: Arc<AtomicU64>,
}

impl Connection {
    /// Answers one request after the other until the peer, its time or the port ends.
    async fn converse(self, bounds: Bounds, mut end: watch::Receiver<bool>) {
        let Connection { stream, peer, router, doing, turns } = self;
        // What a peer does not take is not to pile up in the kernel: then nobody here would notice.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, ADMIN_SEND_BYTES);
        let answers = TowerToHyperService::new(router);
        let (tell_over, over) = watch::channel(None);
        let cut = Arc::new(Notify::new());
        let notify = Arc::clone(&cut);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let answering = Arc::new(Answering::new(&doing, &turns));
            let line =
                Line { answering: Arc::clone(&answering), over: over.clone(), cut: Arc::clone(&notify) };
            request.extensions_mut().insert(Asker(peer));
            request.extensions_mut().insert(line);
            let answer = answers.call(request);
            async move {
                let answer = answer.await;
                drop(answering);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head_within)
            .max_buf_size(ADMIN_HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut told = pin!(tokio::time::timeout(bounds.life, end.wait_for(|is_told| *is_told)));
        let mut is_cut = pin!(cut.notified());
        let until_end = poll_fn(|task| {
            if tell_over.borrow().is_none()
                && let Poll::Ready(told) = told.as_mut().poll(task)
            {
                let why = if told.is_ok() { Over::Port } else { Over::Life };
                tell_over.send_replace(Some(why));
                connection.as_mut().graceful_shutdown();
            }
            if is_cut.as_mut().poll(task).is_ready() {
                return Poll::Ready(());
            }
            // How it ended is the peer's affair.
            connection.as_mut().poll(task).map(|_| ())
        });
        let _ = tokio::time::timeout(bounds.life + bounds.answer_within, until_end).await;
    }
}

/// Waits for the first of two to be done, and drops the other.
pub(super) async fn first_of(one: impl Future, other: impl Future) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|task| {
        if one.as_mut().poll(task).is_ready() || other.as_mut().poll(task).is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
