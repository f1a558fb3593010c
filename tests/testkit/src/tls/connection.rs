//! One TCP connection under TLS, with a way to tear it down as a failing network would.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// The connection that a request came in on: an extension of each request that [`serve`](super::serve) hands on.
#[derive(Clone, Debug, Default)]
pub struct Connection(Arc<State>);

#[derive(Debug, Default)]
struct State {
    peer: Option<IpAddr>,
    reset: AtomicBool,
    hung: AtomicBool,
    changed: Notify,
}

impl Connection {
    /// A connection from this address.
    pub(super) fn from(peer: IpAddr) -> Self {
        Self(Arc::new(State { peer: Some(peer), ..State::default() }))
    }

    /// Who calls. `None`: this is no real connection.
    pub fn peer(&self) -> Option<IpAddr> {
        self.0.peer
    }

    /// Tears the connection down with a TCP reset, with all the requests that it carries.
    pub fn reset(&self) {
        self.0.reset.store(true, Ordering::SeqCst);
        self.0.changed.notify_one();
    }

    /// Stops reading and writing for good, and keeps the connection open, as a firewall does that forgot it.
    pub fn hang(&self) {
        self.0.hung.store(true, Ordering::SeqCst);
    }

    fn hangs(&self) -> bool {
        self.0.hung.load(Ordering::SeqCst)
    }

    pub(super) async fn was_reset(&self) {
        self.0.changed.notified().await;
    }

    pub(super) fn guard(&self, stream: TcpStream) -> Guarded {
        Guarded { stream, connection: self.clone() }
    }
}

/// A stream that ends in a reset instead of an orderly close, or in silence, when its [`Connection`] says so.
pub(super) struct Guarded {
    stream: TcpStream,
    connection: Connection,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.connection.0.reset.load(Ordering::SeqCst) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.connection.hangs() {
            return Poll::Pending;
        }
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.connection.hangs() {
            return Poll::Pending;
        }
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.connection.hangs() {
            return Poll::Pending;
        }
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
