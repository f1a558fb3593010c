//! Connections to the API server, direct or through a proxy.

use super::proxy::{Kind, Proxy};
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use kube::Config;
use kube::client::ConfigExt;
use kube::config::AuthInfo;
use secrecy::ExposeSecret as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt as _};

/// Service that opens connections.
pub(super) type Connector = BoxCloneSyncService<Uri, Stream, BoxError>;

/// Transport below TLS or plain HTTP.
trait Io: Read + Write + Connection + Send + Unpin {}

impl<T: Read + Write + Connection + Send + Unpin> Io for T {}

/// A connection of any type.
pub(super) struct Stream(Box<dyn Io>);

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, into)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(cx, bytes)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

/// Error of a proxy. Without the proxy's name it could be mistaken for an error of the API server.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy}: {said}")]
struct ProxyError {
    proxy: String,
    said: String,
}

/// Returns the service that opens connections, through the proxy if there is one.
pub(super) fn connector(tcp: HttpConnector, proxy: Option<&Proxy>, config: &Config) -> Result<Connector, kube::Error> {
    let Some(proxy) = proxy else { return Ok(boxed(tcp, None)) };
    let name = Some(proxy.authority.clone());
    let scheme = if proxy.kind == Kind::Https { "https" } else { "http" };
    let at = Uri::builder().scheme(scheme).authority(&*proxy.authority).path_and_query("/").build();
    let at = at.map_err(kube::Error::HttpError)?;
    Ok(match proxy.kind {
        Kind::Http => boxed(tunnel(at, tcp, proxy), name),
        Kind::Https => {
            // name and certificate for the API server don't apply to the proxy
            let mut of_proxy = config.clone();
            (of_proxy.tls_server_name, of_proxy.auth_info) = (None, AuthInfo::default());
            boxed(tunnel(at, of_proxy.rustls_https_connector_with_connector(tcp)?, proxy), name)
        }
        Kind::Socks5 => {
            let socks = SocksV5::new(at, tcp);
            match &proxy.user {
                Some((user, password)) => {
                    boxed(socks.with_auth(user.clone(), password.expose_secret().to_owned()), name)
                }
                None => boxed(socks, name),
            }
        }
    })
}

/// Returns the error of a tunnel as a message with an action.
fn tunnel_error(said: &str) -> String {
    match said {
        "tunnel error: unsuccessful" => "it rejects CONNECT to the API server, or isn't an HTTP proxy".to_owned(),
        "tunnel error: proxy authorization required" => {
            "it requires a login, as in http://USER:PASSWORD@HOST:PORT".to_owned()
        }
        "tunnel error: unexpected end of file" => "it closes the connection, or isn't an HTTP proxy".to_owned(),
        said => said.to_owned(),
    }
}

fn tunnel<C>(at: Uri, connector: C, proxy: &Proxy) -> Tunnel<C> {
    let tunnel = Tunnel::new(at, connector);
    match &proxy.basic {
        Some(login) => tunnel.with_auth(login.clone()),
        None => tunnel,
    }
}

fn boxed<C>(connector: C, proxy: Option<String>) -> Connector
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connection + Send + Unpin + 'static,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    let named = move |error: C::Error| -> BoxError {
        let error: BoxError = error.into();
        match &proxy {
            Some(proxy) => {
                Box::new(ProxyError { proxy: proxy.clone(), said: tunnel_error(&super::innermost(&*error)) })
            }
            None => error,
        }
    };
    let connector = connector.map_err(named).map_response(|stream| Stream(Box::new(stream)));
    BoxCloneSyncService::new(connector.map_future(|opening| -> BoxFuture<'static, _> { Box::pin(opening) }))
}
