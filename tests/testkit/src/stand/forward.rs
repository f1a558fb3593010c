//! Proxies as companies have them between a person's machine and an API server: HTTP CONNECT, plain and over TLS, and
//! SOCKS 5. Whatever is asked for, they connect to one server, so that names needn't resolve.

use crate::tls::CertificateAuthority;
use anyhow::{Context as _, Result, bail};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// `refused:`, which nobody may be.
const REFUSED: &str = "Basic cmVmdXNlZDo=";

/// A running proxy: to hosts that begin with `forbidden.` and for the user `refused` it opens nothing. Dropping it closes its port.
pub struct ForwardProxy {
    addr: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

#[derive(Clone)]
enum Kind {
    Http,
    Https(TlsAcceptor),
    Socks5,
}

impl ForwardProxy {
    /// CONNECT over plain HTTP.
    pub async fn http(to: SocketAddr) -> Result<Self> {
        Self::start("http", Kind::Http, to).await
    }

    /// CONNECT over TLS, with a certificate for this machine.
    pub async fn https(to: SocketAddr, ca: &CertificateAuthority) -> Result<Self> {
        let mut config = ca.server_config()?;
        config.alpn_protocols.clear();
        Self::start("https", Kind::Https(TlsAcceptor::from(Arc::new(config))), to).await
    }

    /// SOCKS 5, without a login.
    pub async fn socks5(to: SocketAddr) -> Result<Self> {
        Self::start("socks5", Kind::Socks5, to).await
    }

    async fn start(scheme: &'static str, kind: Kind, to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (addr, seen) = (listener.local_addr()?, Arc::<Mutex<Vec<String>>>::default());
        let told = seen.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kind, seen) = (kind.clone(), told.clone());
                // an error is a client that went away
                tokio::spawn(async move {
                    match kind {
                        Kind::Http => connect(stream, to, &seen).await,
                        Kind::Https(acceptor) => connect(acceptor.accept(stream).await?, to, &seen).await,
                        Kind::Socks5 => socks(stream, to, &seen).await,
                    }
                });
            }
        });
        Ok(Self { addr, scheme, seen, accepting })
    }

    /// `SCHEME://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        self.addr.to_string()
    }

    /// What was asked for since the last look: `HOST:PORT`, and the credentials of an HTTP proxy after a space.
    pub fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn note(seen: &Mutex<Vec<String>>, what: String) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

async fn connect(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    to: SocketAddr,
    seen: &Mutex<Vec<String>>,
) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).context("no CONNECT")?;
    let login = head.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| is_login(name)));
    if login.is_some_and(|(_, login)| login == REFUSED) {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await?;
        return Ok(());
    }
    if target.starts_with("forbidden.") {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await?;
        return Ok(());
    }
    note(seen, login.map_or_else(|| target.to_owned(), |(_, login)| format!("{target} {login}")));
    let mut server = TcpStream::connect(to).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn is_login(header: &str) -> bool {
    header.eq_ignore_ascii_case("proxy-authorization")
}

async fn socks(mut client: TcpStream, to: SocketAddr, seen: &Mutex<Vec<String>>) -> Result<()> {
    let [_version, methods] = read(&mut client).await?;
    client.read_exact(&mut vec![0; methods.into()]).await?;
    client.write_all(&[5, 0]).await?;
    let [_version, _connect, _reserved, kind] = read(&mut client).await?;
    let host = match kind {
        1 => Ipv4Addr::from(read::<4>(&mut client).await?).to_string(),
        3 => {
            let mut name = vec![0; client.read_u8().await?.into()];
            client.read_exact(&mut name).await?;
            String::from_utf8(name)?
        }
        _ => bail!("no IPv4 address and no name"),
    };
    note(seen, format!("{host}:{}", client.read_u16().await?));
    let mut server = TcpStream::connect(to).await?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn read<const N: usize>(from: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}
