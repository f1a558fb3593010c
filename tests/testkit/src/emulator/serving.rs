//! One emulator on a loopback port.

use super::Control;
use crate::tls::{CertificateAuthority, Server, serve_on};
use axum::Router;
use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    sync::Arc,
};

/// One token API, to be served.
pub trait Emulator: Send + Sync + 'static {
    /// Faults, limits, lives, holds; requests seen and tokens issued.
    fn control(&self) -> &Arc<Control>;

    /// The whole of it.
    fn router(self: &Arc<Self>) -> Router;
}

/// A running emulator. Dropping it ends it.
pub struct Serving<E> {
    emulator: Arc<E>,
    server: Server,
    ca: Arc<CertificateAuthority>,
}

impl<E: Emulator> Serving<E> {
    /// Starts it on a free loopback port, with a certificate of this authority's.
    pub async fn start(emulator: Arc<E>, ca: &Arc<CertificateAuthority>) -> anyhow::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), emulator, ca).await
    }

    /// The same on an address of one's choice. Errors: it is taken.
    pub async fn start_on(
        address: SocketAddr,
        emulator: Arc<E>,
        ca: &Arc<CertificateAuthority>,
    ) -> anyhow::Result<Self> {
        let server = serve_on(address, emulator.router(), ca).await?;
        Ok(Self { emulator, server, ca: ca.clone() })
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// `host:port`, as `--allowed-endpoint` and `allowed-hosts` name it.
    pub fn host(&self) -> String {
        self.url().trim_start_matches("https://").to_owned()
    }

    /// The certificate that its clients must trust.
    pub fn ca_pem(&self) -> String {
        self.ca.ca_pem()
    }
}

impl<E> Deref for Serving<E> {
    type Target = Arc<E>;

    fn deref(&self) -> &Arc<E> {
        &self.emulator
    }
}
