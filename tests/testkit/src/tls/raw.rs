//! A server over TLS that reads a whole request and then answers whatever bytes it was told, or none: what no HTTP library
//! can be brought to do.

use super::{CertificateAuthority, Server};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What follows a request.
#[derive(Clone, Debug)]
pub enum Raw {
    /// These bytes, and then the end of the connection.
    Say(Vec<u8>),
    /// A TCP reset.
    Reset,
}

/// Serves so on a free loopback port, and counts the requests that it has read whole. Errors: none but a failing random
/// source.
pub async fn serve_raw(ca: &CertificateAuthority, answer: Raw) -> anyhow::Result<(Server, Arc<AtomicUsize>)> {
    let mut config = ca.server_config()?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let addr = listener.local_addr()?;
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if read_request(&mut stream).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                follow(stream, &answer).await;
            }
        }
    });
    Ok((Server { addr, accepting }, read))
}

/// Head and body, whose length the head tells.
async fn read_request(stream: &mut TlsStream<TcpStream>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn follow(mut stream: TlsStream<TcpStream>, answer: &Raw) {
    match answer {
        Raw::Say(bytes) => {
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
        Raw::Reset => {
            let _ = stream.get_ref().0.set_zero_linger();
        }
    }
}
