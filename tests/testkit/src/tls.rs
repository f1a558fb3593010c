//! TLS for the stand: a throw-away certificate authority, a server on a loopback port, and the certificate that a
//! client proves itself with.
//!
//! May not enter: what a server answers. [`serve`] takes any axum router.

use anyhow::Context as _;
use axum::{Extension, Router};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{Datelike as _, NaiveDate};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

mod connection;
mod raw;

pub use connection::Connection;
pub use raw::{Raw, serve_raw};

/// The names that every server certificate holds.
const SERVER_NAMES: [&str; 6] =
    ["localhost", "127.0.0.1", "::1", crate::node::GATEWAY, "*.video.example", "*.analytics.svc"];

/// A client that opens a connection and says nothing is dropped after this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A certificate authority that lives as long as the test.
pub struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// It is a server's own certificate, which vouches for itself.
    is_server: bool,
}

impl CertificateAuthority {
    /// Makes a new authority with a key of its own. Errors: none but a failing random source.
    pub fn generate() -> anyhow::Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "video token test stand");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, is_server: false })
    }

    /// No authority at all, but a self-signed certificate as servers on the premises have it: what a client must trust
    /// is what the server presents. Where it calls itself a CA, as `openssl req -x509` makes it, clients may refuse it.
    pub fn self_signed(calls_itself_ca: bool) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(SERVER_NAMES.map(String::from))?;
        // no name that a root of this machine's might have
        params.distinguished_name.push(DnType::CommonName, "video server of the test stand");
        if calls_itself_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, is_server: true })
    }

    /// The authority's certificate, which a client must trust.
    pub fn ca_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A client that trusts this authority and no other.
    pub fn client(&self) -> anyhow::Result<reqwest::Client> {
        Ok(self.client_builder()?.build()?)
    }

    /// The same, to be given further options.
    pub fn client_builder(&self) -> anyhow::Result<reqwest::ClientBuilder> {
        let root = reqwest::Certificate::from_pem(self.ca_pem().as_bytes())?;
        Ok(reqwest::Client::builder().tls_certs_only([root]))
    }

    /// Certificate and key of a server on this machine, PEM, for a program that serves TLS itself.
    pub fn server_pem(&self) -> anyhow::Result<[String; 2]> {
        let (certificate, key) = self.server_certificate()?;
        Ok([certificate.pem(), key.serialize_pem()])
    }

    fn server_certificate(&self) -> anyhow::Result<(Certificate, KeyPair)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(SERVER_NAMES.map(String::from))?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }

    /// What a server on this machine presents: a fresh key, and a certificate for localhost, 127.0.0.1 and `::1`.
    pub fn server_config(&self) -> anyhow::Result<rustls::ServerConfig> {
        self.server_config_with(rustls::crypto::aws_lc_rs::default_provider())
    }

    fn server_config_with(&self, provider: CryptoProvider) -> anyhow::Result<rustls::ServerConfig> {
        let (certificate, key) = if self.is_server {
            (self.issuer.der().clone(), self.issuer.key().serialize_der())
        } else {
            let (certificate, key) = self.server_certificate()?;
            (certificate.der().clone(), key.serialize_der())
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A running server. Dropping it closes its port and every connection at once.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `https://127.0.0.1:<port>`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("https://{}", self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves `router` on a free loopback port, HTTP/1.1 and HTTP/2 over TLS.
pub async fn serve(router: Router, ca: &CertificateAuthority) -> anyhow::Result<Server> {
    serve_on((Ipv4Addr::LOCALHOST, 0).into(), router, ca).await
}

/// Like [`serve`], on a given address. Errors: the address is taken.
///
/// Each request carries its [`Connection`] as an extension.
pub async fn serve_on(addr: SocketAddr, router: Router, ca: &CertificateAuthority) -> anyhow::Result<Server> {
    listen(addr, router, ca.server_config()?).await
}

/// Like [`serve`], with ChaCha20-Poly1305 as the only cipher, which is not approved by FIPS 140-3.
pub async fn serve_chacha20(router: Router, ca: &CertificateAuthority) -> anyhow::Result<Server> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    listen((Ipv4Addr::LOCALHOST, 0).into(), router, ca.server_config_with(provider)?).await
}

async fn listen(addr: SocketAddr, router: Router, config: rustls::ServerConfig) -> anyhow::Result<Server> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(addr).await.with_context(|| format!("listening on {addr}"))?;
    let addr = listener.local_addr()?;
    let accepting = tokio::spawn(accept(listener, acceptor, router));
    Ok(Server { addr, accepting })
}

/// Accepts until it is aborted; the connections go with it.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(converse(stream, peer, acceptor.clone(), router.clone()));
                }
                // Out of file descriptors, say: give others time to close theirs.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, from its handshake until either side closes it.
async fn converse(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, router: Router) {
    let connection = Connection::from(peer.ip());
    // Without this each small answer would wait for an acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let stream = connection.guard(stream);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else { return };
    let service = TowerToHyperService::new(router.layer(Extension(connection.clone())));
    let server = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        // An error here is the client's going away.
        _ = server.serve_connection(TokioIo::new(stream), service) => {}
        () = connection.was_reset() => {}
    }
}

/// A certificate and key that an application proves itself with at Entra.
pub struct ClientCertificate {
    /// The self-signed certificate.
    pub certificate_pem: String,
    /// Its RSA key of 2,048 bits, as PKCS #8.
    pub private_key_pem: String,
    /// SHA-256 of the certificate, base64url: the `x5t#S256` of an assertion's header.
    pub thumbprint: String,
}

impl ClientCertificate {
    /// Makes a new key and a certificate for it. Takes some tenths of a second: RSA keys are slow to find.
    pub fn generate(common_name: &str) -> anyhow::Result<Self> {
        Self::make(common_name, CertificateParams::default())
    }

    /// The same, good until the first moment of that day.
    pub fn until(common_name: &str, day: NaiveDate) -> anyhow::Result<Self> {
        let (month, day_of_month) = (u8::try_from(day.month())?, u8::try_from(day.day())?);
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(day.year(), month, day_of_month);
        Self::make(common_name, params)
    }

    fn make(common_name: &str, mut params: CertificateParams) -> anyhow::Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            private_key_pem: key.serialize_pem(),
            thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(certificate.der())),
        })
    }
}
